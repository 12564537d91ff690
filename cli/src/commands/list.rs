//! `quarrel list`: the models on this machine.

use crate::error::Result;
use crate::output::{self, Table};
use crate::store::{Origin, Store, megabytes};
use serde::Serialize;
use std::path::PathBuf;

/// List the models on this machine, Ollama's included
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  quarrel list\n  quarrel list --json")]
pub(crate) struct Args {
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
}

/// One model of what `--json` prints.
#[derive(Serialize)]
struct Output {
    name: String,
    bytes: u64,
    origin: &'static str,
    path: PathBuf,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let models: Vec<Output> = Store::open()?
        .list()?
        .into_iter()
        .map(|model| Output {
            name: model.name,
            bytes: model.bytes,
            origin: match model.origin {
                Origin::Pulled => "pulled",
                Origin::Ollama => "ollama",
            },
            path: model.path,
        })
        .collect();
    if args.json {
        return output::json(&models);
    }
    if models.is_empty() {
        return output::text("No models yet: `quarrel pull smollm2` fetches a small one.\n");
    }
    let mut table = Table::new(["name", "size", "from", "path"]);
    for model in models {
        let path = model.path.display().to_string();
        table.row([model.name, megabytes(model.bytes), model.origin.into(), path]);
    }
    output::text(&table.render())
}
