//! The sampling programs: logits to the next step's inputs.

use crate::emit::Emission;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{
    Content, Cost, Dispatch, KernelId, ModelFacts, Phase, PlanOptions, Program,
};
use quarrel_kernels::sampling::{self, Stage};

/// The greedy and the sampling program.
pub fn programs(
    emission: &mut Emission<'_>,
    device: &DeviceFacts,
    model: &ModelFacts,
    options: &PlanOptions,
) -> Vec<Program> {
    let kernels = sampling::kernels(device, model.vocabulary, options.context, options.slots);
    let program = |(phase, stages): (Phase, Vec<Stage>)| Program {
        name: if phase == Phase::Greedy { "greedy" } else { "sample" }.into(),
        phase,
        dispatches: stages.into_iter().map(|stage| dispatch(emission, stage, model)).collect(),
    };
    kernels.programs().map(program).into()
}

fn dispatch(emission: &mut Emission<'_>, stage: Stage, model: &ModelFacts) -> Dispatch {
    let buffers = stage.buffers(&emission.io).into_iter();
    let bindings: Vec<_> = buffers.map(|buffer| emission.whole(buffer)).collect();
    let grid = stage.grid();
    let read = stage.logits_read(model.vocabulary);
    let reason = match stage.parts {
        1 => "draws the next token and writes the next step's inputs on the device",
        _ => "looks for the largest logit of each part of a row, as one workgroup reads slowly",
    };
    emission.kernels.push(stage.kernel);
    Dispatch {
        kernel: KernelId(emission.kernels.len() as u32 - 1),
        contents: vec![Content::Io; bindings.len()],
        bindings,
        grid,
        layer: None,
        ops: vec![],
        reason: reason.into(),
        cost: Cost { token_bytes: 4 * read, token_flops: read, ..Cost::default() },
    }
}
