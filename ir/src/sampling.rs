//! The words through which host and sampling kernels talk about one slot.
//!
//! A slot's record in the `sampler` buffer is [`SLOT_WORDS`] words:
//!
//! | word | type | meaning |
//! |---|---|---|
//! | 0 | f32 | temperature; 0 takes the largest logit |
//! | 1 | u32 | top-k; 0 keeps all |
//! | 2 | f32 | top-p; 1 keeps all |
//! | 3 | f32 | min-p; 0 keeps all |
//! | 4 | f32 | repetition penalty over the history; 1 for none |
//! | 5 | u32 | seed of the counter-based generator |
//! | 6 | u32 | tokens in the history that count, at most [`HISTORY`] |
//! | 7 | u32 | where the next token goes in the history ring |
//! | 8.. | u32 | the last [`HISTORY`] tokens, prompt included |
//!
//! The order is llama.cpp's: repetition penalty, top-k, top-p, min-p, temperature.

/// Tokens that the repetition penalty looks back on.
pub const HISTORY: usize = 64;
/// Words of one slot's record.
pub const SLOT_WORDS: usize = 8 + HISTORY;
/// Stop tokens that a plan has room for.
pub const MAX_STOP_TOKENS: usize = 63;

/// Steps whose records the device keeps for the host: most decode steps of a submission.
pub const RECORDS: u32 = 16;

/// Parts at most in which the largest logit of a row is looked for at once.
pub const MOST_PARTS: u32 = 64;

/// What a sampling kernel says of a slot, the second word of its `sampled` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// A token was drawn and the sequence goes on.
    Live = 0,
    /// The token drawn is a stop token.
    Stopped = 1,
    /// Some logit was NaN or infinite; no token was drawn.
    NotFinite = 2,
    /// The slot was not live: nothing was done.
    Idle = 3,
    /// A token was drawn, but the states have no room for another.
    ContextFull = 4,
}

impl Status {
    /// The status with this word.
    pub const fn from_word(word: u32) -> Option<Status> {
        Some(match word {
            0 => Status::Live,
            1 => Status::Stopped,
            2 => Status::NotFinite,
            3 => Status::Idle,
            4 => Status::ContextFull,
            _ => return None,
        })
    }
}
