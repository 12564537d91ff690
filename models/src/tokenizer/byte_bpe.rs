//! Byte-level BPE (`tokenizer.ggml.model` is `gpt2`): the merging is the `tokenizers` crate's.
//!
//! Text is cut into words by the pre-tokenizer, each word is written in the byte-level alphabet,
//! and BPE merges the characters of a word by the rank of the merge rules.

use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Error as BpeError, Vocab as BpeVocab};

use super::pre_tokenizer::PreTokenizer;
use super::{TextModel, TokenizerError, TokenizerSpec, byte_level};

/// A byte-level BPE encoder.
pub(super) struct ByteBpe {
    pre: PreTokenizer,
    bpe: BPE,
    /// Bytes that the vocabulary has a token for. Some real vocabularies lack bytes that never
    /// occurred in training.
    has_byte: [bool; 256],
}

impl ByteBpe {
    /// Takes the tokens and merges out of `spec`.
    pub(super) fn new(spec: &mut TokenizerSpec) -> Result<ByteBpe, TokenizerError> {
        let pre = PreTokenizer::named(&spec.pre)?;
        let vocab = collect_vocab(std::mem::take(&mut spec.tokens))?;
        let longest = vocab.keys().map(String::len).max().unwrap_or(0);
        let merges = std::mem::take(&mut spec.merges);
        let merges = (0..).zip(merges).map(|(index, merge)| split_merge(index, merge, longest));
        let merges = merges.collect::<Result<Vec<_>, _>>()?;
        let mut buffer = [0; 4];
        let has_byte = std::array::from_fn(|byte| {
            let c = byte_level::char_of_byte(byte as u8); // the array has 256 entries
            vocab.contains_key(&*c.encode_utf8(&mut buffer))
        });
        let builder = BPE::builder().vocab_and_merges(vocab, merges);
        let bpe = builder.ignore_merges(pre.whole_words).build().map_err(typed)?;
        Ok(ByteBpe { pre, bpe, has_byte })
    }

    /// Encodes one word. Characters do not merge across a byte that has no token; such a byte
    /// gives none, as in llama.cpp.
    fn encode_word(&self, word: &str, out: &mut Vec<u32>) -> Result<(), TokenizerError> {
        for run in word.as_bytes().split(|&byte| !self.has_byte[usize::from(byte)]) {
            let run: String = run.iter().map(|&byte| byte_level::char_of_byte(byte)).collect();
            let tokens = self.bpe.tokenize(&run).map_err(typed)?;
            out.extend(tokens.iter().map(|token| token.id));
        }
        Ok(())
    }
}

impl TextModel for ByteBpe {
    fn encode(
        &self,
        text: &str,
        _after_special: bool,
        out: &mut Vec<u32>,
    ) -> Result<(), TokenizerError> {
        self.pre.split(text, &mut |word| self.encode_word(word, out))
    }

    fn append_bytes(&self, text: &str, out: &mut Vec<u8>) {
        byte_level::append_bytes(text, out);
    }

    fn first_unencodable(&self, text: &str) -> Option<char> {
        let mut buffer = [0; 4];
        text.chars().find(|c| {
            c.encode_utf8(&mut buffer).bytes().any(|byte| !self.has_byte[usize::from(byte)])
        })
    }

    fn adds_bos_by_default(&self) -> bool {
        self.pre.add_bos
    }
}

/// Ids by text. Tokens without a text are left out: they are places kept free.
pub(super) fn collect_vocab(tokens: Vec<String>) -> Result<BpeVocab, TokenizerError> {
    let mut vocab = BpeVocab::with_capacity(tokens.len());
    for (id, text) in (0u32..).zip(tokens).filter(|(_, text)| !text.is_empty()) {
        if let Some(&first) = vocab.get(&text) {
            return Err(TokenizerError::DuplicateToken { first, second: id, text });
        }
        vocab.insert(text, id);
    }
    Ok(vocab)
}

/// The two tokens of a merge rule. `longest`: length in bytes of the longest token.
fn split_merge(
    index: usize,
    mut merge: String,
    longest: usize,
) -> Result<(String, String), TokenizerError> {
    // A token may begin with a space, so the first character does not separate.
    let space = merge.char_indices().skip(1).find(|&(_, c)| c == ' ').map(|(at, _)| at);
    let Some(space) = space.filter(|at| at + 1 < merge.len()) else {
        return Err(TokenizerError::BadMerge { index, merge });
    };
    // The builder writes the merged text into a buffer that holds the longest token.
    if merge.len() - 1 > longest {
        merge.remove(space);
        return Err(TokenizerError::MergeUnknownToken { token: merge });
    }
    let right = merge[space + 1..].to_owned();
    merge.truncate(space);
    Ok((merge, right))
}

/// The library's error as ours.
fn typed(error: tokenizers::Error) -> TokenizerError {
    match error.downcast_ref::<BpeError>() {
        Some(BpeError::MergeTokenOutOfVocabulary(token)) => {
            TokenizerError::MergeUnknownToken { token: token.clone() }
        }
        _ => TokenizerError::Internal(error.to_string()),
    }
}
