//! Prologue growth and row kernels: values computed where they are read, row by row.

use super::Fusion;
use crate::region::{Anchor, Region, is_leaf, is_state, label, storage};
use quarrel_ir::graph::{Op, RunDim, ValueId};
use quarrel_ir::plan::{Phase, Place};
use std::collections::{BTreeMap, BTreeSet};

/// Normalisations that one kernel computes again in every workgroup.
const MOST_STATISTICS: usize = 2;

/// What a walk up from a value takes into the kernel.
#[derive(Default)]
struct Pulled {
    members: BTreeSet<ValueId>,
    /// Values that must be in memory, because the walk stopped at them.
    stops: BTreeSet<ValueId>,
    normalized: usize,
    /// Elements of a row of the kernel, where a normalisation has fixed it.
    row: Option<u64>,
}

/// Which kernel pulls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Into {
    Prologue,
    Rows,
    Scores,
}

impl Fusion<'_> {
    /// Takes what computes each product's operand into the product, where it goes row by row.
    pub(super) fn grow_prologues(&mut self) {
        for index in 0..self.regions.len() {
            let x = match &self.regions[index].anchor {
                Anchor::Product(product) => product.x,
                Anchor::TopK(ids) => {
                    self.pull_scores(index, *ids);
                    continue;
                }
                Anchor::Attention(_) | Anchor::Scan(_) | Anchor::Rows => continue,
            };
            let mut pulled = Pulled::default();
            self.pull(x, Into::Prologue, &mut pulled);
            let out_row = self.graph.tensor(x).is_some_and(|t| t.rows == Some(RunDim::OutRows));
            let many = self.phase == Phase::Prefill && !(out_row && self.one_out_row);
            if many && pulled.normalized > 0 {
                let reason = "many workgroups read each row of a prompt: its statistics are taken \
                              once, by a kernel of their own";
                self.decide(x, "fuse-prologue", false, reason.into());
                self.needed.insert(storage(self.graph, x));
                continue;
            }
            self.needed.extend(pulled.stops);
            let names: Vec<String> = pulled
                .members
                .iter()
                .filter(|v| !matches!(self.graph.op(**v), Op::Reshape(_)))
                .map(|v| label(self.graph, *v))
                .collect();
            if !names.is_empty() {
                let reason = format!(
                    "{} computed on the fly from rows that the product reads anyway: cheaper than a dispatch",
                    names.join(", ")
                );
                self.decide(x, "fuse-prologue", true, reason.clone());
                self.regions[index].reasons.push(reason);
            }
            let members = pulled.members.into_iter().map(|v| (v, Place::Prologue));
            self.regions[index].members.extend(members);
        }
    }

    /// Takes what computes the scores of a top-k, and what is read at the chosen places, into it.
    fn pull_scores(&mut self, index: usize, ids: ValueId) {
        let graph = self.graph;
        let width = self.row_of(graph.operands(ids)[0]);
        let mut pulled = Pulled { row: Some(width), ..Pulled::default() };
        let read = self.regions[index].members.keys();
        let read = read.filter(|v| matches!(graph.op(**v), Op::TopK(_) | Op::Take));
        for x in read.map(|v| graph.operands(*v)[0]).collect::<Vec<_>>() {
            self.pull(x, Into::Scores, &mut pulled);
        }
        self.needed.extend(pulled.stops);
        let members = pulled.members.into_iter().map(|v| (v, Place::Prologue));
        self.regions[index].members.extend(members);
    }

    /// Walks up from `value`, taking what can be computed element by element.
    fn pull(&self, value: ValueId, into: Into, pulled: &mut Pulled) {
        if is_leaf(self.graph, value) || pulled.members.contains(&value) {
            return;
        }
        let home = storage(self.graph, value);
        if self.needed.contains(&home)
            || self.home.contains_key(&home)
            || !self.may_pull(value, into, pulled)
        {
            if !is_leaf(self.graph, home) {
                pulled.stops.insert(home);
            }
            return;
        }
        if matches!(self.graph.op(value), Op::Normalize(_)) {
            pulled.normalized += 1;
            pulled.row = Some(self.row_of(value));
        }
        pulled.members.insert(value);
        for operand in self.graph.operands(value) {
            self.pull(operand, into, pulled);
        }
    }

    /// Whether every operand that repeats along a row can be read four elements at a time.
    fn repeats_in_fours(&self, value: ValueId) -> bool {
        let width = |v: ValueId| self.graph.tensor(v).map_or(1, |t| t.width());
        let operands = self.graph.operands(value);
        operands.into_iter().map(width).all(|width| width == 1 || width.is_multiple_of(4))
    }

    /// The innermost extent of a value.
    fn row_of(&self, value: ValueId) -> u64 {
        self.graph.tensor(value).map_or(0, |t| t.last())
    }

    fn may_pull(&self, value: ValueId, into: Into, pulled: &Pulled) -> bool {
        let wide = self.graph.tensor(value).is_some_and(|t| t.width().is_multiple_of(4));
        match (self.graph.op(value), into) {
            (Op::Unary(_) | Op::Binary(_) | Op::Reshape(_) | Op::GatherRows, Into::Prologue) => {
                wide && self.repeats_in_fours(value)
            }
            (Op::Unary(_) | Op::Binary(_) | Op::Reshape(_) | Op::GatherRows, _) => true,
            (Op::Normalize(_), Into::Prologue) => {
                let whole = self.graph.tensor(value).is_some_and(|t| t.dims.len() == 1);
                wide && whole && pulled.normalized < MOST_STATISTICS
            }
            (Op::Normalize(_), Into::Rows | Into::Scores) => {
                pulled.row.is_none_or(|row| row == self.row_of(value))
                    && pulled.normalized < MOST_STATISTICS
            }
            (
                Op::Embed
                | Op::Rope(_)
                | Op::Slice { .. }
                | Op::Take
                | Op::ExpertSum
                | Op::ShortConv,
                Into::Rows,
            ) => true,
            _ => false,
        }
    }

    /// Makes row kernels for all that is needed and has no kernel yet.
    pub(super) fn make_rows(&mut self, fuse: bool) {
        let graph = self.graph;
        let mut queue: Vec<ValueId> = graph
            .values()
            .filter(|v| matches!(graph.op(*v), Op::Append))
            .chain(self.needed.iter().copied())
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
                    self.pull(operand, Into::Rows, &mut pulled);
                } else if !is_state(graph, operand) && !is_leaf(graph, storage(graph, operand)) {
                    pulled.stops.insert(storage(graph, operand));
                }
            }
            self.needed.extend(pulled.stops.iter().copied());
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
}
