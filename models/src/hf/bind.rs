//! A mapping file, a configuration and tensors → the metadata and tensors that are presented.

use super::mapping::Mapping;
use super::mapping::ast::{At, Name, Statement, Take, TensorRule};
use super::mapping::evaluate::{Config, missing};
use super::mapping::names_in;
use super::recipe::Made;
use super::rope;
use super::shards::Shards;
use crate::gguf::{Array, Metadata, Strings, Value};
use quarrel_ir::weight::TensorInfo;
use serde_json::{Map, Value as Json};
use std::collections::{HashMap, HashSet};

/// The most layers of a model; those in use have up to 126.
const MAX_LAYERS: u64 = 10_000;

/// What a folder presents.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<(TensorInfo, Made)>,
    pub(super) by_name: HashMap<String, usize>,
    /// Tensors of the folder that nothing takes.
    pub(super) unused: Vec<String>,
}

/// What does not fit, and where the mapping file says so.
pub(super) type Misfit = (At, String);

/// Binds the mapping file to the folder's contents. `name` is the model's, for people.
pub(super) fn bind(
    mapping: &Mapping,
    config: &Map<String, Json>,
    shards: &Shards,
    name: &str,
) -> Result<Bound, Misfit> {
    let mut config = Config::new(config);
    for (at, statement) in &mapping.statements {
        if let Statement::Let(name, expr) = statement {
            let value = config.value(expr).map_err(|why| (at.clone(), why))?;
            config.define(name, value);
        }
    }
    let mut binding = Binding {
        arch: mapping.arch(),
        config: &config,
        shards,
        layers: None,
        used: HashSet::new(),
        bound: Bound {
            metadata: Metadata::default(),
            tensors: vec![],
            by_name: HashMap::new(),
            unused: vec![],
        },
    };
    let text = |text: &str| Value::String(text.into());
    binding.bound.metadata.insert("general.architecture".into(), text(mapping.arch()));
    binding.bound.metadata.insert("general.name".into(), text(name));
    for (at, statement) in &mapping.statements {
        if let Statement::Layers(expr) = statement {
            let layers = binding.layers(expr).map_err(|why| (at.clone(), why))?;
            binding.layers = Some(layers);
        }
    }
    for (at, statement) in &mapping.statements {
        binding.statement(statement).map_err(|why| (at.clone(), why))?;
    }
    let Binding { used, mut bound, .. } = binding;
    let unused =
        shards.names().filter(|name| shards.find(name).is_some_and(|i| !used.contains(&i)));
    bound.unused = unused.map(String::from).collect();
    Ok(bound)
}

struct Binding<'a> {
    arch: &'a str,
    config: &'a Config<'a>,
    shards: &'a Shards,
    layers: Option<u64>,
    /// Tensors of the folder that something takes, or that are ignored.
    used: HashSet<usize>,
    bound: Bound,
}

impl Binding<'_> {
    fn layers(&self, expr: &super::mapping::ast::Expr) -> Result<u64, String> {
        let layers = self.config.whole(expr)?;
        match layers {
            0..=MAX_LAYERS => Ok(layers),
            _ => Err(format!("{layers} layers are more than the {MAX_LAYERS} that are supported")),
        }
    }

    fn statement(&mut self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::Require { holds, why } => match self.config.holds(holds)? {
                true => Ok(()),
                false => Err(why.clone()),
            },
            Statement::Meta(rule) => {
                if !self.applies(rule.when.as_ref())? {
                    return Ok(());
                }
                match value(&self.config.value(&rule.value)?)? {
                    Some(value) => {
                        // Keys are unique by the parser.
                        self.bound.metadata.insert(format!("{}.{}", self.arch, rule.key), value);
                        Ok(())
                    }
                    None if rule.optional => Ok(()),
                    None => Err(format!("{} (for `{}`)", missing(&rule.value), rule.key)),
                }
            }
            Statement::Tensor(rule) if self.applies(rule.when.as_ref())? => {
                self.each_layer(&rule.name, |binding, layer| binding.tensor(rule, layer))
            }
            Statement::Ignore { name, when } if self.applies(when.as_ref())? => {
                self.each_layer(name, |binding, layer| {
                    let ignored = binding.shards.find(&name.fill(layer, None));
                    binding.used.extend(ignored);
                    Ok(())
                })
            }
            Statement::Tensor(_)
            | Statement::Ignore { .. }
            | Statement::Class(_)
            | Statement::Arch(_)
            | Statement::Include(_)
            | Statement::Layers(_)
            | Statement::Let(..) => Ok(()),
        }
    }

    fn applies(&self, when: Option<&super::mapping::ast::Expr>) -> Result<bool, String> {
        when.map_or(Ok(true), |when| self.config.holds(when))
    }

    /// Calls `f` for each layer if the name has the hole for it, else once.
    fn each_layer(
        &mut self,
        name: &Name,
        mut f: impl FnMut(&mut Self, Option<u64>) -> Result<(), String>,
    ) -> Result<(), String> {
        if !name.has("{i}") {
            return f(self, None);
        }
        let layers = self.layers.ok_or("a name has the hole {i}, but there is no `layers` line")?;
        (0..layers).try_for_each(|layer| f(self, Some(layer)))
    }

    fn tensor(&mut self, rule: &TensorRule, layer: Option<u64>) -> Result<(), String> {
        let name = rule.name.fill(layer, None);
        if rule.optional && !self.present(&rule.take, layer)? {
            return Ok(());
        }
        let made = self.made(&rule.take, layer).map_err(|why| match why {
            Unmade::Missing(source) => format!(
                "the folder has no tensor {source:?}, from which {name:?} is made. Files are \
                 missing or this is not the class's usual form: fetch the model again"
            ),
            Unmade::Wrong(why) => format!("{why} (for {name:?})"),
        })?;
        self.used.extend(made.sources());
        let info =
            TensorInfo { name: name.clone(), format: made.format, shape: made.shape.clone() };
        if self.bound.by_name.insert(name.clone(), self.bound.tensors.len()).is_some() {
            return Err(format!("the tensor {name:?} is made twice"));
        }
        self.bound.tensors.push((info, made));
        Ok(())
    }

    /// Whether the first tensor of a source is there, or one of its alternatives'.
    fn present(&self, take: &Take, layer: Option<u64>) -> Result<bool, String> {
        if let Take::FirstOf(parts) = take {
            return parts.iter().try_fold(false, |any, part| Ok(any || self.present(part, layer)?));
        }
        let first = |name: &Name| self.shards.find(&name.fill(layer, Some(0))).is_some();
        match (take, names_in(take).first()) {
            (Take::Numbers(list), _) => Ok(!self.config.value(list)?.is_null()),
            (_, name) => Ok(name.is_none_or(|name| first(name))),
        }
    }

    fn made(&self, take: &Take, layer: Option<u64>) -> Result<Made, Unmade> {
        self.made_of(take, layer, None)
    }

    fn made_of(
        &self,
        take: &Take,
        layer: Option<u64>,
        expert: Option<u64>,
    ) -> Result<Made, Unmade> {
        let inner = |of: &Take| self.made_of(of, layer, expert);
        let whole = |expr| self.config.whole(expr).map_err(Unmade::Wrong);
        match take {
            Take::Stored(name) => {
                let name = name.fill(layer, expert);
                let index = self.shards.find(&name).ok_or(Unmade::Missing(name))?;
                Ok(Made::stored(index, self.shards)?)
            }
            Take::Permute { of, heads } => {
                let heads = whole(heads)?;
                inner(of)?.permute(heads).map_err(|why| about(of, layer, why))
            }
            Take::Transpose(of) => inner(of)?.transpose().map_err(|why| about(of, layer, why)),
            Take::Slice { of, axis, from, to } => {
                let (axis, from, to) = (whole(axis)?, whole(from)?, whole(to)?);
                inner(of)?.slice(axis, from, to).map_err(|why| about(of, layer, why))
            }
            Take::Concat(parts) => {
                let parts = parts.iter().map(inner).collect::<Result<_, _>>()?;
                Made::concat(parts).map_err(|why| about(take, layer, why))
            }
            Take::Stack { of, count } => {
                let parts = 0..whole(count)?;
                let part = |expert| self.made_of(of, layer, Some(expert));
                let parts = parts.map(part).collect::<Result<_, _>>()?;
                Made::stack(parts).map_err(|why| about(of, layer, why))
            }
            Take::Add { of, number } => {
                let number = self.config.number(number).map_err(Unmade::Wrong)?;
                Ok(inner(of)?.add(number as f32))
            }
            Take::NegExp(of) => Ok(inner(of)?.neg_exp()),
            Take::FirstOf(parts) => self.first_of(parts, layer, expert),
            Take::Numbers(list) => {
                let Json::Array(list) = self.config.value(list)? else {
                    return Err(Unmade::Wrong(format!("{}: a list is needed", missing(list))));
                };
                let numbers: Option<Vec<f32>> =
                    list.iter().map(|number| number.as_f64().map(|number| number as f32)).collect();
                let numbers = numbers.ok_or("a list in config.json holds more than numbers")?;
                Ok(Made::numbers(numbers)?)
            }
            Take::Llama3Factors(parts) => {
                let [dims, rest @ ..] = &**parts;
                let mut numbers = [0.0; 5];
                for (number, expr) in numbers.iter_mut().zip(rest) {
                    *number = self.config.number(expr)?;
                }
                Ok(Made::numbers(rope::llama3_factors(whole(dims)?, numbers)?)?)
            }
        }
    }

    /// The first alternative whose tensors are there; else what the first lacks.
    fn first_of(
        &self,
        parts: &[Take],
        layer: Option<u64>,
        expert: Option<u64>,
    ) -> Result<Made, Unmade> {
        let mut lacking = None;
        for part in parts {
            match self.made_of(part, layer, expert) {
                Err(Unmade::Missing(name)) => lacking = lacking.or(Some(name)),
                made => return made,
            }
        }
        Err(lacking.map_or_else(|| "there are no alternatives".to_string().into(), Unmade::Missing))
    }
}

/// Why a tensor cannot be made.
enum Unmade {
    /// The folder lacks this tensor.
    Missing(String),
    /// Anything else.
    Wrong(String),
}

impl From<String> for Unmade {
    fn from(why: String) -> Unmade {
        Unmade::Wrong(why)
    }
}

impl From<&str> for Unmade {
    fn from(why: &str) -> Unmade {
        Unmade::Wrong(why.into())
    }
}

/// Names the tensor that something is wrong with.
fn about(take: &Take, layer: Option<u64>, why: String) -> Unmade {
    match names_in(take).first() {
        Some(name) => Unmade::Wrong(format!("the tensor {:?}: {why}", name.fill(layer, None))),
        None => Unmade::Wrong(why),
    }
}

/// The metadata value of a JSON value, as llama.cpp's converter would store it: fractions are F32.
/// `None` for what is missing.
fn value(json: &Json) -> Result<Option<Value>, String> {
    Ok(Some(match json {
        Json::Null => return Ok(None),
        Json::Bool(value) => Value::Bool(*value),
        Json::String(text) => Value::String(text.clone()),
        Json::Number(number) => {
            let number = number.as_f64().ok_or("a number in config.json is too large")?;
            match number {
                // Exact: whole, and small enough.
                _ if number.fract() == 0.0 && (0.0..4e9).contains(&number) => {
                    Value::U32(number as u32)
                }
                _ if (number as f32).is_finite() => Value::F32(number as f32),
                _ => Value::F64(number),
            }
        }
        Json::Array(list) if list.iter().all(Json::is_boolean) => {
            Value::Array(Array::Bool(list.iter().filter_map(Json::as_bool).collect()))
        }
        Json::Array(list) if list.iter().all(Json::is_string) => {
            Value::Array(Array::String(list.iter().filter_map(Json::as_str).collect::<Strings>()))
        }
        Json::Array(list) if list.iter().all(Json::is_number) => {
            Value::Array(Array::F64(list.iter().filter_map(Json::as_f64).collect()))
        }
        Json::Array(_) | Json::Object(_) => {
            return Err(
                "a value in config.json is neither a number, a text nor a list of these".into()
            );
        }
    }))
}
