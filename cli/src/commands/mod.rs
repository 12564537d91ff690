//! The commands, one file each.

mod arch;
mod bench;
mod chat;
mod devices;
mod inspect;
mod list;
mod logits;
mod perplexity;
mod plan;
mod pull;
mod run;
mod tokenize;
mod tune;

use crate::error::Result;
use clap::Subcommand;

/// What can be done.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Run(run::Args),
    Chat(chat::Args),
    Logits(logits::Args),
    Plan(plan::Args),
    Bench(bench::Args),
    Tune(tune::Args),
    Perplexity(perplexity::Args),
    Tokenize(tokenize::Args),
    Inspect(inspect::Args),
    Devices(devices::Args),
    Arch(arch::Args),
    Pull(pull::Args),
    List(list::Args),
}

impl Command {
    /// Does it.
    pub(crate) fn execute(self) -> Result<()> {
        match self {
            Command::Run(args) => run::execute(&args),
            Command::Chat(args) => chat::execute(&args),
            Command::Logits(args) => logits::execute(&args),
            Command::Plan(args) => plan::execute(&args),
            Command::Bench(args) => bench::execute(&args),
            Command::Tune(args) => tune::execute(&args),
            Command::Perplexity(args) => perplexity::execute(&args),
            Command::Tokenize(args) => tokenize::execute(&args),
            Command::Inspect(args) => inspect::execute(&args),
            Command::Devices(args) => devices::execute(&args),
            Command::Arch(args) => arch::execute(&args),
            Command::Pull(args) => pull::execute(&args),
            Command::List(args) => list::execute(&args),
        }
    }
}
