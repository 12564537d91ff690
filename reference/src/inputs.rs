//! The inputs of a step, and the checks that make indexing with them safe.

use crate::ReferenceError;
use quarrel_ir::graph::{Graph, Input, Op};
use std::collections::HashMap;

/// The inputs of one step: see [`quarrel_ir::graph::Input`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepInputs {
    /// `[N]`: token ids.
    pub tokens: Vec<u32>,
    /// `[N]`: each token's position in its sequence, from 0.
    pub position: Vec<u32>,
    /// `[N]`: each token's slot.
    pub slot: Vec<u32>,
    /// `[R]`: the rows of `N` whose logits are wanted.
    pub out_rows: Vec<u32>,
}

impl StepInputs {
    /// Consecutive tokens of one sequence, the first at position `first`; the last row's logits
    /// are wanted.
    pub fn sequence(slot: u32, first: u32, tokens: &[u32]) -> StepInputs {
        let rows = tokens.len() as u32;
        StepInputs {
            tokens: tokens.to_vec(),
            position: (0..rows).map(|row| first.saturating_add(row)).collect(),
            slot: vec![slot; tokens.len()],
            out_rows: rows.checked_sub(1).into_iter().collect(),
        }
    }

    /// The same step with the logits of every row wanted.
    pub fn with_all_rows(mut self) -> StepInputs {
        self.out_rows = (0..self.tokens.len() as u32).collect();
        self
    }

    /// One input's elements.
    pub fn get(&self, input: Input) -> &[u32] {
        match input {
            Input::Tokens => &self.tokens,
            Input::Position => &self.position,
            Input::Slot => &self.slot,
            Input::OutRows => &self.out_rows,
        }
    }
}

/// The first number that is too large for each input, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    tokens: (usize, &'static str),
    position: (usize, &'static str),
    slot: (usize, &'static str),
}

impl Limits {
    /// Limits by the states' size and by the tables whose rows the inputs choose.
    pub(crate) fn new(graph: &Graph, slots: usize, context: usize) -> Limits {
        let mut limits = Limits {
            tokens: (u32::MAX as usize, "the range of a token id"),
            position: (context, "the context"),
            slot: (slots, "the number of slots"),
        };
        for value in graph.values().filter(|&value| *graph.op(value) == Op::Embed) {
            // Types say that an embed has two operands: a table [rows, width] and an input.
            let operands = graph.operands(value);
            let table = graph.tensor(operands[0]).map_or(0, |table| table.dims[0]);
            let rows = usize::try_from(table).unwrap_or(usize::MAX);
            let (limit, why) = match graph.op(operands[1]) {
                Op::Input(Input::Tokens) => (&mut limits.tokens, "the vocabulary"),
                Op::Input(Input::Position) => (&mut limits.position, "the table of positions"),
                Op::Input(Input::Slot) => (&mut limits.slot, "a table with a row for each slot"),
                _ => continue,
            };
            if rows < limit.0 {
                *limit = (rows, why);
            }
        }
        limits
    }

    /// Checks lengths, ranges and that no two tokens share a place.
    pub(crate) fn check(&self, inputs: &StepInputs) -> Result<(), ReferenceError> {
        let tokens = inputs.tokens.len();
        for (input, elements) in [("position", &inputs.position), ("slot", &inputs.slot)] {
            if elements.len() != tokens {
                return Err(ReferenceError::InputLength { input, tokens, got: elements.len() });
            }
        }
        below("tokens", &inputs.tokens, self.tokens)?;
        below("position", &inputs.position, self.position)?;
        below("slot", &inputs.slot, self.slot)?;
        below("out_rows", &inputs.out_rows, (tokens, "the tokens of the step"))?;
        let mut seen = HashMap::new();
        for (second, place) in inputs.slot.iter().zip(&inputs.position).enumerate() {
            if let Some(first) = seen.insert(place, second) {
                let (&slot, &position) = place;
                return Err(ReferenceError::SamePlace { first, second, slot, position });
            }
        }
        Ok(())
    }
}

/// Checks that all elements are below the limit.
fn below(
    input: &'static str,
    elements: &[u32],
    (limit, why): (usize, &'static str),
) -> Result<(), ReferenceError> {
    match elements.iter().position(|&element| element as usize >= limit) {
        Some(index) => {
            Err(ReferenceError::InputRange { input, index, got: elements[index], limit, why })
        }
        None => Ok(()),
    }
}
