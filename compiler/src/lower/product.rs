//! Lowering of merged products.

use super::expression::{At, Body, Emitter};
use super::rows::statistics;
use super::store::{Step, step_of, store};
use super::weights::Matrix;
use super::{Context, Launch, Resource, group, shapes, variants};
use crate::error::CompileError;
use crate::region::{ExpertAnchor, ProductAnchor, Region, label, multiplied, storage};
use quarrel_ir::format::Format;
use quarrel_ir::graph::{Op, RopeStyle, RunDim, ValueId, WeightRows};
use quarrel_ir::plan::{Cost, Extent, Groups, Phase, Place, Precision};
use quarrel_kernels::formats::{Words, snippet};
use quarrel_kernels::product::{
    Columns, Group, PART_ROWS, Product, Rows, Shape, Staging, epilogue_sum, multiplies_integers,
    segment_prefix,
};
use quarrel_kernels::row_program::{RowProgram, parameters};
use std::collections::{BTreeMap, BTreeSet};

/// Lowers merged products with their prologue and epilogue.
pub fn lower(
    context: Context<'_>,
    region: &Region,
    product: &ProductAnchor,
) -> Result<Launch, CompileError> {
    let segments = Segments::of(context, product);
    check_parts(context, product, &segments)?;
    let experts = product.experts;
    let columns = segments.matrices[0].columns;
    let prologue: BTreeSet<ValueId> = members(region, Place::Prologue);
    let dim = context.rows(product.linears().next().unwrap_or(product.x));
    let needs = needs(context, product, &segments, &prologue, dim);
    let cost = cost(context, region, product, &segments);
    let ((shape, staging), choice) =
        variants::product(context.device, context.options, &needs, &segments.formats, &cost)?;
    let groups = experts.and_then(|experts| group::grouped(context, experts));
    let summed = experts.is_some_and(|experts| experts.sum.is_some());
    // A sum goes through other rows of x for each expert.
    let staging = if summed { Staging::No } else { staging };
    let mut emitter = context.emitter(region, prologue);
    segments.bind(&shape, &mut emitter);
    let times = experts.map_or(1, |experts| if summed { 1 } else { experts.top });
    let count = count(context, &mut emitter, (dim, times), groups.is_some());
    let by_matrices = matches!(shape.columns, Columns::Matrices(_));
    let halves = by_matrices && context.halves.contains(&storage(context.graph, product.x));
    let mut row_program = match halves {
        true => emit_halves(&mut emitter, product.x, experts),
        false => emit_prologue(&mut emitter, product.x, experts),
    };
    let aside = emit_aside(context, &mut emitter, region, &mut row_program);
    let mut kernel = Product {
        shape,
        columns: columns as u32,
        count,
        segments: segments.formats.clone(),
        interleaved: segments.distinct().iter().map(|(matrix, _)| matrix.interleaving).collect(),
        words: segments.words(&shape),
        groups: Vec::new(),
        aside,
        experts: experts.map(|experts| group::chosen(context, &mut emitter, experts, shape.tokens)),
        prologue: row_program,
        halves,
        staging,
        bindings: Vec::new(),
        functions: String::new(),
    };
    emit_groups(context, region, product, &segments, &mut emitter, &mut kernel);
    kernel.functions = emitter.helpers.concat() + &kernel.functions;
    kernel.bindings = emitter.bindings.declared();
    let (tile, times) = (shape.tokens, times as u32);
    let along = match groups {
        Some(Groups { experts, .. }) => Extent::Groups { dim, top: times, tile, experts },
        None => Extent::Tiles { dim, tile, times },
    };
    Ok(Launch {
        shader: kernel.shader(),
        bindings: emitter.bindings.declared(),
        resources: emitter.bindings.resources(),
        grid: grid(&kernel, along),
        cost,
        choice: Some(choice),
        note: note(staging).into_iter().chain(group::note(context, product, tile)).reduce(both),
    })
}

/// Workgroups, `along` the rows of x.
fn grid(kernel: &Product, along: Extent) -> [Extent; 3] {
    let (tiles, shares) = (Extent::Const(kernel.tiles()), Extent::Const(kernel.shape.shares()));
    match kernel.shape.columns {
        Columns::Matrices(matrices) if matrices.weights_once => [along, tiles, shares],
        _ => [tiles, along, shares],
    }
}

/// WGSL for the number of the kernel's rows, `times` for each of `dim`; a list of rows says itself.
fn count(
    context: Context<'_>,
    emitter: &mut Emitter<'_>,
    (dim, times): (RunDim, u64),
    listed: bool,
) -> String {
    if listed {
        return String::new();
    }
    let tokens = context.count(dim, &mut emitter.bindings);
    if times == 1 { tokens } else { format!("{tokens} * {times}u") }
}

fn both(first: String, second: String) -> String {
    format!("{first}; {second}")
}

/// What people are told of how x is staged.
fn note(staging: Staging) -> Option<String> {
    let how = match staging {
        Staging::No => return None,
        Staging::Floats => "",
        Staging::Integers => ", as integers of 16 bits that are multiplied with weights as bytes",
    };
    Some(format!("x is computed once a workgroup and kept in workgroup memory{how}"))
}

/// What the choice of tile sizes depends on.
fn needs(
    context: Context<'_>,
    product: &ProductAnchor,
    segments: &Segments<'_>,
    prologue: &BTreeSet<ValueId>,
    dim: RunDim,
) -> shapes::ProductNeeds {
    let split = context.splits.get(&storage(context.graph, product.x));
    let computed = split.is_some_and(|split| split.in_place)
        || prologue.iter().any(|v| !matches!(context.graph.op(*v), Op::Reshape(_)));
    let statistics = prologue.iter().any(|v| matches!(context.graph.op(*v), Op::Normalize(_)));
    let auto = context.options.precision == Precision::Auto;
    let groups = product.experts.and_then(|experts| {
        group::grouped(context, experts).map(|groups| (groups, experts.top as u32))
    });
    // A product has a linear, and each linear a matrix and a segment.
    shapes::ProductNeeds {
        format: segments.formats[0],
        rows: product.groups.iter().map(|g| g.units * g.linears.len() as u64).sum(),
        columns: segments.matrices[0].columns,
        linears: common_linears(product),
        computed,
        same_chunk: segments
            .formats
            .iter()
            .all(|f| f.packing().chunk == segments.formats[0].packing().chunk),
        one_segment: segments.formats.len() == 1,
        tokens: match (context.phase_for(dim), dim) {
            _ if groups.is_some() => groups.map_or(1, |(groups, _)| groups.rows),
            // Each row has experts of its own, so rows share nothing.
            _ if product.experts.is_some() => 1,
            (Phase::Decode, _) => context.options.slots,
            (_, RunDim::OutRows) => context.options.out_rows,
            _ => context.options.step_tokens(),
        },
        experts: product.experts.is_some(),
        groups,
        matrices: auto && (product.experts.is_none() || groups.is_some()) && !statistics,
        shared: product.linears().all(|linear| context.shares.contains_key(&linear)),
        integers: auto && segments.formats.iter().all(|format| multiplies_integers(*format)),
        statistics,
    }
}

/// That runs of rows of a matrix in parts begin where rows that are held together may.
fn check_parts(
    context: Context<'_>,
    product: &ProductAnchor,
    segments: &Segments<'_>,
) -> Result<(), CompileError> {
    for (linear, rows) in product.linears().zip(&segments.rows) {
        let whole = [rows.first, rows.every].iter().all(|n| n.is_multiple_of(PART_ROWS));
        let together = rows.first == 0 && rows.len == rows.every;
        if rows.part_rows.is_some() && !together && !(whole && rows.len.is_multiple_of(PART_ROWS)) {
            return Err(CompileError::Unsupported {
                what: label(context.graph, linear),
                why: format!(
                    "its rows are some of a matrix that is too large for one binding of {}",
                    context.device.name
                ),
            });
        }
    }
    Ok(())
}

/// The tensors behind a product's matrices.
struct Segments<'a> {
    /// Each linear's matrix.
    matrices: Vec<&'a Matrix>,
    /// Where each linear's rows are.
    rows: Vec<Rows>,
    /// Each segment's format.
    formats: Vec<Format>,
}

impl<'a> Segments<'a> {
    fn of(context: Context<'a>, product: &ProductAnchor) -> Segments<'a> {
        let mut segments = Segments { matrices: vec![], rows: vec![], formats: vec![] };
        let mut tensors: BTreeMap<usize, usize> = BTreeMap::new();
        for linear in product.linears() {
            let Some((id, rows)) = multiplied(context.graph, linear) else {
                unreachable!("the weight of a product is a weight: no other op yields a matrix")
            };
            let matrix = context.weights.matrix(id);
            let index = *tensors.entry(matrix.tensor).or_insert_with(|| {
                let parts = std::iter::repeat_n(matrix.format, matrix.parts());
                segments.formats.extend(parts);
                segments.formats.len() - matrix.parts()
            });
            segments.matrices.push(matrix);
            let first = matrix.first_row as u32;
            let units = context.graph.tensor(linear).map_or(0, |t| t.last()) as u32;
            let part_rows = (matrix.parts() > 1).then_some(matrix.part_rows as u32);
            let together = Rows { segment: index, first, len: units, every: units, part_rows };
            segments.rows.push(match rows {
                None => together,
                Some(WeightRows { start, len, every }) => {
                    let (first, len, every) = (first + start as u32, len as u32, every as u32);
                    // One run is all of it.
                    let every = if len == units { len } else { every };
                    Rows { first, len, every, ..together }
                }
            });
        }
        segments
    }

    /// Binds the planes of all segments for a kernel of `shape`.
    fn bind(&self, shape: &Shape, emitter: &mut Emitter<'_>) {
        let words = self.words(shape);
        for (index, (matrix, part)) in self.distinct().into_iter().enumerate() {
            for (range, binding) in matrix.plane_bindings(part, &segment_prefix(index), words) {
                emitter.bindings.add(Resource::Weight(range), binding);
            }
        }
    }

    /// How a kernel of `shape` loads words.
    fn words(&self, shape: &Shape) -> Words {
        let Matrix { format, columns, words, .. } = self.matrices[0];
        let chunks = columns / format.packing().chunk as u64;
        let even = chunks.is_multiple_of(2 * u64::from(shape.shares()));
        let twos = matches!(shape.columns, Columns::Down { .. }) && self.formats.len() == 1;
        match twos && even && snippet(*format).twos() && *words == Words::Pairs {
            true => Words::Quads,
            false => *words,
        }
    }

    /// A matrix of each segment, and which of its parts the segment is.
    fn distinct(&self) -> Vec<(&'a Matrix, usize)> {
        let first: BTreeMap<usize, &Matrix> =
            self.rows.iter().map(|r| r.segment).zip(self.matrices.iter().copied()).collect();
        let parts = |matrix: &'a Matrix| (0..matrix.parts()).map(move |part| (matrix, part));
        first.into_values().flat_map(parts).collect()
    }
}

fn members(region: &Region, place: Place) -> BTreeSet<ValueId> {
    region.members.iter().filter(|(_, p)| **p == place).map(|(v, _)| *v).collect()
}

/// The least common multiple of the numbers of linears in the groups.
fn common_linears(product: &ProductAnchor) -> u32 {
    let counts = product.groups.iter().map(|g| g.linears.len() as u32);
    counts.fold(1, |multiple, n| {
        (1..=n).map(|k| multiple * k).find(|m| m.is_multiple_of(n)).unwrap_or(multiple * n)
    })
}

/// The tile sizes that a product has, and whether it reads what it multiplies as it is.
pub fn shape_of(
    context: Context<'_>,
    region: &Region,
    product: &ProductAnchor,
) -> Result<(Shape, bool), CompileError> {
    let segments = Segments::of(context, product);
    let dim = context.rows(product.linears().next().unwrap_or(product.x));
    let needs = needs(context, product, &segments, &members(region, Place::Prologue), dim);
    let cost = cost(context, region, product, &segments);
    let ((shape, _), _) =
        variants::product(context.device, context.options, &needs, &segments.formats, &cost)?;
    Ok((shape, !needs.computed))
}

/// Emits the row program of an x in F16.
fn emit_halves(emitter: &mut Emitter<'_>, x: ValueId, experts: Option<ExpertAnchor>) -> RowProgram {
    let dims = emitter.graph.tensor(x).map_or(&[][..], |t| &t.dims);
    let (row, width) = match (experts, dims) {
        (Some(_), [_, last]) => ("n".to_string(), *last),
        (Some(ExpertAnchor { top, .. }), _) => (format!("n / {top}u"), dims.iter().product()),
        (None, _) => ("n".to_string(), dims.iter().product()),
    };
    let index = format!("{row} * {}u + j", width / 4);
    let four = emitter.half(storage(emitter.graph, x), &index, true);
    let functions = format!("fn pre(n: u32, j: u32) -> vec4<f16> {{ return {four}; }}\n");
    RowProgram { functions, wide: true, ..RowProgram::default() }
}

/// Emits the row program of x.
fn emit_prologue(
    emitter: &mut Emitter<'_>,
    x: ValueId,
    experts: Option<ExpertAnchor>,
) -> RowProgram {
    let dims = emitter.graph.tensor(x).map_or(vec![], |t| t.dims.clone());
    let last = dims.last().copied().unwrap_or(1);
    let wide = last.is_multiple_of(4);
    let mut program = RowProgram { wide, ..RowProgram::default() };
    let at = |place: &str| match (experts, dims.len()) {
        (None, _) => At { row: "n".into(), place: place.into() },
        (Some(ExpertAnchor { top, .. }), 2) => At {
            row: format!("(n / {top}u)"),
            place: format!("(n % {top}u * {}u + {place})", if wide { last / 4 } else { last }),
        },
        (Some(ExpertAnchor { top, .. }), _) => {
            At { row: format!("(n / {top}u)"), place: place.into() }
        }
    };
    statistics(emitter, &mut program, &at("j"));
    let mut body = Body::default();
    let value = if wide {
        emitter.value(&mut body, x, &at("j"), true)
    } else {
        // Beyond the end of a row the weights are zeros.
        let element = |i| at(&format!("min(4u * j + {i}u, {}u)", last - 1));
        let four = [0, 1, 2, 3].map(|i| emitter.value(&mut body, x, &element(i), false));
        format!("vec4({})", four.join(", "))
    };
    program.functions.push_str(&format!(
        "fn pre(n: u32, j: u32{}) -> vec4<f32> {{\n{}    return {value};\n}}\n",
        parameters(program.statistics.len()),
        body.text
    ));
    program
}

/// Emits the functions that store what the prologue computes for others; vectors of each.
fn emit_aside(
    context: Context<'_>,
    emitter: &mut Emitter<'_>,
    region: &Region,
    program: &mut RowProgram,
) -> Vec<u32> {
    let mut vectors = Vec::new();
    for (index, &value) in region.aside.iter().enumerate() {
        let stored = store(context, emitter, value, ("n", "j"), Step::Wide);
        program.functions.push_str(&format!(
            "fn aside_{index}(n: u32, j: u32{}) {{\n{stored}}}\n",
            parameters(program.statistics.len())
        ));
        vectors.push((context.graph.tensor(value).map_or(0, |t| t.width()) / 4) as u32);
    }
    vectors
}

/// Emits the groups with their epilogues.
fn emit_groups(
    context: Context<'_>,
    region: &Region,
    product: &ProductAnchor,
    segments: &Segments<'_>,
    emitter: &mut Emitter<'_>,
    kernel: &mut Product,
) {
    emitter.inline = members(region, Place::Epilogue);
    if let Some(sum) = product.experts.and_then(|experts| experts.sum) {
        emit_share(context, emitter, kernel, sum);
    }
    let mut first_linear = 0;
    for (index, group) in product.groups.iter().enumerate() {
        let step = emit_epilogue(context, region, product, index, emitter, kernel);
        // `segments` has the rows of each linear, in the groups' order.
        let linears = segments.rows[first_linear..][..group.linears.len()].to_vec();
        first_linear += group.linears.len();
        kernel.groups.push(Group {
            units: group.units as u32,
            linears,
            order: group.order,
            pair: step == Step::Pair,
        });
    }
}

/// Emits the epilogue of group `index`; how many elements it stores at a time.
fn emit_epilogue(
    context: Context<'_>,
    region: &Region,
    product: &ProductAnchor,
    index: usize,
    emitter: &mut Emitter<'_>,
    kernel: &mut Product,
) -> Step {
    let group = &product.groups[index];
    let of_group = |output: &ValueId| product.group_of(*output) == Some(index);
    let outputs: Vec<ValueId> = region.outputs.iter().copied().filter(of_group).collect();
    let step = step_of(context, &outputs, false);
    let turned = group.members.iter().any(
        |m| matches!(context.graph.op(*m), Op::Rope(rope) if rope.style == RopeStyle::Interleaved),
    );
    debug_assert!(
        !(step == Step::Pair || turned) || group.units.is_multiple_of(2),
        "heads that are stored or turned here have whole pairs"
    );
    let units = kernel.shape.tile / group.linears.len() as u32;
    let summed = product.experts.and_then(|experts| experts.sum);
    for (position, &linear) in group.linears.iter().enumerate() {
        let own = product.experts.is_some();
        let sum = move |j: &str| epilogue_sum(index, position, units, if own { "j" } else { j });
        emitter.sums.insert(summed.unwrap_or(linear), Box::new(sum));
    }
    // Where an expert's result lies among those of its token.
    let (place, at) = match product.experts {
        Some(ExpertAnchor { top, sum: None, .. }) => (
            format!(
                "    let row = n / {top}u;\n    let place = n % {top}u * {}u + j;\n",
                group.units
            ),
            ("row", "place"),
        ),
        _ => (String::new(), ("n", "j")),
    };
    let stores: String = outputs
        .iter()
        .map(|&output| format!("    {{\n{}    }}\n", store(context, emitter, output, at, step)))
        .collect();
    kernel.functions.push_str(&format!(
        "fn post_{index}(t: u32, n: u32, j: u32, first: u32) {{\n{place}{stores}}}\n"
    ));
    step
}

/// Emits the function that weighs what each expert yields.
fn emit_share(context: Context<'_>, emitter: &mut Emitter<'_>, kernel: &mut Product, sum: ValueId) {
    let weights = context.graph.operands(sum)[1];
    let mut body = Body::default();
    let at = At { row: "n".into(), place: "which".into() };
    let value = emitter.value(&mut body, weights, &at, false);
    kernel.functions.push_str(&format!(
        "fn share(n: u32, which: u32) -> f32 {{\n{}    return {value};\n}}\n",
        body.text
    ));
}

/// Packed weights once, but those of experts for each row where rows are not grouped; x and the
/// epilogue's operands and results for each row.
fn cost(
    context: Context<'_>,
    region: &Region,
    product: &ProductAnchor,
    segments: &Segments<'_>,
) -> Cost {
    let graph = context.graph;
    let mut cost = Cost::default();
    for (linear, matrix) in product.linears().zip(&segments.matrices) {
        // Of experts, those of one token.
        let rows = graph.tensor(linear).map_or(0, |t| t.width());
        let bytes = matrix.format.packing().bytes(rows * matrix.columns);
        let groups = product.experts.map(|experts| group::grouped(context, experts));
        match (product.experts, groups.flatten()) {
            (None, _) => cost.weight_bytes += bytes,
            (Some(_), None) => cost.token_bytes += bytes,
            (Some(ExpertAnchor { top, .. }), Some(groups)) => {
                cost.weight_bytes += bytes / top.max(1) * u64::from(groups.experts);
            }
        }
        cost.token_flops += 2 * rows * matrix.columns;
    }
    let mut seen = BTreeSet::new();
    for &member in region.members.keys() {
        for operand in graph.operands(member) {
            let home = storage(graph, operand);
            let outside = !region.members.contains_key(&home) && !graph.op(home).is_leaf();
            if outside && seen.insert(home) {
                let partials = context.splits.get(&home).filter(|split| split.in_place);
                cost.token_bytes += match partials {
                    Some(partials) => partials.split.bytes(),
                    None => context.value_row_bytes(home),
                };
            }
        }
        if !matches!(graph.op(member), Op::Linear) {
            cost.token_flops += graph.tensor(member).map_or(0, |t| t.width());
        }
    }
    let stored = |output: &ValueId| super::rows::stored_bytes(context, *output);
    cost.token_bytes += region.outputs.iter().map(stored).sum::<u64>();
    cost
}
