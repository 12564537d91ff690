//! Expressions over `config.json`. A missing key, and `null`, is the value *missing*: arithmetic
//! on it is missing, comparisons with it do not hold, and `or` takes what stands right of it.

use super::ast::{BinaryOp, Expr, Function};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The configuration, and what the mapping file defined from it.
#[derive(Debug)]
pub(in crate::hf) struct Config<'a> {
    config: &'a Map<String, Value>,
    defined: HashMap<&'a str, Value>,
}

impl<'a> Config<'a> {
    /// The configuration, with nothing defined.
    pub(in crate::hf) fn new(config: &'a Map<String, Value>) -> Config<'a> {
        Config { config, defined: HashMap::new() }
    }

    /// Defines a name, which hides a key of the same name from now on.
    pub(in crate::hf) fn define(&mut self, name: &'a str, value: Value) {
        self.defined.insert(name, value);
    }

    /// The expression's value; `Value::Null` where it is missing.
    ///
    /// # Errors
    /// Says which part has the wrong type or no value.
    pub(in crate::hf) fn value(&self, expr: &Expr) -> Result<Value, String> {
        match expr {
            Expr::Number(number) => Ok(Value::from(*number)),
            Expr::Text(text) => Ok(Value::from(text.as_str())),
            Expr::Bool(value) => Ok(Value::from(*value)),
            Expr::Path(path) => Ok(self.path(path).cloned().unwrap_or_default()),
            Expr::Not(of) => Ok(Value::from(!self.holds(of)?)),
            Expr::Negate(of) => self.arithmetic(&[of], |x| -x[0]),
            Expr::Binary(op, left, right) => self.binary(*op, left, right),
            Expr::Call(function, arguments) => self.call(*function, arguments),
        }
    }

    /// Whether a condition holds: anything but `false` and what is missing does.
    pub(in crate::hf) fn holds(&self, expr: &Expr) -> Result<bool, String> {
        Ok(is_true(&self.value(expr)?))
    }

    /// The expression as a whole number from 0 on.
    pub(in crate::hf) fn whole(&self, expr: &Expr) -> Result<u64, String> {
        let number = self.number(expr)?;
        // Beyond 2^53 not every whole number is an F64.
        if number >= 0.0 && number.fract() == 0.0 && number <= (1u64 << 53) as f64 {
            return Ok(number as u64);
        }
        Err(format!("{} is {number}, not a whole number from 0 on", describe(expr)))
    }

    /// The expression as a number.
    pub(in crate::hf) fn number(&self, expr: &Expr) -> Result<f64, String> {
        match self.value(expr)? {
            Value::Null => Err(missing(expr)),
            value => number(&value, expr),
        }
    }

    fn path(&self, path: &str) -> Option<&Value> {
        let mut keys = path.split('.');
        let first = keys.next()?;
        let first = self.defined.get(first).or_else(|| self.config.get(first));
        keys.try_fold(first?, |value, key| value.get(key))
    }

    fn binary(&self, op: BinaryOp, left: &Expr, right: &Expr) -> Result<Value, String> {
        match op {
            BinaryOp::Or => {
                let value = self.value(left)?;
                return if is_true(&value) { Ok(value) } else { self.value(right) };
            }
            BinaryOp::And => {
                let value = self.value(left)?;
                return if is_true(&value) { self.value(right) } else { Ok(value) };
            }
            BinaryOp::Equal | BinaryOp::Unequal => {
                let same = same(&self.value(left)?, &self.value(right)?);
                return Ok(Value::from(same == (op == BinaryOp::Equal)));
            }
            _ => {}
        }
        let both = [left, right];
        match op {
            BinaryOp::Less => self.compare(&both, |x| x[0] < x[1]),
            BinaryOp::Greater => self.compare(&both, |x| x[0] > x[1]),
            BinaryOp::Add => self.arithmetic(&both, |x| x[0] + x[1]),
            BinaryOp::Subtract => self.arithmetic(&both, |x| x[0] - x[1]),
            BinaryOp::Multiply => self.arithmetic(&both, |x| x[0] * x[1]),
            BinaryOp::Divide => self.arithmetic(&both, |x| x[0] / x[1]),
            BinaryOp::DivideWhole => self.arithmetic(&both, |x| (x[0] / x[1]).floor()),
            BinaryOp::Or | BinaryOp::And | BinaryOp::Equal | BinaryOp::Unequal => Ok(Value::Null),
        }
    }

    fn call(&self, function: Function, arguments: &[Expr]) -> Result<Value, String> {
        let all: Vec<&Expr> = arguments.iter().collect();
        match (function, arguments) {
            (Function::Sqrt, _) => self.arithmetic(&all, |x| x[0].sqrt()),
            (Function::Ln, _) => self.arithmetic(&all, |x| x[0].ln()),
            (Function::Floor, _) => self.arithmetic(&all, |x| x[0].floor()),
            (Function::Every, [period, list, element]) => {
                let (period, element) = (self.whole(period)?, self.value(element)?);
                let period = period.max(1);
                Ok(match self.value(list)? {
                    Value::Null => Value::Null,
                    Value::Array(list) => Value::from((1..).zip(&list).all(|(place, found)| {
                        u64::is_multiple_of(place, period) == same(found, &element)
                    })),
                    other => return Err(format!("{} is {other}, no list", describe(list))),
                })
            }
            // The parser counts arguments.
            (Function::Every, _) => Ok(Value::Null),
        }
    }

    /// The operands' numbers; `None` where one is missing.
    fn numbers(&self, operands: &[&Expr]) -> Result<Option<Vec<f64>>, String> {
        let mut numbers = Vec::with_capacity(operands.len());
        for operand in operands {
            match self.value(operand)? {
                Value::Null => return Ok(None),
                value => numbers.push(number(&value, operand)?),
            }
        }
        Ok(Some(numbers))
    }

    /// `f` is given as many numbers as there are operands.
    fn compare(&self, operands: &[&Expr], f: fn(&[f64]) -> bool) -> Result<Value, String> {
        Ok(self.numbers(operands)?.map_or(Value::from(false), |x| Value::from(f(&x))))
    }

    /// `f` is given as many numbers as there are operands.
    fn arithmetic(&self, operands: &[&Expr], f: fn(&[f64]) -> f64) -> Result<Value, String> {
        let Some(x) = self.numbers(operands)? else { return Ok(Value::Null) };
        let result = f(&x);
        if result.is_finite() {
            return Ok(Value::from(result));
        }
        let names: Vec<String> = operands.iter().map(|operand| describe(operand)).collect();
        Err(format!("arithmetic with {} ({x:?}) has no finite result", names.join(" and ")))
    }
}

/// Whether a value counts as a condition that holds.
fn is_true(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// Whether values are equal; numbers by value, however they are written.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn number(value: &Value, expr: &Expr) -> Result<f64, String> {
    value.as_f64().ok_or_else(|| format!("{} is {value}, no number", describe(expr)))
}

/// The message for a value that is not there.
pub(in crate::hf) fn missing(expr: &Expr) -> String {
    format!("config.json has no {}", describe(expr))
}

/// The keys of an expression, for messages.
fn describe(expr: &Expr) -> String {
    fn keys(expr: &Expr, all: &mut Vec<String>) {
        match expr {
            Expr::Path(path) => {
                let key = format!("`{path}`");
                if !all.contains(&key) {
                    all.push(key);
                }
            }
            Expr::Not(of) | Expr::Negate(of) => keys(of, all),
            Expr::Binary(_, left, right) => {
                keys(left, all);
                keys(right, all);
            }
            Expr::Call(_, arguments) => arguments.iter().for_each(|of| keys(of, all)),
            Expr::Number(_) | Expr::Text(_) | Expr::Bool(_) => {}
        }
    }
    let mut all = Vec::new();
    keys(expr, &mut all);
    if all.is_empty() { "a constant".into() } else { all.join(" or ") }
}
