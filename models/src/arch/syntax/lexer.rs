//! From text to tokens.

use super::ast::Span;
use crate::arch::error::{ArchError, ErrorKind};

/// Words that cannot be names.
pub(super) const KEYWORDS: [&str; 16] = [
    "arch", "serves", "when", "layers", "in", "if", "then", "else", "and", "or", "not", "optional",
    "require", "true", "false", "none",
];

/// Longest first, so that the first match is the right one.
const SYMBOLS: [&str; 23] = [
    "==", "!=", "<=", ">=", "//", "..", "{", "}", "(", ")", "[", "]", ",", "=", "<", ">", "+", "-",
    "*", "/", "%", "^", "−",
];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    Name(&'a str),
    Keyword(&'static str),
    Number(f64),
    /// What stands between the quotes.
    Text(&'a str),
    Symbol(&'static str),
    End,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) span: Span,
    /// Whether it is the first on its line.
    pub(super) first: bool,
}

/// Splits `text`, which starts at byte `base` of the file, into tokens; the last is [`Kind::End`].
pub(super) fn lex(text: &str, base: u32) -> Result<Vec<Token<'_>>, ArchError> {
    let mut lexer = Lexer { text, at: 0, base };
    let mut tokens = vec![];
    let mut first = true;
    loop {
        first |= lexer.skip_blanks();
        let start = lexer.at;
        let kind = lexer.token()?;
        tokens.push(Token { kind, span: lexer.span(start), first });
        if kind == Kind::End {
            return Ok(tokens);
        }
        first = false;
    }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    base: u32,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        // `at` only ever advances by the length of a prefix of the rest.
        &self.text[self.at..]
    }

    /// The place from byte `start` to here; the parser bounds the text's length.
    fn span(&self, start: usize) -> Span {
        Span { start: self.base + start as u32, end: self.base + self.at as u32 }
    }

    fn error(&self, start: usize, message: &str, label: &str) -> ArchError {
        ArchError::new(ErrorKind::Syntax, message).label(self.span(start), label)
    }

    /// Skips white space and comments; says whether a line ended.
    fn skip_blanks(&mut self) -> bool {
        let mut newline = false;
        while let Some(next) = self.rest().chars().next() {
            if next == '#' {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if next.is_whitespace() {
                newline |= next == '\n';
                self.at += next.len_utf8();
            } else {
                break;
            }
        }
        newline
    }

    /// Takes the longest prefix of characters that satisfy `wanted`.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn token(&mut self) -> Result<Kind<'a>, ArchError> {
        let Some(next) = self.rest().chars().next() else { return Ok(Kind::End) };
        if next.is_ascii_alphabetic() || next == '_' {
            let word = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
            let keyword = KEYWORDS.iter().find(|known| **known == word);
            return Ok(keyword.map_or(Kind::Name(word), |known| Kind::Keyword(known)));
        }
        if next.is_ascii_digit() {
            return self.number();
        }
        if next == '"' {
            return self.string();
        }
        if let Some(symbol) = SYMBOLS.iter().find(|known| self.rest().starts_with(**known)) {
            self.at += symbol.len();
            // The typographic minus is what a formula pasted from a paper has.
            return Ok(Kind::Symbol(if *symbol == "−" { "-" } else { symbol }));
        }
        let start = self.at;
        self.at += next.len_utf8();
        let error = self.error(start, &format!("`{next}` has no meaning here"), "not expected");
        Err(match next {
            '\'' => error.help("texts stand in double quotes: \"blk.{i}.attn_q\""),
            '!' => error.help("write `not x`, or `a != b`"),
            '&' => error.help("write `a and b`"),
            '|' => error.help("write `a or b`"),
            ';' => error.help("statements end where the line does"),
            _ => error,
        })
    }

    fn number(&mut self) -> Result<Kind<'a>, ArchError> {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit());
        // Not the `..` of a range.
        if self.rest().starts_with('.') && !self.rest().starts_with("..") {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
        }
        if self.rest().starts_with(['e', 'E']) {
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
            self.take_while(|c| c.is_ascii_digit());
        }
        self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        let digits = &self.text[start..self.at];
        match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Kind::Number(number)),
            _ => Err(self
                .error(start, &format!("`{digits}` is no number"), "not a number")
                .help("numbers look like 12, 0.5 or 1e-5; names start with a letter")),
        }
    }

    fn string(&mut self) -> Result<Kind<'a>, ArchError> {
        let start = self.at;
        self.at += 1;
        let content = self.take_while(|c| c != '"' && c != '\n');
        if !self.rest().starts_with('"') {
            return Err(self
                .error(start, "the text does not end", "this quote is not closed")
                .help("close it with `\"` on the same line"));
        }
        self.at += 1;
        Ok(Kind::Text(content))
    }
}
