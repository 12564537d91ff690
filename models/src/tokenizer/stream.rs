//! Text from tokens one at a time. A character that several tokens make up is held back until it
//! is whole, so what is printed is never a broken character.

use super::{ControlText, Tokenizer, TokenizerError};

/// Turns bytes that arrive in pieces into text. All it returns, joined, is what
/// [`String::from_utf8_lossy`] makes of all the bytes, joined.
#[derive(Debug, Default, Clone)]
pub struct Utf8Stream {
    /// Bytes that may yet become a character: at most three.
    pending: Vec<u8>,
}

impl Utf8Stream {
    /// Takes bytes and returns the text that is complete. Bytes that can no longer become a
    /// character are returned as U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    // Valid by what the error says, so nothing is replaced.
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(broken) = error.error_len() else {
                        self.pending = after.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[broken..]; // the error lies within `after`
                }
            }
        }
    }

    /// Ends the stream: U+FFFD if a character was left incomplete, else nothing.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

/// Turns tokens that arrive one at a time into text.
#[derive(Clone)]
pub struct StreamDecoder<'t> {
    tokenizer: &'t Tokenizer,
    control: ControlText,
    stream: Utf8Stream,
}

impl<'t> StreamDecoder<'t> {
    pub(super) fn new(tokenizer: &'t Tokenizer, control: ControlText) -> StreamDecoder<'t> {
        StreamDecoder { tokenizer, control, stream: Utf8Stream::default() }
    }

    /// Takes a token and returns the text that is complete, which may be none.
    pub fn push(&mut self, id: u32) -> Result<String, TokenizerError> {
        let bytes = self.tokenizer.token_bytes(id, self.control)?;
        Ok(self.stream.push(&bytes))
    }

    /// Ends the text: U+FFFD if a character was left incomplete, else nothing.
    pub fn finish(&mut self) -> String {
        self.stream.finish()
    }
}
