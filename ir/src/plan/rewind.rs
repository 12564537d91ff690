//! How far the states of a slot can go back.

use crate::graph::Addressing;
use serde::{Deserialize, Serialize};

/// How many of the tokens that a slot's states have seen last can be taken back, so that other
/// tokens follow those before them. Beginning again from position 0 is always possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rewind {
    /// All: each position has a row of its own.
    All,
    /// This many. They count from the last position written since position 0 was, however far the
    /// slot went back in between: what that position overwrote stays lost.
    AtMost(u32),
}

impl Rewind {
    /// What states with these rules allow, where a sequence has up to `context` positions and a
    /// step up to `chunk` tokens.
    pub fn of(states: impl IntoIterator<Item = Addressing>, context: u32, chunk: u32) -> Rewind {
        let each = states.into_iter().map(|state| Rewind::of_one(state, context, chunk));
        each.fold(Rewind::All, Rewind::least)
    }

    fn of_one(state: Addressing, context: u32, chunk: u32) -> Rewind {
        match state {
            Addressing::Append => Rewind::All,
            Addressing::Ring { window } => {
                let rows = state.rows(context, chunk);
                // The next token reads the `window − 1` rows before its own; the others are spare.
                let spare = rows.saturating_sub(window.saturating_sub(1));
                if rows < context { Rewind::AtMost(spare) } else { Rewind::All }
            }
            Addressing::Replace => Rewind::AtMost(0),
        }
    }

    fn least(self, other: Rewind) -> Rewind {
        match (self, other) {
            (Rewind::All, least) | (least, Rewind::All) => least,
            (Rewind::AtMost(a), Rewind::AtMost(b)) => Rewind::AtMost(a.min(b)),
        }
    }

    /// Whether the last `tokens` tokens can be taken back.
    pub fn allows(self, tokens: usize) -> bool {
        match self {
            Rewind::All => true,
            Rewind::AtMost(most) => tokens <= most as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_that_allows_least_decides() {
        let ring = Addressing::Ring { window: 4 };
        let of = |states: &[Addressing]| Rewind::of(states.iter().copied(), 64, 8);
        assert_eq!(of(&[]), Rewind::All);
        assert_eq!(of(&[Addressing::Append]), Rewind::All);
        assert_eq!(of(&[Addressing::Append, ring]), Rewind::AtMost(8));
        assert_eq!(of(&[ring, Addressing::Replace, Addressing::Append]), Rewind::AtMost(0));
        // A ring that never comes round.
        assert_eq!(Rewind::of([ring], 8, 8), Rewind::All);
        assert_eq!(Rewind::of([ring], 11, 8), Rewind::All);
        assert_eq!(Rewind::of([ring], 12, 8), Rewind::AtMost(8));
    }
}
