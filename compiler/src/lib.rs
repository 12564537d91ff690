//! Graph to plan.
//!
//! The passes, in order, one file each:
//!
//! | pass | file | does |
//! |---|---|---|
//! | canonicalise | `canonicalise.rs` | removes what computes nothing |
//! | fuse | `fuse/` | decides which values a kernel computes together |
//! | schedule | `schedule.rs` | orders the kernels |
//! | lay out weights | `lower/weights.rs` | joins, places and packs tensors |
//! | choose and lower kernels | `lower/` | splits attention over long contexts (`split.rs`), makes each region a kernel |
//! | plan memory | `memory.rs` | gives values buffers |
//! | emit | `emit.rs` | writes the plan |
//!
//! Binding and shape inference happen as the graph is built; a graph that reaches this crate is
//! typed. Nothing here knows a device beyond its facts, or a model beyond its graph.

mod canonicalise;
mod emit;
mod error;
mod fuse;
mod lower;
mod memory;
mod region;
mod sample;
mod schedule;

pub use error::CompileError;

use emit::Emission;
use lower::{Context, Launch, Splits, WeightTable};
use memory::Pool;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::graph::{Graph, Input, Op, ValueId};
use quarrel_ir::plan::{ModelFacts, PLAN_VERSION, Phase, Plan, PlanOptions, Rewind, identity};
use region::Region;

/// Compiles `graph` for `device`.
///
/// # Errors
/// If the graph is not valid, the device's kernels cannot do what it needs, a tensor is too large
/// for the device, or the options contradict each other.
pub fn compile(
    graph: &Graph,
    device: &DeviceFacts,
    options: &PlanOptions,
) -> Result<Plan, CompileError> {
    check_options(options)?;
    graph.verify()?;
    check_positions(graph, options.context)?;
    let original = graph;
    let graph = &canonicalise::canonicalise(graph).map_err(CompileError::Rewrite)?;
    graph.verify().map_err(|error| CompileError::Pass { pass: "canonicalise", error })?;
    let output = graph.output().ok_or_else(|| {
        CompileError::Graph(quarrel_ir::graph::VerifyError::NoOutput(graph.name.clone()))
    })?;
    let mut decisions = Vec::new();
    let mut phases = Vec::new();
    for (name, phase) in [("decode", Phase::Decode), ("prefill", Phase::Prefill)] {
        let fused = fuse::fuse(graph, phase, options);
        decisions.extend(fused.decisions);
        phases.push((name, phase, schedule::schedule(graph, fused.regions)));
    }
    let all = phases.iter().flat_map(|(_, _, regions)| regions);
    let weights = WeightTable::build(graph, all, options.weights, device)?;
    let output = region::storage(graph, output);
    let mut emission = Emission::new(graph, options, &weights, output);
    let mut pool = Pool::default();
    let mut programs = Vec::new();
    for (name, phase, regions) in phases {
        let whole = Splits::new();
        let context = Context { graph, weights: &weights, splits: &whole, device, options, phase };
        let (regions, splits) = lower::split(context, regions)?;
        let context = Context { splits: &splits, ..context };
        let launches = lower_all(context, &regions)?;
        let assigned = pool.assign(graph, options, name, &launches, output);
        programs.push(emission.program(name, phase, &regions, launches, &assigned)?);
    }
    let model = model_facts(graph, output);
    programs.extend(sample::programs(&mut emission, device, &model, options));
    emission.add_pool(pool);
    let states = graph.states.iter().map(|state| state.addressing);
    let plan = Plan {
        version: PLAN_VERSION,
        identity: identity(original, device, options),
        model,
        options: options.clone(),
        device: device.clone(),
        rewind: Rewind::of(states, options.context, options.step_tokens()),
        buffers: emission.buffers,
        io: emission.io,
        kernels: emission.kernels,
        programs,
        load: weights.load,
        decisions,
    };
    plan.verify()?;
    Ok(plan)
}

fn lower_all(context: Context<'_>, regions: &[Region]) -> Result<Vec<Launch>, CompileError> {
    regions.iter().map(|region| lower::lower(context, region)).collect()
}

fn check_options(options: &PlanOptions) -> Result<(), CompileError> {
    let positive = [
        ("context", options.context),
        ("chunk", options.chunk),
        ("slots", options.slots),
        ("out_rows", options.out_rows),
    ];
    match positive.into_iter().find(|(_, n)| *n == 0) {
        Some((name, _)) => Err(CompileError::Options(format!("{name} must be at least 1"))),
        None => Ok(()),
    }
}

/// That tables of learned positions have a row for each position: kernels do not check.
fn check_positions(graph: &Graph, context: u32) -> Result<(), CompileError> {
    for value in graph.values().filter(|value| *graph.op(*value) == Op::Embed) {
        let operands = graph.operands(value);
        let rows = graph.tensor(operands[0]).map_or(0, |table| table.dims[0]);
        if *graph.op(operands[1]) == Op::Input(Input::Position) && rows < u64::from(context) {
            return Err(CompileError::Options(format!(
                "the model has {rows} learned positions, fewer than the context of {context}: use \
                 --ctx {rows} or less"
            )));
        }
    }
    Ok(())
}

fn model_facts(graph: &Graph, output: ValueId) -> ModelFacts {
    let layers = graph.values().filter_map(|v| graph.node(v).origin.layer).max();
    ModelFacts {
        architecture: graph.name.clone(),
        vocabulary: graph.tensor(output).map_or(0, |t| t.width() as u32),
        layers: layers.map_or(0, |last| last + 1),
    }
}
