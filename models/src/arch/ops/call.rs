//! A call of a built-in function: its arguments matched with parameters, checked and read.

use super::{Builtin, Default, Kind, Param};
use crate::arch::error::{ArchError, ErrorKind};
use crate::arch::eval::{Evaluator, FoundWeight, Result, Site};
use crate::arch::suggest;
use crate::arch::syntax::ast::{Argument, Expr};
use crate::arch::value::Value;
use quarrel_ir::graph::{Op, ValueId};

/// An argument as written, and its value unless the parameter is deferred.
type Given<'a> = (Option<&'a Expr>, Option<Value>);

/// A call being lowered.
pub(in crate::arch) struct Call<'e, 'a> {
    pub(in crate::arch) eval: &'e mut Evaluator<'a>,
    pub(in crate::arch) expr: &'a Expr,
    builtin: &'static Builtin,
    /// One for each parameter.
    given: Vec<Given<'a>>,
    /// The tensors and weights among the arguments, for messages.
    shown: Vec<(ValueId, &'a Expr)>,
}

/// Matches arguments with the parameters of `builtin`: one entry for each parameter.
pub(in crate::arch) fn bind_arguments<'a>(
    builtin: &'static Builtin,
    arguments: &'a [Argument],
    call: &Expr,
) -> Result<Vec<Option<&'a Expr>>> {
    let usage = || format!("usage: {}", builtin.signature());
    let wrong = |message: String| ArchError::new(ErrorKind::Argument, message);
    let mut bound: Vec<Option<&Expr>> = vec![None; builtin.params.len()];
    let positional = builtin.params.iter().take_while(|param| param.positional).count();
    for (index, argument) in arguments.iter().enumerate() {
        let at = match &argument.name {
            None if index < positional => index,
            None => {
                let message = format!(
                    "`{}` takes at most {positional} argument{} without a name",
                    builtin.name,
                    if positional == 1 { "" } else { "s" }
                );
                return Err(wrong(message)
                    .label(argument.value.span, "one too many")
                    .help(usage()));
            }
            Some(name) => {
                let known = || builtin.params.iter().map(|param| param.name);
                known().position(|param| param == name.text).ok_or_else(|| {
                    wrong(format!("`{}` has no argument named `{}`", builtin.name, name.text))
                        .label(name.span, "not known")
                        .maybe_help(suggest::did_you_mean(&name.text, known()))
                        .help(usage())
                })?
            }
        };
        // Within `bound`: below `positional`, or a position in `params`.
        if let Some(before) = bound[at].replace(&argument.value) {
            let name = builtin.params[at].name;
            return Err(wrong(format!("`{name}` is given twice to `{}`", builtin.name))
                .label(argument.value.span, "again here")
                .label(before.span, "first here"));
        }
    }
    let missing: Vec<String> = std::iter::zip(builtin.params, &bound)
        .filter(|(param, given)| param.default == Default::Required && given.is_none())
        .map(|(param, _)| format!("`{}`", param.name))
        .collect();
    if missing.is_empty() {
        return Ok(bound);
    }
    let message = format!("`{}` needs {}", builtin.name, missing.join(" and "));
    Err(wrong(message).label(call.span, "not given here").help(usage()))
}

/// Whether `value` is what the parameter takes.
pub(in crate::arch) fn check_kind(
    eval: &Evaluator<'_>,
    builtin: &Builtin,
    param: &Param,
    value: &Value,
    expr: &Expr,
) -> Result<()> {
    let fits = match (param.kind, value) {
        (_, Value::None) => param.default == Default::Absent,
        (Kind::Tensor | Kind::TensorOrNumber, Value::Tensor(_)) => true,
        (Kind::Number | Kind::TensorOrNumber, Value::Number(_)) => true,
        (Kind::Whole, Value::Number(number)) => {
            *number >= 0.0 && number.fract() == 0.0 && *number <= f64::from(u32::MAX)
        }
        (Kind::Text, Value::Text(_)) => true,
        (Kind::Weight, value) => value.as_weight().is_some(),
        (Kind::Word(words), Value::Word(word)) => words.contains(word),
        (Kind::Known, value) => !matches!(value, Value::Tensor(_)),
        (Kind::Deferred, _) => true,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let expected = param.kind.expected();
    let found = eval.describe(value);
    let message =
        format!("`{}` of `{}` should be {expected}, but it is {found}", param.name, builtin.name);
    let error =
        ArchError::new(ErrorKind::Argument, message).label(expr.span, format!("this is {found}"));
    let help = match (param.kind, value) {
        (Kind::Tensor | Kind::TensorOrNumber, Value::Text(_)) => {
            Some("`weight(\"…\")` is a weight's tensor".to_string())
        }
        (Kind::Tensor, Value::Number(_)) | (Kind::Whole, Value::Number(_)) => None,
        _ => Some(format!("usage: {}", builtin.signature())),
    };
    Err(eval.called_from(error.maybe_help(help)))
}

impl<'e, 'a> Call<'e, 'a> {
    pub(in crate::arch) fn new(
        eval: &'e mut Evaluator<'a>,
        builtin: &'static Builtin,
        expr: &'a Expr,
        given: Vec<Given<'a>>,
    ) -> Call<'e, 'a> {
        let tensors = given.iter().filter_map(|(expr, value)| match (expr, value) {
            (Some(expr), Some(Value::Tensor(value))) => Some((*value, *expr)),
            _ => None,
        });
        let shown = tensors.collect();
        Call { eval, expr, builtin, given, shown }
    }

    /// An error about this call as a whole.
    pub(super) fn error(&self, kind: ErrorKind, message: impl Into<String>) -> ArchError {
        let error = ArchError::new(kind, message);
        let site = Site { span: self.expr.span, values: &self.shown };
        self.eval.called_from(self.eval.label_values(error, &site))
    }

    /// An error about one argument, or about the call where it is not given.
    pub(super) fn error_at(
        &self,
        param: &str,
        kind: ErrorKind,
        message: impl Into<String>,
    ) -> Result<ArchError> {
        let span = self.written(param)?.map_or(self.expr.span, |expr| expr.span);
        Ok(self.eval.called_from(ArchError::new(kind, message).label(span, "this one")))
    }

    /// A lowering asks for a parameter that its table entry lacks, or of another kind.
    fn bug(&self, param: &str) -> ArchError {
        let message = format!("the built-in `{}` misreads its `{param}`", self.builtin.name);
        ArchError::new(ErrorKind::Internal, message).label(self.expr.span, "")
    }

    fn index(&self, param: &str) -> Result<usize> {
        self.builtin.params.iter().position(|p| p.name == param).ok_or_else(|| self.bug(param))
    }

    /// The argument as it is written, if it is given.
    pub(super) fn written(&self, param: &str) -> Result<Option<&'a Expr>> {
        // One entry for each parameter.
        Ok(self.given[self.index(param)?].0)
    }

    /// The argument's value; `Value::None` where it is absent.
    pub(super) fn value(&self, param: &str) -> Result<Value> {
        let index = self.index(param)?;
        // One entry for each parameter.
        match (&self.given[index].1, self.builtin.params[index].default) {
            (Some(value), _) => Ok(value.clone()),
            (None, Default::Number(number)) => Ok(Value::Number(number)),
            (None, _) => Ok(Value::None),
        }
    }

    pub(super) fn tensor(&self, param: &str) -> Result<ValueId> {
        match self.value(param)? {
            Value::Tensor(value) => Ok(value),
            _ => Err(self.bug(param)),
        }
    }

    pub(super) fn maybe_number(&self, param: &str) -> Result<Option<f64>> {
        match self.value(param)? {
            Value::Number(number) => Ok(Some(number)),
            Value::None => Ok(None),
            _ => Err(self.bug(param)),
        }
    }

    pub(super) fn number(&self, param: &str) -> Result<f64> {
        self.maybe_number(param)?.ok_or_else(|| self.bug(param))
    }

    /// The number as an F32, which it has to fit.
    pub(super) fn float(&self, param: &str) -> Result<f32> {
        let number = self.number(param)?;
        crate::arch::eval::to_f32(number).ok_or_else(|| {
            let message = format!("`{param}` is {number}, which does not fit a 32-bit float");
            self.error(ErrorKind::Argument, message)
        })
    }

    /// A whole number; the kind has bounded it.
    pub(super) fn maybe_whole(&self, param: &str) -> Result<Option<u32>> {
        Ok(self.maybe_number(param)?.map(|number| number as u32))
    }

    /// A whole number; the kind has bounded it.
    pub(super) fn whole(&self, param: &str) -> Result<u32> {
        self.maybe_whole(param)?.ok_or_else(|| self.bug(param))
    }

    pub(super) fn text(&self, param: &str) -> Result<std::sync::Arc<str>> {
        match self.value(param)? {
            Value::Text(text) => Ok(text),
            _ => Err(self.bug(param)),
        }
    }

    pub(super) fn word(&self, param: &str) -> Result<&'static str> {
        match self.value(param)? {
            Value::Word(word) => Ok(word),
            _ => Err(self.bug(param)),
        }
    }

    /// The weight that an argument names; `None` where it is absent, or optional and not there.
    pub(super) fn maybe_weight(&mut self, param: &str) -> Result<Option<FoundWeight>> {
        let (Some(wanted), Some(expr)) = (self.value(param)?.as_weight(), self.written(param)?)
        else {
            return Ok(None);
        };
        let found = self.eval.find_weight(&wanted, expr)?;
        if let Some(found) = &found {
            self.shown.push((found.value, expr));
        }
        Ok(found)
    }

    /// The weight that an argument names.
    pub(super) fn weight(&mut self, param: &str) -> Result<FoundWeight> {
        self.maybe_weight(param)?.ok_or_else(|| {
            let message = format!("`{}` cannot do without its weight", self.builtin.name);
            self.error(ErrorKind::Weight, message)
                .help("choose with: if has_weight(\"…\") then … else …")
        })
    }

    /// Adds a node to the graph.
    pub(super) fn emit(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId> {
        let site = Site { span: self.expr.span, values: &self.shown };
        self.eval.emit(op, operands, &site)
    }

    /// Adds a constant to the graph.
    pub(super) fn scalar(&mut self, number: f64) -> Result<ValueId> {
        self.eval.scalar(number, &Site { span: self.expr.span, values: &[] })
    }
}
