//! How far a result may be off, and why.

use crate::states::Rows;
use quarrel_ir::graph::{Graph, StateFormat};
use quarrel_ir::plan::{Access, Content, Dispatch, KernelBinding, Plan};

/// Largest relative distance (L2) of the logits of steps that run as they are. What adds up over the
/// layers is mostly the rounding of states: a value between two halves is rounded to either. Measured
/// on llvmpipe: 3e-4 for SmolLM2, 1e-4 for Gemma 3.
const CHAIN_WITHIN: f64 = 5e-3;
/// The same with states in blocks of 8 bits, whose steps are sixteen times as wide: 7e-3 for SmolLM2.
const CHAIN_WITHIN_BLOCKS: f64 = 3e-2;

/// Largest relative distance between the logits of a step in one pass and dispatch by dispatch: the
/// same kernels on the same numbers.
pub(crate) const TOGETHER_WITHIN: f64 = 1e-6;

/// Positions from which on the angles of rotations are so large that F32 holds them worse than it
/// does sums.
const FAR: u32 = 1000;

/// A bound on the relative distance (L2) of what a kernel alone yields.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Tolerance {
    /// The bound.
    pub within: f64,
    /// Why it is this.
    pub why: &'static str,
}

const EXACT: Tolerance = Tolerance { within: 0.0, why: "ids" };
/// Measured on llvmpipe with the weights of SmolLM2 and Gemma 3: 1e-6 at most.
const SINGLE: Tolerance = Tolerance { within: 1e-5, why: "sums in F32" };
const ROTATED: Tolerance = Tolerance { within: 2e-4, why: "angles of far positions in F32" };
/// Halves are 2^-10 apart at most, and one element may outweigh its row. Measured: 8e-5 for SmolLM2 and
/// 2e-5 for Gemma 3 on llvmpipe, 5.0e-4 for SmolLM2 on an NVIDIA H200.
const HALF_STATE: Tolerance =
    Tolerance { within: 1.0 / 1024.0, why: "a state in F16: between two halves either is right" };
/// The nearest half is 2^-11 away at most.
const HALF_VALUE: Tolerance = Tolerance { within: 1.0 / 2048.0, why: "a value in F16" };
const BLOCK_STATE: Tolerance = Tolerance {
    within: 2e-3,
    why: "a state in blocks of 8 bits: between two steps either is right",
};
/// Rounding to 2^-16 of the largest of 32 elements is 2e-5 of a row of normally distributed ones; where
/// one element outweighs the others of its block, the more. Measured in the suite of kernels: 4e-5.
const INTEGER_PRODUCT: Tolerance =
    Tolerance { within: 2e-4, why: "x in integers of 16 bits, a scale for each 32" };
/// Measured on an H100 in the suite of kernels: 4.9e-4 at most.
const HALF_PRODUCT: Tolerance =
    Tolerance { within: 7e-4, why: "factors of a matrix product in F16" };
/// That and the rounding of what comes out, which is independent of it: the root of the sum of both
/// squares. Measured on an NVIDIA H200: 6.0e-4 for SmolLM2.
const HALF_PRODUCT_KEPT: Tolerance =
    Tolerance { within: 8.5e-4, why: "factors of a matrix product in F16, and its result" };
/// Measured on llvmpipe with the weights of SmolLM2, by matrices of 8 x 8: 6.9e-4.
const HALF_ATTENTION: Tolerance = Tolerance {
    within: 2e-3,
    why: "attention by F16 matrices: scores are rounded, then exponents",
};

/// The tolerance of what adds up in a chain.
pub(crate) fn of_chain(graph: &Graph) -> Tolerance {
    let blocks = graph.states.iter().any(|state| state.format == StateFormat::Q8);
    let within = if blocks { CHAIN_WITHIN_BLOCKS } else { CHAIN_WITHIN };
    Tolerance { within, why: "what the layers before add up to" }
}

/// The tolerance of ids.
pub(crate) fn of_ids() -> Tolerance {
    EXACT
}

/// The tolerance of what a dispatch writes, to a state if there is one, in a step whose last position
/// is `last`.
pub(crate) fn of(plan: &Plan, dispatch: &Dispatch, state: Option<Rows>, last: u32) -> Tolerance {
    let kept = |format| state.is_some_and(|rows| rows.rounded == format);
    let rotates = dispatch.ops.iter().any(|op| op.op == "rope");
    let kernel = plan.kernel(dispatch.kernel);
    let matrices = kernel.multiplies_matrices();
    let halves = |(content, binding): (&Content, &KernelBinding)| {
        matches!(content, Content::Halves(_)) && binding.access == Access::Write
    };
    let halves = dispatch.contents.iter().zip(&kernel.bindings).any(halves);
    let applies = [
        (halves, HALF_VALUE),
        (kernel.multiplies_integers(), INTEGER_PRODUCT),
        (matrices, HALF_PRODUCT),
        (matrices && halves, HALF_PRODUCT_KEPT),
        (matrices && kernel.family == "attention", HALF_ATTENTION),
        (kept(StateFormat::F16), HALF_STATE),
        (kept(StateFormat::Q8), BLOCK_STATE),
        (rotates && last >= FAR, ROTATED),
    ];
    let applying = applies.into_iter().filter_map(|(holds, tolerance)| holds.then_some(tolerance));
    applying.fold(SINGLE, |a, b| if b.within > a.within { b } else { a })
}
