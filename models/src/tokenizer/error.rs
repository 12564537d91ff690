//! What can be wrong with a tokenizer's description, or with what it is asked to do.

/// Why a tokenizer could not be built or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The file says nothing of a tokenizer.
    #[error("the file has no tokenizer (no metadata key `tokenizer.ggml.model`)")]
    NoTokenizer,
    /// The folder has no tokenizer.
    #[error("the folder has no tokenizer.json: give token ids with --prompt-tokens")]
    NoTokenizerFile,
    /// A metadata key that a tokenizer needs is absent.
    #[error("the tokenizer's metadata key `{key}` is missing")]
    MissingKey {
        /// The metadata key.
        key: String,
    },
    /// A metadata key holds another type than the format gives it.
    #[error("metadata key `{key}` has the wrong type: expected {expected}")]
    WrongType {
        /// The metadata key.
        key: String,
        /// The type it should have.
        expected: &'static str,
    },
    /// `tokenizer.ggml.model` names a kind of tokenizer that is not implemented.
    #[error("tokenizer model `{model}` is not supported; supported: {supported}")]
    UnsupportedModel {
        /// The name in the file.
        model: String,
        /// The names that are supported, comma separated.
        supported: String,
    },
    /// `tokenizer.ggml.pre` names a pre-tokenizer that is not implemented.
    #[error("pre-tokenizer `{pre}` is not supported; supported: {supported}")]
    UnsupportedPreTokenizer {
        /// The name in the file.
        pre: String,
        /// The names that are supported, comma separated.
        supported: String,
    },
    /// A file of a Hugging Face folder is not as it should be.
    #[error("{file}: {why}")]
    Json {
        /// The file's name.
        file: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// `tokenizer.json` spells tokens in a way that is not implemented.
    #[error(
        "tokenizer.json has a decoder that is not supported; supported: ByteLevel, Metaspace, \
         ByteFallback, or a sequence with one of them"
    )]
    UnsupportedDecoder,
    /// The vocabulary has no tokens.
    #[error("the vocabulary is empty")]
    EmptyVocabulary,
    /// More tokens than a `u32` can number.
    #[error("the vocabulary has {count} tokens, more than can be numbered")]
    VocabularyTooLarge {
        /// Tokens in the file.
        count: usize,
    },
    /// The list of token types is not as long as the list of tokens.
    #[error("the file has {tokens} tokens but {types} token types")]
    TypeCount {
        /// Tokens in the file.
        tokens: usize,
        /// Token types in the file.
        types: usize,
    },
    /// The list of scores is not as long as the list of tokens.
    #[error("the file has {tokens} tokens but {scores} scores")]
    ScoreCount {
        /// Tokens in the file.
        tokens: usize,
        /// Scores in the file.
        scores: usize,
    },
    /// A score that cannot be compared with others.
    #[error("the score of token {id} is not a number")]
    BadScore {
        /// The token.
        id: u32,
    },
    /// A token type outside the format's 0 to 6.
    #[error("token {id} has the unknown type {value}; types are 0 to 6")]
    BadType {
        /// The token.
        id: u32,
        /// Its type in the file.
        value: i32,
    },
    /// Two tokens have the same text.
    #[error("tokens {first} and {second} have the same text {text:?}")]
    DuplicateToken {
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
        /// The text of both.
        text: String,
    },
    /// A merge rule is not two tokens separated by a space.
    #[error("merge {index} is not two tokens separated by a space: {merge:?}")]
    BadMerge {
        /// Position in the list of merges, from 0.
        index: usize,
        /// The rule.
        merge: String,
    },
    /// A merge rule names, or makes, a text that is no token.
    #[error("a merge rule uses {token:?}, which is not in the vocabulary")]
    MergeUnknownToken {
        /// The text that is no token.
        token: String,
    },
    /// A token id in the metadata lies outside the vocabulary.
    #[error("{role} token id {id} is outside the vocabulary of {size} tokens")]
    SpecialOutOfRange {
        /// Which of the file's ids: `bos`, `eos`, ….
        role: &'static str,
        /// The id in the file.
        id: u32,
        /// Tokens in the vocabulary.
        size: usize,
    },
    /// The file asks for a token before the text but does not say which.
    #[error("the file wants a BOS token before each prompt but names none")]
    NoBos,
    /// The vocabulary and the embedding disagree.
    #[error("the vocabulary has {size} tokens but the embedding has {rows} rows")]
    RowCount {
        /// Tokens in the vocabulary.
        size: usize,
        /// Rows of the embedding tensor.
        rows: usize,
    },
    /// A token id that was asked for lies outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {size} tokens")]
    IdOutOfRange {
        /// The id.
        id: u32,
        /// Tokens in the vocabulary.
        size: usize,
    },
    /// A library refused something that was checked to be right: a bug of ours.
    #[error("tokenizer bug (please report it): {0}")]
    Internal(String),
}
