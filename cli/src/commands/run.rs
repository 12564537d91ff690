//! `quarrel run`: generate from a prompt.

use crate::conversation::{self, Setting, SettingArgs};
use crate::error::{CliError, Result};
use crate::generation::{Answer, Speaker, Stream, Timings, summarise};
use crate::opening::{Compiled, Opening, Ready};
use crate::options::{PlanArgs, PromptArgs, SamplingArgs, SavedArgs};
use crate::text::{Text, check_prompt};
use crate::{files, interrupt, output, trace};
use quarrel_ir::plan::Phase;
use quarrel_models::chat::Message;
use quarrel_runtime::StopReason;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Prompts of a batch that are decoded together where nobody says how many.
const BATCH_SIZE: u32 = 32;

/// Generate from a prompt
///
/// The model's chat template applies where it has one. Output is greedy, and so repeats itself,
/// unless --temp is above 0.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  quarrel run smollm2 \"Why is the sky blue?\"\n  quarrel run \
smollm2 --raw -n 20 \"The capital of France is\"\n  quarrel run smollm2 --temp 0.8 --seed 7 \"Tell me a \
story\"\n  git diff | quarrel run model.gguf --system \"Summarise this change.\" -\n  quarrel run \
model.gguf --prompt-tokens 1,17,93 --json\n  quarrel run smollm2 --batch prompts.txt > answers.jsonl\n  quarrel run model.gguf \
--tools tools.json --messages conversation.json\n  quarrel run smollm2 -n 20 --trace trace.json \"Hello\"")]
pub(crate) struct Args {
    /// A GGUF file, a Hugging Face folder or a model's name
    model: String,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Prompts from a file, one a line; one JSON object a line comes out (`-`: standard input)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "prompt_tokens"])]
    batch: Option<PathBuf>,
    /// Prompts of a batch that are decoded together [default: 32, or what --plan was saved for]
    #[arg(long, value_name = "N", requires = "batch",
          value_parser = clap::value_parser!(u32).range(1..=256))]
    batch_size: Option<u32>,
    /// A whole conversation in place of a prompt: a JSON array of {"role", "content"}, with
    /// "tool_calls", "tool_call_id" and "name" where the template knows them (`-`: standard input)
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["prompt", "prompt_tokens", "batch", "system", "raw"])]
    messages: Option<PathBuf>,
    /// Most tokens to generate
    #[arg(
        short = 'n',
        long = "tokens",
        value_name = "N",
        allow_negative_numbers = true,
        default_value_t = 128
    )]
    tokens: usize,
    /// Take the prompt as it is, without the chat template
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    setting: SettingArgs,
    /// Print the result as JSON when it is complete
    #[arg(long)]
    json: bool,
    /// Write what host and device did, and when, to a file for Perfetto (ui.perfetto.dev) or Chrome
    /// (about:tracing)
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// Print timings even where nobody is watching
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    saved: SavedArgs,
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

/// What the user asks.
enum Asked {
    /// Prompts.
    Texts(Vec<String>),
    /// A whole conversation.
    Conversation(Vec<Message>),
    /// Token ids.
    Ids(Vec<u32>),
}

impl Asked {
    fn read(args: &Args) -> Result<Asked> {
        if let Some(path) = &args.batch {
            let text = conversation::read(path, "the prompts")?;
            return Ok(Asked::Texts(text.lines().map(String::from).collect()));
        }
        if let Some(path) = &args.messages {
            return Ok(Asked::Conversation(conversation::read_messages(path)?));
        }
        Ok(match (args.prompt.text()?, &args.prompt.prompt_tokens) {
            (Some(text), _) => Asked::Texts(vec![text]),
            (None, ids) => Asked::Ids(ids.clone().unwrap_or_default()),
        })
    }
}

/// Prompts as ids, with what is needed to speak about them.
struct Prompts {
    each: Vec<Vec<u32>>,
    text: Option<Text>,
    stop: Vec<u32>,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    if let Some(path) = &args.trace {
        files::check_place("--trace", path)?;
    }
    let sampling = args.sampling.params()?;
    let setting = args.setting.read()?;
    let asked = Asked::read(args)?;
    let mut opening = Opening::start(&args.model, &args.plan, &args.saved)?;
    if args.trace.is_some() {
        opening.start_trace()?;
    }
    // One prompt is encoded while the plan is compiled; how long those of a batch are decides on
    // the plan.
    let compiled = match args.batch {
        None => Some(opening.compile(opening.context(), 1)?),
        Some(_) => None,
    };
    let prompts = match &asked {
        Asked::Texts(texts) => encode(args, &mut opening, texts, &setting)?,
        Asked::Conversation(messages) => encode_conversation(&mut opening, messages, &setting)?,
        Asked::Ids(ids) => given_ids(&mut opening, ids, &setting)?,
    };
    check_prompts(args, &opening, &prompts)?;
    let compiled = match compiled {
        Some(compiled) => compiled,
        None if prompts.each.is_empty() => return Ok(()),
        None => compile_batch(args, &mut opening, &prompts)?,
    };
    let sampler = if sampling.is_greedy() { Phase::Greedy } else { Phase::Sample };
    let mut ready = opening.load(compiled, &[Phase::Prefill, sampler])?;
    let speaker = Speaker {
        text: prompts.text.as_ref(),
        sampling,
        max_tokens: args.tokens,
        stop: &prompts.stop,
    };
    match (&args.batch, prompts.each.first()) {
        (Some(_), _) => {
            let together = batch_size(args, &opening);
            answer_batch(args, &mut ready, &speaker, (&prompts.each, together))?;
        }
        (None, Some(prompt)) => answer(args, &mut ready, &speaker, prompt)?,
        (None, None) => {}
    }
    match (&args.trace, ready.backend.trace()?) {
        (Some(path), Some(trace)) => trace::write(path, &trace),
        _ => Ok(()),
    }
}

/// That every prompt is one, of the vocabulary, and fits into the context.
fn check_prompts(args: &Args, opening: &Opening<'_>, prompts: &Prompts) -> Result<()> {
    let vocabulary = opening.vocabulary;
    for (index, prompt) in prompts.each.iter().enumerate() {
        let checked = check_prompt(prompt, opening.context(), vocabulary);
        checked.map_err(|error| match &args.batch {
            Some(_) => error.at(&format!("line {}", index + 1)),
            None => error,
        })?;
    }
    Ok(())
}

/// Most prompts of a batch that are decoded together.
fn batch_size(args: &Args, opening: &Opening<'_>) -> u32 {
    args.batch_size.or(opening.saved_slots()).unwrap_or(BATCH_SIZE)
}

/// Compiles for as many sequences as there are or may be together, no longer than they can get
/// unless --ctx says so.
fn compile_batch(args: &Args, opening: &mut Opening<'_>, prompts: &Prompts) -> Result<Compiled> {
    let most = batch_size(args, opening);
    let slots = match opening.saved_slots() {
        Some(_) => most,
        None => most.min(u32::try_from(prompts.each.len()).unwrap_or(u32::MAX)),
    };
    let longest = prompts.each.iter().map(Vec::len).max().unwrap_or(0);
    let needed = u32::try_from(longest.saturating_add(args.tokens)).unwrap_or(u32::MAX);
    // A multiple of what kernels like to split.
    let enough = needed.checked_next_multiple_of(256).unwrap_or(u32::MAX);
    let context = match args.plan.ctx {
        Some(ctx) => ctx,
        None => opening.context().min(enough),
    };
    opening.compile_slots(context, slots)
}

/// Generates for the prompts of a file, as many together as there are slots, and prints the results
/// in their order.
fn answer_batch(
    args: &Args,
    ready: &mut Ready,
    speaker: &Speaker<'_>,
    (prompts, batch_size): (&[Vec<u32>], u32),
) -> Result<()> {
    let mut started = ready.started;
    for group in prompts.chunks(batch_size as usize) {
        let group: Vec<&[u32]> = group.iter().map(Vec::as_slice).collect();
        let answers = speaker.say_together(ready.backend.as_mut(), &group, started)?;
        for (prompt, answer) in group.iter().zip(&answers) {
            output::json(&result(prompt, answer, ready))?;
            summarise(answer, prompt.len(), args.stats);
        }
        if interrupt::asked() {
            break;
        }
        started = Instant::now();
    }
    Ok(())
}

/// Generates for one prompt and prints the result.
fn answer(args: &Args, ready: &mut Ready, speaker: &Speaker<'_>, prompt: &[u32]) -> Result<()> {
    let stream = if args.json { Stream::Keep } else { Stream::Output };
    let answer = speaker.say(ready.backend.as_mut(), prompt, stream, ready.started)?;
    if args.json {
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

/// Prompts that are texts: each through the template where there is one and it is wanted.
fn encode(
    args: &Args,
    opening: &mut Opening<'_>,
    texts: &[String],
    setting: &Setting,
) -> Result<Prompts> {
    let text = opening.text()?;
    let template = if args.raw { None } else { text.template()? };
    let each = match template {
        Some(template) => {
            let said = |prompt: &String| setting.with(&[Message::new("user", prompt)]);
            if let Some(first) = texts.first() {
                setting.note_ignored(&template, &said(first))?;
            }
            let ids = |prompt| text.encode_messages(&template, &said(prompt), &setting.tools);
            texts.iter().map(ids).collect::<Result<_>>()?
        }
        None => {
            setting.check_unused(
                "the model has none or --raw was given: write the whole text into the prompt",
            )?;
            let ids = |prompt: &String| Ok(text.tokenizer.encode_prompt(prompt)?);
            texts.iter().map(ids).collect::<Result<_>>()?
        }
    };
    let stop = text.stop_ids();
    Ok(Prompts { each, text: Some(text), stop })
}

/// A conversation as the one prompt.
fn encode_conversation(
    opening: &mut Opening<'_>,
    messages: &[Message],
    setting: &Setting,
) -> Result<Prompts> {
    let text = opening.text()?;
    let template = text.template()?.ok_or_else(|| {
        CliError::user(
            "--messages needs a chat template, but the model has none: write the whole text into \
             the prompt",
        )
    })?;
    setting.note_ignored(&template, messages)?;
    let each = vec![text.encode_messages(&template, messages, &setting.tools)?];
    let stop = text.stop_ids();
    Ok(Prompts { each, text: Some(text), stop })
}

/// A prompt that is given as ids.
fn given_ids(opening: &mut Opening<'_>, ids: &[u32], setting: &Setting) -> Result<Prompts> {
    setting.check_unused("--prompt-tokens goes to the model as it is")?;
    let text = opening.optional_text()?;
    let stop = match &text {
        Some(text) => text.stop_ids(),
        None => opening.source.named_stop_ids(),
    };
    Ok(Prompts { each: vec![ids.to_vec()], text, stop })
}
