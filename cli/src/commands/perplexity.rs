//! `quarrel perplexity`: how well a model predicts a text.

use crate::backend::rows_at_once;
use crate::conversation;
use crate::error::{CliError, Result};
use crate::opening::Opening;
use crate::options::{PlanArgs, SavedArgs};
use crate::output;
use quarrel_ir::plan::Phase;
use serde::Serialize;
use std::path::PathBuf;

/// Measure how well a model predicts a text
///
/// The mean negative log-likelihood, in nats, of each token after the first, with the whole text in
/// one window. The context is as long as the text needs.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel perplexity smollm2 --file text.txt\n  quarrel perplexity \
model.gguf --file text.txt --device reference --json"
)]
pub(crate) struct Args {
    /// A GGUF file, a Hugging Face folder or a model's name
    model: String,
    /// The text (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    saved: SavedArgs,
    #[command(flatten)]
    plan: PlanArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output {
    n_scored: usize,
    mean_nll: f64,
    perplexity: f64,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let input = conversation::read(&args.file, "the text")?;
    let mut opening = Opening::start(&args.model, &args.plan, &args.saved)?;
    let tokenizer = opening.text()?.tokenizer;
    // Text is text: what looks like a control token in it is none.
    let mut tokens = tokenizer.encode(&input, false)?;
    tokens.splice(0..0, tokenizer.bos().filter(|_| tokenizer.adds_bos()));
    let context = window(args.plan.ctx, tokens.len())?;
    let out_rows = rows_at_once(opening.vocabulary);
    let compiled = opening.compile(context, out_rows)?;
    let mut ready = opening.load(compiled, &[Phase::Prefill])?;
    let mut sum = 0.0;
    ready.backend.all_logits(&tokens, &mut |at, row| {
        if let Some(&next) = tokens.get(at + 1) {
            sum += negative_log_likelihood(row, next)?;
        }
        Ok(())
    })?;
    let n_scored = tokens.len() - 1;
    let mean_nll = sum / n_scored as f64;
    let result = Output { n_scored, mean_nll, perplexity: mean_nll.exp() };
    if args.json {
        return output::json(&result);
    }
    output::text(&format!(
        "perplexity {:.4} (mean negative log-likelihood {:.6} nats over {n_scored} tokens)\n",
        result.perplexity, result.mean_nll
    ))
}

/// Positions for `tokens` tokens; `ctx` is what the user allows.
fn window(ctx: Option<u32>, tokens: usize) -> Result<u32> {
    let needs = u32::try_from(tokens).ok().filter(|&needs| needs >= 2).ok_or_else(|| {
        CliError::User(format!("the text has {tokens} tokens: at least two are needed"))
    })?;
    match ctx {
        Some(ctx) if ctx < needs => Err(CliError::User(format!(
            "the text has {needs} tokens, but --ctx allows {ctx}: leave --ctx out, or shorten the \
             text"
        ))),
        Some(ctx) => Ok(ctx),
        None => Ok(needs),
    }
}

/// −log of the softmax of `logits` at `token`, in F64.
fn negative_log_likelihood(logits: &[f32], token: u32) -> Result<f64> {
    let wanted = logits.get(token as usize).copied().ok_or_else(|| {
        CliError::User(format!("token {token} is not among the {} logits", logits.len()))
    })?;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - f64::from(largest)).exp()).sum();
    let result = sum.ln() + f64::from(largest) - f64::from(wanted);
    match result.is_finite() {
        true => Ok(result),
        false => Err(CliError::user(
            "the model's logits are not finite: `quarrel run` on the same text names the kernel \
             that went wrong",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihoods_are_those_of_the_softmax() {
        let nll = negative_log_likelihood(&[1000.0, 1000.0], 1).unwrap();
        assert!((nll - 2f64.ln()).abs() < 1e-12);
        assert!(negative_log_likelihood(&[f32::NAN, 0.0], 1).is_err());
    }

    #[test]
    fn the_window_holds_the_text() {
        assert_eq!(window(None, 7).unwrap(), 7);
        assert_eq!(window(Some(9), 7).unwrap(), 9);
        assert!(window(Some(5), 7).is_err());
        assert!(window(None, 1).is_err());
    }
}
