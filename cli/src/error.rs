//! Errors of the command line: who is to blame, and how they are printed.

use miette::{GraphicalReportHandler, GraphicalTheme};
use quarrel_check::CheckError;
use quarrel_compiler::CompileError;
use quarrel_models::arch::{ArchError, ErrorKind};
use quarrel_models::chat::ChatError;
use quarrel_models::gguf::GgufError;
use quarrel_models::hf::HfError;
use quarrel_models::synthetic::SyntheticError;
use quarrel_models::tokenizer::TokenizerError;
use quarrel_reference::ReferenceError;
use quarrel_runtime::{Blame, RuntimeError};
use std::io::IsTerminal;
use std::process::ExitCode;

use crate::output;
use crate::store::StoreError;

/// Why a command ended without doing what it was asked.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The user can put it right: a file, a prompt or an option.
    User(String),
    /// Something failed: the device, the system, or Quarrel itself.
    Failure(String),
    /// An architecture file of the user's, shown with its text.
    Arch(ArchError),
    /// Everything has been said already; only the exit code is left.
    Reported,
    /// Whoever read our output has gone away, which is no error.
    BrokenPipe,
}

/// What commands return.
pub(crate) type Result<T> = std::result::Result<T, CliError>;

impl CliError {
    /// An error that the user can put right.
    pub(crate) fn user(message: impl Into<String>) -> CliError {
        CliError::User(message.into())
    }

    /// Adds where it happened, such as a file's name.
    pub(crate) fn at(self, place: &str) -> CliError {
        match self {
            CliError::User(message) => CliError::User(format!("{place}: {message}")),
            CliError::Failure(message) => CliError::Failure(format!("{place}: {message}")),
            other => other,
        }
    }

    /// An error between a built-in architecture and a model. The text of the built-in file would
    /// say nothing to the model's owner; its place is enough.
    pub(crate) fn builtin_arch(model: &str, error: &ArchError) -> CliError {
        let mut text = format!("{model}: {error}");
        if let Some((file, line, _)) = error.location() {
            text += &format!(" [{file}, line {line}]");
        }
        if let Some(help) = miette::Diagnostic::help(error) {
            // Helps begin small, as they stand after a colon elsewhere.
            let help = help.to_string();
            let mut letters = help.chars();
            let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
            text += &format!(". {first}{}", letters.as_str());
        }
        match error.kind() {
            ErrorKind::Internal => CliError::Failure(text),
            _ => CliError::User(text),
        }
    }

    /// 2 where the user can put it right, 1 where something failed.
    pub(crate) fn code(&self) -> ExitCode {
        match self {
            CliError::User(_) | CliError::Reported => ExitCode::from(2),
            CliError::Arch(error) if error.kind() != ErrorKind::Internal => ExitCode::from(2),
            CliError::Arch(_) | CliError::Failure(_) => ExitCode::from(1),
            CliError::BrokenPipe => ExitCode::SUCCESS,
        }
    }

    /// Prints it to the standard error stream: one paragraph, or the place in a file of the user's.
    pub(crate) fn print(&self) {
        let text = match self {
            CliError::User(message) | CliError::Failure(message) => {
                // One paragraph: messages of libraries may bring line breaks of their own.
                let lines: Vec<&str> = message.lines().map(str::trim).collect();
                format!("error: {}\n", lines.join(" ").trim())
            }
            CliError::Arch(error) => rendered(error),
            CliError::Reported | CliError::BrokenPipe => return,
        };
        output::remark(&text);
    }
}

/// A diagnostic with the text it points at, for the standard error stream.
pub(crate) fn rendered(diagnostic: &dyn miette::Diagnostic) -> String {
    let terminal = std::io::stderr().is_terminal();
    let theme = match (terminal, std::env::var_os("NO_COLOR")) {
        (true, None) => GraphicalTheme::unicode(),
        (true, Some(_)) => GraphicalTheme::unicode_nocolor(),
        (false, _) => GraphicalTheme::none(),
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100);
    let mut text = String::new();
    match handler.render_report(&mut text, diagnostic) {
        Ok(()) => text,
        Err(_) => format!("error: {diagnostic}\n"),
    }
}

impl std::fmt::Display for CliError {
    /// Its message, for results that hold it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CliError::User(message) | CliError::Failure(message) => f.write_str(message),
            CliError::Arch(error) => error.fmt(f),
            CliError::Reported => f.write_str("what is wrong has been said"),
            CliError::BrokenPipe => f.write_str("the output was closed"),
        }
    }
}

impl From<std::io::Error> for CliError {
    /// An error while results are written.
    fn from(error: std::io::Error) -> CliError {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => CliError::BrokenPipe,
            _ => CliError::Failure(format!("the output cannot be written: {error}")),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> CliError {
        match error.is_user_error() {
            true => CliError::User(error.to_string()),
            false => CliError::Failure(error.to_string()),
        }
    }
}

impl From<GgufError> for CliError {
    fn from(error: GgufError) -> CliError {
        CliError::User(error.to_string())
    }
}

impl From<HfError> for CliError {
    fn from(error: HfError) -> CliError {
        CliError::User(error.to_string())
    }
}

impl From<TokenizerError> for CliError {
    fn from(error: TokenizerError) -> CliError {
        match error {
            TokenizerError::Internal(_) => CliError::Failure(error.to_string()),
            _ => CliError::User(error.to_string()),
        }
    }
}

impl From<ChatError> for CliError {
    fn from(error: ChatError) -> CliError {
        match error {
            ChatError::Messages { .. } | ChatError::Tools { .. } => {
                CliError::User(error.to_string())
            }
            _ => CliError::User(format!(
                "{error}. Use --raw to give the prompt without the template"
            )),
        }
    }
}

impl From<SyntheticError> for CliError {
    fn from(error: SyntheticError) -> CliError {
        CliError::User(error.to_string())
    }
}

impl From<CompileError> for CliError {
    fn from(error: CompileError) -> CliError {
        match error {
            CompileError::Options(_)
            | CompileError::DoesNotFit { .. }
            | CompileError::Device(_) => CliError::User(error.to_string()),
            _ => CliError::Failure(error.to_string()),
        }
    }
}

impl From<RuntimeError> for CliError {
    fn from(error: RuntimeError) -> CliError {
        match error.blame() {
            Blame::Input => CliError::User(error.to_string()),
            Blame::Device => CliError::Failure(error.to_string()),
            Blame::Bug => CliError::Failure(format!("a bug in Quarrel, please report it: {error}")),
        }
    }
}

impl From<ReferenceError> for CliError {
    fn from(error: ReferenceError) -> CliError {
        match error {
            ReferenceError::Graph(_)
            | ReferenceError::NotATensor(_)
            | ReferenceError::Given { .. } => {
                CliError::Failure(format!("a bug in Quarrel, please report it: {error}"))
            }
            _ => CliError::User(error.to_string()),
        }
    }
}

impl From<CheckError> for CliError {
    fn from(error: CheckError) -> CliError {
        match error {
            CheckError::Reference(error) => error.into(),
            CheckError::Runtime(error) => error.into(),
            CheckError::Script(_) => CliError::User(error.to_string()),
            CheckError::Plan(_) => {
                CliError::Failure(format!("a bug in Quarrel, please report it: {error}"))
            }
        }
    }
}

impl From<serde_json::Error> for CliError {
    /// An error while results are written as JSON.
    fn from(error: serde_json::Error) -> CliError {
        CliError::from(std::io::Error::from(error))
    }
}
