//! A tokenizer's description as plain data: what a GGUF file's metadata says of it.

/// What a tokenizer is built from. Field names follow the `tokenizer.ggml.*` keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenizerSpec {
    /// Kind of tokenizer: `gpt2` is byte-level BPE, `llama` SentencePiece's.
    pub model: String,
    /// Name of the pre-tokenizer, which cuts text into words before merging.
    pub pre: String,
    /// Text of each token, by id.
    pub tokens: Vec<String>,
    /// Type of each token, by id: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused,
    /// 6 byte, 0 undefined. Empty: all are normal.
    pub token_types: Vec<i32>,
    /// Merge rules, best first, each two token texts separated by a space.
    pub merges: Vec<String>,
    /// Score of each token, by id (SentencePiece): what is merged first.
    pub scores: Vec<f32>,
    /// Begins a text. SentencePiece implies 1, and 2 for `eos` and 0 for `unk`.
    pub bos: Option<u32>,
    /// Ends a text.
    pub eos: Option<u32>,
    /// Ends a turn.
    pub eot: Option<u32>,
    /// Ends a message.
    pub eom: Option<u32>,
    /// Stands for what cannot be encoded.
    pub unk: Option<u32>,
    /// Fills a batch.
    pub pad: Option<u32>,
    /// Whether a prompt begins with BOS. `None`: as is usual for the pre-tokenizer.
    pub add_bos: Option<bool>,
    /// Whether the file's texts end with EOS. Prompts are to be continued, so it is not applied.
    pub add_eos: Option<bool>,
    /// Whether a space goes before the text (SentencePiece only). `None`: it does.
    pub add_space_prefix: Option<bool>,
}
