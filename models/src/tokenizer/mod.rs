//! Tokenizers: text to token ids and back, as the model's file describes them.
//!
//! [`TokenizerSpec`] is the description, read from metadata; [`Tokenizer`] does the work. A kind
//! of tokenizer is one file that implements [`TextModel`] and one line in [`Tokenizer::from_spec`].
//! Ids agree with llama.cpp's for the same file and text. [`JsonFiles`] describe a tokenizer too;
//! that one is the `tokenizers` crate's from end to end, and ids agree with transformers'.

mod byte_bpe;
mod byte_level;
mod error;
mod json;
mod library;
mod metadata;
mod pre_tokenizer;
mod sentence_piece;
mod spec;
mod special;
mod stop;
mod stream;
mod vocab;

pub use error::TokenizerError;
pub use json::JsonFiles;
pub use spec::TokenizerSpec;
pub use stop::{StopReason, StopToken};
pub use stream::{StreamDecoder, Utf8Stream};
pub use vocab::TokenKind;

use special::{Part, Specials};
use vocab::Vocab;

/// A kind of tokenizer: what it makes of text that holds no special tokens.
trait TextModel: Send + Sync {
    /// Appends the ids of `text`. `after_special`: it begins a prompt or follows a special token.
    fn encode(
        &self,
        text: &str,
        after_special: bool,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError>;

    /// Appends the bytes that a normal token with this text stands for.
    fn append_bytes(&self, text: &str, out: &mut Vec<u8>);

    /// The first character that the vocabulary has no tokens for, for which
    /// [`TextModel::encode`] gives the unknown token or none.
    fn first_unencodable(&self, text: &str) -> Option<char>;

    /// Whether BOS goes before a prompt where the file does not say.
    fn adds_bos_by_default(&self) -> bool;
}

/// What becomes of control tokens (and the unknown token) when ids are turned into text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlText {
    /// They are left out.
    Omit,
    /// They are written as they are spelled.
    Literal,
}

/// What turns text into ids.
enum Encoder {
    /// Special tokens are cut out, and the text between them is the model's.
    Parts { specials: Specials, model: Box<dyn TextModel> },
    /// All is the library's.
    Library(Box<library::Library>),
}

/// A model's tokenizer.
pub struct Tokenizer {
    vocab: Vocab,
    encoder: Encoder,
    stops: Vec<StopToken>,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    /// The embedding may have rows beyond the last token, which stand for nothing.
    spare_rows: bool,
}

impl Tokenizer {
    /// Builds a tokenizer from its description.
    ///
    /// # Errors
    ///
    /// Whatever the description leaves out, contradicts or asks for that is not supported.
    pub fn from_spec(mut spec: TokenizerSpec) -> Result<Tokenizer, TokenizerError> {
        let mut vocab = Vocab::from_spec(&spec)?;
        check_special_ids(&spec, vocab.len())?;
        let model: Box<dyn TextModel> = match spec.model.as_str() {
            "gpt2" => Box::new(byte_bpe::ByteBpe::new(&mut spec)?),
            "llama" => Box::new(sentence_piece::SentencePiece::new(&mut spec)?),
            _ => {
                let supported = "gpt2 (byte-level BPE), llama (SentencePiece)".to_owned();
                return Err(TokenizerError::UnsupportedModel { model: spec.model, supported });
            }
        };
        stop::set_always_control(&mut vocab);
        let specials = Specials::new(vocab.iter().filter_map(|(id, text, kind)| match kind {
            TokenKind::Control | TokenKind::Unknown => Some((id, text, false)),
            TokenKind::UserDefined => Some((id, text, true)),
            TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => None,
        }));
        let named =
            [(spec.eos, StopReason::Eos), (spec.eot, StopReason::Eot), (spec.eom, StopReason::Eom)];
        let stops = stop::find(&vocab, &named);
        let add_bos = spec.add_bos.unwrap_or(model.adds_bos_by_default() && spec.bos.is_some());
        if add_bos && spec.bos.is_none() {
            return Err(TokenizerError::NoBos);
        }
        let (bos, eos, encoder) = (spec.bos, spec.eos, Encoder::Parts { specials, model });
        Ok(Tokenizer { vocab, encoder, stops, bos, eos, add_bos, spare_rows: false })
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// Checks that the embedding has a row for each token, and no more unless the tokenizer is
    /// from JSON files.
    pub fn check_vocab(&self, rows: usize) -> Result<(), TokenizerError> {
        let size = self.vocab_size();
        let fits = rows == size || (self.spare_rows && rows > size);
        if fits { Ok(()) } else { Err(TokenizerError::RowCount { size, rows }) }
    }

    /// The token that begins a text, if the file names one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text, if the file names one.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether [`Tokenizer::encode_prompt`] puts BOS first.
    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    /// The ids of `text`. User-defined tokens written out in it are always recognised; control
    /// tokens are if `special` is true. No BOS is added.
    ///
    /// Bytes that the vocabulary has no token for give none, or the unknown token:
    /// see [`Tokenizer::first_unencodable`].
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 1);
        self.encode_into(text, special, &mut ids)?;
        Ok(ids)
    }

    /// The ids of a whole prompt: as [`Tokenizer::encode`] with special tokens, after BOS where
    /// the file asks for it.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 4 + 2);
        ids.extend(self.bos.filter(|_| self.add_bos));
        self.encode_into(text, true, &mut ids)?;
        Ok(ids)
    }

    fn encode_into(
        &self,
        text: &str,
        special: bool,
        ids: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let (specials, model) = match &self.encoder {
            Encoder::Parts { specials, model } => (specials, model),
            Encoder::Library(library) => return library.encode(text, special, ids),
        };
        let mut after_special = true;
        for part in specials.partition(text, special) {
            match part {
                Part::Text(text) => model.encode(text, after_special, ids)?,
                Part::Token(id) => ids.push(id),
            }
            after_special = matches!(part, Part::Token(_));
        }
        Ok(())
    }

    /// The first character of `text` that the vocabulary cannot express: encoding leaves it out or
    /// gives the unknown token. Worth a warning: the model does not see it.
    pub fn first_unencodable(&self, text: &str) -> Option<char> {
        match &self.encoder {
            Encoder::Parts { model, .. } => model.first_unencodable(text),
            Encoder::Library(library) => library.first_unencodable(text),
        }
    }

    /// What a token is.
    pub fn token_kind(&self, id: u32) -> Result<TokenKind, TokenizerError> {
        self.token(id).map(|(_, kind)| kind)
    }

    /// The bytes that a token stands for. One token may be only part of a character.
    pub fn token_bytes(&self, id: u32, control: ControlText) -> Result<Vec<u8>, TokenizerError> {
        let mut bytes = Vec::new();
        self.append_bytes(id, control, &mut bytes)?;
        Ok(bytes)
    }

    /// A token as text to look at: control tokens as they are spelled, bytes that are no whole
    /// character as U+FFFD.
    pub fn token_piece(&self, id: u32) -> Result<String, TokenizerError> {
        self.decode(&[id], ControlText::Literal)
    }

    /// The text of tokens; bytes that are no whole character as U+FFFD. A space that the tokenizer
    /// puts before a text is part of it.
    pub fn decode(&self, ids: &[u32], control: ControlText) -> Result<String, TokenizerError> {
        let mut bytes = Vec::with_capacity(ids.len() * 4);
        for &id in ids {
            self.append_bytes(id, control, &mut bytes)?;
        }
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// A decoder for tokens that arrive one at a time.
    pub fn stream(&self, control: ControlText) -> StreamDecoder<'_> {
        StreamDecoder::new(self, control)
    }

    /// The tokens at which generation ends, in order of id. May be empty: then nothing ends it.
    pub fn stop_tokens(&self) -> &[StopToken] {
        &self.stops
    }

    fn append_bytes(
        &self,
        id: u32,
        control: ControlText,
        out: &mut Vec<u8>,
    ) -> Result<(), TokenizerError> {
        let (text, kind) = self.token(id)?;
        match kind {
            TokenKind::Control | TokenKind::Unknown => {
                if control == ControlText::Literal {
                    out.extend_from_slice(text.as_bytes());
                }
            }
            TokenKind::UserDefined => out.extend_from_slice(text.as_bytes()),
            TokenKind::Byte => match vocab::byte_of_token(text) {
                Some(byte) => out.push(byte),
                None => self.append_normal(text, out),
            },
            TokenKind::Normal => self.append_normal(text, out),
            TokenKind::Unused => {}
        }
        Ok(())
    }

    fn append_normal(&self, text: &str, out: &mut Vec<u8>) {
        match &self.encoder {
            Encoder::Parts { model, .. } => model.append_bytes(text, out),
            Encoder::Library(library) => library.append_bytes(text, out),
        }
    }

    /// The text and kind of a token.
    fn token(&self, id: u32) -> Result<(&str, TokenKind), TokenizerError> {
        if self.spare_rows && id as usize >= self.vocab.len() {
            return Ok(("", TokenKind::Unused));
        }
        self.vocab.get(id)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stops: Vec<_> = self.stops.iter().map(|stop| stop.id).collect();
        f.debug_struct("Tokenizer")
            .field("tokens", &self.vocab_size())
            .field("bos", &self.bos)
            .field("add_bos", &self.add_bos)
            .field("stops", &stops)
            .finish_non_exhaustive()
    }
}

/// Every id that the file names must be a token.
fn check_special_ids(spec: &TokenizerSpec, size: usize) -> Result<(), TokenizerError> {
    let named = [
        ("bos", spec.bos),
        ("eos", spec.eos),
        ("eot", spec.eot),
        ("eom", spec.eom),
        ("unknown", spec.unk),
        ("padding", spec.pad),
    ];
    for (role, id) in named {
        match id {
            Some(id) if id as usize >= size => {
                return Err(TokenizerError::SpecialOutOfRange { role, id, size });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
