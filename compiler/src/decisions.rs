//! What was decided about pairs of values, gathered as passes decide it.

use crate::region::{is_leaf, storage};
use quarrel_ir::graph::{Graph, Op, ValueId};
use quarrel_ir::plan::{Decision, Phase};
use std::collections::BTreeMap;

/// Why something was not done, and what would make it otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: String,
    pub would_change: String,
}

impl Refusal {
    /// A refusal for a reason, and what would change it.
    pub fn new(reason: impl Into<String>, would_change: impl Into<String>) -> Refusal {
        Refusal { reason: reason.into(), would_change: would_change.into() }
    }
}

/// The decisions of one phase: those of the same kind are one, with all their pairs.
#[derive(Clone, Debug)]
pub struct Decisions {
    phase: Phase,
    list: Vec<Decision>,
    /// Why pairs of values were kept apart, by the rule that refused.
    refused: BTreeMap<(ValueId, ValueId), Vec<(&'static str, Refusal)>>,
}

impl Decisions {
    /// None yet.
    pub fn new(phase: Phase) -> Decisions {
        Decisions { phase, list: Vec::new(), refused: BTreeMap::new() }
    }

    /// That one kernel computes both.
    pub fn take(&mut self, rule: &str, pair: (ValueId, ValueId), reason: &str) {
        self.add(rule, pair, true, Refusal::new(reason, ""));
    }

    /// That no kernel computes both.
    pub fn decline(&mut self, rule: &str, pair: (ValueId, ValueId), refusal: Refusal) {
        self.add(rule, pair, false, refusal);
    }

    /// That a kernel no longer computes both, though that was decided.
    pub fn undo(&mut self, (operand, value): (ValueId, ValueId), rule: &str, refusal: Refusal) {
        let pair = [operand.0, value.0];
        for decision in self.list.iter_mut().filter(|decision| decision.taken) {
            decision.pairs.retain(|known| *known != pair);
        }
        self.list.retain(|decision| !decision.pairs.is_empty());
        self.decline(rule, (operand, value), refusal);
    }

    /// Notes why `rule` did not bring the kernel of `operand` and that of `value` together. It is a
    /// decision if nothing else does: see [`settle`](Decisions::settle).
    pub fn refuse(
        &mut self,
        graph: &Graph,
        rule: &'static str,
        (operand, value): (ValueId, ValueId),
        refusal: Refusal,
    ) {
        let home = storage(graph, operand);
        if is_leaf(graph, home) {
            return;
        }
        // What reads a reshape reads its operand.
        if matches!(graph.op(value), Op::Reshape(_)) {
            for user in graph.users(value) {
                self.refuse(graph, rule, (operand, user), refusal.clone());
            }
            return;
        }
        let known = self.refused.entry((home, value)).or_default();
        if !known.iter().any(|(of, _)| *of == rule) {
            known.push((rule, refusal));
        }
    }

    /// Makes decisions of what was noted on a pair that is apart in the end.
    pub fn settle(&mut self, pair: (ValueId, ValueId)) {
        for (rule, refusal) in self.refused.get(&pair).cloned().unwrap_or_default() {
            self.decline(rule, pair, refusal);
        }
    }

    /// All of them.
    pub fn into_list(self) -> Vec<Decision> {
        self.list
    }

    fn add(&mut self, rule: &str, pair: (ValueId, ValueId), taken: bool, why: Refusal) {
        let pair = [pair.0.0, pair.1.0];
        let Refusal { reason, would_change } = why;
        let same = |d: &&mut Decision| {
            d.rule == rule
                && d.taken == taken
                && d.reason == reason
                && d.would_change == would_change
        };
        match self.list.iter_mut().find(same) {
            Some(known) if known.pairs.contains(&pair) => {}
            Some(known) => known.pairs.push(pair),
            None => self.list.push(Decision {
                phase: self.phase,
                rule: rule.into(),
                taken,
                reason,
                would_change,
                pairs: vec![pair],
            }),
        }
    }
}
