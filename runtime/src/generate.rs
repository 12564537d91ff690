//! The token loop: steps submitted ahead, tokens read back through a ring of mapped buffers.
//!
//! The sampling kernel writes the next step's inputs, so a step can be submitted before the last
//! token is known here. Steps that were submitted past the end of a sequence find its slot not live
//! and change nothing.

use crate::error::RuntimeError;
use crate::ring::{Record, Ring};
use crate::sampling::{SamplingParams, stop_words};
use crate::session::Session;
use crate::trace;
use quarrel_ir::plan::{Phase, StepDims};
use quarrel_ir::sampling::Status;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Its last token is a stop token.
    StopToken,
    /// It has as many tokens as were asked for.
    MaxTokens,
    /// The states have no room for another token.
    ContextFull,
    /// The caller wanted no more.
    Cancelled,
}

/// How long the parts of a generation took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// From the start until the prompts were processed.
    pub prefill: Duration,
    /// From the start until the first token was known here.
    pub first_token: Duration,
    /// From the first token to the last.
    pub decode: Duration,
    /// Decode steps between these two.
    pub decode_steps: usize,
    /// Prompt tokens processed; those that were in the states are not counted.
    pub prompt_tokens: usize,
}

/// What was generated for one sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The tokens, a stop token included.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub stop_reason: StopReason,
    /// How long it took; the same for all sequences of a batch.
    pub timings: Timings,
}

/// What to generate.
#[derive(Clone, Copy, Debug)]
pub struct GenerateOptions<'a> {
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Most tokens a sequence.
    pub max_tokens: usize,
    /// Tokens that end a sequence.
    pub stop: &'a [u32],
}

impl Session {
    /// Continues `prompt` in slot 0. What the states hold of it already is not processed again.
    /// `on_token` gets each token as it is known, a stop token included.
    ///
    /// # Errors
    /// A prompt or parameters that make no sense, logits that are no numbers, or a failing device.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        options: GenerateOptions<'_>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Generation, RuntimeError> {
        let mut all = self.generate_batch(&[prompt], options, &mut |_, token| on_token(token))?;
        // One prompt gives one generation.
        all.pop().ok_or_else(|| RuntimeError::Protocol("a generation is missing".into()))
    }

    /// Continues several prompts together, one a slot. `on_token` gets the prompt's index and each
    /// token.
    ///
    /// # Errors
    /// As [`generate`](Session::generate); or more prompts than slots.
    pub fn generate_batch(
        &mut self,
        prompts: &[&[u32]],
        options: GenerateOptions<'_>,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>, RuntimeError> {
        let slots = self.engine.plan().options.slots;
        if prompts.is_empty() || prompts.len() > slots as usize {
            return Err(RuntimeError::Slots { got: prompts.len(), slots });
        }
        options.sampling.check()?;
        prompts.iter().try_for_each(|prompt| self.check(prompt))?;
        let stop = stop_words(options.stop)?;
        self.engine.write(self.engine.plan().io.stop, &stop);
        self.engine.write(self.engine.plan().io.live, &vec![0; slots as usize]);
        let result = Loop::new(self, prompts, options)?.run(on_token);
        if result.is_err() {
            self.reset_states();
        }
        result
    }
}

impl Drop for Loop<'_> {
    /// Where steps are under way still, because of an error or a panic in `on_token`, nobody will
    /// know what they wrote.
    fn drop(&mut self) {
        if self.received < self.submitted {
            self.session.reset();
        }
    }
}

/// One sequence of the loop.
struct Sequence {
    tokens: Vec<u32>,
    ended: Option<StopReason>,
    /// The token drawn last, whose state the next step writes.
    last: Option<u32>,
}

/// What a record is the result of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The prompt of this sequence alone.
    Prompt(usize),
    /// A decode step of all sequences, which wrote the states of the tokens drawn before it.
    Decode,
}

struct Loop<'a> {
    session: &'a mut Session,
    prompts: &'a [&'a [u32]],
    options: GenerateOptions<'a>,
    sampler: Phase,
    ring: Ring,
    sequences: Vec<Sequence>,
    /// Decode steps submitted, and those whose records were read.
    submitted: usize,
    received: usize,
    start: Instant,
    timings: Timings,
}

impl<'a> Loop<'a> {
    fn new(
        session: &'a mut Session,
        prompts: &'a [&'a [u32]],
        options: GenerateOptions<'a>,
    ) -> Result<Loop<'a>, RuntimeError> {
        let ring = Ring::new(&session.engine, session.steps_at_once)?;
        let sampler = if options.sampling.is_greedy() { Phase::Greedy } else { Phase::Sample };
        let sequence = |_| Sequence {
            tokens: Vec::with_capacity(options.max_tokens.min(1 << 16)),
            ended: None,
            last: None,
        };
        Ok(Loop {
            session,
            prompts,
            options,
            sampler,
            ring,
            sequences: prompts.iter().map(sequence).collect(),
            submitted: 0,
            received: 0,
            start: Instant::now(),
            timings: Timings::default(),
        })
    }

    fn run(
        mut self,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>, RuntimeError> {
        if self.options.max_tokens > 1 {
            // Needed after the prompt: compiled while the device works on it.
            self.session.engine.compile_in_background(&[
                Phase::Prefill,
                self.sampler,
                Phase::Decode,
            ]);
        }
        self.prefill(on_token)?;
        let first = Instant::now();
        self.timings.first_token = first - self.start;
        self.decode(on_token)?;
        self.timings.decode = first.elapsed();
        self.timings.decode_steps = self.received;
        let timings = self.timings;
        let finish = |sequence: Sequence| Generation {
            tokens: sequence.tokens,
            stop_reason: sequence.ended.unwrap_or(StopReason::MaxTokens),
            timings,
        };
        Ok(std::mem::take(&mut self.sequences).into_iter().map(finish).collect())
    }

    /// Processes the prompts and draws the first token of each.
    fn prefill(
        &mut self,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<(), RuntimeError> {
        let (prompts, slots) = (self.prompts, self.session.engine.plan().options.slots);
        for (slot, prompt) in (0u32..).zip(prompts) {
            let record = self.options.sampling.record(prompt);
            let io = &self.session.engine.plan().io;
            let offset = u64::from(slot) * 4 * record.len() as u64;
            self.session.engine.write_at(io.sampler, offset, &record);
            self.timings.prompt_tokens += self.session.sync_slot(slot, prompt)?;
            if self.options.max_tokens == 0 {
                self.session.engine.wait()?;
                self.timings.prefill = self.start.elapsed();
                continue;
            }
            let prefilled = self.session.engine.gpu().queue.submit([]);
            let draw = [(self.sampler, StepDims { tokens: 1, out_rows: 1, slots })];
            if slots > 1 {
                self.ring.restart(&self.session.engine);
            }
            let engine = &self.session.engine;
            self.ring.submit(engine, &draw, 1, |encoder| engine.record(encoder, &draw))?;
            // With one slot the next step's inputs are in place; its kernels may still compile.
            if slots == 1 && self.session.engine.compiled(&[Phase::Decode]) {
                self.submit_ahead()?;
            }
            {
                let gpu = self.session.engine.gpu();
                let _waiting = trace::begin(gpu.tracer(), "wait for the prompt");
                gpu.wait(Some(prefilled), "processing the prompt")?;
            }
            self.timings.prefill = self.start.elapsed();
            self.receive(Step::Prompt(slot as usize), on_token)?;
        }
        if slots > 1 {
            self.write_inputs();
            self.ring.restart(&self.session.engine);
        }
        Ok(())
    }

    /// Writes the first decode step's inputs of all slots, where prefills of one slot after another
    /// have left each other's.
    fn write_inputs(&mut self) {
        let engine = &self.session.engine;
        let slots = engine.plan().options.slots;
        let io = &engine.plan().io;
        let of = |slot: u32| self.sequences.get(slot as usize);
        let words = |f: &dyn Fn(u32, &Sequence) -> u32| -> Vec<u32> {
            (0..slots).map(|slot| of(slot).map_or(0, |sequence| f(slot, sequence))).collect()
        };
        let context = engine.plan().options.context;
        // `slots` of the session has an entry for each slot of the plan.
        let position = |slot: u32| self.session.slots[slot as usize].tokens().len() as u32;
        engine.write(io.tokens, &words(&|_, sequence| sequence.last.unwrap_or(0)));
        engine.write(io.positions, &words(&|slot, _| position(slot).min(context - 1)));
        engine.write(io.live, &words(&|_, sequence| u32::from(sequence.ended.is_none())));
        let each: Vec<u32> = (0..slots).collect();
        engine.write(io.slots, &each);
        engine.write(io.out_rows, &each);
        engine.write(io.step, &[slots, slots, 0, 0]);
    }

    /// Decodes until every sequence has ended.
    fn decode(
        &mut self,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<(), RuntimeError> {
        while self.received < self.steps() && self.going_on() {
            self.submit_ahead()?;
            self.receive(Step::Decode, on_token)?;
        }
        // Steps submitted past the end: they tell which states are written.
        while self.received < self.submitted {
            self.receive(Step::Decode, on_token)?;
        }
        Ok(())
    }

    /// Decode steps of a sequence that runs to its end.
    fn steps(&self) -> usize {
        self.options.max_tokens.saturating_sub(1)
    }

    fn going_on(&self) -> bool {
        self.sequences.iter().any(|sequence| sequence.ended.is_none())
    }

    /// Submits decode steps until the ring is full or there are enough.
    fn submit_ahead(&mut self) -> Result<(), RuntimeError> {
        let slots = self.session.engine.plan().options.slots;
        let dims = StepDims { tokens: slots, out_rows: slots, slots };
        let step = [(Phase::Decode, dims), (self.sampler, dims)];
        while self.submitted < self.steps() && self.ring.has_room() {
            let wanted = self.steps() - self.submitted;
            let steps = self.ring.submit_some(&self.session.engine, &step, wanted)?;
            self.submitted += steps as usize;
        }
        Ok(())
    }

    /// Reads the records of the oldest submission.
    fn receive(
        &mut self,
        step: Step,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<(), RuntimeError> {
        let records = self.ring.receive(&self.session.engine)?;
        if step != Step::Decode {
            self.ring.begin();
        }
        let slots = self.session.engine.plan().options.slots as usize;
        for records in records.chunks_exact(slots) {
            let indices = match step {
                Step::Prompt(index) => index..index + 1,
                Step::Decode => {
                    self.received += 1;
                    0..self.sequences.len()
                }
            };
            for index in indices {
                // There is a record for each slot and a slot for each sequence.
                self.take(index, records[index], step, on_token)?;
            }
        }
        self.ring.recycle(records);
        Ok(())
    }

    fn take(
        &mut self,
        index: usize,
        record: Record,
        step: Step,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<(), RuntimeError> {
        let status = Status::from_word(record.status).ok_or_else(|| {
            RuntimeError::Protocol(format!("a sampling kernel reported status {}", record.status))
        })?;
        if status == Status::Idle {
            return Ok(());
        }
        // `index` counts sequences, of which each has a slot.
        let sequence = &mut self.sequences[index];
        let before = sequence.last.filter(|_| step == Step::Decode);
        self.session.slots[index].extend(before.as_slice());
        if status == Status::NotFinite {
            return Err(crate::not_finite::diagnose(self.session, index, step == Step::Decode));
        }
        sequence.last = Some(record.token);
        if sequence.ended.is_some() {
            return Ok(());
        }
        sequence.tokens.push(record.token);
        let wanted = {
            let mut span = trace::begin(self.session.engine.gpu().tracer(), "token");
            if let Some(span) = &mut span {
                span.detail("id", record.token);
            }
            on_token(index, record.token)
        };
        sequence.ended = match status {
            Status::Stopped => Some(StopReason::StopToken),
            _ if sequence.tokens.len() >= self.options.max_tokens => Some(StopReason::MaxTokens),
            Status::ContextFull => Some(StopReason::ContextFull),
            _ if wanted.is_break() => Some(StopReason::Cancelled),
            _ => None,
        };
        Ok(())
    }
}
