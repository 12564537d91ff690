//! A session: an engine with the tokens whose states its slots hold.
//!
//! The invariant everything here keeps: `slots[s]` are exactly the tokens whose states the device
//! holds for slot `s`, from position 0 on. A new text processes only what follows the part it has
//! in common with them, where the plan's states can go back so far; else all of it.

use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::pace::StepsAtOnce;
use crate::slot::Slot;
use crate::trace;
use quarrel_ir::plan::{BufferRole, Phase, PlanOptions, StepDims};
use std::ops::Range;

/// Sequences in progress on an engine.
#[derive(Debug)]
pub struct Session {
    pub(crate) engine: Engine,
    /// What each slot's states hold.
    pub(crate) slots: Vec<Slot>,
    /// How many decode steps go together.
    pub(crate) steps_at_once: StepsAtOnce,
    processed: u64,
}

/// Which rows of a prompt's logits are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Last,
    All,
}

impl Session {
    /// A session with nothing in its states.
    pub fn new(engine: Engine) -> Session {
        let slots = vec![Slot::default(); engine.plan().options.slots as usize];
        let steps_at_once = StepsAtOnce::default();
        Session { engine, slots, steps_at_once, processed: 0 }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Sets how many decode steps are submitted together.
    pub fn set_steps_at_once(&mut self, choice: StepsAtOnce) {
        self.steps_at_once = choice;
    }

    /// Prompt tokens processed since the session began; those found in the states are not counted.
    pub fn processed_tokens(&self) -> u64 {
        self.processed
    }

    /// The tokens of slot 0 whose states are written.
    pub fn tokens(&self) -> &[u32] {
        self.slots.first().map_or(&[], Slot::tokens)
    }

    /// Forgets all sequences.
    pub fn reset(&mut self) {
        self.slots.iter_mut().for_each(Slot::clear);
    }

    /// Forgets all sequences and sets the states to zero, after an error that may have left
    /// anything in them.
    pub(crate) fn reset_states(&mut self) {
        self.reset();
        self.engine.clear(BufferRole::State);
    }

    /// Makes slot 0 hold `tokens`, processing only what it does not hold yet, and returns how many
    /// that were. The last token is always processed, for its logits.
    ///
    /// # Errors
    /// No tokens, too many, one outside the vocabulary, or a failing device.
    pub fn sync(&mut self, tokens: &[u32]) -> Result<usize, RuntimeError> {
        self.sync_slot(0, tokens)
    }

    /// Adds `tokens` to slot 0.
    ///
    /// # Errors
    /// As [`sync`](Session::sync).
    pub fn feed(&mut self, tokens: &[u32]) -> Result<usize, RuntimeError> {
        let whole = [self.tokens(), tokens].concat();
        self.sync(&whole)
    }

    /// The logits that follow `tokens`: one number for each token of the vocabulary.
    ///
    /// # Errors
    /// As [`sync`](Session::sync).
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>, RuntimeError> {
        self.sync(tokens)?;
        let mut logits = Vec::new();
        self.engine.read_logits(1, &mut logits)?;
        Ok(logits)
    }

    /// The logits that follow each of `tokens`, some rows at a time: `on_rows` gets the index of
    /// the first row and the rows one after another. The whole text is processed.
    ///
    /// # Errors
    /// As [`sync`](Session::sync), or what `on_rows` returns.
    pub fn all_logits<E: From<RuntimeError>>(
        &mut self,
        tokens: &[u32],
        mut on_rows: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check(tokens)?;
        self.slot_mut(0).clear();
        let PlanOptions { chunk, out_rows, .. } = self.engine.plan().options;
        let step = chunk.min(out_rows).max(1) as usize;
        let mut logits = Vec::new();
        for first in (0..tokens.len()).step_by(step) {
            let range = first..tokens.len().min(first + step);
            self.submit_chunk(0, tokens, range.clone(), Rows::All)?;
            self.engine.read_logits(range.len(), &mut logits)?;
            on_rows(first, &logits)?;
        }
        Ok(())
    }

    /// As [`sync`](Session::sync) for any slot. Returns without waiting for the device.
    pub(crate) fn sync_slot(&mut self, slot: u32, tokens: &[u32]) -> Result<usize, RuntimeError> {
        self.check(tokens)?;
        let rewind = self.engine.plan().rewind;
        let held = self.slot_mut(slot).go_back(tokens, rewind);
        let chunk = self.engine.plan().options.chunk.max(1) as usize;
        let mut first = held;
        while first < tokens.len() {
            let last = tokens.len().min(first + chunk);
            self.submit_chunk(slot, tokens, first..last, Rows::Last)?;
            first = last;
        }
        Ok(tokens.len() - held)
    }

    /// Refuses prompts that cannot be processed.
    pub(crate) fn check(&self, tokens: &[u32]) -> Result<(), RuntimeError> {
        let plan = self.engine.plan();
        let (context, vocabulary) = (plan.options.context, plan.model.vocabulary);
        if tokens.is_empty() {
            return Err(RuntimeError::EmptyPrompt);
        }
        if tokens.len() > context as usize {
            return Err(RuntimeError::Context { needs: tokens.len(), context });
        }
        match tokens.iter().find(|&&token| token >= vocabulary) {
            Some(&token) => Err(RuntimeError::Token { token, vocabulary }),
            None => Ok(()),
        }
    }

    fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        // Callers pass slots of the plan, each of which has its place here.
        &mut self.slots[slot as usize]
    }

    /// Submits the part `range` of `tokens` as one prompt step of `slot`.
    fn submit_chunk(
        &mut self,
        slot: u32,
        tokens: &[u32],
        range: Range<usize>,
        rows: Rows,
    ) -> Result<(), RuntimeError> {
        let out_rows = match rows {
            Rows::All => range.len(),
            Rows::Last => usize::from(range.end == tokens.len()),
        };
        let dims = self.engine.write_chunk(slot, tokens, range.clone(), out_rows);
        // One token and its logits are a decode step, whose kernels are made for one row.
        let alone = dims == StepDims { tokens: 1, out_rows: 1, slots: 1 };
        let decode = alone && self.engine.plan().program(Phase::Decode).is_some();
        let phase = if decode { Phase::Decode } else { Phase::Prefill };
        let mut span = trace::begin(self.engine.gpu().tracer(), "prompt chunk");
        if let Some(span) = &mut span {
            span.detail("first", range.start);
            span.detail("tokens", range.len());
        }
        let ran = self.engine.run(&[(phase, dims)]);
        drop(span);
        match ran {
            Ok(_) => {
                self.processed += range.len() as u64;
                // `range` is part of `tokens`.
                self.slot_mut(slot).extend(&tokens[range]);
                Ok(())
            }
            Err(error) => {
                self.reset();
                Err(error)
            }
        }
    }
}

impl Engine {
    /// Writes the inputs of a prompt step: the part `range` of `tokens` in `slot`, with logits for
    /// its last `out_rows` rows.
    pub(crate) fn write_chunk(
        &self,
        slot: u32,
        tokens: &[u32],
        range: Range<usize>,
        out_rows: usize,
    ) -> StepDims {
        let io = &self.plan().io;
        let count = range.len() as u32;
        let rows: Vec<u32> = (count - out_rows as u32..count).collect();
        let positions: Vec<u32> = (range.start as u32..range.end as u32).collect();
        // `range` is part of `tokens`.
        self.write(io.tokens, &tokens[range]);
        self.write(io.positions, &positions);
        self.write(io.slots, &vec![slot; count as usize]);
        if !rows.is_empty() {
            self.write(io.out_rows, &rows);
        }
        self.write(io.step, &[count, out_rows as u32, 0, 0]);
        self.write_at(io.live, 4 * u64::from(slot), &[1]);
        let slots = self.plan().options.slots;
        StepDims { tokens: count, out_rows: out_rows as u32, slots }
    }
}
