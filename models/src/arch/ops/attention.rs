//! Rotary position embedding, and attention with the state that it keeps.

use super::{Builtin, Call, Default, Kind, named, required};
use crate::arch::error::ErrorKind;
use crate::arch::eval::{Result, Site};
use crate::arch::value::Value;
use quarrel_ir::graph::{Attention, Input, Op, Rope, RopeStyle, ValueId};

pub(super) const TABLE: &[Builtin] = &[
    Builtin {
        name: "rope",
        params: &[
            required("x", Kind::Tensor),
            named("base", Kind::Number, Default::Required),
            named("dims", Kind::Whole, Default::Required),
            named("style", Kind::Word(&["interleaved", "half"]), Default::Required),
            named("scale", Kind::Number, Default::Number(1.0)),
            named("magnitude", Kind::Number, Default::Number(1.0)),
            named("factors", Kind::Weight, Default::Absent),
        ],
        doc: "Turns pairs of the first `dims` elements of each head by `scale · position · \
              base^(−2i / dims) / factors[i]`, times `magnitude`. Pairs are elements 2i and \
              2i + 1 (interleaved) or i and i + dims / 2 (half).",
        lower: rope,
    },
    Builtin {
        name: "attention",
        params: &[
            required("q", Kind::Tensor),
            required("k", Kind::Tensor),
            required("v", Kind::Tensor),
            named("scale", Kind::Number, Default::Required),
            named("window", Kind::Whole, Default::Absent),
            named("softcap", Kind::Number, Default::Absent),
        ],
        doc: "Causal attention of `[N, h, d]` queries to this and all earlier keys and values, \
              `[N, h_kv, d]`, which it keeps in a cache of its own. Scores are `scale · q·k`, \
              soft-capped where `softcap` is given; `window` limits how many rows are seen.",
        lower: attention,
    },
];

fn rope(call: &mut Call<'_, '_>) -> Result<Value> {
    let x = call.tensor("x")?;
    let style = match call.word("style")? {
        "half" => RopeStyle::Half,
        _ => RopeStyle::Interleaved,
    };
    let rope = Rope {
        base: call.float("base")?,
        scale: call.float("scale")?,
        magnitude: call.float("magnitude")?,
        dims: call.whole("dims")?,
        style,
    };
    if rope.base <= 0.0 {
        let message = format!("`base` should be above 0, not {}", rope.base);
        return Err(call.error(ErrorKind::Argument, message));
    }
    let factors = call.maybe_weight("factors")?;
    let position = call.eval.input(Input::Position);
    let mut operands = vec![x, position];
    operands.extend(factors.map(|factors| factors.value));
    call.emit(Op::Rope(rope), &operands).map(Value::Tensor)
}

fn attention(call: &mut Call<'_, '_>) -> Result<Value> {
    let (q, k, v) = (call.tensor("q")?, call.tensor("k")?, call.tensor("v")?);
    let scale = call.float("scale")?;
    let window = call.maybe_whole("window")?;
    let softcap = match call.maybe_number("softcap")? {
        Some(_) => Some(call.float("softcap")?),
        None => None,
    };
    if window == Some(0) || softcap.is_some_and(|cap| cap <= 0.0) {
        let name = if window == Some(0) { "window" } else { "softcap" };
        let error =
            call.error_at(name, ErrorKind::Argument, format!("`{name}` should be above 0"))?;
        return Err(error.help("leave it out, or give `none`, for none"));
    }
    for (value, name) in [(q, "q"), (k, "k"), (v, "v")] {
        let ty = call.eval.tensor_type(value);
        if ty.dims.len() != 2 {
            let message = format!("`{name}` of `attention` should be heads, [N, h, d], not {ty}");
            return Err(call
                .error_at(name, ErrorKind::Shape, message)?
                .help("split it: heads(x, count)"));
        }
    }
    let number = call.eval.next_attention();
    let keys = append(call, 'k', number, k)?;
    let values = append(call, 'v', number, v)?;
    let (slot, position) = (call.eval.input(Input::Slot), call.eval.input(Input::Position));
    let op = Op::Attention(Attention { scale, window, softcap });
    call.emit(op, &[q, keys, values, slot, position]).map(Value::Tensor)
}

/// The state of this attention with the rows of `x` added.
fn append(call: &mut Call<'_, '_>, letter: char, number: u32, x: ValueId) -> Result<ValueId> {
    let row = call.eval.tensor_type(x).dims;
    let site = Site { span: call.expr.span, values: &[] };
    let state = call.eval.kv_state(letter, number, &row, &site)?;
    let (slot, position) = (call.eval.input(Input::Slot), call.eval.input(Input::Position));
    call.emit(Op::Append, &[state, x, slot, position])
}
