//! What can go wrong with a chat template.

/// Why a chat template could not be read or used. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The template is not well formed.
    #[error("chat template, line {line}: {detail}")]
    Syntax {
        /// Where.
        line: usize,
        /// What is wrong.
        detail: String,
    },
    /// The template itself refuses the conversation, through `raise_exception`.
    #[error("the model's chat template refuses this conversation: {message}")]
    Refused {
        /// The template's own words.
        message: String,
    },
    /// The template failed on this conversation.
    #[error("chat template, line {line}: {detail}")]
    Failed {
        /// Where.
        line: usize,
        /// What is wrong.
        detail: String,
    },
    /// The template did more work than any conversation of this length calls for.
    #[error("chat template, line {line}: stopped, because it does not come to an end")]
    Endless {
        /// Where it was stopped.
        line: usize,
    },
    /// The template took longer than any conversation calls for.
    #[error("the model's chat template was stopped, because it does not come to an end")]
    Deadline,
    /// The template is longer than any in use.
    #[error("the model's chat template has {bytes} bytes; at most {limit} are read")]
    TooLong {
        /// Bytes in the template.
        bytes: usize,
        /// Bytes it may have.
        limit: usize,
    },
    /// What was given as messages is none.
    #[error("the messages cannot be used: {detail}")]
    Messages {
        /// What is wrong.
        detail: String,
    },
    /// What was given as tools is none.
    #[error("the tools cannot be used: {detail}")]
    Tools {
        /// What is wrong.
        detail: String,
    },
    /// The system gave no thread to run the template on.
    #[error("cannot start a thread for the chat template: {detail}")]
    Thread {
        /// What the system says.
        detail: String,
    },
    /// The template engine panicked.
    #[error("the template engine failed on the model's chat template: a bug, please report it")]
    Crashed,
}

/// What `raise_exception` was called with; carried through the engine's error as its source.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

impl ChatError {
    /// From the engine's error while a template is read.
    pub(super) fn syntax(error: &minijinja::Error) -> ChatError {
        ChatError::Syntax { line: error.line().unwrap_or(1), detail: detail_of(error) }
    }

    /// From the engine's error while a template runs.
    pub(super) fn render(error: &minijinja::Error) -> ChatError {
        let line = error.line().unwrap_or(1);
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(cause) = source {
            if let Some(Raised(message)) = cause.downcast_ref() {
                return ChatError::Refused { message: message.clone() };
            }
            if let Some(inner) = cause.downcast_ref::<minijinja::Error>()
                && inner.kind() == minijinja::ErrorKind::OutOfFuel
            {
                return ChatError::Endless { line };
            }
            source = cause.source();
        }
        ChatError::Failed { line, detail: detail_of(error) }
    }
}

/// The engine's message without its location.
fn detail_of(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}
