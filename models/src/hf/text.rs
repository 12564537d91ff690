//! The folder's tokenizer.

use super::HfFolder;
use crate::tokenizer::{JsonFiles, Tokenizer, TokenizerError};

/// Files larger than this are not tokenizers.
const LARGEST: u64 = 256 << 20;

impl HfFolder {
    /// The tokenizer that the folder's `tokenizer.json` describes, and its chat template.
    ///
    /// # Errors
    /// [`TokenizerError::NoTokenizerFile`] where the folder has none; else what is wrong with it.
    pub fn tokenizer(&self) -> Result<(Tokenizer, Option<String>), TokenizerError> {
        let tokenizer = self.text_file("tokenizer.json")?.ok_or(TokenizerError::NoTokenizerFile)?;
        let config = self.text_file("tokenizer_config.json")?;
        let generation = self.text_file("generation_config.json")?;
        let chat_template = self.text_file("chat_template.jinja")?;
        let chat_template = chat_template.as_deref().map(String::from_utf8_lossy);
        let files = JsonFiles {
            tokenizer: &tokenizer,
            config: config.as_deref(),
            generation: generation.as_deref(),
            chat_template: chat_template.as_deref(),
        };
        let template = files.chat_template()?;
        Ok((Tokenizer::from_json(&files)?, template))
    }

    /// The bytes of one of the folder's files, if it is there.
    fn text_file(&self, name: &'static str) -> Result<Option<Vec<u8>>, TokenizerError> {
        let path = self.path.join(name);
        let unreadable = |why: String| TokenizerError::Json { file: name, why };
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(error.to_string())),
            Ok(found) if found.len() > LARGEST => {
                Err(unreadable(format!("{} bytes are too many for such a file", found.len())))
            }
            Ok(_) => std::fs::read(&path).map(Some).map_err(|error| unreadable(error.to_string())),
        }
    }
}
