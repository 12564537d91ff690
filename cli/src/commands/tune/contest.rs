//! A kernel's variants and what each takes.

use crate::tuned::Winner;
use quarrel_ir::plan::{Alternative, Choice};
use serde::Serialize;

/// How much longer than the cheapest a variant may be predicted to take, to be measured.
const CLOSE: f64 = 2.0;
/// Variants that are measured at most, unless all are.
const MOST: usize = 4;
/// Part of the usual variant's time that another must save: less is noise.
const GAIN: f64 = 0.03;

/// Variants of one kernel.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Contest {
    pub(super) key: String,
    /// The variant that is taken without tuning.
    pub(super) usual: String,
    /// The one that is kept: the usual one where no other is clearly faster.
    pub(super) winner: String,
    /// Part of the usual variant's time that it saves.
    pub(super) gain: f64,
    /// Those that are measured, the usual one first.
    pub(super) variants: Vec<Variant>,
}

/// A variant and what it takes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Variant {
    pub(super) name: String,
    /// By the model that chooses.
    pub(super) predicted_us: f64,
    /// Microseconds of a dispatch.
    pub(super) measured_us: Option<f64>,
    /// Microseconds and dispatches together.
    #[serde(skip)]
    sums: (f64, u32),
}

impl Contest {
    /// The variants of `choice` that are worth measuring: all of them, or those that are close.
    pub(super) fn new(choice: &Choice, all: bool) -> Contest {
        let usual = |variant: &&Alternative| variant.name == choice.chosen;
        // Of a variant with which other kernels differ this kernel's time would say too little.
        let rivals: Vec<&Alternative> =
            choice.alternatives.iter().filter(|v| !usual(v) && !v.changes_others).collect();
        let all_us = choice.alternatives.iter().map(|variant| variant.predicted_us);
        let cheapest = all_us.fold(f64::INFINITY, f64::min);
        let close = |variant: &&&Alternative| all || variant.predicted_us <= CLOSE * cheapest;
        let most = if all { usize::MAX } else { MOST - 1 };
        let mut rivals: Vec<&Alternative> = rivals.iter().filter(close).copied().collect();
        rivals.sort_by(|a, b| a.predicted_us.total_cmp(&b.predicted_us));
        let first = choice.alternatives.iter().filter(usual);
        let variant = |variant: &Alternative| Variant {
            name: variant.name.clone(),
            predicted_us: variant.predicted_us,
            measured_us: None,
            sums: (0.0, 0),
        };
        Contest {
            key: choice.key.clone(),
            usual: choice.chosen.clone(),
            winner: choice.chosen.clone(),
            gain: 0.0,
            variants: first.chain(rivals.into_iter().take(most)).map(variant).collect(),
        }
    }

    /// Variants that are measured; none where there is no choice.
    pub(super) fn len(&self) -> usize {
        if self.variants.len() > 1 { self.variants.len() } else { 0 }
    }

    /// The name of variant `round`, where there are so many.
    pub(super) fn name(&self, round: usize) -> Option<&str> {
        let variant = self.variants.get(round).filter(|_| self.len() > 0)?;
        Some(&variant.name)
    }

    /// Adds a measurement of variant `round`: microseconds of so many dispatches together.
    pub(super) fn add(&mut self, round: usize, us: f64, dispatches: u32) {
        let Some(variant) = self.variants.get_mut(round) else { return };
        variant.sums = (variant.sums.0 + us, variant.sums.1 + dispatches);
        variant.measured_us = Some(variant.sums.0 / f64::from(variant.sums.1.max(1)));
        let time = |variant: &Variant| variant.measured_us.unwrap_or(f64::INFINITY);
        let fastest = self.variants.iter().min_by(|a, b| time(a).total_cmp(&time(b)));
        let (Some(usual), Some(fastest)) = (self.variants.first(), fastest) else { return };
        let gain = 1.0 - time(fastest) / time(usual);
        (self.winner, self.gain) = match gain > GAIN {
            true => (fastest.name.clone(), gain),
            false => (self.usual.clone(), 0.0),
        };
    }

    /// What is to be kept: nothing where the usual variant is as good as any.
    pub(super) fn winner(&self) -> Option<Winner> {
        let us = |name: &str| self.variants.iter().find(|v| v.name == name)?.measured_us;
        (self.winner != self.usual).then_some(Winner {
            variant: self.winner.clone(),
            us: us(&self.winner)?,
            usual: self.usual.clone(),
            usual_us: us(&self.usual)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarrel_ir::plan::ChosenBy;

    fn choice() -> Choice {
        let variant = |name: &str, predicted_us, changes_others| Alternative {
            name: name.into(),
            predicted_us,
            changes_others,
        };
        Choice {
            key: "key".into(),
            chosen: "usual".into(),
            by: ChosenBy::Rule,
            reason: String::new(),
            alternatives: vec![
                variant("usual", 4.0, false),
                variant("far", 9.0, false),
                variant("near", 3.0, false),
                variant("split", 2.9, true),
            ],
        }
    }

    #[test]
    fn close_calls_are_measured_and_clear_winners_kept() {
        let mut contest = Contest::new(&choice(), false);
        assert_eq!((contest.name(0), contest.name(1)), (Some("usual"), Some("near")));
        assert_eq!(contest.len(), 2);
        assert_eq!(Contest::new(&choice(), true).len(), 3);
        contest.add(0, 50.0, 5);
        contest.add(1, 49.0, 5);
        assert_eq!(contest.winner(), None);
        contest.add(1, 31.0, 5);
        let winner = contest.winner().unwrap();
        assert_eq!((winner.variant.as_str(), winner.us, winner.usual_us), ("near", 8.0, 10.0));
    }

    #[test]
    fn where_there_is_no_choice_nothing_is_measured() {
        let mut only = choice();
        only.alternatives.truncate(1);
        let contest = Contest::new(&only, true);
        assert_eq!((contest.len(), contest.name(0)), (0, None));
    }
}
