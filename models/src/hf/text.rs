//! The folder's tokenizer.

use super::HfFolder;
use crate::tokenizer::{Tokenizer, TokenizerError};

impl HfFolder {
    /// The tokenizer that the folder's `tokenizer.json` describes, and its chat template.
    ///
    /// # Errors
    /// [`TokenizerError::NoTokenizerFile`] where the folder has none; else what is wrong with it.
    pub fn tokenizer(&self) -> Result<(Tokenizer, Option<String>), TokenizerError> {
        if self.path.join("tokenizer.json").exists() || self.path.join("tokenizer.model").exists() {
            return Err(TokenizerError::FolderTokenizer);
        }
        Err(TokenizerError::NoTokenizerFile)
    }
}
