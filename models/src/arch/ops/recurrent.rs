//! Ops along the sequence that keep a state of their own.

use super::tensor::biased;
use super::{Builtin, Call, Kind, required};
use crate::arch::error::ErrorKind;
use crate::arch::eval::{Result, Site};
use crate::arch::value::Value;
use quarrel_ir::graph::{Addressing, Input, Op, StateFormat};

pub(super) const TABLE: &[Builtin] = &[
    Builtin {
        name: "short_conv",
        params: &[required("x", Kind::Tensor), required("weight", Kind::Weight)],
        doc: "Causal convolution of each channel of `[N, channels]` along the sequence with \
              `[channels, taps]`, plus the tensor `NAME.bias` where the model has one. It keeps \
              the rows it needs.",
        lower: short_conv,
    },
    Builtin {
        name: "scan",
        params: &[
            required("x", Kind::Tensor),
            required("step", Kind::Tensor),
            required("decay", Kind::Weight),
            required("b", Kind::Tensor),
            required("c", Kind::Tensor),
        ],
        doc: "Selective state space: for each token, head h and channel p of `x[N, h, p]`, \
              `H ← exp(step[h] · decay[h]) · H + step[h] · x[h, p] · b`, and the result is \
              `Σ c · H`. `step` is `[N, h]`, `decay` `[h, width]` or `[h, 1]`, `b` and `c` \
              `[N, groups, width]`. It keeps H.",
        lower: scan,
    },
];

fn short_conv(call: &mut Call<'_, '_>) -> Result<Value> {
    let x = call.tensor("x")?;
    let weight = call.weight("weight")?;
    let [x_type, w_type] = [x, weight.value].map(|value| call.eval.tensor_type(value));
    let [channels] = x_type.dims[..] else {
        let message = format!("`short_conv` takes rows of channels, [N, channels], not {x_type}");
        return Err(call.error(ErrorKind::Shape, message).help("put heads together: merge(x)"));
    };
    let &[rows, taps] = &w_type.dims[..] else {
        let message = format!(
            "the weight of `short_conv` should be [{channels}, taps], but it is {:?}",
            w_type.dims
        );
        return Err(call.error(ErrorKind::Shape, message));
    };
    if rows != channels {
        let message = format!(
            "`short_conv`: x is {x_type}, so the weight should be [{channels}, taps], but it is \
             {:?}",
            w_type.dims
        );
        return Err(call.error(ErrorKind::Shape, message));
    }
    let window = u32::try_from(taps).map_err(|_| {
        call.error(ErrorKind::Shape, format!("a convolution of {taps} taps is too long"))
    })?;
    let row = call.eval.tensor_type(x).dims;
    let number = call.eval.next_stateful();
    let site = Site { span: call.expr.span, values: &[] };
    let kept = (StateFormat::F32, Addressing::Ring { window });
    let state = call.eval.state("conv", number, &row, kept, &site)?;
    let (slot, position) = (call.eval.input(Input::Slot), call.eval.input(Input::Position));
    let rows = call.emit(Op::Append, &[state, x, slot, position])?;
    let y = call.emit(Op::ShortConv, &[rows, weight.value, slot, position])?;
    biased(call, y, &weight).map(Value::Tensor)
}

fn scan(call: &mut Call<'_, '_>) -> Result<Value> {
    let (x, step) = (call.tensor("x")?, call.tensor("step")?);
    let (b, c) = (call.tensor("b")?, call.tensor("c")?);
    let decay = call.weight("decay")?.value;
    let [mut row, of_b] = [x, b].map(|value| call.eval.tensor_type(value).dims);
    if row.len() != 2 || of_b.len() != 2 {
        let message = "`x` and `b` of `scan` should be heads: [N, h, p] and [N, groups, width]";
        return Err(call.error(ErrorKind::Shape, message).help("split them: heads(x, count)"));
    }
    row.extend(of_b.last());
    let number = call.eval.next_stateful();
    let site = Site { span: call.expr.span, values: &[] };
    let kept = (StateFormat::F32, Addressing::Replace);
    let state = call.eval.state("scan", number, &row, kept, &site)?;
    let (slot, position) = (call.eval.input(Input::Slot), call.eval.input(Input::Position));
    call.emit(Op::Scan, &[state, x, step, decay, b, c, slot, position]).map(Value::Tensor)
}
