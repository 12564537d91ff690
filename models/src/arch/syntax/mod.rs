//! From text to syntax tree.

pub(super) mod ast;
mod expression;
mod lexer;
mod parser;

pub(super) use parser::parse;

/// Whether a word has a meaning of its own, and so cannot be a name.
pub(super) fn is_keyword(word: &str) -> bool {
    lexer::KEYWORDS.contains(&word)
}
