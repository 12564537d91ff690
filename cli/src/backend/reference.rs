//! Models on the reference interpreter: slow and exact, on any machine.

use super::Backend;
use crate::error::{CliError, Result};
use quarrel_check::Sampler;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::Rewind;
use quarrel_ir::weight::WeightSource;
use quarrel_reference::{Interpreter, StepInputs};
use quarrel_runtime::{GenerateOptions, Generation, StopReason, Timings};
use std::ops::ControlFlow;
use std::time::Instant;

/// A sequence on the interpreter.
pub(crate) struct ReferenceBackend {
    interpreter: Interpreter,
    /// Tokens whose states are written.
    held: Vec<u32>,
    rewind: Rewind,
    context: u32,
    vocabulary: usize,
    chunk: usize,
}

impl ReferenceBackend {
    /// Reads the model's weights.
    pub(crate) fn new(
        graph: &Graph,
        weights: &dyn WeightSource,
        context: u32,
        chunk: u32,
    ) -> Result<ReferenceBackend> {
        let logits = graph.output().and_then(|logits| graph.tensor(logits));
        let vocabulary = logits.map_or(1, |logits| logits.last().max(1));
        let vocabulary = usize::try_from(vocabulary).unwrap_or(usize::MAX);
        // The interpreter keeps a row for each position where a state has more than one.
        let states = graph.states.iter().map(|state| state.addressing);
        let rewind = Rewind::of(states, context, context);
        let interpreter = Interpreter::new(graph.clone(), weights, 1, context as usize)?;
        let chunk = chunk.max(1) as usize;
        Ok(ReferenceBackend { interpreter, held: Vec::new(), rewind, context, vocabulary, chunk })
    }

    /// Processes what is not held of `tokens`; the last logits and how many tokens that were.
    fn sync(&mut self, tokens: &[u32]) -> Result<(Vec<f32>, usize)> {
        let common = self.held.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let common = common.min(tokens.len().saturating_sub(1));
        let possible = self.rewind.allows(self.held.len() - common);
        let common = if possible { common } else { 0 };
        self.held.truncate(common);
        let (_, new) = tokens.split_at(common);
        let mut logits = Vec::new();
        for part in new.chunks(self.chunk) {
            logits = self.step(part, false)?;
        }
        Ok((logits, new.len()))
    }

    /// Processes `tokens` after those that are held.
    fn step(&mut self, tokens: &[u32], all: bool) -> Result<Vec<f32>> {
        let mut inputs = StepInputs::sequence(0, self.held.len() as u32, tokens);
        if all {
            inputs = inputs.with_all_rows();
        }
        let logits = self.interpreter.step(&inputs)?;
        self.held.extend_from_slice(tokens);
        match logits.iter().all(|logit| logit.is_finite()) {
            true => Ok(logits),
            false => Err(CliError::user(
                "the model's logits are not finite: the weights are damaged, or their values are \
                 beyond what 32-bit floats hold",
            )),
        }
    }
}

impl Backend for ReferenceBackend {
    fn generate(
        &mut self,
        prompt: &[u32],
        options: GenerateOptions<'_>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Generation> {
        options.sampling.check()?;
        let mut sampler = Sampler::new(options.sampling, prompt);
        let start = Instant::now();
        let (mut logits, processed) = self.sync(prompt)?;
        let mut timings = Timings { prompt_tokens: processed, ..Timings::default() };
        timings.prefill = start.elapsed();
        let mut tokens = Vec::new();
        let mut first = Instant::now();
        let stop_reason = loop {
            if tokens.len() >= options.max_tokens {
                break StopReason::MaxTokens;
            }
            let token = sampler.draw(&logits, self.held.len().saturating_sub(1));
            tokens.push(token);
            if tokens.len() == 1 {
                timings.first_token = start.elapsed();
                first = Instant::now();
            }
            let wanted = on_token(token);
            if options.stop.contains(&token) {
                break StopReason::StopToken;
            } else if tokens.len() >= options.max_tokens {
                break StopReason::MaxTokens;
            } else if self.held.len() >= self.context as usize {
                break StopReason::ContextFull;
            } else if wanted.is_break() {
                break StopReason::Cancelled;
            }
            logits = self.step(&[token], false)?;
            timings.decode_steps += 1;
        };
        timings.decode = first.elapsed();
        Ok(Generation { tokens, stop_reason, timings })
    }

    /// One after another: the interpreter gains nothing by taking them together.
    fn generate_batch(
        &mut self,
        prompts: &[&[u32]],
        options: GenerateOptions<'_>,
        on_token: &mut dyn FnMut(usize, u32) -> ControlFlow<()>,
    ) -> Result<Vec<Generation>> {
        let each = prompts.iter().enumerate();
        each.map(|(index, prompt)| {
            self.generate(prompt, options, &mut |token| on_token(index, token))
        })
        .collect()
    }

    fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        Ok(self.sync(tokens)?.0)
    }

    fn all_logits(
        &mut self,
        tokens: &[u32],
        on_row: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        self.held.clear();
        let mut at = 0;
        for part in tokens.chunks(self.chunk) {
            let logits = self.step(part, true)?;
            for row in logits.chunks_exact(self.vocabulary) {
                on_row(at, row)?;
                at += 1;
            }
        }
        Ok(())
    }
}
