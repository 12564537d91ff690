//! What the states of one slot hold.

use quarrel_ir::plan::Rewind;

/// The tokens whose states a slot holds, and how far it once went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    tokens: Vec<u32>,
    /// Positions that were written since position 0 was: rows that came round are lost even when
    /// the slot has gone back since.
    reached: usize,
}

impl Slot {
    /// The tokens, from position 0 on.
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Adds tokens whose states are being written.
    pub(crate) fn extend(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
        self.reached = self.reached.max(self.tokens.len());
    }

    /// Forgets everything: the next token has position 0.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.reached = 0;
    }

    /// Goes back to what need not be processed of `wanted` and returns how many tokens that are:
    /// the beginning that it has in common with what is held, but never its last token, whose
    /// logits are wanted; or nothing, where the states cannot go back so far.
    pub(crate) fn go_back(&mut self, wanted: &[u32], rewind: Rewind) -> usize {
        let common = self.tokens.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        let common = common.min(wanted.len().saturating_sub(1));
        if common == 0 || !rewind.allows(self.reached - common) {
            self.clear();
        } else {
            self.tokens.truncate(common);
        }
        self.tokens.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use quarrel_ir::graph::Addressing;

    /// What is reused of `wanted` when `held` was processed.
    fn reused(held: &[u32], wanted: &[u32], rewind: Rewind) -> usize {
        let mut slot = Slot::default();
        slot.extend(held);
        slot.go_back(wanted, rewind)
    }

    #[test]
    fn only_what_differs_is_processed() {
        let reused = |held, wanted| reused(held, wanted, Rewind::All);
        assert_eq!(reused(&[], &[1, 2, 3]), 0);
        assert_eq!(reused(&[1, 2], &[1, 2, 3]), 2);
        assert_eq!(reused(&[1, 2, 9, 9], &[1, 2, 3]), 2);
        assert_eq!(reused(&[1, 2, 3, 4], &[1, 2, 3]), 2);
        assert_eq!(reused(&[1, 2, 3], &[1, 2, 3]), 2);
        assert_eq!(reused(&[4], &[1]), 0);
    }

    #[test]
    fn states_of_one_row_only_go_on() {
        let reused = |held, wanted| reused(held, wanted, Rewind::AtMost(0));
        assert_eq!(reused(&[1, 2], &[1, 2, 3]), 2);
        assert_eq!(reused(&[1, 2, 3], &[1, 2, 3]), 0);
        assert_eq!(reused(&[1, 2, 9], &[1, 2, 3]), 0);
        assert_eq!(reused(&[1, 2, 3, 4], &[1, 2, 3]), 0);
    }

    proptest! {
        /// Texts one after another, with a ring whose rows are simulated: the rows that the next
        /// token reads are those of its own text.
        #[test]
        fn what_is_reused_is_there(
            texts in prop::collection::vec(prop::collection::vec(0u32..2, 1..40), 1..8),
            window in 1u32..5, chunk in 1u32..6, ring in any::<bool>(),
        ) {
            let addressing = if ring { Addressing::Ring { window } } else { Addressing::Replace };
            let (context, mut slot) = (64, Slot::default());
            let rows = addressing.rows(context, chunk) as usize;
            let rewind = Rewind::of([addressing], context, chunk);
            let reads = if ring { window as usize } else { context as usize };
            // By row, the beginning of the text that was held when it was written.
            let mut states: Vec<&[u32]> = vec![&[]; rows];
            for text in &texts {
                let held = slot.go_back(text, rewind);
                prop_assert!(held < text.len());
                prop_assert_eq!(slot.tokens(), &text[..held]);
                if ring {
                    for position in (held + 1).saturating_sub(reads)..held {
                        prop_assert_eq!(states[position % rows], &text[..=position]);
                    }
                } else if held > 0 {
                    prop_assert_eq!(states[0], &text[..held]);
                }
                for position in held..text.len() {
                    states[position % rows] = &text[..=position];
                }
                slot.extend(&text[held..]);
            }
        }
    }
}
