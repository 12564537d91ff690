//! A tokenizer from the JSON files of a Hugging Face folder.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::library::Library;
use super::stop::{self, StopReason};
use super::vocab::{Vocab, byte_of_token};
use super::{Encoder, Tokenizer, TokenizerError, TokenizerSpec};

/// The files of a Hugging Face folder that describe its tokenizer, as they are on disk.
#[derive(Debug, Default, Clone, Copy)]
pub struct JsonFiles<'a> {
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`: BOS, EOS, whether BOS is added, the chat template.
    pub config: Option<&'a [u8]>,
    /// `generation_config.json`: the ids at which generation ends.
    pub generation: Option<&'a [u8]>,
    /// `chat_template.jinja`, which goes before the template in `tokenizer_config.json`.
    pub chat_template: Option<&'a str>,
}

/// What is read of `tokenizer.json` besides what the library reads.
#[derive(Deserialize)]
struct Outline {
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    byte_fallback: bool,
    /// Named by its text or, in a unigram model, not here.
    unk_token: Option<String>,
}

/// What is read of `tokenizer_config.json`.
#[derive(Deserialize, Default)]
struct Config {
    bos_token: Option<Named>,
    eos_token: Option<Named>,
    unk_token: Option<Named>,
    add_bos_token: Option<bool>,
    chat_template: Option<Template>,
}

/// A token, by its text or as an object that has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Text(String),
    Object { content: String },
}

impl Named {
    fn text(&self) -> &str {
        match self {
            Named::Text(text) | Named::Object { content: text } => text,
        }
    }
}

/// One chat template, or several with names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Template {
    One(String),
    Several(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

/// What is read of `generation_config.json`.
#[derive(Deserialize, Default)]
struct Generation {
    eos_token_id: Option<Value>,
}

impl JsonFiles<'_> {
    /// The chat template, if there is one: of several, the one called `default`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Json`] where `tokenizer_config.json` cannot be read.
    pub fn chat_template(&self) -> Result<Option<String>, TokenizerError> {
        if let Some(template) = self.chat_template {
            return Ok(Some(template.to_owned()));
        }
        Ok(match self.read_config()?.chat_template {
            None => None,
            Some(Template::One(template)) => Some(template),
            Some(Template::Several(list)) => {
                list.into_iter().find(|one| one.name == "default").map(|one| one.template)
            }
        })
    }

    fn read_config(&self) -> Result<Config, TokenizerError> {
        read_optional("tokenizer_config.json", self.config)
    }

    /// The ids in `generation_config.json` at which generation ends.
    fn end_ids(&self) -> Result<Vec<u32>, TokenizerError> {
        let file = "generation_config.json";
        let generation: Generation = read_optional(file, self.generation)?;
        let ids = match generation.eos_token_id {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(ids)) => ids,
            Some(id) => vec![id],
        };
        let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
        let wrong = || TokenizerError::Json { file, why: "eos_token_id is no token id".to_owned() };
        ids.iter().map(|value| id(value).ok_or_else(wrong)).collect()
    }
}

fn read<T: DeserializeOwned>(file: &'static str, bytes: &[u8]) -> Result<T, TokenizerError> {
    let wrong = |error: serde_json::Error| TokenizerError::Json { file, why: error.to_string() };
    serde_json::from_slice(bytes).map_err(wrong)
}

fn read_optional<T: DeserializeOwned + Default>(
    file: &'static str,
    bytes: Option<&[u8]>,
) -> Result<T, TokenizerError> {
    bytes.map_or_else(|| Ok(T::default()), |bytes| read(file, bytes))
}

impl Tokenizer {
    /// Builds a tokenizer from the files of a Hugging Face folder. Ids agree with those that
    /// transformers gives.
    ///
    /// Such a folder's embedding may have more rows than there are tokens:
    /// [`Tokenizer::check_vocab`] allows it, and their ids stand for nothing.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Json`] with the file that is not as it should be, or
    /// [`TokenizerError::UnsupportedDecoder`].
    pub fn from_json(files: &JsonFiles<'_>) -> Result<Tokenizer, TokenizerError> {
        let config = files.read_config()?;
        let outline: Outline = read("tokenizer.json", files.tokenizer)?;
        let unknown = outline.model.unk_token.as_deref();
        let unknown = unknown.or(config.unk_token.as_ref().map(Named::text));
        let library = Library::read(files.tokenizer, unknown)?;
        let spec = describe(&library, outline.model.byte_fallback, unknown)?;
        let mut vocab = Vocab::from_spec(&spec)?;
        stop::set_always_control(&mut vocab);
        let id_of = |named: &Option<Named>| named.as_ref().and_then(|n| library.id(n.text()));
        let eos = id_of(&config.eos_token);
        let first = library.first_of_empty()?.filter(|first| Some(*first) != eos);
        let bos = id_of(&config.bos_token).or(first);
        let add_bos = config.add_bos_token.unwrap_or(bos.is_some() && first == bos);
        if add_bos && bos.is_none() {
            return Err(TokenizerError::NoBos);
        }
        let ends = files.end_ids()?;
        let size = vocab.len();
        if let Some(&id) = ends.iter().find(|&&id| id as usize >= size) {
            return Err(TokenizerError::SpecialOutOfRange { role: "eos", id, size });
        }
        let named = ends.into_iter().map(Some).chain([eos]).map(|id| (id, StopReason::Eos));
        let stops = stop::find(&vocab, &named.collect::<Vec<_>>());
        let encoder = Encoder::Library(Box::new(library));
        Ok(Tokenizer { vocab, encoder, stops, bos, eos, add_bos, spare_rows: true })
    }
}

/// Texts and types of all tokens, as a GGUF file would have them.
fn describe(
    library: &Library,
    byte_fallback: bool,
    unknown: Option<&str>,
) -> Result<TokenizerSpec, TokenizerError> {
    let tokens = library.tokens();
    let size = tokens.iter().map(|(id, ..)| *id as usize + 1).max().unwrap_or(0);
    // Ids without a token are few; a file that is mostly such would only take memory.
    if size > 2 * tokens.len() + 65_536 {
        return Err(TokenizerError::VocabularyTooLarge { count: size });
    }
    let mut spec = TokenizerSpec {
        tokens: vec![String::new(); size],
        token_types: vec![5; size], // unused, unless there is a token
        ..TokenizerSpec::default()
    };
    for (id, text, added) in tokens {
        let kind = match added {
            _ if Some(text.as_str()) == unknown => 2,
            Some(true) => 3,
            Some(false) => 4,
            None if byte_fallback && byte_of_token(&text).is_some() => 6,
            None => 1,
        };
        let index = id as usize; // below `size`
        spec.token_types[index] = kind;
        spec.tokens[index] = text;
    }
    Ok(spec)
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
