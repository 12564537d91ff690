//! Adds nodes, inputs and weights to the graph, and puts type errors in the author's terms.

use super::{Evaluator, Result, limit};
use crate::arch::error::{ArchError, ErrorKind};
use crate::arch::suggest;
use crate::arch::syntax::ast::{Expr, ExprKind, Span};
use crate::arch::value::WeightName;
use quarrel_ir::graph::{
    Addressing, Input, Op, Origin, RunDim, StateDecl, StateFormat, TensorType, Type, TypeError,
    ValueId,
};
use quarrel_ir::weight::TensorInfo;

/// What a node is made for: a call or an operator, with the values that the author wrote, to show
/// in an error.
pub(in crate::arch) struct Site<'s> {
    pub(in crate::arch) span: Span,
    pub(in crate::arch) values: &'s [(ValueId, &'s Expr)],
}

/// A weight of the model.
#[derive(Clone, Debug)]
pub(in crate::arch) struct FoundWeight {
    /// Its value in the graph.
    pub(in crate::arch) value: ValueId,
    /// Its name without `.weight`.
    pub(in crate::arch) stem: String,
}

impl<'a> Evaluator<'a> {
    /// Adds a node at `site`.
    pub(in crate::arch) fn emit(
        &mut self,
        op: Op,
        operands: &[ValueId],
        site: &Site<'_>,
    ) -> Result<ValueId> {
        if self.graph.len() >= limit::NODES {
            return Err(ArchError::new(ErrorKind::Limit, "the graph is too large")
                .label(site.span, format!("more than {} values", limit::NODES)));
        }
        // Inside a function, the place of its outermost call: that is the statement's.
        let line = self.line(self.frames.first().map_or(site.span, |frame| frame.call));
        let name = self.target.map(str::to_string);
        let origin = Origin { name, layer: self.layer, line };
        self.graph
            .add(op, operands, origin)
            .map_err(|error| self.type_error(&error, operands, site))
    }

    /// Adds a constant; it is rounded to F32 here.
    pub(in crate::arch) fn scalar(&mut self, number: f64, site: &Site<'_>) -> Result<ValueId> {
        let number = to_f32(number).ok_or_else(|| {
            ArchError::new(ErrorKind::Argument, format!("{number} does not fit a 32-bit float"))
                .label(site.span, "computed here")
        })?;
        self.emit(Op::Scalar(number), &[], site)
    }

    /// One of the step's inputs.
    pub(in crate::arch) fn input(&mut self, input: Input) -> ValueId {
        if let Some(value) = self.inputs.get(&input) {
            return *value;
        }
        let name = match input {
            Input::Tokens => "tokens",
            Input::Position => "position",
            Input::Slot => "slot",
            Input::OutRows => "out_rows",
        };
        let origin = Origin { name: Some(name.into()), layer: None, line: 0 };
        #[expect(clippy::expect_used, reason = "an input has no operands to be wrong")]
        let value = self.graph.add(Op::Input(input), &[], origin).expect("inputs are well typed");
        self.inputs.insert(input, value);
        value
    }

    /// The type of a value that is a tensor; the language has no name for states.
    pub(in crate::arch) fn tensor_type(&self, value: ValueId) -> TensorType {
        let ty = self.graph.tensor(value);
        ty.cloned().unwrap_or_else(|| TensorType::f32(None, []))
    }

    /// The rows of `value` whose logits are wanted, while `logits` is bound; else `value`.
    pub(super) fn narrow(&mut self, value: ValueId, span: Span) -> Result<ValueId> {
        let is_float = |ty: &TensorType| *ty != TensorType::ids(RunDim::Tokens);
        let ty = self.tensor_type(value);
        if ty.rows != Some(RunDim::Tokens) || !is_float(&ty) {
            return Ok(value);
        }
        let Some(narrowed) = &self.narrowed else { return Ok(value) };
        if let Some(known) = narrowed.get(&value) {
            return Ok(*known);
        }
        let rows = self.input(Input::OutRows);
        let site = Site { span, values: &[] };
        let gathered = self.emit(Op::GatherRows, &[value, rows], &site)?;
        if let Some(narrowed) = &mut self.narrowed {
            narrowed.insert(value, gathered);
        }
        Ok(gathered)
    }

    /// The model's tensor of this name without its suffix: `NAME.weight`, or else `NAME` itself.
    pub(in crate::arch) fn find_tensor(&self, stem: &str) -> Option<&'a TensorInfo> {
        self.facts.tensor(&format!("{stem}.weight")).or_else(|| self.facts.tensor(stem))
    }

    /// The first of the names that the model has; `None` where it has none of them and they are
    /// optional.
    pub(in crate::arch) fn find_weight(
        &mut self,
        wanted: &WeightName,
        expr: &Expr,
    ) -> Result<Option<FoundWeight>> {
        for stem in wanted.names.iter() {
            if let Some(info) = self.find_tensor(stem) {
                let value = self.weight(info, expr.span)?;
                return Ok(Some(FoundWeight { value, stem: stem.to_string() }));
            }
        }
        if wanted.optional { Ok(None) } else { Err(self.missing_weight(wanted, expr)) }
    }

    /// The value of a tensor of the model.
    pub(in crate::arch) fn weight(&mut self, info: &TensorInfo, span: Span) -> Result<ValueId> {
        if let Some(value) = self.weights.get(&info.name) {
            return Ok(*value);
        }
        if self.weights.len() >= limit::WEIGHTS {
            return Err(ArchError::new(ErrorKind::Limit, "the graph reads too many weights")
                .label(span, format!("more than {}", limit::WEIGHTS)));
        }
        let id = self.graph.weight(info);
        let value = self.emit(Op::Weight(id), &[], &Site { span, values: &[] })?;
        self.graph.origin_mut(value).name = Some(info.name.clone());
        self.weights.insert(info.name.clone(), value);
        Ok(value)
    }

    /// Declares a state of the op that this layer's `number`th state belongs to, and yields it as
    /// the step begins.
    pub(in crate::arch) fn state(
        &mut self,
        name: &str,
        number: u32,
        row: &[u64],
        (format, addressing): (StateFormat, Addressing),
        site: &Site<'_>,
    ) -> Result<ValueId> {
        let layer = self.layer.map(|layer| format!(".{layer}")).unwrap_or_default();
        let again = if number == 0 { String::new() } else { format!(".{number}") };
        let name = format!("{name}{layer}{again}");
        let state = self.graph.state(StateDecl { name, format, row: row.into(), addressing });
        self.emit(Op::State(state), &[], site)
    }

    /// Counts the ops of this layer that keep a state, from 0.
    pub(in crate::arch) fn next_stateful(&mut self) -> u32 {
        let count = self.stateful.entry(self.layer).or_default();
        *count += 1;
        *count - 1
    }

    fn missing_weight(&self, wanted: &WeightName, expr: &Expr) -> ArchError {
        let full: Vec<String> =
            wanted.names.iter().map(|stem| format!("`{stem}.weight`")).collect();
        let names = self.facts.tensor_names();
        let mut near: Vec<&str> = vec![];
        for stem in wanted.names.iter() {
            let full = format!("{stem}.weight");
            near.extend(suggest::near(&full, names.iter().copied(), 3));
        }
        let list: Vec<String> = near.iter().take(3).map(|name| format!("`{name}`")).collect();
        let help = match list.is_empty() {
            true => format!("the model has {} tensors, none with a name like it", names.len()),
            false => format!("the nearest names that it has: {}", list.join(", ")),
        };
        let message = format!("the model has no tensor {}", full.join(" or "));
        self.called_from(ArchError::new(ErrorKind::Weight, message))
            .label(expr.span, "named here")
            .help(format!(
                "{help}\nwhere a model may lack it, ask first: if has_weight(\"…\") then … else …"
            ))
    }

    /// A type error of the IR, in terms of what the author wrote.
    fn type_error(&self, error: &TypeError, operands: &[ValueId], site: &Site<'_>) -> ArchError {
        let message = match error {
            TypeError::Operand { op, operand, expected, got } => {
                let wrong = operands.get(*operand);
                let written = site.values.iter().find(|(value, _)| Some(value) == wrong);
                let what = match written {
                    Some((value, expr)) => self.value_name(*value, expr),
                    None => "an operand".into(),
                };
                format!("`{op}`: {what} should be {expected}, but it is {got}")
            }
            TypeError::Mismatch { op, why } => format!("`{op}`: {why}"),
            other => other.to_string(),
        };
        self.called_from(self.label_values(ArchError::new(ErrorKind::Shape, message), site))
    }

    /// Says what each value at `site` is.
    pub(in crate::arch) fn label_values(&self, error: ArchError, site: &Site<'_>) -> ArchError {
        match site.values {
            [] => error.label(site.span, "in this"),
            values => values.iter().fold(error, |error, (value, expr)| {
                error.label(expr.span, self.value_type(*value, expr))
            }),
        }
    }

    /// Says which call of a user function is being evaluated.
    pub(in crate::arch) fn called_from(&self, error: ArchError) -> ArchError {
        match self.frames.last() {
            Some(frame) => error.help(format!(
                "in `{}`, called at line {}",
                frame.function.name.text,
                self.line(frame.call)
            )),
            None => error,
        }
    }

    fn value_name(&self, value: ValueId, expr: &Expr) -> String {
        match self.graph.op(value) {
            Op::Weight(id) => match self.graph.weights.get(id.0 as usize) {
                Some(info) => format!("the tensor `{}`", info.name),
                None => self.shown(expr),
            },
            _ => self.shown(expr),
        }
    }

    /// "`x` is f32[N, 576], bound at line 18"
    fn value_type(&self, value: ValueId, expr: &Expr) -> String {
        let ty = match &self.graph.node(value).ty {
            Type::Tensor(ty) => ty.to_string(),
            Type::State(_) => "a state".into(),
        };
        if matches!(self.graph.op(value), Op::Weight(_)) {
            let shape = self.tensor_type(value).dims;
            return format!("{} is {shape:?}", self.value_name(value, expr));
        }
        let line = match &expr.kind {
            ExprKind::Name(name) => self.bound_line(name),
            _ => None,
        };
        match (line, &expr.kind) {
            (Some(line), _) => format!("{} is {ty}, bound at line {line}", self.shown(expr)),
            (None, ExprKind::Name(name)) => format!("`{name}` is {ty}"),
            (None, _) => format!("this is {ty}"),
        }
    }
}

/// The nearest F32, where it is finite.
pub(in crate::arch) fn to_f32(number: f64) -> Option<f32> {
    let rounded = number as f32;
    rounded.is_finite().then_some(rounded)
}
