//! Reads a tokenizer's description from GGUF metadata.

use super::{TokenizerError, TokenizerSpec};
use crate::gguf::{Array, Metadata};

impl TokenizerSpec {
    /// The description under the `tokenizer.ggml.*` keys.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::NoTokenizer`] where the file has none, else the key that is missing or
    /// has a wrong type. What the values say is checked by [`Tokenizer::from_spec`].
    ///
    /// [`Tokenizer::from_spec`]: super::Tokenizer::from_spec
    pub fn from_metadata(metadata: &Metadata) -> Result<TokenizerSpec, TokenizerError> {
        let keys = Keys { metadata };
        let model = keys.string("model")?.ok_or(TokenizerError::NoTokenizer)?;
        if model == "none" || model == "no_vocab" {
            return Err(TokenizerError::NoTokenizer);
        }
        let is_bpe = model == "gpt2";
        let pre = keys.string("pre")?;
        let merges = keys.strings("merges")?;
        if is_bpe && pre.is_none() {
            return Err(missing("pre"));
        }
        if is_bpe && merges.is_none() {
            return Err(missing("merges"));
        }
        let scores = keys.scores()?;
        if model == "llama" && scores.is_none() {
            return Err(missing("scores"));
        }
        Ok(TokenizerSpec {
            model,
            pre: pre.unwrap_or_default(),
            tokens: keys.strings("tokens")?.ok_or_else(|| missing("tokens"))?,
            token_types: keys.token_types()?,
            merges: merges.unwrap_or_default(),
            scores: scores.unwrap_or_default(),
            bos: keys.id("bos_token_id")?,
            eos: keys.id("eos_token_id")?,
            eot: keys.id("eot_token_id")?,
            eom: keys.id("eom_token_id")?,
            unk: keys.id("unknown_token_id")?,
            pad: keys.id("padding_token_id")?,
            add_bos: keys.bool("add_bos_token")?,
            add_eos: keys.bool("add_eos_token")?,
            add_space_prefix: keys.bool("add_space_prefix")?,
        })
    }
}

/// The full key of `name`.
fn key_of(name: &str) -> String {
    format!("tokenizer.ggml.{name}")
}

fn missing(name: &str) -> TokenizerError {
    TokenizerError::MissingKey { key: key_of(name) }
}

fn wrong(name: &str, expected: &'static str) -> TokenizerError {
    TokenizerError::WrongType { key: key_of(name), expected }
}

/// Reads keys: absent is `None`, another type an error.
struct Keys<'m> {
    metadata: &'m Metadata,
}

impl Keys<'_> {
    fn string(&self, name: &str) -> Result<Option<String>, TokenizerError> {
        let value = self.metadata.get(&key_of(name));
        let read = value.map(|value| value.as_str().ok_or_else(|| wrong(name, "a string")));
        Ok(read.transpose()?.map(str::to_owned))
    }

    fn bool(&self, name: &str) -> Result<Option<bool>, TokenizerError> {
        let value = self.metadata.get(&key_of(name));
        value.map(|value| value.as_bool().ok_or_else(|| wrong(name, "a boolean"))).transpose()
    }

    fn id(&self, name: &str) -> Result<Option<u32>, TokenizerError> {
        let id = |value: &crate::gguf::Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let value = self.metadata.get(&key_of(name));
        value.map(|value| id(value).ok_or_else(|| wrong(name, "a token id"))).transpose()
    }

    fn array(&self, name: &str, expected: &'static str) -> Result<Option<&Array>, TokenizerError> {
        let value = self.metadata.get(&key_of(name));
        value.map(|value| value.as_array().ok_or_else(|| wrong(name, expected))).transpose()
    }

    fn strings(&self, name: &str) -> Result<Option<Vec<String>>, TokenizerError> {
        let expected = "an array of strings";
        match self.array(name, expected)? {
            None => Ok(None),
            Some(Array::String(strings)) => Ok(Some(strings.iter().map(str::to_owned).collect())),
            Some(_) => Err(wrong(name, expected)),
        }
    }

    fn token_types(&self) -> Result<Vec<i32>, TokenizerError> {
        let (name, expected) = ("token_type", "an array of whole numbers");
        let narrow = |values: Vec<i64>| values.into_iter().map(|v| i32::try_from(v).ok()).collect();
        match self.array(name, expected)? {
            None => Ok(Vec::new()),
            Some(Array::I32(types)) => Ok(types.clone()),
            Some(array) => array.to_i64s().and_then(narrow).ok_or_else(|| wrong(name, expected)),
        }
    }

    fn scores(&self) -> Result<Option<Vec<f32>>, TokenizerError> {
        let (name, expected) = ("scores", "an array of numbers");
        match self.array(name, expected)? {
            None => Ok(None),
            Some(Array::F32(scores)) => Ok(Some(scores.clone())),
            Some(_) => Err(wrong(name, expected)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Tokenizer, tests::small_spec};
    use super::*;
    use crate::gguf::Value;

    /// The small vocabulary as metadata, with the keys in `change` replaced (`None`: left out).
    fn metadata(change: &[(&str, Option<Value>)]) -> Metadata {
        let spec = small_spec("gpt-2");
        let strings = |list: &[String]| Value::Array(Array::String(list.iter().collect()));
        let mut metadata = Metadata::default();
        for (name, value) in change {
            if let Some(value) = value {
                metadata.insert(key_of(name), value.clone());
            }
        }
        let usual = [
            ("model", Value::String(spec.model)),
            ("pre", Value::String(spec.pre)),
            ("tokens", strings(&spec.tokens)),
            ("merges", strings(&spec.merges)),
            ("token_type", Value::Array(Array::I32(spec.token_types))),
            ("eos_token_id", Value::U32(5)),
            ("add_bos_token", Value::Bool(false)),
        ];
        for (name, value) in usual {
            if !change.iter().any(|(changed, _)| *changed == name) {
                metadata.insert(key_of(name), value);
            }
        }
        metadata
    }

    fn error_of(name: &str, value: Option<Value>) -> TokenizerError {
        TokenizerSpec::from_metadata(&metadata(&[(name, value)])).unwrap_err()
    }

    #[test]
    fn reads_every_key() {
        let spec = TokenizerSpec::from_metadata(&metadata(&[])).unwrap();
        let small = small_spec("gpt-2");
        let expect = TokenizerSpec { eos: Some(5), add_bos: Some(false), ..small };
        assert_eq!(spec, expect);
        assert!(Tokenizer::from_spec(spec).is_ok());
    }

    #[test]
    fn missing_keys() {
        assert_eq!(error_of("model", None), TokenizerError::NoTokenizer);
        let none = Value::String("none".to_owned());
        assert_eq!(error_of("model", Some(none)), TokenizerError::NoTokenizer);
        for name in ["pre", "tokens", "merges"] {
            assert_eq!(error_of(name, None), missing(name));
        }
    }

    #[test]
    fn wrong_types() {
        let names = ["model", "pre", "tokens", "merges", "token_type", "scores", "eos_token_id"];
        for name in names {
            let error = error_of(name, Some(Value::Bool(true)));
            assert!(matches!(error, TokenizerError::WrongType { key, .. } if key == key_of(name)));
        }
        let error = error_of("add_bos_token", Some(Value::U32(1)));
        assert!(matches!(error, TokenizerError::WrongType { expected: "a boolean", .. }));
        let error = error_of("eos_token_id", Some(Value::I32(-1)));
        assert!(matches!(error, TokenizerError::WrongType { expected: "a token id", .. }));
    }

    #[test]
    fn another_model_is_refused_by_name() {
        let change = [("model", Some(Value::String("t5".to_owned()))), ("merges", None)];
        let spec = TokenizerSpec::from_metadata(&metadata(&change)).unwrap();
        let error = Tokenizer::from_spec(spec).unwrap_err();
        assert!(matches!(error, TokenizerError::UnsupportedModel { model, .. } if model == "t5"));
    }

    #[test]
    fn sentence_piece_needs_scores_and_neither_merges_nor_pre() {
        let model = ("model", Some(Value::String("llama".to_owned())));
        let change = [model.clone(), ("merges", None), ("pre", None)];
        let error = TokenizerSpec::from_metadata(&metadata(&change)).unwrap_err();
        assert_eq!(error, missing("scores"));
        let count = small_spec("").tokens.len();
        let scores = ("scores", Some(Value::Array(Array::F32(vec![0.5; count]))));
        let change = [model, ("merges", None), ("pre", None), scores];
        let spec = TokenizerSpec::from_metadata(&metadata(&change)).unwrap();
        assert_eq!(spec.scores.len(), count);
        assert!(Tokenizer::from_spec(spec).is_ok());
    }
}
