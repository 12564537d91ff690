//! Which values and states a plan's dispatches read and write.

use crate::CheckError;
use crate::script::{Layers, Step};
use crate::words::Partials;
use quarrel_ir::graph::{Graph, Op, StateId, Type, ValueId};
use quarrel_ir::plan::{Access, BufferRange, Content, Dispatch, Phase, Plan, Program};
use std::collections::BTreeSet;

/// A binding of a dispatch, with what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) range: BufferRange,
    pub(crate) content: Content,
    pub(crate) access: Access,
}

/// The bindings of a dispatch, each content once.
pub(crate) fn bindings(plan: &Plan, dispatch: &Dispatch) -> Vec<Bound> {
    let kernel = plan.kernel(dispatch.kernel);
    let contents = dispatch.contents.iter().zip(&kernel.bindings);
    let mut all: Vec<Bound> = Vec::new();
    for (range, (content, binding)) in dispatch.bindings.iter().zip(contents) {
        let bound = Bound { range: *range, content: *content, access: binding.access };
        if !all.contains(&bound) {
            all.push(bound);
        }
    }
    all
}

/// The program of a phase.
pub(crate) fn program(plan: &Plan, phase: Phase) -> Result<&Program, CheckError> {
    plan.program(phase).ok_or_else(|| CheckError::Plan(format!("it has no {phase:?} program")))
}

/// The dispatches of a step that run, of the layers that are compared, with their places.
pub(crate) fn compared<'a>(
    plan: &'a Plan,
    step: &Step,
    layers: &Layers,
) -> Result<Vec<(usize, &'a Dispatch)>, CheckError> {
    let all = program(plan, step.phase)?.dispatches.iter().enumerate();
    let runs = |dispatch: &Dispatch| dispatch.grid.iter().all(|extent| extent.at(step.dims) > 0);
    Ok(all.filter(|(_, d)| runs(d) && layers.contains(d.layer)).collect())
}

/// What the compared dispatches of a step read and write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surface {
    /// Values that some of them write.
    pub(crate) written: BTreeSet<ValueId>,
    /// Values that they read and none of them writes.
    pub(crate) given: BTreeSet<ValueId>,
    /// Values that written ids are chosen by.
    pub(crate) scores: BTreeSet<ValueId>,
    /// Values that change the states which they bind.
    pub(crate) changes: BTreeSet<ValueId>,
}

impl Surface {
    /// That of a step.
    pub(crate) fn of(
        plan: &Plan,
        graph: &Graph,
        step: &Step,
        layers: &Layers,
    ) -> Result<Surface, CheckError> {
        let mut surface = Surface::default();
        let (mut read, mut states) = (BTreeSet::new(), BTreeSet::new());
        for (_, dispatch) in compared(plan, step, layers)? {
            for bound in bindings(plan, dispatch) {
                match (bound.content, bound.access) {
                    (
                        Content::Value(v)
                        | Content::Halves(v)
                        | Content::Partials { value: v, .. }
                        | Content::Shares { value: v, .. }
                        | Content::Groups { value: v, .. },
                        access,
                    ) => {
                        let set = match access {
                            Access::Write => &mut surface.written,
                            Access::Read => &mut read,
                        };
                        set.insert(known(graph, v)?);
                    }
                    (Content::State(state), _) => {
                        states.insert(StateId(state));
                    }
                    (Content::Weights | Content::Io, _) => {}
                }
            }
        }
        surface.given = read.difference(&surface.written).copied().collect();
        let changes = |value: &ValueId| match (graph.op(*value), &graph.node(*value).ty) {
            (Op::Append, Type::State(state)) => states.contains(state),
            _ => false,
        };
        let scores = |value: &ValueId| match graph.op(*value) {
            Op::TopK(_) => graph.operands(*value).first().copied(),
            _ => None,
        };
        surface.scores = surface.written.iter().filter_map(scores).collect();
        surface.changes = graph.values().filter(changes).collect();
        Ok(surface)
    }

    /// What the reference has to compute.
    pub(crate) fn wanted(&self) -> BTreeSet<ValueId> {
        [&self.written, &self.changes, &self.scores].into_iter().flatten().copied().collect()
    }
}

/// The value with this number, if it is a tensor of the graph.
pub(crate) fn known(graph: &Graph, value: u32) -> Result<ValueId, CheckError> {
    let id = ValueId(value);
    let tensor = (value as usize) < graph.len() && graph.tensor(id).is_some();
    tensor.then_some(id).ok_or_else(|| CheckError::Plan(format!("%{value} is no tensor of it")))
}

/// Extents of the partials of `value`, attention of `[heads, size]`.
pub(crate) fn partials(
    graph: &Graph,
    value: u32,
    splits: u32,
) -> Result<(Partials, usize), CheckError> {
    let tensor = graph.tensor(known(graph, value)?);
    let dims = tensor.map(|tensor| &tensor.dims[..]);
    match dims {
        Some([heads, size]) if splits > 0 => {
            Ok((Partials { size: *size as usize, splits: splits as usize }, *heads as usize))
        }
        _ => Err(CheckError::Plan(format!("%{value} cannot be split: it has no heads"))),
    }
}

/// `%17 q`
pub(crate) fn label(graph: &Graph, value: ValueId) -> String {
    let node = graph.node(value);
    format!("%{} {}", value.0, node.origin.name.as_deref().unwrap_or(node.op.name()))
}
