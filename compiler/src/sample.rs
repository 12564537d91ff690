//! The sampling programs: logits to the next step's inputs.

use crate::emit::Emission;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::graph::RunDim;
use quarrel_ir::plan::{
    Content, Cost, Dispatch, Extent, Kernel, KernelId, ModelFacts, Phase, PlanOptions, Program,
};
use quarrel_kernels::sampling;

/// The greedy and the sampling program, one dispatch each.
pub fn programs(
    emission: &mut Emission<'_>,
    device: &DeviceFacts,
    model: &ModelFacts,
    options: &PlanOptions,
) -> Vec<Program> {
    let kernels = sampling::kernels(device, model.vocabulary, options.context, options.slots);
    let logits = 4 * u64::from(model.vocabulary);
    vec![
        program(emission, "greedy", Phase::Greedy, kernels.greedy, logits),
        program(emission, "sample", Phase::Sample, kernels.sample, logits),
    ]
}

fn program(
    emission: &mut Emission<'_>,
    name: &str,
    phase: Phase,
    kernel: Kernel,
    logits: u64,
) -> Program {
    let buffers = sampling::buffers(&emission.io);
    let bindings = buffers.map(|buffer| emission.whole(buffer)).to_vec();
    emission.kernels.push(kernel);
    let contents = vec![Content::Io; bindings.len()];
    let dispatch = Dispatch {
        contents,
        kernel: KernelId(emission.kernels.len() as u32 - 1),
        bindings,
        grid: [
            Extent::Tiles { dim: RunDim::OutRows, tile: 1, times: 1 },
            Extent::Const(1),
            Extent::Const(1),
        ],
        layer: None,
        ops: vec![],
        reason: "draws the next token and writes the next step's inputs on the device".into(),
        cost: Cost { token_bytes: logits, token_flops: logits / 4, ..Cost::default() },
    };
    Program { name: name.into(), phase, dispatches: vec![dispatch] }
}
