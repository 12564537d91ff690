//! What can go wrong with models by name, and what to do about it.

use super::known;
use std::fmt;
use std::path::{Path, PathBuf};

/// A model was not found, or could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// The user has no cache folder.
    #[error("there is no folder to keep models in: set QUARREL_CACHE to one")]
    NoCacheFolder,
    /// A file or folder of the store could not be used.
    #[error("cannot {doing} {}: {why}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        why: std::io::Error,
    },
    /// A model that can be pulled, but has not been.
    #[error("{name} is not on this machine yet: fetch it with `quarrel pull {name}`")]
    NotPulled {
        /// The name.
        name: String,
    },
    /// A path at which there is nothing.
    #[error(
        "there is no file {:?}. Check the path; `quarrel list` shows the models that can be given \
         by name",
        path
    )]
    NoSuchFile {
        /// The path.
        path: PathBuf,
    },
    /// A name that nothing has.
    #[error(
        "there is no model called {name:?}{} `quarrel list` shows the models on this machine; `quarrel \
         pull` fetches {}; the path of a GGUF file can be given too",
        did_you_mean(close),
        pullable()
    )]
    UnknownName {
        /// The name.
        name: String,
        /// Names that it may have been meant for.
        close: Vec<String>,
    },
    /// A name that cannot be pulled.
    #[error(
        "{name:?} cannot be pulled: `quarrel pull` fetches {}. Fetch the GGUF file by other means \
         and give its path; models in Ollama's store run by their name there",
        pullable()
    )]
    NotPullable {
        /// The name.
        name: String,
    },
    /// Ollama's store has the name, but not the model.
    #[error(
        "Ollama's copy of {name} cannot be used: {why}. Fetch it again with `ollama pull {name}`"
    )]
    Ollama {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// No source had the model.
    #[error(
        "{name} could not be pulled.{}\nCheck the network connection and try again, or fetch {file} by \
         other means and give its path",
        list(failures)
    )]
    Pull {
        /// The model's name.
        name: &'static str,
        /// The file's name.
        file: &'static str,
        /// Why each source did not do, in the order they were tried.
        failures: Vec<Failure>,
    },
}

/// Why a source did not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The source.
    pub(crate) source: String,
    /// What went wrong.
    pub(crate) why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.why)
    }
}

impl StoreError {
    /// Whether the user asked for something that is not there, rather than something failing.
    pub(crate) fn is_user_error(&self) -> bool {
        match self {
            StoreError::NotPulled { .. }
            | StoreError::NoSuchFile { .. }
            | StoreError::UnknownName { .. }
            | StoreError::NotPullable { .. } => true,
            StoreError::NoCacheFolder
            | StoreError::Io { .. }
            | StoreError::Ollama { .. }
            | StoreError::Pull { .. } => false,
        }
    }

    /// Wraps the system's reason why `path` could not be used.
    pub(super) fn io(
        doing: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.to_path_buf();
        move |why| StoreError::Io { doing, path, why }
    }
}

fn did_you_mean(close: &[String]) -> String {
    match close {
        [] => ".".into(),
        close => format!("; did you mean {}?", close.join(" or ")),
    }
}

fn pullable() -> String {
    known::names().collect::<Vec<_>>().join(", ")
}

fn list(failures: &[Failure]) -> String {
    failures.iter().map(|failure| format!("\n  - {failure}")).collect()
}
