//! Tokens that are written out in a text: control, unknown and user-defined tokens.
//!
//! Matching is that of llama.cpp: the longest token first, wherever it occurs in the text, then
//! the next longest in what is left. (This is not leftmost-longest matching: a longer token that
//! begins later wins over a shorter one that it overlaps.)

use std::ops::Range;

use memchr::memmem;

/// A token that may be written out in a text.
struct Special {
    id: u32,
    text: Box<str>,
    /// Recognised always, not only where the caller asks for special tokens.
    always: bool,
}

/// All tokens that may be written out, longest first.
#[derive(Default)]
pub(super) struct Specials {
    tokens: Vec<Special>,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// Text to encode.
    Text(&'t str),
    /// A token that was written out.
    Token(u32),
}

impl Specials {
    /// From ids, texts and whether each is recognised always; empty texts are left out.
    pub(super) fn new<'a>(tokens: impl Iterator<Item = (u32, &'a str, bool)>) -> Specials {
        let mut tokens: Vec<_> = tokens
            .filter(|(_, text, _)| !text.is_empty())
            .map(|(id, text, always)| Special { id, text: text.into(), always })
            .collect();
        tokens.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then(a.id.cmp(&b.id)));
        Specials { tokens }
    }

    /// Cuts `text` at the tokens written out in it. `all` is false: only those recognised always.
    pub(super) fn partition<'t>(&self, text: &'t str, all: bool) -> Vec<Part<'t>> {
        let mut first_bytes = [false; 256];
        text.bytes().for_each(|b| first_bytes[usize::from(b)] = true);
        let candidates = self.tokens.iter().filter(|special| {
            (all || special.always)
                && special.text.bytes().next().is_some_and(|b| first_bytes[usize::from(b)])
        });
        // Spans of `text` in order: tokens found, and the text between them still to search.
        let mut spans: Vec<(Range<usize>, Option<u32>)> = vec![(0..text.len(), None)];
        for special in candidates {
            let finder = memmem::Finder::new(special.text.as_bytes());
            if finder.find(text.as_bytes()).is_some() {
                spans = cut(text, spans, &finder, special);
            }
        }
        spans
            .into_iter()
            .filter(|(range, _)| !range.is_empty())
            .map(|(range, id)| id.map_or(Part::Text(&text[range]), Part::Token))
            .collect()
    }
}

/// Cuts the text spans at each occurrence of `special`.
fn cut(
    text: &str,
    spans: Vec<(Range<usize>, Option<u32>)>,
    finder: &memmem::Finder<'_>,
    special: &Special,
) -> Vec<(Range<usize>, Option<u32>)> {
    let mut out = Vec::with_capacity(spans.len() + 2);
    for (range, id) in spans {
        if id.is_some() {
            out.push((range, id));
            continue;
        }
        let mut at = range.start;
        for offset in finder.find_iter(&text.as_bytes()[range.clone()]) {
            let start = range.start + offset;
            let end = start + special.text.len();
            out.push((at..start, None));
            out.push((start..end, Some(special.id)));
            at = end;
        }
        out.push((at..range.end, None));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specials() -> Specials {
        let tokens = [(0, "<|a|>", false), (1, "<|a|>b", false), (2, "  ", true), (3, "", true)];
        Specials::new(tokens.into_iter())
    }

    #[test]
    fn longest_token_wins() {
        let parts = specials().partition("x<|a|>b<|a|>y", true);
        assert_eq!(parts, [Part::Text("x"), Part::Token(1), Part::Token(0), Part::Text("y")]);
    }

    #[test]
    fn a_longer_token_that_begins_later_wins() {
        let specials = Specials::new([(0, "ab", true), (1, "bcd", true)].into_iter());
        assert_eq!(specials.partition("abcd", true), [Part::Text("a"), Part::Token(1)]);
    }

    #[test]
    fn only_user_defined_tokens_without_special() {
        let parts = specials().partition("<|a|>   z", false);
        assert_eq!(parts, [Part::Text("<|a|>"), Part::Token(2), Part::Text(" z")]);
    }

    #[test]
    fn nothing_to_cut() {
        assert_eq!(specials().partition("plain", true), [Part::Text("plain")]);
        assert_eq!(specials().partition("", true), []);
    }
}
