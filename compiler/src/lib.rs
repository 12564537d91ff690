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
//! | choose and lower kernels | `lower/` | splits attention over long contexts (`split.rs`), shares products of few rows (`shares.rs`), lists rows by expert (`group.rs`), makes each region a kernel |
//! | plan memory | `memory.rs` | gives values buffers |
//! | emit | `emit.rs` | writes the plan |
//!
//! Binding and shape inference happen as the graph is built; a graph that reaches this crate is
//! typed. `limits.rs` checks that options, model and device go together. Nothing here knows a device beyond its facts, or a model beyond its graph.

mod canonicalise;
mod decisions;
mod emit;
mod error;
mod fuse;
mod limits;
mod lower;
mod memory;
mod region;
mod sample;
mod schedule;
mod trace;

pub use error::CompileError;
pub use trace::{Form, Line, Passed};

use decisions::Decisions;
use emit::Emission;
use fuse::Fused;
use lower::{Context, Grouped, Halves, Launch, Shares, Splits, WeightTable};
use memory::{Assigned, Pool};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::graph::{Graph, Op, StateFormat, Type, ValueId};
use quarrel_ir::plan::{
    Choice, Decision, ModelFacts, PLAN_VERSION, Phase, Plan, PlanOptions, Rewind, identity,
};
use region::Region;
use std::collections::BTreeSet;

/// The passes whose results can be looked at, in order.
pub const PASSES: [&str; 8] =
    ["canonicalise", "fuse", "schedule", "weights", "split", "group", "lower", "memory"];

/// What is told of each pass: it may ask what the pass left.
pub type Watch<'a> = &'a mut dyn FnMut(&dyn Fn() -> Passed);

/// A program under construction: what each pass leaves for the next.
#[derive(Debug)]
struct Staged {
    name: &'static str,
    phase: Phase,
    regions: Vec<Region>,
    decisions: Decisions,
    splits: Splits,
    shares: Shares,
    grouped: Grouped,
    launches: Vec<Launch>,
    assigned: Assigned,
}

impl Staged {
    fn of(name: &'static str, phase: Phase, fused: Fused) -> Staged {
        let Fused { regions, decisions } = fused;
        Staged {
            name,
            phase,
            regions,
            decisions,
            splits: Splits::new(),
            shares: Shares::new(),
            grouped: Grouped::new(),
            launches: Vec::new(),
            assigned: Assigned::new(),
        }
    }
}

/// Compiles `graph` for `device`.
///
/// # Errors
/// If the graph is not valid, the device's kernels cannot do what it needs, a tensor, a state or a
/// value of a step is too large for the device, or an option does not suit the model.
pub fn compile(
    graph: &Graph,
    device: &DeviceFacts,
    options: &PlanOptions,
) -> Result<Plan, CompileError> {
    compile_watched(graph, device, options, &mut |_| {})
}

/// As [`compile`]; `watch` is called after each pass and can ask what it left.
///
/// # Errors
/// As [`compile`].
pub fn compile_watched(
    graph: &Graph,
    device: &DeviceFacts,
    options: &PlanOptions,
    watch: Watch<'_>,
) -> Result<Plan, CompileError> {
    graph.verify()?;
    limits::check_inputs(graph, device, options)?;
    watch(&|| trace::graph("graph", graph));
    let original = graph;
    let mut graph = canonical(graph)?;
    let mut decisions = store_caches(&mut graph, options);
    let graph = &graph;
    watch(&|| trace::graph("canonicalise", graph));
    let output = graph.output().ok_or_else(|| {
        CompileError::Graph(quarrel_ir::graph::VerifyError::NoOutput(graph.name.clone()))
    })?;
    let output = region::storage(graph, output);
    let mut phases = fused(graph, options, watch);
    let all = phases.iter().flat_map(|staged| &staged.regions);
    let weights = WeightTable::build(graph, all, options.weights, device)?;
    limits::check_states(graph, device, options)?;
    watch(&|| trace::weights(&weights));
    lower_all((graph, &weights), (device, options), &mut phases, watch)?;
    let mut pool = Pool::default();
    for Staged { name, launches, assigned, .. } in &mut phases {
        *assigned = pool.assign(graph, options, name, launches, output);
    }
    watch(&|| trace::memory(graph, &phases));
    let mut emission = Emission::new(graph, options, &weights, output);
    let mut programs = Vec::new();
    for staged in phases {
        let Staged { name, phase, regions, launches, assigned, .. } = staged;
        decisions.extend(staged.decisions.into_list());
        programs.push(emission.program(name, phase, &regions, launches, &assigned)?);
    }
    let model = model_facts(graph, output);
    programs.extend(sample::programs(&mut emission, device, &model, options));
    emission.add_pool(pool);
    limits::check_values(&emission.buffers, device, options)?;
    let states = graph.states.iter().map(|state| state.addressing);
    let chosen = emission.kernels.iter().filter_map(|kernel| kernel.choice.as_ref());
    lower::check_keys(options, chosen.clone())?;
    let options = &with_own_variants(options, chosen);
    let plan = Plan {
        version: PLAN_VERSION,
        identity: identity(original, device, options),
        checksum: String::new(),
        model,
        options: options.clone(),
        device: device.clone(),
        rewind: Rewind::of(states, options.context, options.step_tokens()),
        position_bytes: limits::position_bytes(graph, options),
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

/// The programs of both phases as regions, in order.
fn fused(graph: &Graph, options: &PlanOptions, watch: Watch<'_>) -> [Staged; 2] {
    let of = |(name, phase)| Staged::of(name, phase, fuse::fuse(graph, phase, options));
    let mut phases = [("decode", Phase::Decode), ("prefill", Phase::Prefill)].map(of);
    watch(&|| trace::regions("fuse", graph, &phases));
    for staged in &mut phases {
        staged.regions = schedule::schedule(graph, std::mem::take(&mut staged.regions));
    }
    watch(&|| trace::regions("schedule", graph, &phases));
    phases
}

/// Splits attention, shares products, groups rows by expert, and makes each region a kernel.
fn lower_all(
    (graph, weights): (&Graph, &WeightTable),
    (device, options): (&DeviceFacts, &PlanOptions),
    phases: &mut [Staged],
    watch: Watch<'_>,
) -> Result<(), CompileError> {
    let (splits, groups, halves, shares) =
        (&Splits::new(), &Grouped::new(), &Halves::new(), &Shares::new());
    let phase = Phase::Decode;
    let context =
        Context { graph, weights, splits, groups, halves, shares, device, options, phase };
    for Staged { phase, regions, decisions, splits, shares, .. } in &mut *phases {
        let context = Context { phase: *phase, ..context };
        (*regions, *splits) = lower::split(context, std::mem::take(regions), decisions)?;
        (*regions, *shares) = lower::share(context, std::mem::take(regions), decisions)?;
    }
    watch(&|| trace::regions("split", context.graph, phases));
    for Staged { phase, regions, grouped, .. } in &mut *phases {
        let context = Context { phase: *phase, ..context };
        (*regions, *grouped) = lower::group(context, std::mem::take(regions));
    }
    watch(&|| trace::regions("group", context.graph, phases));
    for Staged { phase, regions, splits, shares, grouped, launches, .. } in &mut *phases {
        let context = Context { phase: *phase, splits, shares, groups: grouped, ..context };
        let halves = lower::halves(context, regions)?;
        let context = Context { halves: &halves, ..context };
        let lowered = regions.iter().map(|region| lower::lower(context, region));
        *launches = lowered.collect::<Result<_, _>>()?;
    }
    watch(&|| trace::launches(context.graph, phases));
    Ok(())
}

/// The options without what was measured for other plans.
fn with_own_variants<'a>(
    options: &PlanOptions,
    chosen: impl Iterator<Item = &'a Choice>,
) -> PlanOptions {
    let keys: BTreeSet<&str> = chosen.map(|choice| choice.key.as_str()).collect();
    let mut options = options.clone();
    options.tuned.retain(|key, _| keys.contains(key.as_str()));
    options
}

/// Stores keys and values as the options say; what is said of those whose rows cannot be.
fn store_caches(graph: &mut Graph, options: &PlanOptions) -> Vec<Decision> {
    let Some(format) = options.state else { return Vec::new() };
    let others = graph.store_caches_as(format);
    let kept = |value: &ValueId| match &graph.node(*value).ty {
        Type::State(state) => others.contains(&graph.states[state.0 as usize].name),
        Type::Tensor(_) => false,
    };
    let appends = graph.values().filter(|value| *graph.op(*value) == Op::Append);
    let pairs: Vec<[u32; 2]> = appends.filter(kept).map(|value| [value.0; 2]).collect();
    let (block, name) = (StateFormat::BLOCK, format.name());
    let decision = Decision {
        phase: Phase::Decode,
        rule: "store-caches".into(),
        taken: false,
        reason: format!("its heads are no whole blocks of {block} elements, as {name} needs"),
        would_change: format!("heads of a multiple of {block} elements"),
        pairs,
    };
    if decision.pairs.is_empty() { Vec::new() } else { vec![decision] }
}

/// The canonical form of a verified graph, whose values and states are those that plans name.
///
/// # Errors
/// A bug of the pass.
pub fn canonical(graph: &Graph) -> Result<Graph, CompileError> {
    let graph = canonicalise::canonicalise(graph).map_err(CompileError::Rewrite)?;
    graph.verify().map_err(|error| CompileError::Pass { pass: "canonicalise", error })?;
    Ok(graph)
}

fn model_facts(graph: &Graph, output: ValueId) -> ModelFacts {
    let layers = graph.values().filter_map(|v| graph.node(v).origin.layer).max();
    ModelFacts {
        architecture: graph.name.clone(),
        vocabulary: graph.tensor(output).map_or(0, |t| t.width() as u32),
        layers: layers.map_or(0, |last| last + 1),
        tensors: graph.weights.clone(),
        ..ModelFacts::default()
    }
}
