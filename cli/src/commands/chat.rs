//! `quarrel chat`: a conversation in the terminal.

use crate::conversation::{Setting, SettingArgs};
use crate::error::{CliError, Result};
use crate::generation::{Speaker, Stream, summarise};
use crate::opening::Opening;
use crate::options::{PlanArgs, SamplingArgs, SavedArgs};
use crate::text::{Text, check_prompt};
use crate::{output, trace};
use quarrel_ir::plan::Phase;
use quarrel_models::chat::{ChatTemplate, Message};
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::Instant;

/// Hold a conversation
///
/// Each line is a message. /reset begins anew, /exit or the end of the input ends. A turn processes
/// only what was not said before.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel chat smollm2\n  quarrel chat smollm2 --system \"Answer in \
rhymes.\" --temp 0.8\n  quarrel chat model.gguf --tools tools.json\n  printf 'Hello\\nAnd now?\\n' | quarrel chat smollm2\n  quarrel chat smollm2 --trace trace.json"
)]
pub(crate) struct Args {
    /// A GGUF file, a Hugging Face folder or a model's name
    model: String,
    #[command(flatten)]
    setting: SettingArgs,
    /// Most tokens of an answer [default: as many as the context holds]
    #[arg(short = 'n', long = "tokens", value_name = "N", allow_negative_numbers = true)]
    tokens: Option<usize>,
    /// Write what host and device did, and when, to a file for Perfetto (ui.perfetto.dev) or Chrome
    /// (about:tracing), at the end of the conversation
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

/// A conversation so far.
struct Conversation<'a> {
    text: &'a Text,
    template: ChatTemplate,
    setting: Setting,
    messages: Vec<Message>,
}

impl Conversation<'_> {
    /// The ids of the whole conversation, up to where the answer begins.
    fn ids(&self) -> Result<Vec<u32>> {
        let all = self.setting.with(&self.messages);
        self.text.encode_messages(&self.template, &all, &self.setting.tools)
    }
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let sampling = args.sampling.params()?;
    let setting = args.setting.read()?;
    let mut opening = Opening::start(&args.model, &args.plan, &args.saved)?;
    if args.trace.is_some() {
        opening.start_trace()?;
    }
    let context = opening.context();
    let compiled = opening.compile(context, 1)?;
    let text = opening.text()?;
    let template = text.template()?.ok_or_else(|| {
        CliError::User(format!(
            "{} has no chat template, so it cannot hold a conversation: use `quarrel run`",
            args.model
        ))
    })?;
    setting.note_ignored(&template, &setting.with(&[Message::new("user", "Hello")]))?;
    let stop = text.stop_ids();
    let sampler = if sampling.is_greedy() { Phase::Greedy } else { Phase::Sample };
    let mut ready = opening.load(compiled, &[Phase::Prefill, sampler])?;
    let mut talk = Conversation { text: &text, template, setting, messages: Vec::new() };
    let max_tokens = args.tokens.unwrap_or(context as usize);
    let speaker = Speaker { text: Some(&text), sampling, max_tokens, stop: &stop };
    let watched = std::io::stdin().is_terminal();
    while let Some(line) = next_line(watched)? {
        match line.trim() {
            "" => continue,
            "/exit" => break,
            "/reset" => {
                talk.messages.clear();
                continue;
            }
            message => talk.messages.push(Message::new("user", message)),
        }
        let ids = talk.ids()?;
        if let Err(error) = check_room(&ids, context, opening.vocabulary) {
            if !watched {
                return Err(error);
            }
            error.print();
            talk.messages.pop();
            continue;
        }
        let answer = speaker.say(ready.backend.as_mut(), &ids, Stream::Output, Instant::now())?;
        summarise(&answer, ids.len(), args.stats);
        talk.messages.push(Message::new("assistant", &answer.text));
    }
    match (&args.trace, ready.backend.trace()?) {
        (Some(path), Some(trace)) => trace::write(path, &trace),
        _ => Ok(()),
    }
}

/// Refuses a conversation that has outgrown the context.
fn check_room(ids: &[u32], context: u32, vocabulary: u64) -> Result<()> {
    if ids.len() > context as usize {
        return Err(CliError::User(format!(
            "the conversation has {} tokens, but the context holds {context}: begin anew with \
             /reset, or start again with a larger --ctx",
            ids.len()
        )));
    }
    check_prompt(ids, context, vocabulary)
}

/// The next line of the input; `None` at its end.
fn next_line(watched: bool) -> Result<Option<String>> {
    if watched {
        output::text("> ")?;
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    match read.map_err(|why| CliError::User(format!("the input cannot be read: {why}")))? {
        0 => Ok(None),
        _ => Ok(Some(line)),
    }
}
