//! What a chat template is given beside the prompt: a system message and tools; or a whole
//! conversation from a file.

use crate::error::{CliError, Result};
use crate::output;
use clap::Args;
use quarrel_models::chat::{ChatTemplate, Message, Tools};
use std::path::{Path, PathBuf};

/// Options of commands that apply a chat template.
#[derive(Args, Clone, Debug)]
pub(crate) struct SettingArgs {
    /// A system message for the chat template
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Tools that the model may call: a JSON array of {"type": "function", "function": {"name",
    /// "description", "parameters"}}. The model's calls are part of its text
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
}

/// What holds for a whole conversation.
#[derive(Debug, Default)]
pub(crate) struct Setting {
    system: Option<Message>,
    pub(crate) tools: Tools,
}

impl SettingArgs {
    /// Reads what is in files.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold tools.
    pub(crate) fn read(&self) -> Result<Setting> {
        let tools = match &self.tools {
            Some(path) => {
                let text = read(path, "the tools")?;
                Tools::from_json(&text).map_err(|error| in_file(error.into(), path))?
            }
            None => Tools::default(),
        };
        let system = self.system.as_ref().map(|text| Message::new("system", text));
        Ok(Setting { system, tools })
    }
}

impl Setting {
    /// The conversation so far, after the system message.
    pub(crate) fn with(&self, messages: &[Message]) -> Vec<Message> {
        self.system.iter().chain(messages).cloned().collect()
    }

    /// Refuses what only a template could say, where none is used.
    pub(crate) fn check_unused(&self, why: &str) -> Result<()> {
        let option = match (&self.system, self.tools.is_empty()) {
            (Some(_), _) => "--system",
            (None, false) => "--tools",
            (None, true) => return Ok(()),
        };
        Err(CliError::User(format!("{option} needs a chat template, but {why}")))
    }

    /// Tells the user where the template ignores the tools.
    ///
    /// # Errors
    /// Those of the template on these messages.
    pub(crate) fn note_ignored(&self, template: &ChatTemplate, messages: &[Message]) -> Result<()> {
        if !self.tools.is_empty() && template.ignores(&self.tools, messages)? {
            output::remark(
                "note: the model's chat template does not mention tools, so the model will not \
                 know of them\n",
            );
        }
        Ok(())
    }
}

/// The messages of a file; `-` is the standard input.
pub(crate) fn read_messages(path: &Path) -> Result<Vec<Message>> {
    let text = read(path, "the messages")?;
    Message::from_json(&text).map_err(|error| in_file(error.into(), path))
}

/// The text of a file; `-` is the standard input.
pub(crate) fn read(path: &Path, what: &str) -> Result<String> {
    let read = match path.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(path),
    };
    read.map_err(|why| {
        CliError::User(format!("{what} in {} cannot be read: {why}", path.display()))
    })
}

fn in_file(error: CliError, path: &Path) -> CliError {
    error.at(&path.display().to_string())
}
