//! Mixtures of experts: choosing some for each token, and what the chosen ones compute.

use super::{Builtin, Call, Kind, required};
use crate::arch::eval::Result;
use crate::arch::value::Value;
use quarrel_ir::graph::Op;

pub(super) const TABLE: &[Builtin] = &[
    Builtin {
        name: "top_k",
        params: &[required("x", Kind::Tensor), required("count", Kind::Whole)],
        doc: "Where the `count` largest elements of each row are, the largest first.",
        lower: |call| {
            let x = call.tensor("x")?;
            let count = call.whole("count")?;
            call.emit(Op::TopK(count), &[x]).map(Value::Tensor)
        },
    },
    Builtin {
        name: "take",
        params: &[required("x", Kind::Tensor), required("ids", Kind::Tensor)],
        doc: "The elements of each row that `ids`, from `top_k`, name.",
        lower: |call| {
            let (x, ids) = (call.tensor("x")?, call.tensor("ids")?);
            call.emit(Op::Take, &[x, ids]).map(Value::Tensor)
        },
    },
    Builtin {
        name: "expert_linear",
        params: &[
            required("x", Kind::Tensor),
            required("weight", Kind::Weight),
            required("ids", Kind::Tensor),
        ],
        doc: "`x · weight[id]ᵀ` for each of a token's `ids`: `[N, count, rows]`, from the token's \
              row of x or, where x is `[N, count, columns]`, from the id's own.",
        lower: expert_linear,
    },
    Builtin {
        name: "expert_sum",
        params: &[required("y", Kind::Tensor), required("weights", Kind::Tensor)],
        doc: "The sum of what a token's experts yield, `[N, count, rows]`, each times its weight.",
        lower: |call| {
            let (y, weights) = (call.tensor("y")?, call.tensor("weights")?);
            call.emit(Op::ExpertSum, &[y, weights]).map(Value::Tensor)
        },
    },
];

fn expert_linear(call: &mut Call<'_, '_>) -> Result<Value> {
    let (x, ids) = (call.tensor("x")?, call.tensor("ids")?);
    let weight = call.weight("weight")?.value;
    call.emit(Op::ExpertLinear, &[x, weight, ids]).map(Value::Tensor)
}
