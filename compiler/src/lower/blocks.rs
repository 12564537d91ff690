//! Appends to states in blocks of 8 bits an element: what a row kernel computes and stores.

use super::bindings::{IoBuffer, Resource};
use super::expression::{At, Body, Emitter};
use super::{Context, rows::RowPlaces};
use quarrel_ir::graph::{StateId, ValueId};
use quarrel_ir::plan::Access;
use quarrel_kernels::attention::{BlockState, cache_row};
use quarrel_kernels::row_program::{RowProgram, parameters};
use quarrel_kernels::rows::Blocks;

/// Emits the functions with which a part of a row kernel appends `output` to `state`.
pub fn append(
    context: Context<'_>,
    emitter: &mut Emitter<'_>,
    program: &mut RowProgram,
    (output, state): (ValueId, StateId),
    places: RowPlaces,
) -> Blocks {
    let prefix = program.prefix.clone();
    let four = four(context, emitter, program, output, places);
    program.functions += &four;
    let own = state_of(context, state);
    let (slots, positions) = (emitter.io(IoBuffer::Slots), emitter.io(IoBuffer::Positions));
    let live = emitter.io(IoBuffer::Live);
    let name = emitter.bindings.name(Resource::State(state), "u32", Access::Write);
    emitter.helper(cache_row(own.rows));
    let (words, scale_words) = (own.heads * own.size / 4, own.scale_words());
    let of_row = places.at("j", words.into());
    let scale = places.at("word", scale_words.into());
    let row = |row: &str| format!("{}({slots}[{row}], {positions}[{row}])", own.rows.name());
    program.functions += &format!(
        "fn {prefix}keep(n: u32, j: u32, word: u32) {{\n    let row = {};\n    \
         if ({live}[{slots}[row]] != 0u) {{ {name}[{} * {words}u + {}] = word; }}\n}}\n",
        of_row.row,
        row("row"),
        of_row.place,
    );
    program.functions += &format!(
        "fn {prefix}scales(n: u32, word: u32, bits: u32) {{\n    let row = {};\n    \
         if ({live}[{slots}[row]] != 0u) {{ {name}[{}u + {} * {scale_words}u + {}] = bits; }}\n}}\n",
        scale.row,
        own.element_words(),
        row("row"),
        scale.place,
    );
    Blocks { paired: own.paired() }
}

/// The function that yields four elements of what is appended.
fn four(
    context: Context<'_>,
    emitter: &mut Emitter<'_>,
    program: &RowProgram,
    output: ValueId,
    places: RowPlaces,
) -> String {
    let x = context.graph.operands(output)[1];
    let mut body = Body::default();
    let value = match program.wide {
        true => emitter.value(&mut body, x, &places.at("j", places.width / 4 * places.heads), true),
        false => {
            let element = |i: u32| At { row: "row".into(), place: format!("place + {i}u") };
            let at = places.at("4u * j", places.width * places.heads);
            body.text += &format!("    let row = {};\n    let place = {};\n", at.row, at.place);
            let four = [0, 1, 2, 3].map(|i| emitter.value(&mut body, x, &element(i), false));
            format!("vec4<f32>({})", four.join(", "))
        }
    };
    format!(
        "fn {}four(n: u32, j: u32{}) -> vec4<f32> {{\n{}    return {value};\n}}\n",
        program.prefix,
        parameters(program.statistics.len()),
        body.text
    )
}

/// Where the state's rows are.
fn state_of(context: Context<'_>, state: StateId) -> BlockState {
    let size = context.state(state).row.last().copied().unwrap_or(1);
    BlockState {
        rows: context.rows_of(state),
        slots: context.options.slots,
        heads: (context.state(state).width() / size) as u32,
        size: size as u32,
    }
}
