//! Operators: on numbers and the like at once, on tensors as nodes of the graph.

use super::{Evaluator, Result, Site, limit};
use crate::arch::error::{ArchError, ErrorKind};
use crate::arch::syntax::ast::{Expr, Operator, Span};
use crate::arch::value::{Value, WeightName};
use quarrel_ir::graph::{BinaryOp, Op, UnaryOp, ValueId};

impl<'a> Evaluator<'a> {
    pub(super) fn negate(&mut self, operand: &'a Expr, whole: &'a Expr) -> Result<Value> {
        match self.eval(operand)? {
            Value::Number(number) => Ok(Value::Number(-number)),
            Value::Tensor(x) => {
                let site = Site { span: whole.span, values: &[(x, operand)] };
                self.emit(Op::Unary(UnaryOp::Neg), &[x], &site).map(Value::Tensor)
            }
            other => Err(self.misfit(&other, "a number or a tensor", operand)),
        }
    }

    pub(super) fn binary(
        &mut self,
        operator: Operator,
        left: &'a Expr,
        right: &'a Expr,
        span: Span,
    ) -> Result<Value> {
        let a = self.eval(left)?;
        match (operator, &a) {
            (Operator::And, Value::Bool(false)) | (Operator::Or, Value::Bool(true)) => {
                return Ok(a);
            }
            (Operator::And | Operator::Or, Value::Bool(_)) => {
                return self.condition(right).map(Value::Bool);
            }
            _ => {}
        }
        let b = self.eval(right)?;
        let result = match (&a, &b) {
            (Value::Number(x), Value::Number(y)) => numbers(operator, *x, *y),
            (Value::Tensor(_), Value::Tensor(_) | Value::Number(_))
            | (Value::Number(_), Value::Tensor(_)) => {
                return self.tensors(operator, (&a, left), (&b, right), span);
            }
            _ => self.others(operator, &a, &b, span)?,
        };
        match result {
            Some(Value::Number(number)) if !number.is_finite() => Err(ArchError::new(
                ErrorKind::Argument,
                format!("{} is not finite", self.text_of(span)),
            )
            .label(
                span,
                format!(
                    "this is {a} {operator} {b}",
                    a = plain(&a),
                    operator = operator.text(),
                    b = plain(&b)
                ),
            )),
            Some(value) => Ok(value),
            None => Err(self.no_operator(operator, (&a, left), (&b, right))),
        }
    }

    /// Operators on what is neither number nor tensor; `None` where there is no such operator.
    fn others(
        &self,
        operator: Operator,
        a: &Value,
        b: &Value,
        span: Span,
    ) -> Result<Option<Value>> {
        let same = match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => Some(a == b),
            (Value::Text(a), Value::Text(b)) => Some(a == b),
            (Value::Word(a), Value::Word(b)) => Some(a == b),
            (Value::Tensor(_), _) | (_, Value::Tensor(_)) => None,
            (Value::None, Value::None) => Some(true),
            (Value::None, _) | (_, Value::None) => Some(false),
            _ => None,
        };
        match (operator, same) {
            (Operator::Equal, Some(same)) => Ok(Some(Value::Bool(same))),
            (Operator::NotEqual, Some(same)) => Ok(Some(Value::Bool(!same))),
            (Operator::Or, _) => match (a.as_weight(), b.as_weight()) {
                (Some(a), Some(b)) => alternatives(&a, &b, span).map(Some),
                _ => Ok(None),
            },
            _ => Ok(None),
        }
    }

    fn tensors(
        &mut self,
        operator: Operator,
        (a, left): (&Value, &'a Expr),
        (b, right): (&Value, &'a Expr),
        span: Span,
    ) -> Result<Value> {
        if let (Operator::Power, Value::Tensor(x), Value::Number(exponent)) = (operator, a, b) {
            return self.power(*x, *exponent, (left, right), span);
        }
        let op = match operator {
            Operator::Add => BinaryOp::Add,
            Operator::Subtract => BinaryOp::Sub,
            Operator::Multiply => BinaryOp::Mul,
            Operator::Divide => BinaryOp::Div,
            _ => return Err(self.no_operator(operator, (a, left), (b, right))),
        };
        let none = Site { span, values: &[] };
        let mut shown = vec![];
        let mut operands = [ValueId(0); 2];
        for (slot, (value, expr)) in operands.iter_mut().zip([(a, left), (b, right)]) {
            *slot = match value {
                Value::Tensor(id) => {
                    shown.push((*id, expr));
                    *id
                }
                Value::Number(number) => self.scalar(*number, &none)?,
                _ => return Err(self.no_operator(operator, (a, left), (b, right))),
            };
        }
        self.emit(Op::Binary(op), &operands, &Site { span, values: &shown }).map(Value::Tensor)
    }

    /// `x ^ 2` is `x · x` and `x ^ 0.5` is `√x`; other powers have no op.
    fn power(
        &mut self,
        x: ValueId,
        exponent: f64,
        (left, right): (&'a Expr, &'a Expr),
        span: Span,
    ) -> Result<Value> {
        let site = Site { span, values: &[(x, left)] };
        if exponent == 2.0 {
            self.emit(Op::Binary(BinaryOp::Mul), &[x, x], &site).map(Value::Tensor)
        } else if exponent == 0.5 {
            self.emit(Op::Unary(UnaryOp::Sqrt), &[x], &site).map(Value::Tensor)
        } else {
            let message = format!("a tensor cannot be raised to the power {exponent}");
            Err(ArchError::new(ErrorKind::Argument, message)
                .label(right.span, "only 2 and 0.5")
                .help("products and quotients make other powers: x * x * x"))
        }
    }

    fn no_operator(
        &self,
        operator: Operator,
        (a, left): (&Value, &Expr),
        (b, right): (&Value, &Expr),
    ) -> ArchError {
        let (a_text, b_text) = (self.describe(a), self.describe(b));
        let message = format!("`{}` does not go between {a_text} and {b_text}", operator.text());
        let error = ArchError::new(ErrorKind::Argument, message)
            .label(left.span, format!("this is {a_text}"))
            .label(right.span, format!("this is {b_text}"));
        let any = |wanted: fn(&Value) -> bool| wanted(a) || wanted(b);
        if !any(|value| matches!(value, Value::Tensor(_))) {
            error
        } else if any(|value| matches!(value, Value::Text(_) | Value::Weight(_))) {
            error.help("a weight's tensor is `weight(\"…\")`")
        } else {
            error.help(
                "tensors are known only when the model runs: conditions, names and `//`, `%` \
                 work on values from the metadata",
            )
        }
    }

    fn text_of(&self, span: Span) -> String {
        let text = self.source.inner().get(span.start as usize..span.end as usize);
        format!("`{}`", text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        other => other.describe(),
    }
}

/// Operators on numbers; `//` and `%` round towards minus infinity. `None` where there is none.
fn numbers(operator: Operator, x: f64, y: f64) -> Option<Value> {
    Some(match operator {
        Operator::Add => Value::Number(x + y),
        Operator::Subtract => Value::Number(x - y),
        Operator::Multiply => Value::Number(x * y),
        Operator::Divide => Value::Number(x / y),
        Operator::FloorDivide => Value::Number((x / y).floor()),
        Operator::Remainder => Value::Number(x - y * (x / y).floor()),
        Operator::Power => Value::Number(x.powf(y)),
        Operator::Equal => Value::Bool(x == y),
        Operator::NotEqual => Value::Bool(x != y),
        Operator::Less => Value::Bool(x < y),
        Operator::LessEqual => Value::Bool(x <= y),
        Operator::Greater => Value::Bool(x > y),
        Operator::GreaterEqual => Value::Bool(x >= y),
        Operator::And | Operator::Or => return None,
    })
}

/// `"a" or "b"`
fn alternatives(a: &WeightName, b: &WeightName, span: Span) -> Result<Value> {
    if a.names.len() + b.names.len() > limit::ALTERNATIVES {
        return Err(ArchError::new(ErrorKind::Limit, "too many alternatives")
            .label(span, format!("more than {}", limit::ALTERNATIVES)));
    }
    let names = a.names.iter().chain(b.names.iter()).cloned().collect();
    Ok(Value::Weight(WeightName { names, optional: a.optional || b.optional }))
}
