//! Pre-tokenizers: how text is cut into the words within which BPE merges.
//!
//! A pre-tokenizer is a list of stages ([`families`] names them). Each stage cuts every piece that
//! the stage before left: what its pattern matches, and what lies between matches, become pieces.
//!
//! Most patterns end in `\s+(?!\S)|\s+`: of a run of spaces before a word, the last is left to
//! the word. Engines without look-ahead run in linear time, so such endings are written as the
//! plain pattern `\s+`, and where the run ends is settled by hand.

mod families;

use std::ops::Range;

use regex_automata::{Input, meta::Regex};

use super::TokenizerError;
use families::{FAMILIES, Rule};

/// The names of all pre-tokenizers, comma separated, for messages.
fn supported_names() -> String {
    let names: Vec<_> = FAMILIES.iter().flat_map(|f| f.names).copied().collect();
    names.join(", ")
}

/// A stage, compiled.
struct Stage {
    /// Pattern 0 is the stage's own; pattern 1, where there is one, is `\s+`.
    regex: Regex,
    rule: Rule,
}

/// Cuts text into words.
pub(super) struct PreTokenizer {
    stages: Vec<Stage>,
    /// A word that is a token as it stands is not merged from its bytes.
    pub(super) whole_words: bool,
    /// BOS goes before a prompt where the file does not say.
    pub(super) add_bos: bool,
}

impl PreTokenizer {
    /// The pre-tokenizer that a file calls `name`.
    pub(super) fn named(name: &str) -> Result<PreTokenizer, TokenizerError> {
        let family = FAMILIES.iter().find(|f| f.names.contains(&name)).ok_or_else(|| {
            TokenizerError::UnsupportedPreTokenizer {
                pre: name.to_owned(),
                supported: supported_names(),
            }
        })?;
        let compile = |rule: &Rule| {
            let regex = match rule {
                Rule::Pattern(pattern)
                | Rule::Threes(pattern)
                | Rule::ThreesWithBefore(pattern) => Regex::new(pattern),
                Rule::Words(pattern) | Rule::PowersOfTwo(pattern) => {
                    Regex::new_many(&[*pattern, r"\s+"])
                }
            };
            let stage = |regex| Stage { regex, rule: *rule };
            regex.map(stage).map_err(|e| TokenizerError::Internal(e.to_string()))
        };
        Ok(PreTokenizer {
            stages: family.rules.iter().map(compile).collect::<Result<_, _>>()?,
            whole_words: family.whole_words,
            add_bos: family.add_bos,
        })
    }

    /// Gives `emit` the words of `text` in order. Together they are `text`; none is empty.
    pub(super) fn split<E>(
        &self,
        text: &str,
        emit: &mut dyn FnMut(&str) -> Result<(), E>,
    ) -> Result<(), E> {
        split_stages(&self.stages, text, emit)
    }
}

fn split_stages<E>(
    stages: &[Stage],
    text: &str,
    emit: &mut dyn FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let Some((stage, rest)) = stages.split_first() else {
        return if text.is_empty() { Ok(()) } else { emit(text) };
    };
    let mut at = 0;
    while let Some(found) = stage.regex.find(Input::new(text).range(at..)) {
        // Where the next piece begins.
        let mut begin = at;
        if !matches!(stage.rule, Rule::ThreesWithBefore(_)) {
            split_stages(rest, &text[at..found.start()], emit)?;
            begin = found.start();
        }
        at = found.start();
        let is_spaces = found.pattern().as_usize() == 1;
        let mut left = stage.rule.count_own(text, found.range(), is_spaces);
        while left > 0 {
            let count = stage.rule.next_piece(left, is_spaces);
            let run = &text[at..found.end()];
            let end = run.char_indices().nth(count).map_or(found.end(), |(next, _)| at + next);
            split_stages(rest, &text[begin..end], emit)?;
            (begin, at, left) = (end, end, left - count);
        }
    }
    split_stages(rest, &text[at..], emit)
}

impl Rule {
    /// Characters of a match that become pieces of their own; it has at least one. What is left
    /// of it begins what follows.
    fn count_own(self, text: &str, found: Range<usize>, is_spaces: bool) -> usize {
        let before_word = is_spaces && found.end < text.len();
        let count = text[found].chars().count();
        // Spaces before a word: the last is the word's, unless there is only one.
        if before_word { (count - 1).max(1) } else { count }
    }

    /// How many of the `left` characters of a match the next piece takes.
    fn next_piece(self, left: usize, is_spaces: bool) -> usize {
        match self {
            Rule::PowersOfTwo(_) if is_spaces => 1 << left.min(512).ilog2(),
            Rule::Threes(_) | Rule::ThreesWithBefore(_) => match left % 3 {
                0 => 3,
                odd => odd,
            },
            Rule::Pattern(_) | Rule::Words(_) | Rule::PowersOfTwo(_) => left,
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
