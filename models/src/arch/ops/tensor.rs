//! Products, norms, shapes and elementwise functions.

use super::{Builtin, Call, Default, Kind, Param, named, optional, required};
use crate::arch::error::ErrorKind;
use crate::arch::eval::{FoundWeight, Result};
use crate::arch::value::Value;
use quarrel_ir::graph::{BinaryOp, DType, NormKind, Normalize, Op, UnaryOp, ValueId};

const UNARY: &[Param] = &[required("x", Kind::TensorOrNumber)];
const BINARY: &[Param] =
    &[required("a", Kind::TensorOrNumber), required("b", Kind::TensorOrNumber)];
const NORM: &[Param] = &[
    required("x", Kind::Tensor),
    optional("weight", Kind::Weight),
    Param { name: "eps", kind: Kind::Number, default: Default::Required, positional: true },
];

const fn unary(
    name: &'static str,
    doc: &'static str,
    lower: fn(&mut Call<'_, '_>) -> Result<Value>,
) -> Builtin {
    Builtin { name, params: UNARY, doc, lower }
}

pub(super) const TABLE: &[Builtin] = &[
    Builtin {
        name: "embed",
        params: &[required("ids", Kind::Tensor), required("table", Kind::Weight)],
        doc: "Row `ids[n]` of the table, for each n. Ids are `tokens` or `position`.",
        lower: embed,
    },
    Builtin {
        name: "linear",
        params: &[required("x", Kind::Tensor), required("weight", Kind::Weight)],
        doc: "`x · weightᵀ`, plus the tensor `NAME.bias` where the model has one. Heads are \
              merged first.",
        lower: linear,
    },
    Builtin {
        name: "weight",
        params: &[required("name", Kind::Weight)],
        doc: "A weight as a tensor, for arithmetic; `none` where it is optional and not there.",
        lower: |call| {
            let found = call.maybe_weight("name")?;
            Ok(found.map_or(Value::None, |found| Value::Tensor(found.value)))
        },
    },
    Builtin {
        name: "rms_norm",
        params: NORM,
        doc: "`x / √(mean(x²) + eps)` over the last axis, times the weight where one is given, \
              plus its bias where the model has one.",
        lower: |call| norm(call, NormKind::Rms),
    },
    Builtin {
        name: "layer_norm",
        params: NORM,
        doc: "`(x − mean(x)) / √(var(x) + eps)` over the last axis, times the weight where one \
              is given, plus its bias where the model has one.",
        lower: |call| norm(call, NormKind::Layer),
    },
    Builtin {
        name: "heads",
        params: &[required("x", Kind::Tensor), required("count", Kind::Whole)],
        doc: "`[N, d]` as `[N, count, d / count]`.",
        lower: heads,
    },
    Builtin {
        name: "merge",
        params: &[required("x", Kind::Tensor)],
        doc: "`[N, h, d]` as `[N, h · d]`.",
        lower: |call| {
            let x = call.tensor("x")?;
            merged(call, x).map(Value::Tensor)
        },
    },
    Builtin {
        name: "slice",
        params: &[
            required("x", Kind::Tensor),
            required("start", Kind::Whole),
            required("len", Kind::Whole),
        ],
        doc: "Elements `start` to before `start + len` of the last axis.",
        lower: slice,
    },
    Builtin {
        name: "softcap",
        params: &[required("x", Kind::Tensor), required("cap", Kind::Number)],
        doc: "`cap · tanh(x / cap)`.",
        lower: softcap,
    },
    unary("silu", "`x · sigmoid(x)`.", |call| {
        apply(call, UnaryOp::Silu, Some(|x| x / (1.0 + (-x).exp())))
    }),
    unary("gelu", "Gaussian error linear unit, tanh form.", |call| {
        apply(call, UnaryOp::Gelu, None)
    }),
    unary("gelu_erf", "Gaussian error linear unit, exact.", |call| {
        apply(call, UnaryOp::GeluErf, None)
    }),
    unary("relu", "The larger of x and 0.", |call| {
        apply(call, UnaryOp::Relu, Some(|x| x.max(0.0)))
    }),
    unary("tanh", "The hyperbolic tangent.", |call| apply(call, UnaryOp::Tanh, Some(f64::tanh))),
    unary("sigmoid", "`1 / (1 + exp(−x))`.", |call| {
        apply(call, UnaryOp::Sigmoid, Some(|x| 1.0 / (1.0 + (-x).exp())))
    }),
    unary("exp", "The exponential.", |call| apply(call, UnaryOp::Exp, Some(f64::exp))),
    unary("sqrt", "The square root.", |call| apply(call, UnaryOp::Sqrt, Some(f64::sqrt))),
    unary("softplus", "`ln(1 + exp(x))`.", |call| {
        apply(call, UnaryOp::Softplus, Some(|x| x.max(0.0) + (-x.abs()).exp().ln_1p()))
    }),
    Builtin {
        name: "softmax",
        params: &[required("x", Kind::Tensor)],
        doc: "`exp(x) / Σ exp(x)` over the last axis.",
        lower: |call| normalized(call, NormKind::Softmax, 0.0),
    },
    Builtin {
        name: "sum_norm",
        params: &[required("x", Kind::Tensor), named("eps", Kind::Number, Default::Number(0.0))],
        doc: "`x / (Σ x + eps)` over the last axis.",
        lower: |call| {
            let eps = call.float("eps")?;
            normalized(call, NormKind::Sum, eps)
        },
    },
    Builtin {
        name: "max",
        params: BINARY,
        doc: "The larger of each pair.",
        lower: |call| pairwise(call, BinaryOp::Max, f64::max),
    },
    Builtin {
        name: "min",
        params: BINARY,
        doc: "The smaller of each pair.",
        lower: |call| pairwise(call, BinaryOp::Min, f64::min),
    },
];

fn embed(call: &mut Call<'_, '_>) -> Result<Value> {
    let ids = call.tensor("ids")?;
    let ty = call.eval.tensor_type(ids);
    if ty.dtype != DType::U32 || !ty.dims.is_empty() {
        let message =
            format!("`ids` of `embed` should be `tokens` or `position`, u32[N], not {ty}");
        return Err(call.error(ErrorKind::Argument, message));
    }
    let table = call.weight("table")?.value;
    call.emit(Op::Embed, &[table, ids]).map(Value::Tensor)
}

fn linear(call: &mut Call<'_, '_>) -> Result<Value> {
    let x = call.tensor("x")?;
    let weight = call.weight("weight")?;
    let x = match call.eval.tensor_type(x).dims.len() {
        0 | 1 => x,
        _ => merged(call, x)?,
    };
    let product = call.emit(Op::Linear, &[x, weight.value])?;
    biased(call, product, &weight).map(Value::Tensor)
}

/// Adds `NAME.bias` where the model has it. Its extents are those of the last axis.
pub(super) fn biased(call: &mut Call<'_, '_>, x: ValueId, weight: &FoundWeight) -> Result<ValueId> {
    let Some(info) = call.eval.facts.tensor(&format!("{}.bias", weight.stem)) else {
        return Ok(x);
    };
    let ty = call.eval.tensor_type(x);
    if info.shape != [ty.last()] {
        let message = format!(
            "the tensor `{}` is {:?}, but it is added to {ty}: it should be [{}]",
            info.name,
            info.shape,
            ty.last()
        );
        return Err(call.error(ErrorKind::Shape, message));
    }
    let bias = call.eval.weight(info, call.expr.span)?;
    call.emit(Op::Binary(BinaryOp::Add), &[x, bias])
}

fn norm(call: &mut Call<'_, '_>, kind: NormKind) -> Result<Value> {
    let x = call.tensor("x")?;
    let eps = call.float("eps")?;
    let weight = call.maybe_weight("weight")?;
    let normal = call.emit(Op::Normalize(Normalize { kind, eps }), &[x])?;
    let Some(weight) = weight else { return Ok(Value::Tensor(normal)) };
    let (x_type, w_type) = (call.eval.tensor_type(x), call.eval.tensor_type(weight.value));
    if !x_type.dims.ends_with(&w_type.dims) || w_type.dims.is_empty() {
        let message = format!(
            "the norm's weight should be [{}], to go with {x_type}, but it is {:?}",
            x_type.last(),
            w_type.dims
        );
        return Err(call.error(ErrorKind::Shape, message));
    }
    let scaled = call.emit(Op::Binary(BinaryOp::Mul), &[normal, weight.value])?;
    biased(call, scaled, &weight).map(Value::Tensor)
}

fn normalized(call: &mut Call<'_, '_>, kind: NormKind, eps: f32) -> Result<Value> {
    let x = call.tensor("x")?;
    call.emit(Op::Normalize(Normalize { kind, eps }), &[x]).map(Value::Tensor)
}

fn heads(call: &mut Call<'_, '_>) -> Result<Value> {
    let x = call.tensor("x")?;
    let count = u64::from(call.whole("count")?);
    let ty = call.eval.tensor_type(x);
    let [width] = ty.dims[..] else {
        let message = format!("`heads` takes rows of vectors, such as f32[N, 576], not {ty}");
        return Err(call.error(ErrorKind::Shape, message));
    };
    if count == 0 || width % count != 0 {
        let message = format!("{ty} cannot be split into {count} heads of one size");
        return Err(call.error(ErrorKind::Shape, message));
    }
    call.emit(Op::Reshape(vec![count, width / count]), &[x]).map(Value::Tensor)
}

/// `x` with its static axes merged into one.
fn merged(call: &mut Call<'_, '_>, x: ValueId) -> Result<ValueId> {
    let width = call.eval.tensor_type(x).width();
    call.emit(Op::Reshape(vec![width]), &[x])
}

fn slice(call: &mut Call<'_, '_>) -> Result<Value> {
    let x = call.tensor("x")?;
    let (start, len) = (call.whole("start")?.into(), call.whole("len")?.into());
    call.emit(Op::Slice { start, len }, &[x]).map(Value::Tensor)
}

fn softcap(call: &mut Call<'_, '_>) -> Result<Value> {
    let x = call.tensor("x")?;
    let cap = call.number("cap")?;
    if cap <= 0.0 {
        return Err(call.error(ErrorKind::Argument, format!("`cap` should be above 0, not {cap}")));
    }
    let cap = call.scalar(cap)?;
    let small = call.emit(Op::Binary(BinaryOp::Div), &[x, cap])?;
    let bent = call.emit(Op::Unary(UnaryOp::Tanh), &[small])?;
    call.emit(Op::Binary(BinaryOp::Mul), &[bent, cap]).map(Value::Tensor)
}

/// A function of each element of a tensor, or of a number where it has a numeric form.
fn apply(call: &mut Call<'_, '_>, op: UnaryOp, numeric: Option<fn(f64) -> f64>) -> Result<Value> {
    match (call.value("x")?, numeric) {
        (Value::Number(x), Some(function)) if function(x).is_finite() => {
            Ok(Value::Number(function(x)))
        }
        (Value::Number(x), _) => {
            let message = format!("`{}` has no finite result for the number {x}", op.name());
            Err(call.error(ErrorKind::Argument, message))
        }
        _ => {
            let x = call.tensor("x")?;
            call.emit(Op::Unary(op), &[x]).map(Value::Tensor)
        }
    }
}

/// A function of pairs of elements, or of two numbers.
fn pairwise(call: &mut Call<'_, '_>, op: BinaryOp, numeric: fn(f64, f64) -> f64) -> Result<Value> {
    let (a, b) = (call.value("a")?, call.value("b")?);
    if let (Value::Number(a), Value::Number(b)) = (&a, &b) {
        return Ok(Value::Number(numeric(*a, *b)));
    }
    let mut operands = vec![];
    for (value, param) in [(a, "a"), (b, "b")] {
        operands.push(match value {
            Value::Number(number) => call.scalar(number)?,
            _ => call.tensor(param)?,
        });
    }
    call.emit(Op::Binary(op), &operands).map(Value::Tensor)
}
