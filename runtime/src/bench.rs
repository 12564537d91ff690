//! Runs steps to be timed, without text: decode, prompt processing, and dispatches one by one.
//!
//! The states hold whatever they hold; the time does not depend on it.

use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::session::Session;
use quarrel_ir::plan::{Phase, StepDims};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Steps under way at once.
const AHEAD: usize = 4;

impl Session {
    /// Decodes `steps` greedy tokens in every slot, the first at position `depth`, and returns how
    /// long it took. The session is reset.
    ///
    /// # Errors
    /// A context too short for `depth + steps`, or a failing device.
    pub fn bench_decode(&mut self, depth: u32, steps: u32) -> Result<Duration, RuntimeError> {
        self.reset();
        let (engine, io) = (&self.engine, &self.engine.plan().io);
        let options = &engine.plan().options;
        fits(depth as usize + steps as usize + 1, options.context)?;
        let slots = options.slots;
        let each: Vec<u32> = (0..slots).collect();
        engine.write(io.stop, &[0]);
        engine.write(io.tokens, &vec![0; slots as usize]);
        engine.write(io.positions, &vec![depth; slots as usize]);
        engine.write(io.slots, &each);
        engine.write(io.out_rows, &each);
        engine.write(io.step, &[slots, slots, 0, 0]);
        engine.write(io.live, &vec![1; slots as usize]);
        let dims = StepDims { tokens: slots, out_rows: slots, slots };
        let step = [(Phase::Decode, dims), (Phase::Greedy, dims)];
        engine.ready(&step)?;
        engine.wait()?;
        let start = Instant::now();
        let mut under_way = VecDeque::new();
        for _ in 0..steps {
            under_way.push_back(engine.run(&step)?);
            if under_way.len() > AHEAD {
                engine.gpu().wait(under_way.pop_front(), "decoding")?;
            }
        }
        engine.wait()?;
        Ok(start.elapsed())
    }

    /// Processes a prompt of `tokens` tokens in slot 0 after `depth` others and returns how long it
    /// took. The session is reset.
    ///
    /// # Errors
    /// A context too short for `depth + tokens`, or a failing device.
    pub fn bench_prefill(&mut self, depth: u32, tokens: u32) -> Result<Duration, RuntimeError> {
        fits(depth as usize + tokens as usize, self.engine.plan().options.context)?;
        self.engine.compile(&[Phase::Prefill])?;
        let prompt = vec![0; (depth + tokens) as usize];
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

    /// Microseconds that each dispatch of a program takes, the median of `rounds` runs at `dims`.
    /// Decode steps are run at position `depth`; prompt steps end there. A dispatch that is left
    /// out takes 0. The session is reset.
    ///
    /// Where the device writes timestamps between dispatches they are used; elsewhere each dispatch
    /// is submitted alone, and the time includes that.
    ///
    /// # Errors
    /// A context too short, a phase without a program, or a failing device.
    pub fn bench_dispatches(
        &mut self,
        phase: Phase,
        tokens: u32,
        depth: u32,
        rounds: usize,
    ) -> Result<Vec<f64>, RuntimeError> {
        self.reset();
        let engine = &self.engine;
        let options = &engine.plan().options;
        let (context, slots) = (options.context, options.slots);
        fits(depth as usize + 1, context)?;
        let dims = match phase {
            Phase::Prefill => {
                let count = tokens.clamp(1, options.chunk.min(depth + 1)) as usize;
                let end = depth as usize + 1;
                engine.write_chunk(0, &vec![0; end], end - count..end, 1)
            }
            _ => {
                let each: Vec<u32> = (0..slots).collect();
                let io = &engine.plan().io;
                engine.write(io.tokens, &vec![0; slots as usize]);
                engine.write(io.positions, &vec![depth; slots as usize]);
                engine.write(io.slots, &each);
                engine.write(io.out_rows, &each);
                engine.write(io.step, &[slots, slots, 0, 0]);
                engine.write(io.live, &vec![1; slots as usize]);
                StepDims { tokens: slots, out_rows: slots, slots }
            }
        };
        engine.ready(&[(phase, dims)])?;
        let count = engine.program(phase)?.len();
        let mut all = vec![Vec::with_capacity(rounds); count];
        for round in 0..rounds.max(1) + 1 {
            let times = if engine.gpu().facts().timestamps_inside_passes {
                crate::timestamps::dispatches(engine, phase, dims)?
            } else {
                one_by_one(engine, phase, dims, count)?
            };
            // The first warms up.
            if round > 0 {
                all.iter_mut().zip(times).for_each(|(all, time)| all.push(time));
            }
        }
        Ok(all.into_iter().map(median).collect())
    }
}

fn fits(needs: usize, context: u32) -> Result<(), RuntimeError> {
    if needs <= context as usize { Ok(()) } else { Err(RuntimeError::Context { needs, context }) }
}

fn one_by_one(
    engine: &Engine,
    phase: Phase,
    dims: StepDims,
    count: usize,
) -> Result<Vec<f64>, RuntimeError> {
    let time = |index| {
        let start = Instant::now();
        engine.submit_one(phase, dims, index)?;
        engine.wait()?;
        Ok(start.elapsed().as_secs_f64() * 1e6)
    };
    (0..count).map(time).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}
