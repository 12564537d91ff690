//! `quarrel tokenize`: a text as token ids.

use crate::error::Result;
use crate::model::Source;
use crate::options::PromptArgs;
use crate::output::{self, Table};
use serde::Serialize;

/// Print a text's token ids and pieces
///
/// As `run --raw` would see it: special tokens in the text are recognised, and BOS is added where the
/// file asks for it.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel tokenize smollm2 \"Hello, world\"\n  quarrel tokenize \
smollm2 --json \"<|im_start|>user\""
)]
pub(crate) struct Args {
    /// A GGUF file, a Hugging Face folder or a model's name
    model: String,
    /// The text; `-` reads it from the standard input
    text: String,
    /// Leave BOS out
    #[arg(long)]
    no_bos: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output {
    tokens: Vec<u32>,
    pieces: Vec<String>,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let given = PromptArgs { prompt: Some(args.text.clone()), prompt_tokens: None };
    let input = given.text()?.unwrap_or_default();
    let text = Source::open(&args.model, &[])?.start_text().wait();
    let tokenizer = text.map_err(|error| error.at(&args.model))?.tokenizer;
    let tokens = match args.no_bos {
        true => tokenizer.encode(&input, true)?,
        false => tokenizer.encode_prompt(&input)?,
    };
    let pieces = tokens.iter().map(|&id| tokenizer.token_piece(id));
    let pieces = pieces.collect::<std::result::Result<Vec<_>, _>>()?;
    if args.json {
        return output::json(&Output { tokens, pieces });
    }
    let mut table = Table::new(["token", "piece"]);
    for (id, piece) in tokens.iter().zip(&pieces) {
        table.row([id.to_string(), format!("{piece:?}")]);
    }
    output::text(&table.render())
}
