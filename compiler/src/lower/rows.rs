//! Lowering of row regions.

use super::bindings::IoBuffer;
use super::expression::{At, Body, Emitter, can_be_wide};
use super::store::{Step, step_of, store};
use super::{Context, Launch, blocks};
use crate::error::CompileError;
use crate::region::{Region, RowPart, is_leaf, storage};
use quarrel_ir::facts::DeviceKind;
use quarrel_ir::graph::{Graph, NormKind, Op, RunDim, Type, ValueId};
use quarrel_ir::plan::{Cost, Extent};
use quarrel_kernels::row_program::{Finish, RowProgram, Statistic, parameters};
use quarrel_kernels::rows::{Part, Rows};
use std::collections::BTreeSet;

/// Lowers a region that is computed row by row.
pub fn lower(context: Context<'_>, region: &Region) -> Result<Launch, CompileError> {
    let mut emitter = context.emitter(region, BTreeSet::new());
    let mut parts = Vec::new();
    let mut total = 0;
    for (index, part) in region.parts().enumerate() {
        let prefix = if index == 0 { String::new() } else { format!("part{index}_") };
        let (lowered, elements) = lower_part(context, part, prefix, &mut emitter)?;
        parts.push(lowered);
        total += elements;
    }
    let (dim, _) = output_rows(context, region.outputs[0]);
    let most = parts.iter().map(|part| part.steps).max().unwrap_or(1);
    let blocks = parts.iter().any(|part| part.blocks.is_some());
    let threads = threads(context, most);
    let kernel = Rows {
        // Pairs of blocks are whole.
        threads: if blocks { threads.next_multiple_of(16) } else { threads },
        parts,
        bindings: emitter.bindings.declared(),
        helpers: emitter.helpers.concat(),
    };
    let times = kernel.heads();
    Ok(Launch {
        shader: kernel.shader(),
        bindings: emitter.bindings.declared(),
        resources: emitter.bindings.resources(),
        grid: [Extent::Tiles { dim, tile: 1, times }, Extent::Const(1), Extent::Const(1)],
        cost: cost(context, region, total),
        note: None,
        choice: None,
    })
}

/// Where the rows of a row kernel lie in those of a value: each is one of `heads` parts.
#[derive(Clone, Copy)]
pub struct RowPlaces {
    /// Rows of the kernel in one of the value.
    pub heads: u64,
    /// Elements of a row of the kernel.
    pub width: u64,
}

impl RowPlaces {
    /// Place `place` of the kernel's row `n` in a value of which a row has `all` places.
    pub fn at(&self, place: &str, all: u64) -> At {
        let heads = self.heads;
        match heads {
            1 => At { row: "n".into(), place: place.into() },
            _ => At {
                row: format!("n / {heads}u"),
                place: format!("n % {heads}u * {}u + {place}", all / heads),
            },
        }
    }
}

/// Lowers the rows of one output; its elements too.
fn lower_part(
    context: Context<'_>,
    part: &RowPart,
    prefix: String,
    emitter: &mut Emitter<'_>,
) -> Result<(Part, u64), CompileError> {
    let graph = context.graph;
    let output = part.output;
    emitter.inline = part.members.keys().copied().collect();
    let (_, total) = output_rows(context, output);
    let width = row_width(graph, &emitter.inline).unwrap_or(total);
    let mut computed = emitter.inline.clone();
    computed.retain(|value| !matches!(graph.op(*value), Op::Append));
    // Appends pack elements that are computed one by one, but for blocks.
    let wide = can_be_wide(graph, &computed);
    let step = step_of(context, &[output], wide && computed.len() == emitter.inline.len());
    debug_assert!(width.is_multiple_of(step.elements()), "pairs and fours are whole");
    let places = RowPlaces { heads: total / width, width };
    let wide = step == Step::Wide || (step == Step::Block && wide);
    let mut program = RowProgram { wide, prefix: prefix.clone(), ..RowProgram::default() };
    let all = total / if program.wide { 4 } else { 1 };
    statistics(emitter, &mut program, &places.at("j", all));
    let blocks = match (step, &graph.node(output).ty) {
        (Step::Block, Type::State(state)) => {
            let appended = (output, *state);
            Some(blocks::append(context, emitter, &mut program, appended, places))
        }
        _ => {
            let scale =
                if step == Step::Pair { "    let p = 2u * j;\n" } else { "    let p = j;\n" };
            let at = places.at("p", all);
            let lines = format!("    let row = {};\n    let place = {};\n", at.row, at.place);
            let stored = store(context, emitter, output, ("row", "place"), step);
            program.functions.push_str(&format!(
                "fn {prefix}post(n: u32, j: u32{}) {{\n{scale}{lines}{stored}}}\n",
                parameters(program.statistics.len())
            ));
            None
        }
    };
    let steps = (width / step.elements()) as u32;
    let (heads, width) = (places.heads as u32, width as u32);
    Ok((Part { heads, width, steps, program, blocks }, total))
}

/// The row axis and elements of a row of what is stored.
fn output_rows(context: Context<'_>, output: ValueId) -> (RunDim, u64) {
    match &context.graph.node(output).ty {
        Type::Tensor(tensor) => (tensor.rows.unwrap_or(RunDim::Tokens), tensor.width()),
        Type::State(state) => (RunDim::Tokens, context.graph.states[state.0 as usize].width()),
    }
}

/// Elements over which the region's normalisations run; fusion lets only one width in.
fn row_width(graph: &Graph, inline: &BTreeSet<ValueId>) -> Option<u64> {
    let norm = inline.iter().find(|v| matches!(graph.op(**v), Op::Normalize(_)))?;
    graph.tensor(*norm).map(|t| t.last())
}

/// Emits the statistics of every normalisation in the region, in order.
pub fn statistics(emitter: &mut Emitter<'_>, program: &mut RowProgram, at: &At) {
    let graph = emitter.graph;
    let inline: Vec<ValueId> = emitter.inline.iter().copied().collect();
    let gathers = inline.iter().any(|v| matches!(graph.op(*v), Op::GatherRows));
    for value in inline {
        let Op::Normalize(norm) = graph.op(value) else { continue };
        let x = graph.operands(value)[0];
        // Rows that a gather chooses are those of its operands.
        let rows = graph.tensor(value).and_then(|t| t.rows);
        let chosen = At {
            row: match gathers && rows == Some(RunDim::Tokens) {
                true => format!("{}[{}]", emitter.io(IoBuffer::OutRows), at.row),
                false => at.row.clone(),
            },
            place: at.place.clone(),
        };
        let at = &chosen;
        let eps = norm.eps;
        // What each step of each statistic yields, in terms of the element and the one before.
        let parts: &[(Summand, Finish)] = match norm.kind {
            NormKind::Rms => &[(Summand::Square, Finish::InverseRoot { eps })],
            NormKind::Layer => &[
                (Summand::Element, Finish::Mean),
                (Summand::CentredSquare, Finish::InverseRoot { eps }),
            ],
            NormKind::Softmax => &[
                (Summand::Largest, Finish::Largest),
                (Summand::Exponential, Finish::Inverse { eps }),
            ],
            NormKind::Sum => &[(Summand::Element, Finish::Inverse { eps })],
        };
        let mut names: Vec<String> = Vec::new();
        for &(part, finish) in parts {
            names.push(format!("s_{}", program.statistics.len()));
            let statistic = Statistic { finish, mark: emitter.mark(value) };
            add_statistic(emitter, program, (x, part), at, &names[0], statistic);
        }
        emitter.statistics.insert(value, names);
    }
}

/// What a step of a statistic yields of its elements.
#[derive(Clone, Copy)]
enum Summand {
    Element,
    Square,
    /// Less the first statistic, squared.
    CentredSquare,
    Largest,
    /// The exponential of what is left of the first statistic.
    Exponential,
}

/// Emits `stat_I` of x; `first` names the first statistic of the same normalisation.
fn add_statistic(
    emitter: &mut Emitter<'_>,
    program: &mut RowProgram,
    (x, part): (ValueId, Summand),
    at: &At,
    first: &str,
    statistic: Statistic,
) {
    let mut body = Body::marked(statistic.mark.clone());
    let value = emitter.value(&mut body, x, at, program.wide);
    let less = match part {
        Summand::Element | Summand::Square | Summand::Largest => value,
        Summand::CentredSquare => format!("({value} - {first})"),
        Summand::Exponential => format!("exp({value} - {first})"),
    };
    body.text.push_str(&format!("    let part = {less};{}\n", statistic.mark));
    let result = match (part, program.wide) {
        (Summand::Square | Summand::CentredSquare, false) => "part * part",
        (Summand::Square | Summand::CentredSquare, true) => "dot(part, part)",
        (_, false) => "part",
        (Summand::Largest, true) => "max(max(part.x, part.y), max(part.z, part.w))",
        (_, true) => "dot(part, vec4<f32>(1.0))",
    };
    let index = program.statistics.len();
    program.functions.push_str(&format!(
        "fn {}stat_{index}(n: u32, j: u32{}) -> f32 {{\n{}    return {result};{}\n}}\n",
        program.prefix,
        parameters(index),
        body.text,
        statistic.mark
    ));
    program.statistics.push(statistic);
}

/// Threads of a workgroup that takes `steps` steps.
fn threads(context: Context<'_>, steps: u32) -> u32 {
    let device = context.device;
    let most = if device.kind == DeviceKind::Cpu { 4 * device.subgroup_size } else { 256 };
    let most = most.min(device.max_workgroup_threads);
    steps.next_multiple_of(device.subgroup_size.max(1)).clamp(device.subgroup_size, most)
}

/// Bytes of a row of what is stored, elements as they are in memory.
pub fn stored_bytes(context: Context<'_>, output: ValueId) -> u64 {
    match &context.graph.node(output).ty {
        Type::Tensor(_) => context.value_row_bytes(output),
        Type::State(state) => super::row_bytes(context.state(*state)),
    }
}

/// Bytes read and written, and one operation for each element of each op, or for `width` elements
/// where it yields none.
pub fn cost(context: Context<'_>, region: &Region, width: u64) -> Cost {
    let graph = context.graph;
    let stored = region.outputs.iter().map(|output| stored_bytes(context, *output)).sum();
    let mut cost = Cost { token_bytes: stored, ..Cost::default() };
    let mut seen = BTreeSet::new();
    for &member in region.members.keys() {
        let width = graph.tensor(member).map_or(width, |t| t.width());
        cost.token_flops += width;
        for operand in graph.operands(member) {
            let home = storage(graph, operand);
            if region.members.contains_key(&operand) || !seen.insert(home) {
                continue;
            }
            match graph.op(home) {
                Op::Weight(id) if matches!(graph.op(member), Op::Embed) => {
                    let info = &graph.weights[id.0 as usize];
                    cost.token_bytes += info.format.row_bytes(info.row_len()).unwrap_or(0);
                }
                Op::Weight(id) => cost.weight_bytes += 4 * graph.weights[id.0 as usize].elements(),
                _ if is_leaf(graph, home) => {}
                _ => cost.token_bytes += context.value_row_bytes(home),
            }
        }
    }
    cost
}
