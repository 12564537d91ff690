//! The step for which a program's costs are shown.

use quarrel_ir::plan::{Cost, Phase, Plan, Prediction, Program, StepDims};

/// Positions before the token for which costs are shown, where the context holds as many.
const SHOWN_CONTEXT: u32 = 1024;

/// Tokens of a step and positions that each sees.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) tokens: u64,
    pub(super) context: u64,
    dims: StepDims,
}

impl Step {
    /// A whole chunk of a prompt, or a token in each slot in the midst of a context.
    pub(super) fn of(plan: &Plan, program: &Program) -> Step {
        let (slots, chunk) = (plan.options.slots, plan.options.chunk);
        let (tokens, out_rows, context) = match program.phase {
            Phase::Prefill => (chunk, 1, chunk.div_ceil(2)),
            _ => (slots, slots, plan.options.context.min(SHOWN_CONTEXT)),
        };
        let dims = StepDims { tokens, out_rows, slots };
        Step { tokens: tokens.into(), context: context.into(), dims }
    }

    /// Bytes and operations.
    pub(super) fn cost(self, cost: &Cost) -> (u64, u64) {
        (cost.bytes(self.tokens, self.context), cost.flops(self.tokens, self.context))
    }

    /// What each dispatch of the program is predicted to take, where the device was measured.
    pub(super) fn predict(self, plan: &Plan, program: &Program) -> Option<Vec<Prediction>> {
        // It was made of a number of 32 bits.
        plan.predict(program.phase, self.dims, self.context as u32)
    }
}
