//! SentencePiece's BPE (`tokenizer.ggml.model` is `llama`; Llama 2, Mistral, Gemma).
//!
//! Spaces become `▁`, and a text is merged from its characters: of all neighbours that make a
//! token together, the pair whose token has the highest score first, the leftmost on ties. A
//! character that is no token is written as its UTF-8 bytes, for which there are byte tokens.
//!
//! The `tokenizers` crate's BPE orders pairs by a list of merges, in which no two have the same
//! rank. Scores can be equal (all user-defined tokens often have the same), and then the place in
//! the text decides, which no such list can say. So the merging is done here.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use tokenizers::models::bpe::Vocab as Ids;

use super::byte_bpe::collect_vocab;
use super::vocab::byte_token;
use super::{TextModel, TokenizerError, TokenizerSpec};

/// What a space is written as.
const SPACE: char = '▁';

/// A SentencePiece encoder.
pub(super) struct SentencePiece {
    ids: Ids,
    /// By id.
    scores: Vec<f32>,
    /// Ids of the byte tokens.
    bytes: [Option<u32>; 256],
    /// Stands for a character that has no tokens.
    unknown: Option<u32>,
    /// Length of the longest token in bytes: longer texts need not be looked up.
    longest: usize,
    /// A space goes before the text.
    space_prefix: bool,
}

impl SentencePiece {
    /// Takes the tokens and scores out of `spec`, and puts in the ids that the format implies.
    pub(super) fn new(spec: &mut TokenizerSpec) -> Result<SentencePiece, TokenizerError> {
        let (tokens, scores) = (spec.tokens.len(), spec.scores.len());
        if tokens != scores {
            return Err(TokenizerError::ScoreCount { tokens, scores });
        }
        let implied = |id: u32| Some(id).filter(|&id| (id as usize) < tokens);
        spec.unk = spec.unk.or(implied(0));
        spec.bos = spec.bos.or(implied(1));
        spec.eos = spec.eos.or(implied(2));
        // Zero has one sign: equal scores must compare as equal.
        let scores: Vec<f32> = std::mem::take(&mut spec.scores).iter().map(|s| s + 0.0).collect();
        if let Some((id, _)) = (0u32..).zip(&scores).find(|(_, score)| score.is_nan()) {
            return Err(TokenizerError::BadScore { id });
        }
        let ids = collect_vocab(std::mem::take(&mut spec.tokens))?;
        let mut buffer = [0; 4];
        // The array has 256 entries. A byte below 128 may also be a token as it stands.
        let bytes = std::array::from_fn(|byte| {
            let byte = byte as u8;
            let itself = byte.is_ascii().then(|| &*char::from(byte).encode_utf8(&mut buffer));
            ids.get(&byte_token(byte)).or_else(|| ids.get(itself?)).copied()
        });
        Ok(SentencePiece {
            longest: ids.keys().map(String::len).max().unwrap_or(0),
            ids,
            scores,
            bytes,
            unknown: spec.unk,
            space_prefix: spec.add_space_prefix.unwrap_or(true),
        })
    }

    /// The token with this text and its score.
    fn token(&self, text: &str) -> Option<(u32, f32)> {
        let id = if text.len() > self.longest { None } else { self.ids.get(text) };
        id.and_then(|&id| Some((id, *self.scores.get(id as usize)?)))
    }

    /// Whether each byte of a character has a token.
    fn has_bytes(&self, character: &str) -> bool {
        character.bytes().all(|byte| self.bytes[usize::from(byte)].is_some())
    }

    /// Appends the ids of a piece that merging has left: a token, or one character.
    fn push_piece(&self, piece: &str, out: &mut Vec<u32>) {
        match self.ids.get(piece) {
            Some(&id) => out.push(id),
            None if self.has_bytes(piece) => {
                out.extend(piece.bytes().filter_map(|byte| self.bytes[usize::from(byte)]));
            }
            None => out.extend(self.unknown),
        }
    }
}

impl TextModel for SentencePiece {
    fn encode(
        &self,
        text: &str,
        after_special: bool,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        let prefix = (after_special && self.space_prefix).then_some(SPACE);
        let escaped = text.chars().map(|c| if c == ' ' { SPACE } else { c });
        let text: String = prefix.into_iter().chain(escaped).collect();
        let mut merging = Merging::new(self, &text);
        merging.run();
        merging.pieces().for_each(|piece| self.push_piece(piece, out));
        Ok(())
    }

    fn append_bytes(&self, text: &str, out: &mut Vec<u8>) {
        append_unescaped(text, out);
    }

    fn first_unencodable(&self, text: &str) -> Option<char> {
        let mut buffer = [0; 4];
        text.chars().find(|&c| {
            let c = if c == ' ' { SPACE } else { c };
            let text = &*c.encode_utf8(&mut buffer);
            !self.ids.contains_key(text) && !self.has_bytes(text)
        })
    }

    fn adds_bos_by_default(&self) -> bool {
        true
    }
}

/// Appends the text of a token in which spaces are written as `▁`.
pub(super) fn append_unescaped(text: &str, out: &mut Vec<u8>) {
    for (index, part) in text.split(SPACE).enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(part.as_bytes());
    }
}

/// A piece of the text: at first a character, later what it was merged into.
struct Symbol {
    start: usize,
    /// In bytes; 0 once it is part of the symbol before it.
    len: usize,
    /// The symbols beside it.
    before: Option<usize>,
    after: Option<usize>,
}

/// Two neighbours that make a token together.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Their length in bytes when the pair was found. If it differs now, one of them has grown.
    len: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Pair) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Pair) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Pair) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

/// The merging of one text. Each merge ends one symbol and finds at most two pairs, so the whole
/// takes O(n log n).
struct Merging<'a> {
    model: &'a SentencePiece,
    text: &'a str,
    symbols: Vec<Symbol>,
    pairs: BinaryHeap<Pair>,
}

impl<'a> Merging<'a> {
    fn new(model: &'a SentencePiece, text: &'a str) -> Merging<'a> {
        let symbol = |(index, (start, c)): (usize, (usize, char))| {
            let (len, before) = (c.len_utf8(), index.checked_sub(1));
            let after = (start + len < text.len()).then_some(index + 1);
            Symbol { start, len, before, after }
        };
        let symbols: Vec<Symbol> = text.char_indices().enumerate().map(symbol).collect();
        let mut merging = Merging { model, text, symbols, pairs: BinaryHeap::new() };
        for right in 1..merging.symbols.len() {
            merging.add_pair(Some(right - 1), Some(right));
        }
        merging
    }

    /// Merges until no two neighbours make a token.
    fn run(&mut self) {
        // Indices of symbols come from the list itself, which never shrinks.
        while let Some(Pair { left, right, len, .. }) = self.pairs.pop() {
            let (left_len, right_len) = (self.symbols[left].len, self.symbols[right].len);
            if left_len == 0 || right_len == 0 || left_len + right_len != len {
                continue;
            }
            let after = self.symbols[right].after;
            self.symbols[right].len = 0;
            self.symbols[left].len = len;
            self.symbols[left].after = after;
            if let Some(after) = after {
                self.symbols[after].before = Some(left);
            }
            self.add_pair(self.symbols[left].before, Some(left));
            self.add_pair(Some(left), after);
        }
    }

    /// Remembers two neighbours, if both exist and they make a token together.
    fn add_pair(&mut self, left: Option<usize>, right: Option<usize>) {
        let (Some(left), Some(right)) = (left, right) else { return };
        let start = self.symbols[left].start;
        let len = self.symbols[left].len + self.symbols[right].len;
        // Symbols begin and end at characters.
        if let Some((_, score)) = self.model.token(&self.text[start..start + len]) {
            self.pairs.push(Pair { score, left, right, len });
        }
    }

    /// What the text has become, in order.
    fn pieces(&self) -> impl Iterator<Item = &'a str> {
        let alive = self.symbols.iter().filter(|symbol| symbol.len > 0);
        alive.map(|symbol| &self.text[symbol.start..symbol.start + symbol.len])
    }
}

#[cfg(test)]
#[path = "sentence_piece_tests.rs"]
mod tests;
