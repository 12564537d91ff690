//! The step for which a program's costs are shown.

use quarrel_ir::plan::{Cost, Plan, Prediction, Program, StepDims, Typical};

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
        let Typical { dims, context } = plan.typical(program.phase);
        Step { tokens: dims.tokens.into(), context: context.into(), dims }
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
