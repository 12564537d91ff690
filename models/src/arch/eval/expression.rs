//! Expressions, calls of user functions and calls of built-in ones.

use super::{Binding, Evaluator, Frame, Result, limit};
use crate::arch::error::{ArchError, ErrorKind};
use crate::arch::ops::{self, Call, Kind, bind_arguments};
use crate::arch::syntax::ast::{Argument, Expr, ExprKind, Function, Ident, Piece, Span};
use crate::arch::value::{Value, WeightName};
use std::fmt::Write as _;

impl<'a> Evaluator<'a> {
    /// The value of an expression.
    pub(in crate::arch) fn eval(&mut self, expr: &'a Expr) -> Result<Value> {
        self.steps += 1;
        if self.steps > limit::STEPS || self.depth >= limit::DEPTH {
            let what = match self.depth >= limit::DEPTH {
                true => "calls nest too deeply",
                false => "the file takes too long to evaluate",
            };
            return Err(ArchError::new(ErrorKind::Limit, what).label(expr.span, "stopped here"));
        }
        self.depth += 1;
        let value = self.eval_kind(expr);
        self.depth -= 1;
        value
    }

    fn eval_kind(&mut self, expr: &'a Expr) -> Result<Value> {
        match &expr.kind {
            ExprKind::None => Ok(Value::None),
            ExprKind::Number(number) => Ok(Value::Number(*number)),
            ExprKind::Bool(value) => Ok(Value::Bool(*value)),
            ExprKind::Text(pieces) => self.text(pieces, expr.span),
            ExprKind::Name(name) => match self.lookup(name, expr.span)? {
                Value::Tensor(value) => self.narrow(value, expr.span).map(Value::Tensor),
                other => Ok(other),
            },
            ExprKind::Call { function, arguments } => self.call(function, arguments, expr),
            ExprKind::Index { list, index } => self.index(list, index),
            ExprKind::Negate(x) => self.negate(x, expr),
            ExprKind::Not(x) => self.condition(x).map(|value| Value::Bool(!value)),
            ExprKind::Optional(x) => self.optional(x),
            ExprKind::Binary { operator, left, right } => {
                self.binary(*operator, left, right, expr.span)
            }
            ExprKind::If { condition, then, otherwise } => {
                let chosen = if self.condition(condition)? { then } else { otherwise };
                self.eval(chosen)
            }
        }
    }

    fn text(&mut self, pieces: &'a [Piece], span: Span) -> Result<Value> {
        let mut text = String::new();
        for piece in pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Value(expr) => match self.eval(expr)? {
                    // Writing to a String cannot fail.
                    Value::Number(number) => drop(write!(text, "{number}")),
                    Value::Bool(value) => drop(write!(text, "{value}")),
                    Value::Text(inner) => text.push_str(&inner),
                    other => return Err(self.misfit(&other, "a number or a text", expr)),
                },
            }
            if text.len() > limit::TEXT {
                return Err(ArchError::new(ErrorKind::Limit, "the text is too long")
                    .label(span, format!("more than {} bytes", limit::TEXT)));
            }
        }
        Ok(Value::Text(text.into()))
    }

    fn optional(&mut self, expr: &'a Expr) -> Result<Value> {
        let value = self.eval(expr)?;
        match value.as_weight() {
            Some(weight) => Ok(Value::Weight(WeightName { optional: true, ..weight })),
            None => Err(self.misfit(&value, "the name of a weight", expr)),
        }
    }

    fn index(&mut self, list: &'a Expr, index: &'a Expr) -> Result<Value> {
        let value = self.eval(list)?;
        let Value::List(items) = value else {
            let error = self.misfit(&value, "a list", list);
            return Err(match value {
                Value::Number(_) => error.help("`at(x, i)` takes a number or a list"),
                _ => error,
            });
        };
        let at = self.whole(index)?;
        let found = usize::try_from(at).ok().and_then(|at| items.get(at));
        found.cloned().ok_or_else(|| past_the_end(at, items.len(), index))
    }

    fn call(
        &mut self,
        name: &'a Ident,
        arguments: &'a [Argument],
        expr: &'a Expr,
    ) -> Result<Value> {
        let arch = self.arch;
        if let Some(function) = arch.functions.iter().find(|f| f.name.text == name.text) {
            return self.call_user(function, arguments, expr);
        }
        let op = ops::find(name, &arch.functions)?;
        let bound = bind_arguments(op, arguments, expr)?;
        let mut values = Vec::with_capacity(bound.len());
        for (param, argument) in op.params.iter().zip(bound) {
            let value = match argument {
                Some(given) if param.kind != Kind::Deferred => {
                    let value = self.eval(given)?;
                    ops::check_kind(self, op, param, &value, given)?;
                    Some(value)
                }
                _ => None,
            };
            values.push((argument, value));
        }
        (op.lower)(&mut Call::new(self, op, expr, values))
    }

    fn call_user(
        &mut self,
        function: &'a Function,
        arguments: &'a [Argument],
        expr: &'a Expr,
    ) -> Result<Value> {
        let given = arguments.iter().map(|argument| &argument.value);
        let mut values = vec![];
        for value in given {
            values.push(Binding { value: self.eval(value)?, span: value.span });
        }
        // The static check has compared the number of arguments with that of the parameters.
        self.frames.push(Frame { function, arguments: values, call: expr.span });
        let result = self.eval(&function.body);
        self.frames.pop();
        result
    }
}

/// A list has no such element.
pub(in crate::arch) fn past_the_end(at: u64, len: usize, index: &Expr) -> ArchError {
    let message = format!("the list has {len} values, so there is no number {at}");
    ArchError::new(ErrorKind::Argument, message)
        .label(index.span, format!("this is {at}"))
        .help("counted from 0")
}
