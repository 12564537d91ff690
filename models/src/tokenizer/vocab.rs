//! The vocabulary: each token's text and kind, by id.

use super::{TokenizerError, TokenizerSpec};

/// What a token is, after the format's token types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A piece of text.
    Normal,
    /// Stands for what cannot be encoded.
    Unknown,
    /// Steers the model (begins a turn, ends a text); has no text of its own.
    Control,
    /// Added to the vocabulary as it is spelled; always recognised in text.
    UserDefined,
    /// A place in the vocabulary that is not used.
    Unused,
    /// One byte.
    Byte,
}

impl TokenKind {
    fn from_type(id: u32, value: i32) -> Result<TokenKind, TokenizerError> {
        match value {
            0 | 1 => Ok(TokenKind::Normal),
            2 => Ok(TokenKind::Unknown),
            3 => Ok(TokenKind::Control),
            4 => Ok(TokenKind::UserDefined),
            5 => Ok(TokenKind::Unused),
            6 => Ok(TokenKind::Byte),
            value => Err(TokenizerError::BadType { id, value }),
        }
    }
}

/// How the token of a byte is spelled.
pub(super) fn byte_token(byte: u8) -> String {
    format!("<0x{byte:02X}>")
}

/// The byte that a byte token so spelled stands for.
pub(super) fn byte_of_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

/// Texts and kinds of all tokens. The texts lie end to end in one string.
pub(super) struct Vocab {
    text: String,
    /// Where each token's text ends; it begins where the one before ends.
    ends: Vec<usize>,
    kinds: Vec<TokenKind>,
}

impl Vocab {
    /// Copies the texts and checks the types of a description.
    pub(super) fn from_spec(spec: &TokenizerSpec) -> Result<Vocab, TokenizerError> {
        let count = spec.tokens.len();
        if count == 0 {
            return Err(TokenizerError::EmptyVocabulary);
        }
        // Ids are kept below i32::MAX, as every other tool keeps them.
        if i32::try_from(count).is_err() {
            return Err(TokenizerError::VocabularyTooLarge { count });
        }
        let types = spec.token_types.len();
        if types != 0 && types != count {
            return Err(TokenizerError::TypeCount { tokens: count, types });
        }
        let kinds = if types == 0 {
            vec![TokenKind::Normal; count]
        } else {
            let typed = (0u32..).zip(&spec.token_types);
            typed.map(|(id, &value)| TokenKind::from_type(id, value)).collect::<Result<_, _>>()?
        };
        let mut text = String::with_capacity(spec.tokens.iter().map(String::len).sum());
        let mut ends = Vec::with_capacity(count);
        for token in &spec.tokens {
            text.push_str(token);
            ends.push(text.len());
        }
        Ok(Vocab { text, ends, kinds })
    }

    /// Number of tokens.
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    /// The text and kind of a token.
    pub(super) fn get(&self, id: u32) -> Result<(&str, TokenKind), TokenizerError> {
        let index = id as usize;
        let (Some(&end), Some(&kind)) = (self.ends.get(index), self.kinds.get(index)) else {
            return Err(TokenizerError::IdOutOfRange { id, size: self.len() });
        };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]); // before < index
        Ok((&self.text[start..end], kind)) // both ends are ends of whole strings
    }

    /// All tokens in order of id.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &str, TokenKind)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let texts = starts.zip(&self.ends).map(|(start, &end)| &self.text[start..end]);
        (0u32..).zip(texts).zip(&self.kinds).map(|((id, text), &kind)| (id, text, kind))
    }

    /// Makes a token a control token, whatever the file says.
    pub(super) fn set_control(&mut self, id: u32) {
        if let Some(kind) = self.kinds.get_mut(id as usize) {
            *kind = TokenKind::Control;
        }
    }
}
