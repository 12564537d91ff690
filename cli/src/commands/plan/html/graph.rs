//! The graph before fusion, for the page: what computes something, and what each op costs where it
//! has a kernel to itself.

use super::super::step::Step;
use super::Page;
use quarrel_ir::graph::{Graph, Op, Type, ValueId};
use quarrel_ir::plan::{Phase, Plan};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// An op.
#[derive(Serialize)]
pub(super) struct OpData {
    /// The number of the value that it yields.
    value: u32,
    op: &'static str,
    /// The op with what it is made with, such as `rope(base=10000.0, dims=64, half)`.
    text: String,
    name: Option<String>,
    layer: Option<u32>,
    /// Line of the architecture file; 0 where there is none.
    line: u32,
    /// The type of what it yields.
    shape: String,
    /// The ops whose values it reads, through reshapes.
    reads: Vec<u32>,
    /// What else it reads: weights, inputs, states, constants.
    leaves: Vec<String>,
    /// Bytes and operations in a kernel of its own, by program; nothing where it is not known.
    alone: BTreeMap<&'static str, (u64, u64)>,
}

/// The ops of the graph in order, without leaves and what only renames: reshapes and parts of weights.
pub(super) fn ops(page: &Page<'_>) -> Vec<OpData> {
    let graph = page.graph;
    let costs = alone(page.unfused);
    let drawn = |value: &ValueId| computes(graph, *value);
    graph
        .values()
        .filter(drawn)
        .map(|value| {
            let node = graph.node(value);
            let mut reads = BTreeSet::new();
            let mut leaves = Vec::new();
            for operand in graph.operands(value) {
                trace(graph, operand, &mut reads, &mut leaves);
            }
            OpData {
                value: value.0,
                op: node.op.name(),
                text: node.op.to_string(),
                name: node.origin.name.clone(),
                layer: node.origin.layer,
                line: node.origin.line,
                shape: shape(graph, &node.ty),
                reads: reads.into_iter().collect(),
                leaves,
                alone: costs.get(&value.0).cloned().unwrap_or_default(),
            }
        })
        .collect()
}

/// Whether a value is computed from what is not known before the step.
fn computes(graph: &Graph, value: ValueId) -> bool {
    match graph.op(value) {
        op if op.is_leaf() => false,
        Op::Reshape(_) | Op::WeightRows(_) => false,
        Op::Slice { .. } => graph.operands(value).iter().any(|o| computed_behind(graph, *o)),
        _ => true,
    }
}

fn computed_behind(graph: &Graph, value: ValueId) -> bool {
    match graph.op(value) {
        Op::Reshape(_) | Op::Slice { .. } => {
            graph.operands(value).iter().any(|o| computed_behind(graph, *o))
        }
        _ => computes(graph, value),
    }
}

/// Finds the ops and the leaves behind an operand.
fn trace(graph: &Graph, value: ValueId, reads: &mut BTreeSet<u32>, leaves: &mut Vec<String>) {
    if computes(graph, value) {
        reads.insert(value.0);
        return;
    }
    match graph.op(value) {
        Op::Weight(id) => leaves.extend(graph.weights.get(id.0 as usize).map(|info| {
            let shape: Vec<String> = info.shape.iter().map(u64::to_string).collect();
            format!("weight {} {}[{}]", info.name, info.format, shape.join(", "))
        })),
        Op::State(id) => leaves
            .extend(graph.states.get(id.0 as usize).map(|state| format!("state {}", state.name))),
        op if op.is_leaf() => leaves.push(op.to_string()),
        _ => {
            for operand in graph.operands(value) {
                trace(graph, operand, reads, leaves);
            }
        }
    }
}

fn shape(graph: &Graph, ty: &Type) -> String {
    match ty {
        Type::Tensor(tensor) => tensor.to_string(),
        Type::State(id) => {
            let state = graph.states.get(id.0 as usize);
            state.map_or_else(String::new, |state| format!("state {}", state.name))
        }
    }
}

/// What each op costs in a plan that gives each a kernel.
fn alone(plan: Option<&Plan>) -> BTreeMap<u32, BTreeMap<&'static str, (u64, u64)>> {
    let mut costs: BTreeMap<u32, BTreeMap<&'static str, (u64, u64)>> = BTreeMap::new();
    let Some(plan) = plan else { return costs };
    for (name, phase) in [("decode", Phase::Decode), ("prefill", Phase::Prefill)] {
        let Some(program) = plan.program(phase) else { continue };
        let step = Step::of(plan, program);
        for dispatch in &program.dispatches {
            // The first computes; others of the same kernel, if any, come with it.
            let Some(op) = dispatch.ops.first() else { continue };
            let (bytes, flops) = step.cost(&dispatch.cost);
            let known = costs.entry(op.value).or_default().entry(name).or_default();
            *known = (known.0 + bytes, known.1 + flops);
        }
    }
    costs
}
