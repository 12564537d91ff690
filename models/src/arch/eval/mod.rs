//! Evaluates an architecture file against a model's facts, which builds the graph.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | statements, names and limits |
//! | `expression.rs` | expressions, calls of user functions and of built-in ones |
//! | `arithmetic.rs` | operators, on numbers and on tensors |
//! | `emit.rs` | adds nodes, inputs and weights to the graph; puts type errors in the author's terms |

mod arithmetic;
mod emit;
mod expression;

pub(super) use emit::{FoundWeight, Site, to_f32};
pub(super) use expression::past_the_end;

use super::error::{ArchError, ErrorKind, Source};
use super::facts::Facts;
use super::suggest;
use super::syntax::ast::{Arch, Expr, Function, Ident, Span, Statement};
use super::value::Value;
use quarrel_ir::graph::{Graph, Input, RunDim, ValueId};
use std::collections::HashMap;

/// Bounds that keep a hostile file harmless; real models stay far below them.
mod limit {
    /// Layers in one `layers` block.
    pub(super) const LAYERS: u64 = 4096;
    /// Nodes in the graph.
    pub(super) const NODES: usize = 200_000;
    /// Weights that the graph reads.
    pub(super) const WEIGHTS: usize = 20_000;
    /// Expressions evaluated.
    pub(super) const STEPS: u32 = 1_000_000;
    /// Expressions being evaluated within one another, through functions.
    pub(super) const DEPTH: u32 = 250;
    /// Bytes of a text.
    pub(super) const TEXT: usize = 512;
    /// Names in `"a" or "b" or …`.
    pub(super) const ALTERNATIVES: usize = 16;
}

pub(super) type Result<T> = std::result::Result<T, ArchError>;

/// A name's value and where it was bound.
#[derive(Clone)]
struct Binding {
    value: Value,
    span: Span,
}

/// A call of a user function in progress.
struct Frame<'a> {
    function: &'a Function,
    arguments: Vec<Binding>,
    call: Span,
}

/// The evaluation of one file against one model.
pub(super) struct Evaluator<'a> {
    arch: &'a Arch,
    source: &'a Source,
    pub(super) facts: &'a dyn Facts,
    /// Positions that a sequence will have.
    context: u64,
    pub(super) graph: Graph,
    /// Where each line starts, to number them.
    line_starts: Vec<u32>,
    names: HashMap<&'a str, Binding>,
    frames: Vec<Frame<'a>>,
    inputs: HashMap<Input, ValueId>,
    weights: HashMap<String, ValueId>,
    /// Ops with a state so far in each layer, to name their states.
    stateful: HashMap<Option<u32>, u32>,
    /// Metadata read so far.
    meta: HashMap<String, Value>,
    /// The name that the current statement binds.
    target: Option<&'a str>,
    layer: Option<u32>,
    /// Values cut down to the wanted rows, while `logits` is bound.
    narrowed: Option<HashMap<ValueId, ValueId>>,
    steps: u32,
    depth: u32,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(
        arch: &'a Arch,
        source: &'a Source,
        facts: &'a dyn Facts,
        context: u64,
    ) -> Evaluator<'a> {
        let text = source.inner();
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Evaluator {
            arch,
            source,
            facts,
            context,
            graph: Graph::new(arch.name.text.clone()),
            line_starts: std::iter::once(0).chain(breaks.map(|(at, _)| at as u32 + 1)).collect(),
            names: HashMap::new(),
            frames: vec![],
            inputs: HashMap::new(),
            weights: HashMap::new(),
            stateful: HashMap::new(),
            meta: HashMap::new(),
            target: None,
            layer: None,
            narrowed: None,
            steps: 0,
            depth: 0,
        }
    }

    /// Whether the file's `when` holds; true without one.
    pub(super) fn when(&mut self) -> Result<bool> {
        match &self.arch.when {
            Some(condition) => self.condition(condition),
            None => Ok(true),
        }
    }

    /// Runs the whole file.
    pub(super) fn build(mut self) -> Result<Graph> {
        let arch = self.arch;
        self.block(&arch.body)?;
        let read = |key: &str| self.meta.contains_key(key);
        super::unread::check(self.facts, self.context, read, arch.name.span)?;
        let Some(Binding { value, span }) = self.names.get("logits").cloned() else {
            // The static check has seen a binding, which a condition then skipped.
            return Err(ArchError::new(ErrorKind::Name, "`logits` was not bound")
                .label(arch.name.span, "the conditions of this file skip it for this model"));
        };
        let wrong = |what: String| {
            ArchError::new(
                ErrorKind::Shape,
                format!("`logits` should be f32[R, vocabulary], but it is {what}"),
            )
            .label(span, "bound here")
            .help("R are the rows whose logits are wanted: derive `logits` from the last layer")
        };
        let Value::Tensor(logits) = value else { return Err(wrong(value.describe())) };
        let ty = self.tensor_type(logits);
        if ty.rows != Some(RunDim::OutRows) || ty.dims.len() != 1 {
            return Err(wrong(ty.to_string()));
        }
        self.graph.set_output(logits);
        self.graph.verify().map_err(|error| {
            ArchError::new(ErrorKind::Internal, format!("the graph is not valid: {error}"))
        })?;
        super::unread::check_parts(self.facts, &self.graph, arch.name.span)?;
        Ok(self.graph)
    }

    fn block(&mut self, statements: &'a [Statement]) -> Result<()> {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &'a Statement) -> Result<()> {
        match statement {
            Statement::Bind { name, value } => self.bind(name, value),
            Statement::Layers { variable, from, to, body } => {
                self.run_layers(variable, (from, to), body)
            }
            Statement::If { condition, then, otherwise } => {
                let chosen = if self.condition(condition)? { then } else { otherwise };
                self.block(chosen)
            }
            Statement::Require { condition, message } => {
                if self.condition(condition)? {
                    return Ok(());
                }
                let text = match self.eval(message)? {
                    Value::Text(text) => text.to_string(),
                    other => other.describe(),
                };
                Err(ArchError::new(ErrorKind::Unsupported, text)
                    .label(condition.span, "this does not hold for the model"))
            }
        }
    }

    fn bind(&mut self, name: &'a Ident, expr: &'a Expr) -> Result<()> {
        self.target = Some(&name.text);
        self.narrowed = (name.text == "logits" && self.layer.is_none()).then(HashMap::new);
        let value = self.eval(expr)?;
        self.target = None;
        self.narrowed = None;
        self.names.insert(&name.text, Binding { value, span: name.span });
        Ok(())
    }

    fn run_layers(
        &mut self,
        variable: &'a Ident,
        (from, to): (&'a Expr, &'a Expr),
        body: &'a [Statement],
    ) -> Result<()> {
        let (first, end) = (self.whole(from)?, self.whole(to)?);
        if first > end || end > limit::LAYERS {
            let message = format!("there are no layers {first}..{end}");
            return Err(ArchError::new(ErrorKind::Limit, message)
                .label(from.span.to(to.span), "from the first to before the last")
                .help(format!("layers count up, to at most {}", limit::LAYERS)));
        }
        for layer in first..end {
            // At most `LAYERS`, so it fits.
            let number = layer as u32;
            self.layer = Some(number);
            let value = Value::Number(f64::from(number));
            self.names.insert(&variable.text, Binding { value, span: variable.span });
            self.block(body).map_err(|error| error.in_layer(number))?;
        }
        self.layer = None;
        self.names.remove(variable.text.as_str());
        Ok(())
    }

    /// A whole number from 0 that the language asks for outside calls.
    fn whole(&mut self, expr: &'a Expr) -> Result<u64> {
        match self.eval(expr)? {
            Value::Number(number) if number >= 0.0 && number.fract() == 0.0 && number < 1e15 => {
                Ok(number as u64)
            }
            other => Err(self.misfit(&other, "a whole number", expr)),
        }
    }

    fn condition(&mut self, expr: &'a Expr) -> Result<bool> {
        match self.eval(expr)? {
            Value::Bool(value) => Ok(value),
            other => Err(self.misfit(&other, "a condition (true or false)", expr)),
        }
    }

    /// "expected …, but … is …" for a value of the wrong kind.
    fn misfit(&self, value: &Value, expected: &str, expr: &Expr) -> ArchError {
        let found = self.describe(value);
        let shown = self.shown(expr);
        ArchError::new(ErrorKind::Argument, format!("expected {expected}, but {shown} is {found}"))
            .label(expr.span, format!("this is {found}"))
    }

    /// What a value is, tensors with their type.
    pub(super) fn describe(&self, value: &Value) -> String {
        match value {
            Value::Tensor(id) => format!("a tensor {}", self.tensor_type(*id)),
            other => other.describe(),
        }
    }

    /// The value that a name has here: a parameter, a binding, an input or a word.
    fn lookup(&mut self, name: &str, span: Span) -> Result<Value> {
        if let Some(frame) = self.frames.last() {
            let params = frame.function.params.iter().zip(&frame.arguments);
            if let Some((_, bound)) = params.into_iter().find(|(param, _)| param.text == name) {
                return Ok(bound.value.clone());
            }
        }
        if let Some(bound) = self.names.get(name) {
            return Ok(bound.value.clone());
        }
        match name {
            "tokens" => Ok(Value::Tensor(self.input(Input::Tokens))),
            "position" => Ok(Value::Tensor(self.input(Input::Position))),
            "context" => Ok(Value::Number(self.context as f64)),
            _ => super::ops::word(name).map(Value::Word).ok_or_else(|| {
                let known = self.names.keys().copied().chain(["tokens", "position", "context"]);
                unknown_value(name, span, known)
            }),
        }
    }

    /// The metadata value of `ARCHITECTURE.key`, or else of `key`. Each is read from the model once.
    pub(super) fn meta(&mut self, key: &str) -> Option<Value> {
        if let Some(known) = self.meta.get(key) {
            return Some(known.clone());
        }
        let full = self.facts.architecture().map(|architecture| format!("{architecture}.{key}"));
        let found = full.and_then(|full| self.facts.meta(&full)).or_else(|| self.facts.meta(key));
        let value = Value::from(found?);
        self.meta.insert(key.into(), value.clone());
        Some(value)
    }

    /// The line that a name was last bound at, where it is a statement's.
    fn bound_line(&self, name: &str) -> Option<u32> {
        let inside = self
            .frames
            .last()
            .is_some_and(|frame| frame.function.params.iter().any(|param| param.text == name));
        let bound = (!inside).then(|| self.names.get(name)).flatten()?;
        Some(self.line(bound.span))
    }

    /// The line of a place, counted from 1.
    fn line(&self, span: Span) -> u32 {
        self.line_starts.partition_point(|start| *start <= span.start) as u32
    }

    /// A piece of the file's text, shortened for a message.
    pub(super) fn shown(&self, expr: &Expr) -> String {
        let text = self.source.inner().get(expr.span.start as usize..expr.span.end as usize);
        let text = text.unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = words.join(" ");
        match line.char_indices().nth(40) {
            Some((at, _)) => format!("`{}…`", &line[..at]),
            None => format!("`{line}`"),
        }
    }
}

/// No value has this name.
pub(super) fn unknown_value<'k>(
    name: &str,
    span: Span,
    known: impl IntoIterator<Item = &'k str>,
) -> ArchError {
    ArchError::new(ErrorKind::Name, format!("there is no value named `{name}` here"))
        .label(span, "not known")
        .maybe_help(suggest::did_you_mean(name, known))
}
