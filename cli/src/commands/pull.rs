//! `quarrel pull`: fetch a model by name.

use crate::error::Result;
use crate::output;
use crate::store::{Progress, Pulled, Store};
use serde::Serialize;
use std::path::PathBuf;

/// Fetch a model by name
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  quarrel pull smollm2")]
pub(crate) struct Args {
    /// The model's name
    name: String,
    /// Print where it is as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output {
    name: String,
    path: PathBuf,
    fetched: bool,
}

pub(crate) fn execute(args: &Args) -> Result<()> {
    let Pulled { path, fresh } = Store::open()?.pull(&args.name, &Progress::stderr())?;
    match args.json {
        true => output::json(&Output { name: args.name.clone(), path, fetched: fresh }),
        false => Ok(()),
    }
}
