//! The tokens of the IR text, with their places, and the errors of reading it.

use super::TypeError;

/// The text is not a graph.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct TextError {
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// What is wrong there.
    pub problem: TextProblem,
}

/// What is wrong with a graph's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextProblem {
    /// Something else should stand here.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What should stand here.
        expected: String,
        /// What stands here.
        found: String,
    },
    /// The op does not take these operands.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The type that is stated is not the value's.
    #[error("the type is stated as {stated}, but it is {inferred}")]
    TypeDiffers {
        /// The type in the text.
        stated: String,
        /// The type by the op's rules.
        inferred: String,
    },
    /// There are more elements than can be counted.
    #[error("the extents {0:?} have more elements than can be counted")]
    TooLarge(Vec<u64>),
}

/// One token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Letters, digits and `_ . + -`: a keyword, a name or a number.
    Word(&'a str),
    /// `%7`
    Value(u32),
    /// `%7` with `=` after it, which is the next token: the start of a statement.
    Defined(u32),
    /// Text in quotes, without them and with its escapes replaced.
    Text(String),
    /// One of `= , : ( ) [ ] @`.
    Mark(char),
    /// The end of the text.
    End,
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Word(word) => write!(f, "`{word}`"),
            Token::Value(id) => write!(f, "`%{id}`"),
            Token::Defined(id) => write!(f, "`%{id} =`"),
            Token::Text(text) => write!(f, "{text:?}"),
            Token::Mark(mark) => write!(f, "`{mark}`"),
            Token::End => f.write_str("the end"),
        }
    }
}

/// A place in the text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    line: u32,
    column: u32,
}

impl Place {
    /// An error at this place.
    pub(super) fn error(self, problem: impl Into<TextProblem>) -> TextError {
        TextError { line: self.line, column: self.column, problem: problem.into() }
    }

    /// Something else should stand at this place.
    pub(super) fn expected(
        self,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> TextError {
        let (expected, found) = (expected.into(), found.to_string());
        self.error(TextProblem::Expected { expected, found })
    }
}

/// Reads tokens one by one, with the next one always at hand.
pub(super) struct Lexer<'a> {
    rest: &'a str,
    place: Place,
    next: (Token<'a>, Place),
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Result<Lexer<'a>, TextError> {
        let place = Place { line: 1, column: 1 };
        let mut lexer = Lexer { rest: text, place, next: (Token::End, place) };
        lexer.advance()?;
        Ok(lexer)
    }

    /// The next token.
    pub(super) fn peek(&self) -> &Token<'a> {
        &self.next.0
    }

    /// Where the next token starts.
    pub(super) fn place(&self) -> Place {
        self.next.1
    }

    /// Takes the next token and reads the one after it.
    pub(super) fn advance(&mut self) -> Result<(Token<'a>, Place), TextError> {
        self.skip_space();
        let place = self.place;
        let token = self.token()?;
        Ok(std::mem::replace(&mut self.next, (token, place)))
    }

    /// Skips white space and comments, from `//` to the end of the line.
    fn skip_space(&mut self) {
        loop {
            self.take_while(char::is_whitespace);
            if !self.rest.starts_with("//") {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn token(&mut self) -> Result<Token<'a>, TextError> {
        let place = self.place;
        Ok(match self.rest.chars().next() {
            None => Token::End,
            Some('"') => Token::Text(self.quoted()?),
            Some('%') => {
                self.take();
                let digits = self.take_while(|c| c.is_ascii_digit());
                let id = digits.parse().map_err(|_| place.expected("a value such as `%7`", "`%`"));
                let defined = self.rest.trim_start().starts_with('=');
                if defined { Token::Defined(id?) } else { Token::Value(id?) }
            }
            Some(mark @ ('=' | ',' | ':' | '(' | ')' | '[' | ']' | '@')) => {
                self.take();
                Token::Mark(mark)
            }
            Some(c) if is_word(c) => Token::Word(self.take_while(is_word)),
            Some(c) => return Err(place.expected("a word, a number or a mark", format!("{c:?}"))),
        })
    }

    /// Text in quotes; the next character is the first quote.
    fn quoted(&mut self) -> Result<String, TextError> {
        self.take();
        let mut text = String::new();
        loop {
            text.push_str(self.take_while(|c| !matches!(c, '"' | '\\' | '\n')));
            let place = self.place;
            match self.take() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape(place)?),
                _ => return Err(place.expected("`\"`", "the end of the line")),
            }
        }
    }

    /// What an escape stands for; its backslash, at `place`, has been taken.
    fn escape(&mut self, place: Place) -> Result<char, TextError> {
        let expected = || place.expected("`\\\"`, `\\\\` or an escape such as `\\u{a}`", "`\\`");
        match self.take() {
            Some(c @ ('"' | '\\')) => Ok(c),
            Some('u') if self.take() == Some('{') => {
                let digits = self.take_while(|c| c.is_ascii_hexdigit());
                let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
                let closed = self.take() == Some('}');
                code.filter(|_| closed).ok_or_else(expected)
            }
            _ => Err(expected()),
        }
    }

    /// Takes one character.
    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.place = Place { line: self.place.line.saturating_add(1), column: 1 };
        } else {
            self.place.column = self.place.column.saturating_add(1);
        }
        Some(c)
    }

    /// Takes characters as long as they are wanted.
    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let start = self.rest;
        while self.rest.chars().next().is_some_and(&wanted) {
            self.take();
        }
        &start[..start.len() - self.rest.len()]
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-')
}
