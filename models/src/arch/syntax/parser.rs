//! From tokens to statements, by recursive descent. Expressions are in `expression.rs`.

use super::ast::{Arch, Function, Ident, Span, Statement};
use super::lexer::{Kind, Token, lex};
use crate::arch::error::{ArchError, ErrorKind};
use crate::arch::suggest;

/// Bytes in a file: far beyond any architecture, and within what [`Span`] can address.
const MAX_TEXT: usize = 256 << 10;

/// User functions in a file, and parameters of one: both are searched from front to back.
const MAX_FUNCTIONS: usize = 256;
const MAX_PARAMS: usize = 32;

/// `if` blocks within `if` blocks.
const MAX_BLOCKS: u16 = 32;

/// Parses a whole file.
pub(in crate::arch) fn parse(text: &str) -> Result<Arch, ArchError> {
    if text.len() > MAX_TEXT {
        let message = format!("the file has {} bytes, and at most {MAX_TEXT} are read", text.len());
        return Err(ArchError::new(ErrorKind::Limit, message));
    }
    let mut parser = Parser::new(lex(text, 0)?, 0);
    let arch = parser.arch()?;
    match parser.peek().kind {
        Kind::End => Ok(arch),
        _ => {
            Err(parser.unexpected("the end of the file").help("a file describes one architecture"))
        }
    }
}

/// Where a block of statements stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Top,
    Inside(&'static str),
}

pub(super) struct Parser<'a> {
    /// Never empty: the last is [`Kind::End`].
    tokens: Vec<Token<'a>>,
    at: usize,
    /// Expressions being parsed within one another.
    pub(super) nesting: u16,
    functions: Vec<Function>,
    blocks: u16,
}

impl<'a> Parser<'a> {
    pub(super) fn new(tokens: Vec<Token<'a>>, nesting: u16) -> Parser<'a> {
        Parser { tokens, at: 0, nesting, functions: vec![], blocks: 0 }
    }

    pub(super) fn peek(&self) -> Token<'a> {
        self.ahead(0)
    }

    /// The token `count` after the next; the last token beyond the end.
    pub(super) fn ahead(&self, count: usize) -> Token<'a> {
        // Not empty, so the clamped index is in bounds.
        self.tokens[(self.at + count).min(self.tokens.len() - 1)]
    }

    pub(super) fn advance(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// The place of the last token taken.
    pub(super) fn last_span(&self) -> Span {
        let before = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        before.unwrap_or(&self.peek()).span
    }

    /// Takes the next token if it is this symbol or keyword.
    pub(super) fn accept(&mut self, text: &str) -> bool {
        let found = matches!(self.peek().kind, Kind::Symbol(s) | Kind::Keyword(s) if s == text);
        if found {
            self.at += 1;
        }
        found
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<Span, ArchError> {
        if self.accept(text) {
            return Ok(self.last_span());
        }
        let error = self.unexpected(&format!("`{text}`"));
        Err(match self.peek().kind {
            Kind::Name(name) => error.maybe_help(suggest::did_you_mean(name, [text])),
            _ => error,
        })
    }

    /// Takes the closing bracket of `open`, or says that it is missing.
    pub(super) fn close(&mut self, bracket: &str, open: Span) -> Result<Span, ArchError> {
        if self.accept(bracket) {
            return Ok(self.last_span());
        }
        let wanted = match bracket {
            "}" => "`}`".to_string(),
            _ => format!("`,` or `{bracket}`"),
        };
        Err(self.unexpected(&wanted).label(open, "opened here"))
    }

    pub(super) fn unexpected(&self, wanted: &str) -> ArchError {
        let token = self.peek();
        let found = match token.kind {
            Kind::Name(name) => format!("the name `{name}`"),
            Kind::Keyword(word) => format!("the keyword `{word}`"),
            Kind::Number(number) => format!("the number {number}"),
            Kind::Text(text) => format!("the text \"{text}\""),
            Kind::Symbol(symbol) => format!("`{symbol}`"),
            Kind::End => "the end of the file".into(),
        };
        ArchError::new(ErrorKind::Syntax, format!("expected {wanted}, but found {found}"))
            .label(token.span, format!("expected {wanted}"))
    }

    pub(super) fn ident(&mut self, what: &str) -> Result<Ident, ArchError> {
        match self.peek() {
            Token { kind: Kind::Name(name), span, .. } => {
                self.at += 1;
                Ok(Ident { text: name.into(), span })
            }
            Token { kind: Kind::Keyword(_), .. } => {
                Err(self.unexpected(what).help("keywords cannot be names"))
            }
            _ => Err(self.unexpected(what)),
        }
    }

    fn arch(&mut self) -> Result<Arch, ArchError> {
        self.expect("arch").map_err(|error| {
            error.help("a file starts like this: arch llama serves \"llama\" {")
        })?;
        let name = self.ident("the architecture's name")?;
        self.expect("serves")?;
        let mut serves = vec![self.plain_text()?];
        while self.accept(",") {
            serves.push(self.plain_text()?);
        }
        let when = if self.accept("when") { Some(self.expression()?) } else { None };
        let open = self.expect("{")?;
        let body = self.block(open, Place::Top)?;
        Ok(Arch { name, serves, when, body, functions: std::mem::take(&mut self.functions) })
    }

    fn plain_text(&mut self) -> Result<String, ArchError> {
        match self.peek().kind {
            Kind::Text(text) => {
                self.at += 1;
                Ok(text.into())
            }
            _ => Err(self
                .unexpected("a `general.architecture` value in quotes")
                .help("for example: serves \"llama\"")),
        }
    }

    /// Statements up to and including the closing brace.
    fn block(&mut self, open: Span, place: Place) -> Result<Vec<Statement>, ArchError> {
        let mut statements = vec![];
        while !self.accept("}") {
            if self.peek().kind == Kind::End {
                return Err(self.unexpected("`}`").label(open, "opened here"));
            }
            if !statements.is_empty() && !self.peek().first {
                return Err(self.unexpected("an operator or the end of the line"));
            }
            self.statement(place, &mut statements)?;
        }
        Ok(statements)
    }

    fn statement(&mut self, place: Place, into: &mut Vec<Statement>) -> Result<(), ArchError> {
        match self.peek().kind {
            Kind::Keyword("layers") => match place {
                Place::Top => into.push(self.layers()?),
                Place::Inside(block) => {
                    let why = format!("`layers` cannot stand inside `{block}`");
                    let error = ArchError::new(ErrorKind::Syntax, why);
                    return Err(error.label(self.peek().span, "move it to the top level"));
                }
            },
            Kind::Keyword("if") => into.push(self.if_block()?),
            Kind::Keyword("require") => into.push(self.require()?),
            Kind::Name(_) if self.ahead(1).kind == Kind::Symbol("(") => self.function(place)?,
            _ => into.push(self.binding()?),
        }
        Ok(())
    }

    fn binding(&mut self) -> Result<Statement, ArchError> {
        let name = self.ident("a statement, such as `name = value`")?;
        self.expect("=")?;
        Ok(Statement::Bind { name, value: self.expression()? })
    }

    /// `name(params) = body`
    fn function(&mut self, place: Place) -> Result<(), ArchError> {
        let name = self.ident("the function's name")?;
        let open = self.expect("(")?;
        let mut params = vec![];
        while !self.accept(")") {
            params.push(self.ident("a parameter's name").map_err(|error| {
                error.help("a statement binds a name, `y = f(x)`, or a function, `f(x) = …`")
            })?);
            if !self.accept(",") {
                self.close(")", open)?;
                break;
            }
        }
        if self.peek().kind != Kind::Symbol("=") {
            let whole = name.span.to(self.last_span());
            return Err(ArchError::new(ErrorKind::Syntax, "the result of this call is not used")
                .label(whole, "bind it to a name")
                .help(format!("for example: h = {}(…)", name.text)));
        }
        if let Place::Inside(block) = place {
            let why = format!("a function cannot be defined inside `{block}`");
            return Err(ArchError::new(ErrorKind::Syntax, why)
                .label(name.span, "move it to the top level")
                .help("a function sees whatever is bound when it is called, the layer's too"));
        }
        self.expect("=")?;
        let body = self.expression()?;
        if self.functions.len() >= MAX_FUNCTIONS || params.len() > MAX_PARAMS {
            let message = "too many functions, or parameters of one";
            return Err(ArchError::new(ErrorKind::Limit, message).label(
                name.span,
                format!("at most {MAX_FUNCTIONS} functions of {MAX_PARAMS} parameters"),
            ));
        }
        self.functions.push(Function { name, params, body });
        Ok(())
    }

    fn layers(&mut self) -> Result<Statement, ArchError> {
        self.expect("layers")?;
        let variable = self.ident("the name of the layer's number")?;
        self.expect("in")?;
        let from = self.expression()?;
        self.expect("..").map_err(|error| error.help("for example: layers i in 0..n_layer {"))?;
        let to = self.expression()?;
        let open = self.expect("{")?;
        Ok(Statement::Layers {
            variable,
            from,
            to,
            body: self.block(open, Place::Inside("layers"))?,
        })
    }

    fn if_block(&mut self) -> Result<Statement, ArchError> {
        let start = self.expect("if")?;
        if self.blocks >= MAX_BLOCKS {
            return Err(ArchError::new(ErrorKind::Limit, "too many `if` inside one another")
                .label(start, format!("more than {MAX_BLOCKS} deep")));
        }
        self.blocks += 1;
        let condition = self.expression()?;
        if self.peek().kind == Kind::Keyword("then") {
            return Err(self.unexpected("`{`").help(
                "as a statement: if … { … } else { … }; as a value: x = if … then … else …",
            ));
        }
        let open = self.expect("{")?;
        let then = self.block(open, Place::Inside("if"))?;
        let otherwise = if !self.accept("else") {
            vec![]
        } else if self.peek().kind == Kind::Keyword("if") {
            vec![self.if_block()?]
        } else {
            let open = self.expect("{")?;
            self.block(open, Place::Inside("if"))?
        };
        self.blocks -= 1;
        Ok(Statement::If { condition, then, otherwise })
    }

    fn require(&mut self) -> Result<Statement, ArchError> {
        self.expect("require")?;
        let condition = self.expression()?;
        self.expect("else").map_err(|error| {
            error.help("for example: require n_head > 0 else \"the model has no heads\"")
        })?;
        Ok(Statement::Require { condition, message: self.expression()? })
    }
}
