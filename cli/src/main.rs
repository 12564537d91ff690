//! The binary `quarrel`: language models on the GPU, from the command line.
//!
//! | file | what it does |
//! |---|---|
//! | `commands/` | the commands, one file each |
//! | `options.rs` | options that several commands share |
//! | `opening.rs` | from a model's name to something that runs it |
//! | `saved.rs` | plans in files |
//! | `model.rs`, `text.rs` | a model's file, architecture and graph; its tokenizer and template |
//! | `backend/` | what runs a model: the GPU runtime or the reference interpreter |
//! | `conversation.rs` | system messages, tools, conversations from files |
//! | `generation.rs` | generating: streaming, interrupts, timings |
//! | `trace.rs` | what host and device did, as a file |
//! | `store/` | models by name |
//! | `kept.rs`, `measured.rs`, `tuned.rs` | what is known of a device from before: its speeds, and which variants of kernels are fast |
//! | `output.rs`, `error.rs`, `progress.rs` | what is printed, and where |
//! | `files.rs` | files that are written whole or not at all |
//! | `pipelines.rs` | compiled pipelines, from one run to the next |
//! | `background.rs`, `interrupt.rs`, `memory.rs` | threads, Ctrl-C, free memory |

mod backend;
mod background;
mod commands;
mod conversation;
mod error;
mod files;
mod generation;
mod interrupt;
mod kept;
mod measured;
mod memory;
mod model;
mod opening;
mod options;
mod output;
mod pipelines;
mod progress;
mod saved;
mod store;
mod text;
mod trace;
mod tuned;

use clap::Parser;
use std::process::ExitCode;

/// Compile language models for the GPU and run them
#[derive(Parser, Debug)]
#[command(name = "quarrel", version, propagate_version = true)]
#[command(
    after_help = "MODEL is the path of a GGUF file or of a Hugging Face folder, or a name: `quarrel list` shows the models \
on this machine, `quarrel pull` fetches one.\n\nExit codes: 0 done, 1 something failed, 2 something \
is wrong with the command, the model or the prompt.\n\nExamples:\n  quarrel pull smollm2\n  quarrel \
run smollm2 \"Why is the sky blue?\"\n  quarrel plan smollm2"
)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    match Cli::parse().command.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            error.code()
        }
    }
}
