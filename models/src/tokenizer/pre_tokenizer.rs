//! Pre-tokenizers: how text is cut into the words within which BPE merges.
//!
//! A pre-tokenizer is a list of stages. Each stage cuts every piece that the stage before left:
//! what its pattern matches, and what lies between matches, become pieces. The patterns are those
//! that llama.cpp gives each `tokenizer.ggml.pre` name; they define the tokenizers.
//!
//! Those patterns end in `\s+(?!\S)|\s+`: of a run of spaces before a word, the last is left to
//! the word. Engines without look-ahead run in linear time, so that ending is written as the plain
//! pattern `\s+` and the last character given back by hand.

use regex_automata::{Input, meta::Regex};

use super::TokenizerError;

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+";
const LLAMA3: &str = concat!(
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
);
const QWEN2: &str = concat!(
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?\p{L}+|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
);
const QWEN35: &str = concat!(
    r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|",
    r"\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{L}--[a-z]]*[\p{L}--[A-Z]]+|",
    r"[^\r\n\p{L}\p{N}]?[\p{L}--[a-z]]+[\p{L}--[A-Z]]*|",
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
);
const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{L}--[a-z]]*[\p{L}--[A-Z]]+",
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|",
    r"[^\r\n\p{L}\p{N}]?[\p{L}--[a-z]]+[\p{L}--[A-Z]]*",
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
);

/// One stage of a family.
#[derive(Clone, Copy)]
enum Rule {
    /// A pattern alone.
    Pattern(&'static str),
    /// A pattern that ends in the alternatives `\s+(?!\S)|\s+`, which are left out here.
    Words(&'static str),
}

/// Pre-tokenizers that are the same under several names.
struct Family {
    names: &'static [&'static str],
    rules: &'static [Rule],
    /// A word that is a token as it stands is not merged from its bytes.
    whole_words: bool,
    /// BOS goes before a prompt where the file does not say.
    add_bos: bool,
}

const FAMILIES: &[Family] = &[
    Family {
        names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        rules: &[Rule::Pattern(r"\p{N}"), Rule::Words(GPT2)],
        whole_words: false,
        add_bos: false,
    },
    Family {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "a.x-4.0",
            "mellum",
        ],
        rules: &[Rule::Words(GPT2)],
        whole_words: false,
        add_bos: false,
    },
    Family {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
        ],
        rules: &[Rule::Words(LLAMA3)],
        whole_words: true,
        add_bos: true,
    },
    Family {
        names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
        rules: &[Rule::Words(LLAMA3)],
        whole_words: false,
        add_bos: false,
    },
    Family {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "stablelm2",
            "hunyuan",
            "megrez",
            "kormo",
            "solar-open",
            "grok-2",
        ],
        rules: &[Rule::Words(QWEN2)],
        whole_words: false,
        add_bos: false,
    },
    Family {
        names: &["qwen35"],
        rules: &[Rule::Words(QWEN35)],
        whole_words: false,
        add_bos: false,
    },
    Family { names: &["tekken"], rules: &[Rule::Words(TEKKEN)], whole_words: true, add_bos: true },
    Family {
        names: &["gpt-4o", "llama4", "minimax-m2"],
        rules: &[Rule::Words(GPT4O)],
        whole_words: false,
        add_bos: false,
    },
];

/// The names of all pre-tokenizers, comma separated, for messages.
fn supported_names() -> String {
    let names: Vec<_> = FAMILIES.iter().flat_map(|f| f.names).copied().collect();
    names.join(", ")
}

/// A stage, compiled.
struct Stage {
    /// Pattern 0 is the stage's own; pattern 1, where there is one, is `\s+`.
    regex: Regex,
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
                Rule::Pattern(pattern) => Regex::new(pattern),
                Rule::Words(pattern) => Regex::new_many(&[*pattern, r"\s+"]),
            };
            regex.map(|regex| Stage { regex }).map_err(|e| TokenizerError::Internal(e.to_string()))
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
        let mut end = found.end();
        if found.pattern().as_usize() == 1 && end < text.len() {
            end = give_back_last(text, found.start(), end);
        }
        split_stages(rest, &text[at..found.start()], emit)?;
        split_stages(rest, &text[found.start()..end], emit)?;
        at = end;
    }
    split_stages(rest, &text[at..], emit)
}

/// Where a run of spaces `start..end` before a word ends for `\s+(?!\S)|\s+`: one character
/// early, unless it has only one.
fn give_back_last(text: &str, start: usize, end: usize) -> usize {
    match text[start..end].char_indices().next_back() {
        Some((last, _)) if last > 0 => start + last,
        _ => end,
    }
}

#[cfg(test)]
#[path = "pre_tokenizer_tests.rs"]
mod tests;
