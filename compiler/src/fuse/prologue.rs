//! Prologue growth: values computed where they are read, row by row.

use super::epilogue::other_kernel;
use super::{Fusion, PROLOGUE};
use crate::decisions::Refusal;
use crate::region::{Anchor, is_leaf, label, starts_in_fours, storage};
use quarrel_ir::graph::{Op, ValueId};
use quarrel_ir::plan::{Phase, Place};
use std::collections::BTreeSet;

/// Normalisations that one kernel computes again in every workgroup.
pub(super) const MOST_STATISTICS: usize = 2;

/// What a walk up from a value takes into the kernel.
#[derive(Default)]
pub(super) struct Pulled {
    pub(super) members: BTreeSet<ValueId>,
    /// Values that must be in memory, because the walk stopped at them.
    pub(super) stops: BTreeSet<ValueId>,
    pub(super) normalized: usize,
    /// Elements of a row of the kernel, where a normalisation has fixed it.
    pub(super) row: Option<u64>,
    /// A value that is taken although it is needed in memory: this kernel stores it.
    pub(super) host: Option<ValueId>,
    /// Why the walk stopped: the value, the op that reads it, and the reason.
    pub(super) refused: Vec<(ValueId, ValueId, Refusal)>,
}

/// Which kernel pulls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    Prologue,
    Rows,
    Scores,
}

impl Fusion<'_> {
    /// Takes what computes each product's operand into the product, where it goes row by row.
    pub(super) fn grow_prologues(&mut self) {
        for index in 0..self.regions.len() {
            match &self.regions[index].anchor {
                Anchor::Product(product) => self.grow_prologue(index, product.x),
                Anchor::TopK(ids) => self.pull_scores(index, *ids),
                Anchor::Attention(_)
                | Anchor::Combine(_)
                | Anchor::Group(_)
                | Anchor::Scan(_)
                | Anchor::Rows(_) => {}
            }
        }
    }

    /// Takes what computes `x` into product `index`.
    fn grow_prologue(&mut self, index: usize, x: ValueId) {
        let host = self.hosted(index, x);
        let mut pulled = Pulled { host, ..Pulled::default() };
        let reader = self.anchors_of(index, x).next().unwrap_or(x);
        self.pull((x, reader), Into::Prologue, &mut pulled);
        let waits = |stop: &ValueId| host.is_some_and(|host| self.depends(*stop, host));
        if pulled.stops.iter().any(waits) {
            pulled = Pulled::default();
            self.pull((x, reader), Into::Prologue, &mut pulled);
        }
        let many = match self.phase {
            Phase::Prefill => self.many_rows(x),
            _ => self.slots > 1,
        };
        let wanted = self.anchors_of(index, x).any(|linear| self.wants(x, linear));
        if many && pulled.normalized > 0 && !wanted {
            let refusal = Refusal::new(
                "many workgroups read each of many rows: its statistics are taken once, by a \
                 kernel of their own",
                "one row at a time (decoding one sequence), where a dispatch costs more than the \
                 statistics",
            );
            self.refuse_anchors(index, x, &refusal);
            self.need(storage(self.graph, x), "a product of many rows reads it");
            return;
        }
        self.note_pulled(Some(index), &mut pulled);
        let computed = pulled.members.iter().copied();
        let names: Vec<String> = computed
            .filter(|v| !matches!(self.graph.op(*v), Op::Reshape(_)))
            .map(|v| label(self.graph, v))
            .collect();
        if !names.is_empty() {
            let reason = format!(
                "{} computed on the fly from rows that the product reads anyway: cheaper than a dispatch",
                names.join(", ")
            );
            self.regions[index].reasons.push(reason);
        }
        if let Some(host) = host
            && pulled.members.contains(&host)
        {
            self.home.insert(host, index);
            self.regions[index].aside.insert(host);
            let reason = format!(
                "{} is stored by one workgroup: all compute it, and others read it later",
                label(self.graph, host)
            );
            self.regions[index].reasons.push(reason);
        }
        let members = pulled.members.into_iter().map(|v| (v, Place::Prologue));
        self.regions[index].members.extend(members);
    }

    /// The members of region `index` that read `x` as what its anchor works on.
    fn anchors_of(&self, index: usize, x: ValueId) -> impl Iterator<Item = ValueId> + '_ {
        let members = self.regions[index].members.keys().copied();
        members.filter(move |v| self.graph.operands(*v).first() == Some(&x))
    }

    /// Notes for each product of region `index` why it does not compute `x`.
    fn refuse_anchors(&mut self, index: usize, x: ValueId, refusal: &Refusal) {
        let Anchor::Product(product) = &self.regions[index].anchor else { return };
        let linears: Vec<ValueId> = product.linears().collect();
        for linear in linears {
            self.decisions.refuse(self.graph, PROLOGUE, (x, linear), refusal.clone());
        }
    }

    /// Notes where a walk stopped, and that others will have to store it.
    pub(super) fn note_pulled(&mut self, index: Option<usize>, pulled: &mut Pulled) {
        for (stop, reader, refusal) in std::mem::take(&mut pulled.refused) {
            self.need(stop, "another kernel reads it from memory");
            let product = index.filter(|index| {
                let members = &self.regions[*index].members;
                members.get(&reader) == Some(&Place::Anchor)
            });
            match product {
                Some(index) if matches!(self.regions[index].anchor, Anchor::Product(_)) => {
                    self.refuse_anchors(index, stop, &refusal);
                }
                _ => self.decisions.refuse(self.graph, PROLOGUE, (stop, reader), refusal),
            }
        }
        for stop in &pulled.stops {
            self.need(*stop, "another kernel reads it from memory");
        }
    }

    /// The shared value that product `index` may store for others, because it computes `x` from it:
    /// the product must have one row to compute it for, and nothing that the product waits for may
    /// need it.
    fn hosted(&self, index: usize, x: ValueId) -> Option<ValueId> {
        let graph = self.graph;
        let Anchor::Product(product) = &self.regions[index].anchor else { return None };
        if self.phase == Phase::Prefill || product.experts.is_some() {
            return None;
        }
        let host = self.nearest_shared(x)?;
        let members = &self.regions[index].members;
        let read = members.keys().flat_map(|m| graph.operands(*m));
        let mut outside = read.filter(|v| *v != x && !members.contains_key(v));
        let independent = outside.all(|v| !self.depends(v, host));
        (independent && !self.home.contains_key(&host)).then_some(host)
    }

    /// The first shared value on the way up from `value`, along elementwise ops and norms.
    fn nearest_shared(&self, value: ValueId) -> Option<ValueId> {
        let graph = self.graph;
        let home = storage(graph, value);
        if self.shared.contains(&home) {
            return Some(home);
        }
        match graph.op(home) {
            Op::Unary(_) | Op::Binary(_) | Op::Normalize(_) => {
                graph.operands(home).into_iter().find_map(|operand| self.nearest_shared(operand))
            }
            _ => None,
        }
    }

    /// Whether computing `value` takes `other`.
    fn depends(&self, value: ValueId, other: ValueId) -> bool {
        let mut seen = BTreeSet::new();
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            if value == other {
                return true;
            }
            // Operands come first.
            if value > other && seen.insert(value) {
                stack.extend(self.graph.operands(value));
            }
        }
        false
    }

    /// Takes what computes the scores of a top-k, and what is read at the chosen places, into it.
    fn pull_scores(&mut self, index: usize, ids: ValueId) {
        let graph = self.graph;
        let width = self.row_of(graph.operands(ids)[0]);
        let mut pulled = Pulled { row: Some(width), ..Pulled::default() };
        let read = self.regions[index].members.keys();
        let read = read.filter(|v| matches!(graph.op(**v), Op::TopK(_) | Op::Take));
        for (x, reader) in read.map(|v| (graph.operands(*v)[0], *v)).collect::<Vec<_>>() {
            self.pull((x, reader), Into::Scores, &mut pulled);
        }
        self.note_pulled(None, &mut pulled);
        let members = pulled.members.into_iter().map(|v| (v, Place::Prologue));
        self.regions[index].members.extend(members);
    }

    /// Walks up from `value`, which `reader` reads, taking what can be computed element by element.
    pub(super) fn pull(
        &self,
        (value, reader): (ValueId, ValueId),
        into: Into,
        pulled: &mut Pulled,
    ) {
        if is_leaf(self.graph, value) || pulled.members.contains(&value) {
            return;
        }
        let home = storage(self.graph, value);
        let needed = self.needed.get(&home).filter(|_| pulled.host != Some(home));
        let refusal = match needed {
            _ if self.home.contains_key(&home) => Err(other_kernel()),
            Some(why) => Err(Refusal::new(
                format!("{why}, so it is stored, and read rather than computed again"),
                "no other need of it in memory",
            )),
            None => self.may_pull(value, into, pulled),
        };
        if let Err(refusal) = refusal {
            if !is_leaf(self.graph, home) {
                pulled.stops.insert(home);
                pulled.refused.push((home, reader, refusal));
            }
            return;
        }
        if matches!(self.graph.op(value), Op::Normalize(_)) {
            pulled.normalized += 1;
            pulled.row = Some(self.row_of(value));
        }
        pulled.members.insert(value);
        // What reads a reshape reads its operand.
        let reader = if matches!(self.graph.op(value), Op::Reshape(_)) { reader } else { value };
        for operand in self.graph.operands(value) {
            self.pull((operand, reader), into, pulled);
        }
    }

    /// Whether every operand that repeats along a row can be read four elements at a time.
    fn repeats_in_fours(&self, value: ValueId) -> bool {
        let graph = self.graph;
        let dims = |v: ValueId| graph.tensor(v).map_or(&[][..], |t| &t.dims);
        let in_fours = |v: ValueId| {
            let width: u64 = dims(v).iter().product();
            let lined_up = dims(v) == dims(value) || self.row_of(value).is_multiple_of(4);
            width == 1 || (width.is_multiple_of(4) && lined_up && starts_in_fours(graph, v))
        };
        graph.operands(value).into_iter().all(in_fours)
    }

    /// The innermost extent of a value.
    pub(super) fn row_of(&self, value: ValueId) -> u64 {
        self.graph.tensor(value).map_or(0, |t| t.last())
    }

    /// Whether a kernel may compute `value` where it reads it.
    fn may_pull(&self, value: ValueId, into: Into, pulled: &Pulled) -> Result<(), Refusal> {
        let wide = self.graph.tensor(value).is_some_and(|t| t.width().is_multiple_of(4));
        let op = self.graph.op(value);
        let by_fours = || {
            Refusal::new(
                "a product reads four elements at a time, and its rows, or what is repeated along \
                 them, are not whole fours",
                "sizes that are multiples of four",
            )
        };
        match (op, into) {
            (Op::Unary(_) | Op::Binary(_) | Op::Reshape(_) | Op::GatherRows, Into::Prologue) => {
                (wide && self.repeats_in_fours(value)).then_some(()).ok_or_else(by_fours)
            }
            (Op::Unary(_) | Op::Binary(_) | Op::Reshape(_) | Op::GatherRows, _) => Ok(()),
            (Op::Normalize(_), Into::Prologue) if !wide => Err(by_fours()),
            (Op::Normalize(_), _) if pulled.normalized >= MOST_STATISTICS => Err(Refusal::new(
                format!(
                    "the kernel computes {MOST_STATISTICS} statistics of a row already, again in \
                     every workgroup"
                ),
                "fewer norms one after another",
            )),
            (Op::Normalize(_), Into::Prologue) => {
                let whole = self.graph.tensor(value).is_some_and(|t| t.dims.len() == 1);
                whole.then_some(()).ok_or_else(|| {
                    Refusal::new(
                        "a product takes statistics of whole rows, this norm is of parts of them",
                        "a norm over whole rows",
                    )
                })
            }
            (Op::Normalize(_), Into::Rows | Into::Scores) => {
                pulled.row.is_none_or(|row| row == self.row_of(value)).then_some(()).ok_or_else(
                    || {
                        Refusal::new(
                            "the kernel goes over rows of one length, this norm is of another",
                            "norms over rows of the same length",
                        )
                    },
                )
            }
            (
                Op::Embed
                | Op::Rope(_)
                | Op::Slice { .. }
                | Op::Take
                | Op::ExpertSum
                | Op::ShortConv,
                Into::Rows,
            ) => Ok(()),
            _ => Err(Refusal::new(
                format!("no kernel of this kind computes {} where it reads it", op.name()),
                format!("a rule for {} in prologues", op.name()),
            )),
        }
    }
}
