//! The same steps fed to a plan and to the reference, and the distance between their logits.

use crate::differ::{Runner, gpu, relative_l2};
use crate::facts::as_if_discrete;
use crate::weights::Random;
use quarrel_compiler::compile;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::{Choice, Phase, Plan, PlanOptions, Variants};
use quarrel_ir::weight::WeightSource;
use quarrel_reference::{Interpreter, StepInputs};

/// A step: by which program, and of how many tokens.
pub type Part = (Phase, usize);

/// `count` tokens of a vocabulary, the same each time.
pub fn tokens(vocabulary: u64, count: usize) -> Vec<u32> {
    let mut random = Random(7);
    (0..count).map(|_| (random.word() % vocabulary) as u32).collect()
}

/// `total` tokens in prompt steps of at most `chunk`.
pub fn chunks(total: usize, chunk: usize) -> Vec<Part> {
    let starts = (0..total).step_by(chunk);
    starts.map(|start| (Phase::Prefill, chunk.min(total - start))).collect()
}

/// Alternative `number` of each choice, or its last.
pub fn numbered<'a>(choices: impl Iterator<Item = &'a Choice>, number: usize) -> Variants {
    let name = |choice: &Choice| {
        let last = choice.alternatives.len() - 1;
        (choice.key.clone(), choice.alternatives[number.min(last)].name.clone())
    };
    choices.map(name).collect()
}

/// Logits of every row of each step that feeds `tokens`, from position `first` on.
pub fn feed(
    mut step: impl FnMut(Phase, &StepInputs) -> Vec<f32>,
    tokens: &[u32],
    first: u32,
    parts: &[Part],
) -> Vec<Vec<f32>> {
    let mut at = 0;
    let one = |&(phase, len): &Part| {
        let inputs = StepInputs::sequence(0, first + at as u32, &tokens[at..at + len]);
        at += len;
        step(phase, &inputs.with_all_rows())
    };
    parts.iter().map(one).collect()
}

/// Logits of a plan's steps.
pub fn plan_logits(runner: &Runner, tokens: &[u32], first: u32, parts: &[Part]) -> Vec<Vec<f32>> {
    feed(|phase, inputs| runner.step(phase, inputs), tokens, first, parts)
}

/// Logits of the reference's steps, its states stored as the options say.
///
/// # Panics
/// If the reference refuses the graph or a step.
pub fn reference_logits(
    graph: &Graph,
    weights: &dyn WeightSource,
    options: &PlanOptions,
    tokens: &[u32],
    first: u32,
    parts: &[Part],
) -> Vec<Vec<f32>> {
    let mut graph = graph.clone();
    if let Some(format) = options.state {
        graph.store_caches_as(format);
    }
    let mut oracle = Interpreter::new(graph, weights, 1, options.context as usize)
        .unwrap_or_else(|error| panic!("{error}"));
    feed(
        |_, inputs| oracle.step(inputs).unwrap_or_else(|error| panic!("{error}")),
        tokens,
        first,
        parts,
    )
}

/// The largest relative distance of any step's logits.
pub fn worst(found: &[Vec<f32>], wanted: &[Vec<f32>]) -> f64 {
    assert_eq!(found.len(), wanted.len());
    found.iter().zip(wanted).map(|(found, wanted)| relative_l2(found, wanted)).fold(0.0, f64::max)
}

/// The plan for the test device as it is, or with the tile shapes of a discrete GPU that has
/// subgroups of this size.
///
/// Kernels ask for the subgroup size when they run and are right for any; facts that only decide
/// shapes may therefore differ from the device. The device's own facts are put back, so that the
/// plan is verified against its limits and the runtime takes it.
///
/// # Panics
/// If the graph does not compile.
pub fn plan_for(graph: &Graph, options: &PlanOptions, discrete: Option<u32>) -> Plan {
    let present = gpu().facts();
    let facts = discrete.map_or(present.clone(), |size| as_if_discrete(&present, size));
    let mut plan = compile(graph, &facts, options).unwrap_or_else(|error| panic!("{error}"));
    plan.device = present;
    plan
}
