//! A tokenizer that a `tokenizer.json` describes: the `tokenizers` crate does all of it, from
//! normalisation to the added tokens. What is added here is the bytes of single tokens, which
//! streaming needs and the library's decoders, made for whole texts, do not give.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use tokenizers::decoders::DecoderWrapper;

use super::{TokenizerError, byte_level, sentence_piece};

/// How the texts of tokens spell bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// In GPT-2's alphabet.
    ByteLevel,
    /// As they are, but for spaces, which are `▁`.
    Underlined,
}

impl Spelling {
    /// What the decoder says of it.
    fn of(decoder: Option<&DecoderWrapper>) -> Result<Spelling, TokenizerError> {
        let found = decoder.and_then(Spelling::find);
        found.ok_or(TokenizerError::UnsupportedDecoder)
    }

    fn find(decoder: &DecoderWrapper) -> Option<Spelling> {
        match decoder {
            DecoderWrapper::ByteLevel(_) => Some(Spelling::ByteLevel),
            DecoderWrapper::Metaspace(_) | DecoderWrapper::ByteFallback(_) => {
                Some(Spelling::Underlined)
            }
            DecoderWrapper::Sequence(sequence) => {
                sequence.get_decoders().iter().find_map(Spelling::find)
            }
            DecoderWrapper::BPE(_)
            | DecoderWrapper::WordPiece(_)
            | DecoderWrapper::CTC(_)
            | DecoderWrapper::Replace(_)
            | DecoderWrapper::Fuse(_)
            | DecoderWrapper::Strip(_) => None,
        }
    }
}

/// The library's tokenizer.
pub(super) struct Library {
    /// Recognises special tokens that are written out.
    whole: tokenizers::Tokenizer,
    /// Takes them for text. Seldom wanted, so made when it is.
    plain: OnceLock<tokenizers::Tokenizer>,
    spelling: Spelling,
    unknown: Option<u32>,
}

impl Library {
    /// Reads a `tokenizer.json`. `unknown` is spelled in another file of its folder.
    pub(super) fn read(bytes: &[u8], unknown: Option<&str>) -> Result<Library, TokenizerError> {
        let wrong = |why: String| TokenizerError::Json { file: "tokenizer.json", why };
        // The library checks little of what it reads and panics at some of the rest.
        let read = catch_unwind(|| tokenizers::Tokenizer::from_bytes(bytes));
        let mut whole = read
            .map_err(|_| wrong("the tokenizers library fails on it".to_owned()))?
            .map_err(|error| wrong(error.to_string()))?;
        whole.with_truncation(None).map_err(|error| wrong(error.to_string()))?;
        whole.with_padding(None);
        let spelling = Spelling::of(whole.get_decoder())?;
        let unknown = unknown.and_then(|text| whole.token_to_id(text));
        Ok(Library { whole, plain: OnceLock::new(), spelling, unknown })
    }

    /// Texts by id, with whether each was added to the model's own and whether it is special.
    pub(super) fn tokens(&self) -> Vec<(u32, String, Option<bool>)> {
        let added = self.whole.get_added_tokens_decoder();
        let own = self.whole.get_vocab(false).into_iter();
        let own = own.filter(|(_, id)| !added.contains_key(id)).map(|(text, id)| (id, text, None));
        let mut tokens: Vec<_> = own.collect();
        tokens.extend(
            added.iter().map(|(id, token)| (*id, token.content.clone(), Some(token.special))),
        );
        tokens
    }

    /// The id of a token.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.whole.token_to_id(text)
    }

    /// What the post-processor puts first into an empty text.
    pub(super) fn first_of_empty(&self) -> Result<Option<u32>, TokenizerError> {
        Ok(ids(&self.whole, "", true)?.first().copied())
    }

    /// Appends the ids of `text`, without what the post-processor adds.
    pub(super) fn encode(
        &self,
        text: &str,
        special: bool,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let library = if special { &self.whole } else { self.plain() };
        out.extend(ids(library, text, false)?);
        Ok(())
    }

    fn plain(&self) -> &tokenizers::Tokenizer {
        self.plain.get_or_init(|| {
            let mut plain = self.whole.clone();
            plain.set_encode_special_tokens(true);
            plain
        })
    }

    /// Appends the bytes of a normal token.
    pub(super) fn append_bytes(&self, text: &str, out: &mut Vec<u8>) {
        match self.spelling {
            Spelling::ByteLevel => byte_level::append_bytes(text, out),
            Spelling::Underlined => sentence_piece::append_unescaped(text, out),
        }
    }

    /// The first character that has no tokens, or the unknown one. Spaces always count as known:
    /// some tokenizers drop them on purpose.
    pub(super) fn first_unencodable(&self, text: &str) -> Option<char> {
        let (mut seen, mut buffer) = (HashSet::new(), [0; 4]);
        text.chars().find(|&c| {
            if c.is_whitespace() || !seen.insert(c) {
                return false;
            }
            let ids = ids(self.plain(), c.encode_utf8(&mut buffer), false).unwrap_or_default();
            ids.is_empty() || ids.iter().any(|&id| Some(id) == self.unknown)
        })
    }
}

/// The library's ids of `text`.
fn ids(
    library: &tokenizers::Tokenizer,
    text: &str,
    add_special: bool,
) -> Result<Vec<u32>, TokenizerError> {
    // As when reading: a description that contradicts itself must not end the program.
    let encoded = catch_unwind(AssertUnwindSafe(|| library.encode_fast(text, add_special)));
    let failed = |why: String| TokenizerError::Json { file: "tokenizer.json", why };
    let encoded = encoded
        .map_err(|_| failed("the tokenizers library fails on this text".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    Ok(encoded.get_ids().to_vec())
}
