//! `quarrel logits`: the numbers behind the next token.

use crate::backend::rows_at_once;
use crate::error::Result;
use crate::opening::Opening;
use crate::options::{PlanArgs, PromptArgs, SavedArgs};
use crate::output::{self, Table};
use crate::text::{Text, check_prompt};
use quarrel_ir::plan::Phase;
use serde::Serialize;

/// Print the logits that follow a prompt
///
/// The prompt is taken as it is, without the chat template; BOS is added where the file asks for it.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel logits smollm2 \"The capital of France is\"\n  quarrel \
logits model.gguf --prompt-tokens 1,17,93 --json\n  quarrel logits smollm2 --all --json \"One two \
three\""
)]
pub(crate) struct Args {
    /// A GGUF file, a Hugging Face folder or a model's name
    model: String,
    #[command(flatten)]
    prompt: PromptArgs,
    /// The logits of every position, not only of the last
    #[arg(long)]
    all: bool,
    /// How many of the largest logits to show
    #[arg(long, value_name = "K", default_value_t = 10)]
    top: usize,
    /// Print all of them as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    saved: SavedArgs,
    #[command(flatten)]
    plan: PlanArgs,
}

/// What `--json` prints; with `--all`, `logits` and `top` have an entry for each position.
#[derive(Serialize)]
struct Output<'a, L, T> {
    prompt_tokens: &'a [u32],
    logits: L,
    top: T,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let prompt = args.prompt.text()?;
    let mut opening = Opening::start(&args.model, &args.plan, &args.saved)?;
    let context = opening.context();
    let vocabulary = opening.vocabulary;
    let out_rows = if args.all { rows_at_once(vocabulary) } else { 1 };
    let compiled = opening.compile(context, out_rows)?;
    let (text, tokens) = match prompt {
        Some(prompt) => {
            let text = opening.text()?;
            let tokens = text.tokenizer.encode_prompt(&prompt)?;
            (Some(text), tokens)
        }
        None => (opening.optional_text()?, args.prompt.prompt_tokens.clone().unwrap_or_default()),
    };
    check_prompt(&tokens, context, vocabulary)?;
    let mut ready = opening.load(compiled, &[Phase::Prefill])?;
    let mut rows = Vec::new();
    if args.all {
        ready.backend.all_logits(&tokens, &mut |_, row| {
            rows.push(row.to_vec());
            Ok(())
        })?;
    } else {
        rows.push(ready.backend.logits(&tokens)?);
    }
    let tops: Vec<_> = rows.iter().map(|row| top(row, args.top)).collect();
    match (args.json, args.all) {
        (true, true) => output::json(&Output { prompt_tokens: &tokens, logits: rows, top: tops }),
        (true, false) => output::json(&Output {
            prompt_tokens: &tokens,
            logits: rows.first(),
            top: tops.first(),
        }),
        (false, _) => print(&tokens, &tops, text.as_ref()),
    }
}

/// The `count` largest logits with their ids, largest first, the lowest id first among equals.
fn top(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0u32..).zip(logits.iter().copied()).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(count);
    all
}

fn print(tokens: &[u32], tops: &[Vec<(u32, f32)>], text: Option<&Text>) -> Result<()> {
    let piece = |id: u32| match text {
        Some(text) => text.tokenizer.token_piece(id).map(|piece| format!("{piece:?}")),
        None => Ok(String::new()),
    };
    // One row of logits is that of the last position.
    let first = tokens.len() - tops.len().min(tokens.len());
    for (at, top) in (first..).zip(tops) {
        let mut table = Table::new(["token", "logit", "piece"]);
        for &(id, logit) in top {
            table.row([id.to_string(), format!("{logit:.4}"), piece(id)?]);
        }
        // `at` counts the prompt's tokens.
        let last = tokens.get(at).copied().unwrap_or_default();
        output::text(&format!("after token {at} ({last} {})\n{}", piece(last)?, table.render()))?;
    }
    Ok(())
}
