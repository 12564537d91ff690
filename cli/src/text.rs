//! The text side of a model: tokenizer, chat template, stop set; and prompts as token ids.

use crate::error::{CliError, Result};
use crate::options::PromptArgs;
use quarrel_models::chat::{ChatTemplate, Message, Tools};
use quarrel_models::gguf::Metadata;
use quarrel_models::hf::HfFolder;
use quarrel_models::tokenizer::{Tokenizer, TokenizerError, TokenizerSpec};
use std::io::Read;

/// A tokenizer with its chat template.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) tokenizer: Tokenizer,
    template: Option<String>,
}

impl Text {
    /// What a file's metadata describe.
    pub(crate) fn of(metadata: &Metadata) -> Result<Text> {
        let tokenizer = Tokenizer::from_spec(TokenizerSpec::from_metadata(metadata)?)?;
        let template = metadata.string("tokenizer.chat_template");
        let template = template.filter(|text| !text.is_empty()).map(String::from);
        Ok(Text { tokenizer, template })
    }

    /// What a folder's tokenizer files describe.
    pub(crate) fn of_folder(folder: &HfFolder) -> Result<Text> {
        let (tokenizer, template) = folder.tokenizer()?;
        Ok(Text { tokenizer, template })
    }

    /// Whether the model has a chat template.
    pub(crate) fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The chat template, ready to run; `None` where the model has none.
    pub(crate) fn template(&self) -> Result<Option<ChatTemplate>> {
        let Some(source) = &self.template else { return Ok(None) };
        let spelled = |id: Option<u32>| id.map(|id| self.tokenizer.token_piece(id)).transpose();
        let bos = spelled(self.tokenizer.bos())?.unwrap_or_default();
        let eos = spelled(self.tokenizer.eos())?.unwrap_or_default();
        Ok(Some(ChatTemplate::new(source, &bos, &eos)?))
    }

    /// The ids of a rendered conversation. Most templates write BOS out themselves; where one does
    /// not and the file asks for BOS, it is added.
    fn encode_rendered(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.tokenizer.encode(text, true)?;
        let bos = self.tokenizer.bos().filter(|_| self.tokenizer.adds_bos());
        if bos.is_some() && ids.first().copied() != bos {
            ids.splice(0..0, bos);
        }
        Ok(ids)
    }

    /// The ids of a conversation, up to where the answer begins.
    pub(crate) fn encode_messages(
        &self,
        template: &ChatTemplate,
        messages: &[Message],
        tools: &Tools,
    ) -> Result<Vec<u32>> {
        self.encode_rendered(&template.render(messages, tools, true)?)
    }

    /// The ids at which generation ends.
    pub(crate) fn stop_ids(&self) -> Vec<u32> {
        self.tokenizer.stop_tokens().iter().map(|stop| stop.id).collect()
    }
}

/// The tokenizer where token ids are given in place of a text: nice to have. A file may do without,
/// or have one that is not supported.
pub(crate) fn optional(text: Result<Text>, metadata: &Metadata) -> Result<Option<Text>> {
    let found = TokenizerSpec::from_metadata(metadata).and_then(|spec| {
        let known = ["gpt2", "llama"].contains(&spec.model.as_str());
        known.then_some(()).ok_or(TokenizerError::NoTokenizer)
    });
    match (text, found) {
        (Ok(text), _) => Ok(Some(text)),
        (Err(_), Err(TokenizerError::NoTokenizer)) => Ok(None),
        (Err(error), _) => Err(error),
    }
}

/// The end ids that a file names, for models whose tokenizer is not used.
pub(crate) fn named_stop_ids(metadata: &Metadata) -> Vec<u32> {
    let keys = ["eos_token_id", "eot_token_id", "eom_token_id"];
    let ids = keys.iter().filter_map(|key| metadata.u64(&format!("tokenizer.ggml.{key}")));
    ids.filter_map(|id| u32::try_from(id).ok()).collect()
}

impl PromptArgs {
    /// The prompt's text, read from the standard input for `-`; `None` where ids are given.
    ///
    /// # Errors
    /// Neither text nor ids, or an input that is no text.
    pub(crate) fn text(&self) -> Result<Option<String>> {
        match (&self.prompt, &self.prompt_tokens) {
            (None, Some(_)) => Ok(None),
            (Some(text), _) if text == "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(|why| {
                    CliError::User(format!("the prompt cannot be read from the input: {why}"))
                })?;
                Ok(Some(text))
            }
            (Some(text), _) => Ok(Some(text.clone())),
            (None, None) => Err(CliError::user(
                "there is no prompt: give one, `-` to read it from the standard input, or \
                 --prompt-tokens",
            )),
        }
    }
}

/// Refuses a prompt that the model cannot be given.
pub(crate) fn check_prompt(tokens: &[u32], context: u32, vocabulary: u64) -> Result<()> {
    if tokens.is_empty() {
        return Err(CliError::user(
            "the prompt has no tokens: give a text, or a beginning-of-text token in it",
        ));
    }
    if tokens.len() > context as usize {
        return Err(CliError::User(format!(
            "the prompt has {} tokens, but the context holds {context}: shorten it, or use --ctx {} \
             or more",
            tokens.len(),
            tokens.len() + 128
        )));
    }
    match tokens.iter().find(|&&token| u64::from(token) >= vocabulary) {
        Some(token) => Err(CliError::User(format!(
            "token {token} is not in the model's vocabulary of {vocabulary}"
        ))),
        None => Ok(()),
    }
}
