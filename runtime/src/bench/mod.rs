//! Runs steps to be timed, without text.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | decode steps and prompts |
//! | `split.rs` | what host and device do in a decode step |
//! | `barriers.rs` | what it costs that dispatches wait for each other |
//! | `kernels.rs` | what each kernel takes of a step |
//! | `timestamps.rs` | the time of each dispatch, by the device's clock |
//!
//! The states hold whatever they hold; the time does not depend on it.

mod barriers;
mod kernels;
mod split;
mod timestamps;

pub use barriers::BarrierCost;
pub use kernels::{KernelClock, KernelTime};
pub use split::StepSplit;
pub(crate) use timestamps::Queries;

use crate::engine::Engine;
use crate::error::{NotFinite, RuntimeError};
use crate::ring::Ring;
use crate::session::Session;
use quarrel_ir::plan::{Phase, StepDims};
use quarrel_ir::sampling::Status;
use std::time::{Duration, Instant};

/// A program with the dims it is run at.
type Program = (Phase, StepDims);

/// A step to be timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchStep {
    /// A token in each slot after this many others, and the choice of the next.
    Decode {
        /// Tokens before.
        depth: u32,
    },
    /// A chunk of a prompt in slot 0.
    Prefill {
        /// Tokens before.
        depth: u32,
        /// Tokens of the chunk.
        tokens: u32,
    },
}

impl BenchStep {
    /// Writes the step's inputs; the programs that it runs.
    fn write(self, engine: &Engine) -> Result<Vec<Program>, RuntimeError> {
        let options = &engine.plan().options;
        match self {
            BenchStep::Decode { depth } => {
                fits(depth as usize + 1, options.context)?;
                let dims = write_decode(engine, depth);
                Ok(vec![(Phase::Decode, dims), (Phase::Greedy, dims)])
            }
            BenchStep::Prefill { depth, tokens } => {
                let tokens = tokens.clamp(1, options.chunk);
                let end = depth as usize + tokens as usize;
                fits(end, options.context)?;
                let text = text(engine, end);
                let dims = engine.write_chunk(0, &text, depth as usize..end, 1);
                // As a session does it.
                let alone = dims == StepDims { tokens: 1, out_rows: 1, slots: 1 };
                Ok(vec![(if alone { Phase::Decode } else { Phase::Prefill }, dims)])
            }
        }
    }

    /// Tokens that the context holds after this step's.
    fn room(self, engine: &Engine) -> u32 {
        let end = match self {
            BenchStep::Decode { depth } => depth + 1,
            BenchStep::Prefill { depth, tokens } => depth + tokens,
        };
        engine.plan().options.context.saturating_sub(end)
    }
}

/// A dispatch of a step.
#[derive(Clone, Copy)]
struct At {
    phase: Phase,
    dims: StepDims,
    /// Its place in the program of `phase`.
    index: usize,
}

impl At {
    /// All dispatches of `programs`, in order.
    fn all(engine: &Engine, programs: &[Program]) -> Result<Vec<At>, RuntimeError> {
        let mut all = Vec::new();
        for &(phase, dims) in programs {
            let count = engine.program(phase)?.len();
            all.extend((0..count).map(|index| At { phase, dims, index }));
        }
        Ok(all)
    }
}

impl Session {
    /// Decodes `steps` greedy tokens in every slot, the first at position `depth`, reads them back as
    /// generating does, and returns how long it took. The session is reset.
    ///
    /// # Errors
    /// A context too short for `depth + steps`, logits that are not finite, or a failing device.
    pub fn bench_decode(&mut self, depth: u32, steps: u32) -> Result<Duration, RuntimeError> {
        self.reset();
        let engine = &self.engine;
        fits(depth as usize + steps as usize + 1, engine.plan().options.context)?;
        let step = BenchStep::Decode { depth }.write(engine)?;
        engine.ready(&step)?;
        let mut ring = Ring::new(engine, self.steps_at_once)?;
        engine.wait()?;
        let start = Instant::now();
        ring.begin();
        let mut left = steps as usize;
        while left > 0 || ring.is_under_way() {
            while left > 0 && ring.has_room() {
                left -= ring.submit_some(engine, &step, left)? as usize;
            }
            receive(engine, &mut ring)?;
        }
        Ok(start.elapsed())
    }

    /// Processes a prompt of `tokens` tokens in slot 0 after `depth` others and returns how long it
    /// took. The session is reset.
    ///
    /// # Errors
    /// A context too short for `depth + tokens`, or a failing device.
    pub fn bench_prefill(&mut self, depth: u32, tokens: u32) -> Result<Duration, RuntimeError> {
        let end = depth as usize + tokens as usize;
        fits(end, self.engine.plan().options.context)?;
        self.engine.compile(&[Phase::Prefill])?;
        let prompt = text(&self.engine, end);
        // As if the first of them had been processed.
        self.reset();
        if let Some(first) = self.slots.first_mut() {
            first.extend(&prompt[..depth as usize]);
        }
        self.engine.wait()?;
        let start = Instant::now();
        self.sync(&prompt)?;
        self.engine.wait()?;
        let elapsed = start.elapsed();
        self.reset();
        Ok(elapsed)
    }
}

/// Writes the inputs of a decode step in which all slots are live; stop tokens there are none.
/// Reads the records of the oldest submission.
fn receive(engine: &Engine, ring: &mut Ring) -> Result<(), RuntimeError> {
    let records = ring.receive(engine)?;
    if records.iter().any(|record| Status::from_word(record.status) != Some(Status::Live)) {
        return Err(RuntimeError::NotFinite(NotFinite { kernel: None }));
    }
    ring.recycle(records);
    Ok(())
}

fn write_decode(engine: &Engine, depth: u32) -> StepDims {
    let plan = engine.plan();
    let (io, slots) = (&plan.io, plan.options.slots);
    let each: Vec<u32> = (0..slots).collect();
    engine.write(io.stop, &[0]);
    engine.write(io.tokens, &text(engine, slots as usize));
    engine.write(io.positions, &vec![depth; slots as usize]);
    engine.write(io.slots, &each);
    engine.write(io.out_rows, &each);
    engine.write(io.step, &[slots, slots, 0, 0]);
    engine.write(io.live, &vec![1; slots as usize]);
    StepDims { tokens: slots, out_rows: slots, slots }
}

/// Pseudo-random tokens, the same each time: equal ones would all be sent to the same experts.
fn text(engine: &Engine, count: usize) -> Vec<u32> {
    let vocabulary = u64::from(engine.plan().model.vocabulary.max(1));
    // Knuth's multiplicative hash; below the vocabulary, which is a u32.
    let token =
        |index: u64| ((index.wrapping_mul(2_654_435_761) & 0xffff_ffff) % vocabulary) as u32;
    (1..=count as u64).map(token).collect()
}

fn fits(needs: usize, context: u32) -> Result<(), RuntimeError> {
    if needs <= context as usize { Ok(()) } else { Err(RuntimeError::Context { needs, context }) }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}
