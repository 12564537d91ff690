//! The values of the language. All but tensors are known when the graph is built.

use super::facts::MetaValue;
use quarrel_ir::graph::ValueId;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Number(f64),
    Bool(bool),
    Text(Arc<str>),
    /// A metadata array.
    List(Arc<[Value]>),
    /// Names of a weight, in order of preference.
    Weight(WeightName),
    /// A word such as `interleaved`.
    Word(&'static str),
    Tensor(ValueId),
}

/// Which weight is meant: the first of `names` that the model has.
#[derive(Clone, Debug)]
pub(super) struct WeightName {
    /// Not empty.
    pub(super) names: Arc<[Arc<str>]>,
    /// Whether the model may have none of them.
    pub(super) optional: bool,
}

impl Value {
    /// What it is, in words, tensors without their type.
    pub(super) fn describe(&self) -> String {
        match self {
            Value::None => "`none`".into(),
            Value::Number(number) => format!("the number {number}"),
            Value::Bool(value) => format!("the boolean `{value}`"),
            Value::Text(text) => format!("the text \"{text}\""),
            Value::List(list) => format!("a list of {} values", list.len()),
            Value::Weight(_) => "the name of a weight".into(),
            Value::Word(word) => format!("the word `{word}`"),
            Value::Tensor(_) => "a tensor".into(),
        }
    }

    /// The name or names of a weight, where the value can be read as such.
    pub(super) fn as_weight(&self) -> Option<WeightName> {
        match self {
            Value::Text(text) => {
                Some(WeightName { names: Arc::new([text.clone()]), optional: false })
            }
            Value::Weight(name) => Some(name.clone()),
            _ => None,
        }
    }
}

impl From<MetaValue> for Value {
    fn from(value: MetaValue) -> Self {
        match value {
            MetaValue::Number(number) => Value::Number(number),
            MetaValue::Bool(value) => Value::Bool(value),
            MetaValue::Text(text) => Value::Text(text.into()),
            MetaValue::List(list) => Value::List(list.into_iter().map(Value::from).collect()),
        }
    }
}
