//! What a dispatch moves and computes in a step.

use super::{Dispatch, StepDims};
use crate::graph::RunDim;
use serde::{Deserialize, Serialize};

/// Bytes and arithmetic of a dispatch, as the memory sees them: what is read or written again while a
/// cache holds it counts once.
///
/// Bytes are `weights + token · N + context · Σ positions`, operations `token · N + context · Σ
/// positions`, where the sums run over the tokens' contexts, or for bytes over one where the tokens
/// share it; what is beyond 64 bits counts as the most that they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Bytes of weights, read once a dispatch.
    pub weight_bytes: u64,
    /// Bytes of activations and state, and of weights that are chosen by token, for each token.
    pub token_bytes: u64,
    /// Bytes of state for each position of a context.
    pub context_bytes: u64,
    /// Floating-point operations for each token.
    pub token_flops: u64,
    /// Floating-point operations for each token and each position of its context.
    pub context_flops: u64,
    /// Positions of a token's context that count at most: those of a window.
    pub window: Option<u32>,
    /// Whether all tokens of a step are of one sequence, so that its states are read once for all.
    pub one_sequence: bool,
}

impl Cost {
    /// Bytes moved for `tokens` tokens with `context` positions each.
    pub fn bytes(&self, tokens: u64, context: u64) -> u64 {
        let contexts = if self.one_sequence { tokens.min(1) } else { tokens };
        let of_contexts = contexts.saturating_mul(self.seen(context));
        self.weight_bytes
            .saturating_add(tokens.saturating_mul(self.token_bytes))
            .saturating_add(of_contexts.saturating_mul(self.context_bytes))
    }

    /// Floating-point operations for `tokens` tokens with `context` positions each.
    pub fn flops(&self, tokens: u64, context: u64) -> u64 {
        let of_context = self.seen(context).saturating_mul(self.context_flops);
        tokens.saturating_mul(self.token_flops.saturating_add(of_context))
    }

    fn seen(&self, context: u64) -> u64 {
        self.window.map_or(context, |window| context.min(window.into()))
    }
}

/// What a dispatch does in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Bytes read and written.
    pub bytes: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// Workgroups.
    pub workgroups: u64,
}

impl Dispatch {
    /// Rows that it computes: those of the logits that are wanted, or one for each token.
    pub fn rows(&self, dims: StepDims) -> u32 {
        let of_logits = self.grid.iter().any(|extent| extent.dim() == Some(RunDim::OutRows));
        if of_logits { dims.out_rows } else { dims.tokens }
    }

    /// What it does in a step in which each token sees `context` positions; `None` where it is left
    /// out, as there is nothing to do.
    pub fn work(&self, dims: StepDims, context: u32) -> Option<Work> {
        let extents = self.grid.iter().map(|extent| u64::from(extent.at(dims)));
        let workgroups = extents.fold(1, u64::saturating_mul);
        let (rows, context) = (u64::from(self.rows(dims)), u64::from(context));
        (workgroups > 0).then(|| Work {
            bytes: self.cost.bytes(rows, context),
            flops: self.cost.flops(rows, context),
            workgroups,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_bounds_what_is_seen_and_a_sequence_is_read_once() {
        let each = Cost { weight_bytes: 7, context_bytes: 2, context_flops: 3, ..Cost::default() };
        assert_eq!((each.bytes(4, 100), each.flops(4, 100)), (807, 1200));
        let cost = Cost { window: Some(10), one_sequence: true, ..each };
        assert_eq!((cost.bytes(4, 100), cost.flops(4, 100)), (27, 120));
        assert_eq!(cost.bytes(0, 100), 7);
    }
}
