//! From text to syntax tree.

pub(super) mod ast;
mod expression;
mod lexer;
mod parser;

pub(super) use parser::parse;
