//! Stores: how finished elements of a value or a cache row reach memory.

use super::Context;
use super::bindings::{IoBuffer, Resource};
use super::expression::{At, Body, Emitter};
use quarrel_ir::graph::{DType, Op, StateFormat, StateId, Type, ValueId};
use quarrel_ir::plan::Access;
use quarrel_kernels::attention::cache_row;

/// How many elements one store writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One element.
    Single,
    /// Elements `j` and `j + 1`, `j` even.
    Pair,
    /// Four elements; places count vectors.
    Wide,
    /// Four elements of a block that is rounded whole: see `blocks.rs`.
    Block,
}

impl Step {
    /// Elements of one step.
    pub const fn elements(self) -> u64 {
        match self {
            Step::Single => 1,
            Step::Pair => 2,
            Step::Wide | Step::Block => 4,
        }
    }
}

/// Statements that compute `output` at row `row` and place `place`, both names, and store it.
pub fn store(
    context: Context<'_>,
    emitter: &mut Emitter<'_>,
    output: ValueId,
    (row, place): (&str, &str),
    step: Step,
) -> String {
    match context.graph.node(output).ty {
        Type::State(state) => append(context, emitter, output, state, (row, place), step),
        _ => store_value(context, emitter, output, (row, place), step),
    }
}

fn at(row: &str, place: String) -> At {
    At { row: row.to_string(), place }
}

/// The same for a value of the step.
fn store_value(
    context: Context<'_>,
    emitter: &mut Emitter<'_>,
    output: ValueId,
    (row, place): (&str, &str),
    step: Step,
) -> String {
    let mark = emitter.mark(output);
    let mut body = Body::marked(mark.clone());
    let width = context.graph.tensor(output).map_or(1, |t| t.width());
    let ids = context.graph.tensor(output).is_some_and(|t| t.dtype == DType::U32);
    let halves = emitter.halves.contains(&output);
    let (element, width) = match (step, halves) {
        (Step::Wide, false) => ("vec4<f32>", width / 4),
        (Step::Wide, true) => ("vec4<f16>", width / 4),
        _ if ids => ("u32", width),
        (_, false) => ("f32", width),
        (_, true) => ("f16", width),
    };
    let resource = if halves { Resource::Halves(output) } else { Resource::Value(output) };
    let kept = |value: &str| if halves { format!("{element}({value})") } else { value.to_string() };
    let first = at(row, place.to_string());
    let value = emitter.value(&mut body, output, &first, step == Step::Wide);
    let (resource, stored) = emitter.own_share(output, resource, row);
    let name = emitter.bindings.name(resource, element, Access::Write);
    let mut text =
        format!("    {name}[({stored}) * {width}u + {place}] = {};{mark}\n", kept(&value));
    if step == Step::Pair {
        let second = at(row, format!("{place} + 1u"));
        let value = emitter.value(&mut body, output, &second, false);
        text.push_str(&format!(
            "    {name}[({stored}) * {width}u + {place} + 1u] = {};{mark}\n",
            kept(&value)
        ));
    }
    body.text + &text
}

/// The same for a row that `output` appends to `state`.
fn append(
    context: Context<'_>,
    emitter: &mut Emitter<'_>,
    output: ValueId,
    state: StateId,
    (row, place): (&str, &str),
    step: Step,
) -> String {
    let mark = emitter.mark(output);
    let mut body = Body::marked(mark.clone());
    let x = context.graph.operands(output)[1];
    let second = at(row, format!("{place} + 1u"));
    let a = emitter.value(&mut body, x, &at(row, place.to_string()), false);
    let rounded = |x: &str| match context.rounds(state) {
        true => format!("unpack2x16float(pack2x16float(vec2<f32>({x}, 0.0))).x"),
        false => x.to_string(),
    };
    let (slots, positions) = (emitter.io(IoBuffer::Slots), emitter.io(IoBuffer::Positions));
    let live = emitter.io(IoBuffer::Live);
    let width = context.graph.states[state.0 as usize].width();
    let format = context.state_format(state);
    let element = match format {
        StateFormat::F16 => "u32",
        StateFormat::F32 => "f32",
        StateFormat::Q8 => unreachable!("blocks are stored by row kernels, through `blocks.rs`"),
    };
    let name = emitter.bindings.name(Resource::State(state), element, Access::Write);
    let rows = context.rows_of(state);
    emitter.helper(cache_row(rows));
    let cell =
        format!("({}({slots}[{row}], {positions}[{row}]) * {width}u + {place})", rows.name());
    let assign = match (format, step) {
        (StateFormat::F16 | StateFormat::Q8, _) => {
            let b = emitter.value(&mut body, x, &second, false);
            format!("{name}[{cell} >> 1u] = pack2x16float(vec2<f32>({a}, {b}));")
        }
        (StateFormat::F32, Step::Pair) => {
            let b = emitter.value(&mut body, x, &second, false);
            format!("{name}[{cell}] = {}; {name}[{cell} + 1u] = {};", rounded(&a), rounded(&b))
        }
        (StateFormat::F32, _) => format!("{name}[{cell}] = {};", rounded(&a)),
    };
    format!("{}    if ({live}[{slots}[{row}]] != 0u) {{ {assign} }}{mark}\n", body.text)
}

/// The step that the stores of `outputs` need: pairs where one packs two halves in a word, fours of a
/// block where one is rounded in blocks.
pub fn step_of(context: Context<'_>, outputs: &[ValueId], wide: bool) -> Step {
    let appends = |format: StateFormat| {
        outputs.iter().any(|&output| {
            match (context.graph.op(output), &context.graph.node(output).ty) {
                (Op::Append, Type::State(state)) => context.state_format(*state) == format,
                _ => false,
            }
        })
    };
    match (appends(StateFormat::Q8), appends(StateFormat::F16), wide) {
        (true, ..) => Step::Block,
        (_, true, _) => Step::Pair,
        (_, _, true) => Step::Wide,
        _ => Step::Single,
    }
}
