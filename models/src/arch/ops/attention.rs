//! Rotary position embedding, and attention with the state that it keeps.

use super::{Builtin, Call, Default, Kind, named, required};
use crate::arch::error::ErrorKind;
use crate::arch::eval::{Result, Site};
use crate::arch::value::Value;
use quarrel_ir::graph::{
    Addressing, Attention, Input, Op, Ramp, Rope, RopeStyle, StateFormat, ValueId,
};
use std::f64::consts::TAU;

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
            named("yarn", Kind::Number, Default::Absent),
            named("beta_fast", Kind::Number, Default::Number(32.0)),
            named("beta_slow", Kind::Number, Default::Number(1.0)),
        ],
        doc: "Turns pairs of the first `dims` elements of each head by `scale · position · \
              base^(−2i / dims) / factors[i]`, times `magnitude`. Pairs are elements 2i and \
              2i + 1 (interleaved) or i and i + dims / 2 (half). With `yarn`, the context that \
              the model was first trained for, pairs that turn more than `beta_fast` times in it \
              are not scaled, those that turn less than `beta_slow` times are, and those between \
              in part.",
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
            named("alibi", Kind::Number, Default::Absent),
        ],
        doc: "Causal attention of `[N, h, d]` queries to this and all earlier keys and values, \
              `[N, h_kv, d]`, which it keeps in a cache of its own. Scores are `scale · q·k`, \
              soft-capped where `softcap` is given; `window` limits how many rows are seen; \
              `alibi` is the largest exponent of linear position biases.",
        lower: attention,
    },
];

fn rope(call: &mut Call<'_, '_>) -> Result<Value> {
    let x = call.tensor("x")?;
    let style = match call.word("style")? {
        "half" => RopeStyle::Half,
        _ => RopeStyle::Interleaved,
    };
    let mut rope = Rope {
        base: call.float("base")?,
        scale: call.float("scale")?,
        magnitude: call.float("magnitude")?,
        dims: call.whole("dims")?,
        style,
        ramp: None,
    };
    if rope.base <= 0.0 {
        let message = format!("`base` should be above 0, not {}", rope.base);
        return Err(call.error(ErrorKind::Argument, message));
    }
    if let Some(context) = call.maybe_number("yarn")? {
        rope.ramp = Some(ramp(call, context, &rope)?);
    }
    let factors = call.maybe_weight("factors")?;
    let position = call.eval.input(Input::Position);
    let mut operands = vec![x, position];
    operands.extend(factors.map(|factors| factors.value));
    call.emit(Op::Rope(rope), &operands).map(Value::Tensor)
}

/// The pairs between which YaRN's scaling sets in: those that turn `beta_fast` and `beta_slow` times
/// in `context` positions, rounded outwards (Peng et al. 2023).
fn ramp(call: &Call<'_, '_>, context: f64, rope: &Rope) -> Result<Ramp> {
    let (dims, base) = (f64::from(rope.dims), f64::from(rope.base));
    let pair = |turns: f64| dims * (context / (turns * TAU)).ln() / (2.0 * base.ln());
    let low = pair(call.number("beta_fast")?).floor().max(0.0);
    let high = pair(call.number("beta_slow")?).ceil().min(dims - 1.0);
    if !low.is_finite() || !high.is_finite() {
        let message = "`yarn`, `beta_fast` and `beta_slow` should be above 0, and `base` not 1";
        return Err(call.error(ErrorKind::Argument, message));
    }
    Ok(Ramp { low: low as f32, high: high as f32 })
}

fn attention(call: &mut Call<'_, '_>) -> Result<Value> {
    let (q, k, v) = (call.tensor("q")?, call.tensor("k")?, call.tensor("v")?);
    let scale = call.float("scale")?;
    let window = call.maybe_whole("window")?;
    let softcap = match call.maybe_number("softcap")? {
        Some(_) => Some(call.float("softcap")?),
        None => None,
    };
    let alibi = match call.maybe_number("alibi")? {
        Some(_) => Some(call.float("alibi")?),
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
    let number = call.eval.next_stateful();
    // Of a window only the rows that it reaches are kept.
    let kept = window.map_or(Addressing::Append, |window| Addressing::Ring { window });
    let keys = append(call, "k", number, k, kept)?;
    let values = append(call, "v", number, v, kept)?;
    let (slot, position) = (call.eval.input(Input::Slot), call.eval.input(Input::Position));
    let op = Op::Attention(Attention { scale, window, softcap, alibi });
    call.emit(op, &[q, keys, values, slot, position]).map(Value::Tensor)
}

/// The state of this attention with the rows of `x` added.
fn append(
    call: &mut Call<'_, '_>,
    name: &str,
    number: u32,
    x: ValueId,
    addressing: Addressing,
) -> Result<ValueId> {
    let row = call.eval.tensor_type(x).dims;
    let site = Site { span: call.expr.span, values: &[] };
    let kept = (StateFormat::F16, addressing);
    let state = call.eval.state(name, number, &row, kept, &site)?;
    let (slot, position) = (call.eval.input(Input::Slot), call.eval.input(Input::Position));
    call.emit(Op::Append, &[state, x, slot, position])
}
