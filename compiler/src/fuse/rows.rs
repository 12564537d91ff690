//! Row kernels: what is needed in memory and no product yields.

use super::anchors::state_order;
use super::prologue::{Into, Pulled};
use super::{Fusion, STATE};
use crate::region::{Anchor, Region, is_leaf, is_state, label, storage};
use quarrel_ir::graph::{Op, RunDim, Type, ValueId};
use quarrel_ir::plan::Place;
use std::collections::{BTreeMap, BTreeSet};

/// Row kernels that are made one.
const MOST_PARTS: usize = 4;

impl Fusion<'_> {
    /// Finds values that rest on a norm and that more than one op other than a product reads, such
    /// as a residual stream after a norm: each reader would compute all of it again, and so on.
    pub(super) fn keep_shared(&mut self) {
        let graph = self.graph;
        let mut rests: BTreeSet<ValueId> = BTreeSet::new();
        for value in graph.values() {
            let kept = |v: &ValueId| self.home.contains_key(v) || self.needed.contains_key(v);
            if kept(&storage(graph, value)) {
                continue;
            }
            let operands = graph.operands(value);
            let above = operands.iter().any(|v| rests.contains(v));
            match graph.op(value) {
                Op::Normalize(_) => {
                    rests.insert(value);
                }
                Op::Unary(_) | Op::Binary(_) | Op::Reshape(_) if above => {
                    rests.insert(value);
                }
                _ => continue,
            }
            let users = graph.users(value);
            let product = |v: &ValueId| matches!(graph.op(*v), Op::Linear | Op::ExpertLinear);
            let sums = matches!(graph.op(value), Op::Binary(_));
            let wanted = users.iter().any(|user| self.wants(value, *user));
            if sums && users.len() > 1 && !users.iter().all(product) && !wanted {
                self.need(value, "several kernels would compute all of it again");
                self.shared.insert(value);
                rests.remove(&value);
            }
        }
    }

    /// Makes row kernels for all that is needed and has no kernel yet.
    pub(super) fn make_rows(&mut self, fuse: bool) {
        let graph = self.graph;
        let mut queue: Vec<ValueId> = graph
            .values()
            .filter(|v| matches!(graph.op(*v), Op::Append))
            .chain(self.needed.keys().copied())
            .filter(|v| !self.home.contains_key(v))
            .collect();
        let mut made: BTreeSet<ValueId> = BTreeSet::new();
        while let Some(root) = queue.pop() {
            if is_leaf(graph, root) || self.home.contains_key(&root) || !made.insert(root) {
                continue;
            }
            let mut pulled = Pulled::default();
            if matches!(graph.op(root), Op::Normalize(_)) {
                pulled = Pulled { normalized: 1, row: Some(self.row_of(root)), ..pulled };
            }
            for operand in graph.operands(root) {
                if fuse && !is_state(graph, operand) {
                    self.pull((operand, root), Into::Rows, &mut pulled);
                } else if fuse {
                    self.decisions.refuse(graph, STATE, (operand, root), state_order());
                } else if !is_state(graph, operand) && !is_leaf(graph, storage(graph, operand)) {
                    pulled.stops.insert(storage(graph, operand));
                }
            }
            self.note_pulled(None, &mut pulled);
            queue.extend(pulled.stops);
            let mut members: BTreeMap<ValueId, Place> =
                pulled.members.into_iter().map(|v| (v, Place::Prologue)).collect();
            members.insert(root, Place::Anchor);
            let reason = match graph.op(root) {
                Op::Embed => "its rows are read by more than one kernel".to_string(),
                _ => format!("{} is needed in memory and no product yields it", label(graph, root)),
            };
            self.regions.push(Region::rows(root, members, reason));
        }
    }

    /// Makes row kernels that wait for the same kernels one: no path leads from one to the other,
    /// because its last step would be among what both wait for.
    pub(super) fn merge_rows(&mut self) {
        let graph = self.graph;
        let mut home: BTreeMap<ValueId, usize> = BTreeMap::new();
        for (index, region) in self.regions.iter().enumerate() {
            home.extend(region.outputs.iter().map(|output| (*output, index)));
        }
        let rows_of = |value: ValueId| match &graph.node(value).ty {
            Type::Tensor(tensor) => tensor.rows,
            Type::State(_) => Some(RunDim::Tokens),
        };
        let mut merged: Vec<Region> = Vec::new();
        let mut known: BTreeMap<(BTreeSet<usize>, Option<RunDim>), usize> = BTreeMap::new();
        for region in std::mem::take(&mut self.regions) {
            let Anchor::Rows(parts) = &region.anchor else {
                merged.push(region);
                continue;
            };
            let read = region.members.keys().flat_map(|m| graph.operands(*m));
            let waits = read
                .filter(|v| !region.members.contains_key(v))
                .filter_map(|v| home.get(&storage(graph, v)).copied())
                .collect();
            let key = (waits, rows_of(region.outputs[0]));
            let at = known.get(&key).copied();
            match at.map(|at| &mut merged[at]) {
                Some(Region { anchor: Anchor::Rows(all), members, outputs, reasons, .. })
                    if all.len() < MOST_PARTS =>
                {
                    all.extend(parts.iter().cloned());
                    members.extend(region.members);
                    outputs.extend(region.outputs);
                    outputs.sort_unstable();
                    for reason in region.reasons {
                        if !reasons.contains(&reason) {
                            reasons.push(reason);
                        }
                    }
                }
                _ => {
                    known.insert(key, merged.len());
                    merged.push(region);
                }
            }
        }
        self.regions = merged;
    }
}
