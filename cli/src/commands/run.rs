//! `quarrel run`: generate from a prompt.

use crate::error::{CliError, Result};
use crate::generation::{Answer, Speaker, Stream, Timings, summarise};
use crate::opening::{Opening, Ready};
use crate::options::{PlanArgs, PromptArgs, SamplingArgs};
use crate::text::{Text, check_prompt};
use crate::{interrupt, output};
use quarrel_ir::plan::Phase;
use quarrel_runtime::StopReason;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Generate from a prompt
///
/// The model's chat template applies where it has one. Output is greedy, and so repeats itself,
/// unless --temp is above 0.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  quarrel run smollm2 \"Why is the sky blue?\"\n  quarrel run \
smollm2 --raw -n 20 \"The capital of France is\"\n  quarrel run smollm2 --temp 0.8 --seed 7 \"Tell me a \
story\"\n  git diff | quarrel run model.gguf --system \"Summarise this change.\" -\n  quarrel run \
model.gguf --prompt-tokens 1,17,93 --json\n  quarrel run smollm2 --batch prompts.txt > answers.jsonl")]
pub(crate) struct Args {
    /// A GGUF file, a Hugging Face folder or a model's name
    model: String,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Prompts from a file, one a line; one JSON object a line comes out (`-`: standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "prompt_tokens"])]
    batch: Option<PathBuf>,
    /// Most tokens to generate
    #[arg(short = 'n', long = "tokens", value_name = "N", default_value_t = 128)]
    tokens: usize,
    /// Take the prompt as it is, without the chat template
    #[arg(long)]
    raw: bool,
    /// A system message for the chat template
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Print the result as JSON when it is complete
    #[arg(long)]
    json: bool,
    /// Print timings even where nobody is watching
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    plan: PlanArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    prompt_tokens: &'a [u32],
    tokens: &'a [u32],
    text: &'a str,
    stop_reason: StopReason,
    timings: Timings,
}

/// Prompts as ids, with what is needed to speak about them.
struct Prompts {
    each: Vec<Vec<u32>>,
    text: Option<Text>,
    stop: Vec<u32>,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let sampling = args.sampling.params()?;
    let lines = args.batch.as_deref().map(read_lines).transpose()?;
    let single = if lines.is_none() { args.prompt.text()? } else { None };
    let mut opening = Opening::start(&args.model, &args.plan)?;
    let context = opening.context();
    let compiled = opening.compile(context, 1)?;
    let prompts = match (lines, single) {
        (Some(lines), _) => encode(args, &mut opening, &lines)?,
        (None, Some(text)) => encode(args, &mut opening, &[text])?,
        (None, None) => given_ids(args, &mut opening)?,
    };
    for (index, prompt) in prompts.each.iter().enumerate() {
        let checked = check_prompt(prompt, context, opening.model.summary.vocabulary);
        checked.map_err(|error| match &args.batch {
            Some(_) => error.at(&format!("line {}", index + 1)),
            None => error,
        })?;
    }
    let sampler = if sampling.is_greedy() { Phase::Greedy } else { Phase::Sample };
    let mut ready = opening.load(compiled, &[Phase::Prefill, sampler])?;
    let speaker = Speaker {
        text: prompts.text.as_ref(),
        sampling,
        max_tokens: args.tokens,
        stop: &prompts.stop,
    };
    let mut started = ready.started;
    for prompt in &prompts.each {
        answer(args, &mut ready, &speaker, prompt, started)?;
        if interrupt::asked() {
            break;
        }
        started = Instant::now();
    }
    Ok(())
}

/// Generates for one prompt and prints the result.
fn answer(
    args: &Args,
    ready: &mut Ready,
    speaker: &Speaker<'_>,
    prompt: &[u32],
    started: Instant,
) -> Result<()> {
    let json = args.json || args.batch.is_some();
    let stream = if json { Stream::Keep } else { Stream::Output };
    let answer = speaker.say(ready.backend.as_mut(), prompt, stream, started)?;
    if json {
        output::json(&result(prompt, &answer, ready))?;
    }
    summarise(&answer, prompt.len(), args.stats);
    Ok(())
}

fn result<'a>(prompt: &'a [u32], answer: &'a Answer, ready: &Ready) -> Output<'a> {
    Output {
        prompt_tokens: prompt,
        tokens: &answer.generation.tokens,
        text: &answer.text,
        stop_reason: answer.generation.stop_reason,
        timings: Timings::of(ready, answer),
    }
}

/// Prompts that are texts.
fn encode(args: &Args, opening: &mut Opening<'_>, texts: &[String]) -> Result<Prompts> {
    let text = opening.text()?;
    let encode = |prompt: &String| text.encode(prompt, args.raw, args.system.as_deref());
    let each = texts.iter().map(encode).collect::<Result<_>>()?;
    let stop = text.stop_ids();
    Ok(Prompts { each, text: Some(text), stop })
}

/// A prompt that is given as ids.
fn given_ids(args: &Args, opening: &mut Opening<'_>) -> Result<Prompts> {
    let text = opening.optional_text()?;
    let stop = match &text {
        Some(text) => text.stop_ids(),
        None => opening.model.source.named_stop_ids(),
    };
    Ok(Prompts { each: args.prompt.prompt_tokens.clone().into_iter().collect(), text, stop })
}

/// The lines of a file of prompts.
fn read_lines(path: &Path) -> Result<Vec<String>> {
    let read = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(path),
    };
    let text = read.map_err(|why| {
        CliError::User(format!("the prompts in {} cannot be read: {why}", path.display()))
    })?;
    Ok(text.lines().map(String::from).collect())
}
