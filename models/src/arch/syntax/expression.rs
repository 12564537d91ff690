//! Expressions: operator precedence by binding power (Pratt 1973), calls and texts.

use super::ast::{Argument, Expr, ExprKind, Ident, Operator, Piece, Span};
use super::lexer::{Kind, lex};
use super::parser::Parser;
use crate::arch::error::{ArchError, ErrorKind};

/// How deeply expressions nest. Everything that walks them recurs at most this far.
const MAX_NESTING: u16 = 100;

/// The binding power of `not` and of unary minus; see [`Operator::power`].
const NOT: u8 = 3;
const NEGATE: u8 = 7;

fn too_deep(span: Span) -> ArchError {
    ArchError::new(ErrorKind::Limit, "the expression nests too deeply")
        .label(span, format!("more than {MAX_NESTING} levels"))
        .help("bind parts of it to names")
}

/// An expression whose parts nest at most `deepest` deep.
fn node(kind: ExprKind, span: Span, deepest: u16) -> Result<Expr, ArchError> {
    if deepest >= MAX_NESTING {
        return Err(too_deep(span));
    }
    Ok(Expr { kind, span, depth: deepest + 1 })
}

/// An expression with these parts.
fn combine(kind: ExprKind, span: Span) -> Result<Expr, ArchError> {
    let mut expr = Expr { kind, span, depth: 0 };
    let mut deepest = 0;
    expr.parts(&mut |part| deepest = deepest.max(part.depth));
    expr.depth = deepest + 1;
    if expr.depth > MAX_NESTING { Err(too_deep(span)) } else { Ok(expr) }
}

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Result<Expr, ArchError> {
        self.binary(0)
    }

    /// An expression whose operators bind tighter than `floor`.
    fn binary(&mut self, floor: u8) -> Result<Expr, ArchError> {
        if self.nesting >= MAX_NESTING {
            return Err(too_deep(self.peek().span));
        }
        self.nesting += 1;
        let mut left = self.prefix()?;
        while let Some(operator) = self.operator() {
            let power = operator.power();
            if power <= floor {
                break;
            }
            self.advance();
            // Powers group to the right: 2 ^ 3 ^ 2 is 2 ^ 9.
            let right = self.binary(if operator == Operator::Power { power - 1 } else { power })?;
            if operator.compares() && self.operator().is_some_and(Operator::compares) {
                return Err(ArchError::new(ErrorKind::Syntax, "comparisons do not chain")
                    .label(self.peek().span, "a second comparison")
                    .help("write `a < b and b < c`"));
            }
            let span = left.span.to(right.span);
            let (left_box, right_box) = (Box::new(left), Box::new(right));
            left = combine(ExprKind::Binary { operator, left: left_box, right: right_box }, span)?;
        }
        self.nesting -= 1;
        Ok(left)
    }

    /// The operator that comes next, if one does.
    fn operator(&self) -> Option<Operator> {
        match self.peek().kind {
            Kind::Symbol(text) | Kind::Keyword(text) => Operator::from_text(text),
            _ => None,
        }
    }

    fn prefix(&mut self) -> Result<Expr, ArchError> {
        let token = self.peek();
        let (wrap, power): (fn(Box<Expr>) -> ExprKind, u8) = match token.kind {
            Kind::Symbol("-") => (ExprKind::Negate, NEGATE),
            Kind::Keyword("not") => (ExprKind::Not, NOT),
            Kind::Keyword("optional") => (ExprKind::Optional, 0),
            Kind::Keyword("if") => return self.if_value(),
            _ => return self.postfix(),
        };
        self.advance();
        let operand = self.binary(power)?;
        let span = token.span.to(operand.span);
        combine(wrap(Box::new(operand)), span)
    }

    /// `if condition then a else b`
    fn if_value(&mut self) -> Result<Expr, ArchError> {
        let start = self.expect("if")?;
        let condition = Box::new(self.expression()?);
        self.expect("then").map_err(|e| e.help("a value: if condition then a else b"))?;
        let then = Box::new(self.expression()?);
        self.expect("else").map_err(|e| {
            e.help("an `if` that is a value needs its `else`; `none` stands for nothing")
        })?;
        let otherwise = Box::new(self.expression()?);
        let span = start.to(otherwise.span);
        combine(ExprKind::If { condition, then, otherwise }, span)
    }

    /// A primary expression and the indices after it.
    fn postfix(&mut self) -> Result<Expr, ArchError> {
        let mut expr = self.primary()?;
        while self.peek().kind == Kind::Symbol("[") && !self.peek().first {
            let open = self.expect("[")?;
            let index = Box::new(self.expression()?);
            let end = self.close("]", open)?;
            let span = expr.span.to(end);
            expr = combine(ExprKind::Index { list: Box::new(expr), index }, span)?;
        }
        Ok(expr)
    }

    fn primary(&mut self) -> Result<Expr, ArchError> {
        let token = self.peek();
        let next = self.ahead(1);
        let kind = match token.kind {
            Kind::Number(number) => ExprKind::Number(number),
            Kind::Keyword("true") => ExprKind::Bool(true),
            Kind::Keyword("false") => ExprKind::Bool(false),
            Kind::Keyword("none") => ExprKind::None,
            Kind::Text(content) => return self.text(content, token.span),
            Kind::Symbol("(") => return self.parenthesised(),
            Kind::Name(_) if next.kind == Kind::Symbol("=") => {
                // The name starts the next statement: this one ended too early.
                let before = self.last_span();
                return Err(self.unexpected("a value").label(before, "after this"));
            }
            Kind::Name(_) if next.kind == Kind::Symbol("(") && !next.first => return self.call(),
            Kind::Name(name) => ExprKind::Name(name.into()),
            _ => return Err(self.unexpected("a value")),
        };
        self.advance();
        node(kind, token.span, 0)
    }

    fn parenthesised(&mut self) -> Result<Expr, ArchError> {
        let open = self.expect("(")?;
        let inner = self.expression()?;
        if !self.accept(")") {
            return Err(self.unexpected("an operator or `)`").label(open, "opened here"));
        }
        // The brackets are part of the place, so that what is underlined reads well.
        Ok(Expr { span: open.to(self.last_span()), ..inner })
    }

    fn call(&mut self) -> Result<Expr, ArchError> {
        let function = self.ident("a function's name")?;
        let open = self.expect("(")?;
        let mut arguments = vec![];
        while !self.accept(")") {
            let argument = self.argument()?;
            if let (None, Some(Argument { name: Some(last), .. })) =
                (&argument.name, arguments.last())
            {
                let message = "arguments with names come after those without";
                return Err(ArchError::new(ErrorKind::Syntax, message)
                    .label(argument.value.span, "this one has no name")
                    .label(last.span, "this one has a name"));
            }
            arguments.push(argument);
            if !self.accept(",") {
                self.close(")", open)?;
                break;
            }
        }
        let span = function.span.to(self.last_span());
        combine(ExprKind::Call { function, arguments }, span)
    }

    fn argument(&mut self) -> Result<Argument, ArchError> {
        let named =
            matches!(self.peek().kind, Kind::Name(_)) && self.ahead(1).kind == Kind::Symbol("=");
        let name: Option<Ident> = match named {
            true => {
                let name = self.ident("an argument's name")?;
                self.expect("=")?;
                Some(name)
            }
            false => None,
        };
        Ok(Argument { name, value: self.expression()? })
    }

    /// A text's literal pieces and the expressions between braces; `{{` and `}}` are braces.
    fn text(&mut self, content: &str, span: Span) -> Result<Expr, ArchError> {
        self.advance();
        let (mut pieces, mut literal) = (vec![], String::new());
        let mut at = 0;
        while let Some(found) = content[at..].find(['{', '}']) {
            literal.push_str(&content[at..at + found]);
            at += found;
            // Braces are one byte long, and the content starts after the quote.
            let here = span.start + 1 + at as u32;
            let brace = &content[at..at + 1];
            if content[at + 1..].starts_with(brace) {
                literal.push_str(brace);
                at += 2;
                continue;
            }
            let end = content[at..].find('}').filter(|_| brace == "{");
            let Some(length) = end else {
                return Err(ArchError::new(ErrorKind::Syntax, format!("`{brace}` has no partner"))
                    .label(Span { start: here, end: here + 1 }, "stands alone")
                    .help("\"{i}\" puts a value into the text; \"{{\" and \"}}\" are braces"));
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Value(self.inserted(&content[at + 1..at + length], here + 1)?));
            at += length + 1;
        }
        literal.push_str(&content[at..]);
        if !literal.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        combine(ExprKind::Text(pieces), span)
    }

    /// The expression `text`, which stands at byte `base` of the file.
    fn inserted(&self, text: &str, base: u32) -> Result<Expr, ArchError> {
        let mut inner = Parser::new(lex(text, base)?, self.nesting);
        let value = inner.expression()?;
        match inner.peek().kind {
            Kind::End => Ok(value),
            _ => Err(inner.unexpected("`}`")),
        }
    }
}
