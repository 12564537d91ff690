//! Generating for a person or a script: streaming text, interrupts, and what is said about speed.

use crate::backend::Backend;
use crate::error::Result;
use crate::interrupt;
use crate::opening::Ready;
use crate::options::SamplingArgs;
use crate::text::Text;
use quarrel_models::tokenizer::{ControlText, StreamDecoder};
use quarrel_runtime::{GenerateOptions, Generation, SamplingParams, StopReason};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// Where the text of a generation goes as it comes.
pub(crate) enum Stream {
    /// To the standard output.
    Output,
    /// Nowhere: it is printed with the rest afterwards.
    Keep,
}

/// A generation with its text.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) generation: Generation,
    /// From the command's beginning, or the prompt's where it is not the first.
    pub(crate) first_token: Duration,
}

/// The timings of a result.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Timings {
    load_ms: f64,
    compile_ms: f64,
    prefill_ms: f64,
    decode_tokens_per_s: f64,
    ttft_ms: f64,
}

/// What to say about generations.
pub(crate) struct Speaker<'a> {
    pub(crate) text: Option<&'a Text>,
    pub(crate) sampling: SamplingParams,
    pub(crate) max_tokens: usize,
    pub(crate) stop: &'a [u32],
}

impl SamplingArgs {
    /// The parameters, checked.
    pub(crate) fn params(&self) -> Result<SamplingParams> {
        let SamplingArgs { temp, top_k, top_p, min_p, repeat_penalty, seed } = *self;
        let params =
            SamplingParams { temperature: temp, top_k, top_p, min_p, repeat_penalty, seed };
        params.check()?;
        Ok(params)
    }
}

impl Speaker<'_> {
    /// Continues `prompt`. Times count from `started`.
    pub(crate) fn say(
        &self,
        backend: &mut dyn Backend,
        prompt: &[u32],
        stream: Stream,
        started: Instant,
    ) -> Result<Answer> {
        let mut writer = self.writer(matches!(stream, Stream::Output));
        let mut failed = None;
        let mut first_token = None;
        let mut on_token = |token| {
            if let Err(error) = writer.push(token) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            first_token.get_or_insert_with(|| started.elapsed());
            if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let watch = interrupt::Watch::start();
        let generation = backend.generate(prompt, self.options(), &mut on_token)?;
        drop(watch);
        if let Some(error) = failed {
            return Err(error);
        }
        writer.finish()?;
        let first_token = first_token.unwrap_or_else(|| started.elapsed());
        Ok(Answer { text: writer.whole, generation, first_token })
    }

    /// Continues several prompts together, and keeps what comes. Times count from `started`.
    pub(crate) fn say_together(
        &self,
        backend: &mut dyn Backend,
        prompts: &[&[u32]],
        started: Instant,
    ) -> Result<Vec<Answer>> {
        let mut first_tokens = vec![None; prompts.len()];
        let mut on_token = |index: usize, _| {
            // Indices are those of the prompts.
            first_tokens[index].get_or_insert_with(|| started.elapsed());
            if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let watch = interrupt::Watch::start();
        let generations = backend.generate_batch(prompts, self.options(), &mut on_token)?;
        drop(watch);
        let answers = generations.into_iter().zip(first_tokens);
        answers
            .map(|(generation, first_token)| {
                let mut writer = self.writer(false);
                generation.tokens.iter().try_for_each(|token| writer.push(*token))?;
                writer.finish()?;
                let first_token = first_token.unwrap_or_else(|| started.elapsed());
                Ok(Answer { text: writer.whole, generation, first_token })
            })
            .collect()
    }

    fn options(&self) -> GenerateOptions<'_> {
        let (sampling, max_tokens, stop) = (self.sampling, self.max_tokens, self.stop);
        GenerateOptions { sampling, max_tokens, stop }
    }

    fn writer(&self, show: bool) -> Writer<'_> {
        let decoder = self.text.map(|text| text.tokenizer.stream(ControlText::Omit));
        Writer { decoder, whole: String::new(), show }
    }
}

/// Text on its way out.
struct Writer<'a> {
    decoder: Option<StreamDecoder<'a>>,
    whole: String,
    show: bool,
}

impl Writer<'_> {
    fn push(&mut self, token: u32) -> Result<()> {
        let text = match &mut self.decoder {
            Some(decoder) => decoder.push(token)?,
            None if self.show => return self.show(&format!("{token} ")),
            None => return Ok(()),
        };
        self.put(text)
    }

    fn finish(&mut self) -> Result<()> {
        let rest = self.decoder.as_mut().map(StreamDecoder::finish).unwrap_or_default();
        self.put(rest)?;
        if self.show { self.show("\n") } else { Ok(()) }
    }

    fn put(&mut self, text: String) -> Result<()> {
        if self.show && !text.is_empty() {
            self.show(&text)?;
        }
        self.whole += &text;
        Ok(())
    }

    fn show(&self, text: &str) -> Result<()> {
        crate::output::text(text)
    }
}

impl Timings {
    /// The timings of an answer on `ready`.
    pub(crate) fn of(ready: &Ready, answer: &Answer) -> Timings {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let timings = &answer.generation.timings;
        Timings {
            load_ms: ms(ready.load),
            compile_ms: ms(ready.compile),
            prefill_ms: ms(timings.prefill),
            decode_tokens_per_s: rate(timings.decode_steps, timings.decode),
            ttft_ms: ms(answer.first_token),
        }
    }
}

/// `count` a second; 0 where there was nothing to time.
fn rate(count: usize, time: Duration) -> f64 {
    match time.as_secs_f64() {
        seconds if count > 0 && seconds > 0.0 => count as f64 / seconds,
        _ => 0.0,
    }
}

/// A line about an answer's speed, for somebody who is watching or has asked for it.
pub(crate) fn summarise(answer: &Answer, prompt: usize, asked: bool) {
    if !asked && !std::io::stderr().is_terminal() {
        return;
    }
    let Generation { tokens, stop_reason, timings } = &answer.generation;
    let ended = match stop_reason {
        StopReason::StopToken => "stop token",
        StopReason::MaxTokens => "token limit",
        StopReason::ContextFull => "context full",
        StopReason::Cancelled => "interrupted",
    };
    let line = format!(
        "[prompt {prompt} tokens, {} new in {:.0} ms ({:.1}/s); {} tokens at {:.1}/s; first after \
         {:.0} ms; ended by {ended}]\n",
        timings.prompt_tokens,
        timings.prefill.as_secs_f64() * 1e3,
        rate(timings.prompt_tokens, timings.prefill),
        tokens.len(),
        rate(timings.decode_steps, timings.decode),
        answer.first_token.as_secs_f64() * 1e3,
    );
    // Without a standard error stream there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}
