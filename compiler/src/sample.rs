//! The sampling programs: logits to the next step's inputs.

use crate::emit::Emission;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{ModelFacts, PlanOptions, Program};

/// The greedy and the sampling program.
pub fn programs(
    _emission: &mut Emission<'_>,
    _device: &DeviceFacts,
    _model: &ModelFacts,
    _options: &PlanOptions,
) -> Vec<Program> {
    vec![]
}
