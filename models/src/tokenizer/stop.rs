//! The stop set: tokens at which generation ends.

use super::vocab::{TokenKind, Vocab};

/// Spellings that mean the end wherever they are a token, whatever type the file gives it.
const STOP_SPELLINGS: &[&str] = &[
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<|endofturn|>",
    "<|end_of_turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "_<EOT>",
];

/// Spellings that mean the end where the file says that the token is a control token.
const CONTROL_STOP_SPELLINGS: &[&str] =
    &["</s>", "<eos>", "<EOT>", "<|eos|>", "<turn|>", "[EOT]", "[EOS]"];

/// Why a token ends generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// The file names it as the end of a text.
    Eos,
    /// The file names it as the end of a turn.
    Eot,
    /// The file names it as the end of a message.
    Eom,
    /// Its spelling is that of an end token.
    Spelling,
}

impl StopReason {
    /// A word for output: `eos`, `eot`, `eom`, `spelling`.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::Eos => "eos",
            StopReason::Eot => "eot",
            StopReason::Eom => "eom",
            StopReason::Spelling => "spelling",
        }
    }
}

/// A token that ends generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub piece: String,
    /// Why it ends generation.
    pub reason: StopReason,
}

/// Makes control tokens of those whose spelling says so even where the file says otherwise.
pub(super) fn set_always_control(vocab: &mut Vocab) {
    let spelled = vocab.iter().filter(|(_, text, _)| STOP_SPELLINGS.contains(text));
    let ids: Vec<u32> = spelled.map(|(id, _, _)| id).collect();
    ids.into_iter().for_each(|id| vocab.set_control(id));
}

/// The stop set in order of id, from the ids that the file names and the tokens' spellings.
/// `named` lists the strongest reason first.
pub(super) fn find(vocab: &Vocab, named: &[(Option<u32>, StopReason)]) -> Vec<StopToken> {
    let reason_of = |id: u32, text: &str, kind: TokenKind| {
        let by_name = named.iter().find(|(named, _)| *named == Some(id)).map(|(_, reason)| *reason);
        by_name.or_else(|| {
            let ends = kind == TokenKind::Control
                && (STOP_SPELLINGS.contains(&text) || CONTROL_STOP_SPELLINGS.contains(&text));
            ends.then_some(StopReason::Spelling)
        })
    };
    let mut stops: Vec<_> = vocab
        .iter()
        .filter_map(|(id, text, kind)| {
            reason_of(id, text, kind).map(|reason| StopToken { id, piece: text.to_owned(), reason })
        })
        .collect();
    // Where a format ends its answers with <|return|> or <|call|>, <|end|> only separates the
    // messages of one answer.
    let spelled = |piece: &str| stops.iter().any(|stop| stop.piece == piece);
    if spelled("<|return|>") && spelled("<|call|>") {
        stops.retain(|stop| stop.piece != "<|end|>" || stop.reason != StopReason::Spelling);
    }
    stops
}
