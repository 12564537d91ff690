//! Lowering of merged products.

use super::expression::{At, Body, Emitter};
use super::rows::statistics;
use super::store::{Step, step_of, store};
use super::weights::Matrix;
use super::{Context, Launch, Resource, shapes};
use crate::error::CompileError;
use crate::region::{ProductAnchor, Region, label, storage};
use quarrel_ir::format::Format;
use quarrel_ir::graph::{Op, RopeStyle, ValueId};
use quarrel_ir::plan::{Cost, Extent, Place};
use quarrel_kernels::product::{Group, Product, Rows, epilogue_sum, segment_prefix};
use quarrel_kernels::row_program::{RowProgram, parameters};
use std::collections::{BTreeMap, BTreeSet};

/// Lowers merged products with their prologue and epilogue.
pub fn lower(
    context: Context<'_>,
    region: &Region,
    product: &ProductAnchor,
) -> Result<Launch, CompileError> {
    let segments = Segments::of(context, product);
    let columns = segments.matrices[0].columns;
    let prologue: BTreeSet<ValueId> = members(region, Place::Prologue);
    let computed = prologue.iter().any(|v| !matches!(context.graph.op(*v), Op::Reshape(_)));
    let dim = context.rows(product.linears().next().unwrap_or(product.x));
    let needs = shapes::ProductNeeds {
        phase: context.phase_for(dim),
        format: segments.formats[0],
        rows: product.groups.iter().map(|g| g.units * g.linears.len() as u64).sum(),
        columns,
        linears: common_linears(product),
        computed,
        same_chunk: segments
            .formats
            .iter()
            .all(|f| f.packing().chunk == segments.formats[0].packing().chunk),
    };
    let (shape, staged) = shapes::product(context.device, &needs);
    let mut emitter = context.emitter(prologue);
    for (index, (matrix, part)) in segments.distinct().into_iter().enumerate() {
        for (range, binding) in matrix.plane_bindings(part, &segment_prefix(index)) {
            emitter.bindings.add(Resource::Weight(range), binding);
        }
    }
    let count = context.count(dim, &mut emitter.bindings);
    let row_program = emit_prologue(&mut emitter, product.x);
    let mut kernel = Product {
        shape,
        columns: columns as u32,
        count,
        segments: segments.formats.clone(),
        groups: Vec::new(),
        prologue: row_program,
        staged,
        bindings: Vec::new(),
        functions: String::new(),
    };
    emit_groups(context, region, product, &segments, &mut emitter, &mut kernel)?;
    kernel.functions = emitter.helpers.concat() + &kernel.functions;
    kernel.bindings = emitter.bindings.declared();
    let grid = [
        Extent::Const(kernel.tiles()),
        Extent::Tiles { dim, tile: shape.tokens, times: 1 },
        Extent::Const(1),
    ];
    Ok(Launch {
        shader: kernel.shader(),
        bindings: emitter.bindings.declared(),
        resources: emitter.bindings.resources(),
        grid,
        cost: cost(context, region, product, &segments),
        note: staged.then(|| "x is computed once a workgroup and kept in workgroup memory".into()),
    })
}

/// The tensors behind a product's matrices.
struct Segments<'a> {
    /// Each linear's matrix.
    matrices: Vec<&'a Matrix>,
    /// Each linear's segment, the first of a matrix in parts.
    indices: Vec<usize>,
    /// Each segment's format.
    formats: Vec<Format>,
}

impl<'a> Segments<'a> {
    fn of(context: Context<'a>, product: &ProductAnchor) -> Segments<'a> {
        let mut segments = Segments { matrices: vec![], indices: vec![], formats: vec![] };
        let mut tensors: BTreeMap<usize, usize> = BTreeMap::new();
        for linear in product.linears() {
            let Op::Weight(id) = *context.graph.op(context.graph.operands(linear)[1]) else {
                unreachable!("the weight of a product is a weight: no other op yields a matrix")
            };
            let matrix = context.weights.matrix(id);
            let index = *tensors.entry(matrix.tensor).or_insert_with(|| {
                let parts = std::iter::repeat_n(matrix.format, matrix.parts());
                segments.formats.extend(parts);
                segments.formats.len() - matrix.parts()
            });
            segments.matrices.push(matrix);
            segments.indices.push(index);
        }
        segments
    }

    /// A matrix of each segment, and which of its parts the segment is.
    fn distinct(&self) -> Vec<(&'a Matrix, usize)> {
        let first: BTreeMap<usize, &Matrix> =
            self.indices.iter().copied().zip(self.matrices.iter().copied()).collect();
        let parts = |matrix: &'a Matrix| (0..matrix.parts()).map(move |part| (matrix, part));
        first.into_values().flat_map(parts).collect()
    }

    /// Where the rows of linear `linear` are.
    fn rows(&self, linear: usize) -> Rows {
        let matrix = self.matrices[linear];
        Rows {
            segment: self.indices[linear],
            first_row: matrix.first_row as u32,
            part_rows: (matrix.parts() > 1).then_some(matrix.part_rows as u32),
        }
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

/// Emits the row program of x.
fn emit_prologue(emitter: &mut Emitter<'_>, x: ValueId) -> RowProgram {
    let mut program = RowProgram { wide: true, ..RowProgram::default() };
    let at = At { row: "n".into(), place: "j".into() };
    statistics(emitter, &mut program, &at);
    let mut body = Body::default();
    let value = emitter.value(&mut body, x, &at, true);
    program.functions.push_str(&format!(
        "fn pre(n: u32, j: u32{}) -> vec4<f32> {{\n{}    return {value};\n}}\n",
        parameters(program.statistics.len()),
        body.text
    ));
    program
}

/// Emits each group's epilogue.
fn emit_groups(
    context: Context<'_>,
    region: &Region,
    product: &ProductAnchor,
    segments: &Segments<'_>,
    emitter: &mut Emitter<'_>,
    kernel: &mut Product,
) -> Result<(), CompileError> {
    emitter.inline = members(region, Place::Epilogue);
    let mut first_linear = 0;
    for (index, group) in product.groups.iter().enumerate() {
        let outputs: Vec<ValueId> = region
            .outputs
            .iter()
            .copied()
            .filter(|o| product.group_of(*o) == Some(index))
            .collect();
        let step = step_of(context, &outputs, false);
        let turned = group.members.iter().any(|m| {
            matches!(context.graph.op(*m), Op::Rope(rope) if rope.style == RopeStyle::Interleaved)
        });
        if (step == Step::Pair || turned) && !group.units.is_multiple_of(2) {
            return Err(CompileError::Unsupported {
                what: label(context.graph, group.linears[0]),
                why: format!("its {} rows cannot be taken in pairs", group.units),
            });
        }
        let units = kernel.shape.tile / group.linears.len() as u32;
        for (position, &linear) in group.linears.iter().enumerate() {
            let sum = move |j: &str| epilogue_sum(index, position, units, j);
            emitter.sums.insert(linear, Box::new(sum));
        }
        let stores: String = outputs
            .iter()
            .map(|&output| {
                let text = store(context, emitter, output, ("n", "j"), step);
                format!("    {{\n{text}    }}\n")
            })
            .collect();
        kernel.functions.push_str(&format!(
            "fn post_{index}(t: u32, n: u32, j: u32, first: u32) {{\n{stores}}}\n"
        ));
        let linears = first_linear..first_linear + group.linears.len();
        let linears = linears.map(|linear| segments.rows(linear)).collect();
        first_linear += group.linears.len();
        kernel.groups.push(Group {
            units: group.units as u32,
            linears,
            order: group.order,
            pair: step == Step::Pair,
        });
    }
    Ok(())
}

/// Packed weights once; x and the epilogue's operands and results for each row.
fn cost(
    context: Context<'_>,
    region: &Region,
    product: &ProductAnchor,
    segments: &Segments<'_>,
) -> Cost {
    let graph = context.graph;
    let mut cost = Cost::default();
    for (linear, matrix) in product.linears().zip(&segments.matrices) {
        let rows = graph.tensor(linear).map_or(0, |t| t.width());
        cost.weight_bytes += matrix.format.packing().bytes(rows * matrix.columns);
        cost.token_flops += 2 * rows * matrix.columns;
    }
    let mut seen = BTreeSet::new();
    for &member in region.members.keys() {
        for operand in graph.operands(member) {
            let home = storage(graph, operand);
            let outside = !region.members.contains_key(&home) && !graph.op(home).is_leaf();
            if outside && seen.insert(home) {
                cost.token_bytes += 4 * graph.tensor(home).map_or(0, |t| t.width());
            }
        }
        if !matches!(graph.op(member), Op::Linear) {
            cost.token_flops += graph.tensor(member).map_or(0, |t| t.width());
        }
    }
    for &output in &region.outputs {
        cost.token_bytes += match graph.node(output).ty {
            quarrel_ir::graph::Type::State(state) => {
                graph.states[state.0 as usize].width() * context.state_format(state).bytes()
            }
            quarrel_ir::graph::Type::Tensor(ref tensor) => 4 * tensor.width(),
        };
    }
    cost
}
