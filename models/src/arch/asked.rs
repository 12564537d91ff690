//! What an architecture file asked of a model, and whether another model would answer alike: a plan
//! that was compiled for one may then run the other.

use super::{Facts, MetaValue};
use quarrel_ir::plan::{Metadatum, ModelFacts};
use quarrel_ir::weight::TensorInfo;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter, Result};

/// The key of the architecture's name.
const ARCHITECTURE: &str = "general.architecture";

/// Facts of a model that note what is asked.
pub struct Asked<'a> {
    facts: &'a dyn Facts,
    metadata: RefCell<BTreeMap<String, Option<String>>>,
    absent: RefCell<BTreeSet<String>>,
}

impl<'a> Asked<'a> {
    /// `facts`, of which nothing has been asked.
    pub fn of(facts: &'a dyn Facts) -> Asked<'a> {
        Asked { facts, metadata: RefCell::default(), absent: RefCell::default() }
    }

    /// The metadata that were asked for, with their values.
    pub fn metadata(&self) -> Vec<Metadatum> {
        let known = self.metadata.borrow();
        known
            .iter()
            .map(|(key, value)| Metadatum { key: key.clone(), value: value.clone() })
            .collect()
    }

    /// The tensors that were asked for and are not there.
    pub fn absent(&self) -> Vec<String> {
        self.absent.borrow().iter().cloned().collect()
    }
}

impl Facts for Asked<'_> {
    fn architecture(&self) -> Option<&str> {
        let name = self.facts.architecture();
        self.metadata.borrow_mut().insert(ARCHITECTURE.into(), name.map(String::from));
        name
    }

    fn meta(&self, key: &str) -> Option<MetaValue> {
        let value = self.facts.meta(key);
        let text = value.as_ref().map(ToString::to_string);
        self.metadata.borrow_mut().insert(key.into(), text);
        value
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let tensor = self.facts.tensor(name);
        if tensor.is_none() {
            self.absent.borrow_mut().insert(name.into());
        }
        tensor
    }

    fn meta_keys(&self) -> Vec<&str> {
        self.facts.meta_keys()
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.facts.tensor_names()
    }
}

impl Display for MetaValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            MetaValue::Number(number) => write!(f, "{number}"),
            MetaValue::Bool(yes) => write!(f, "{yes}"),
            MetaValue::Text(text) => f.write_str(text),
            MetaValue::List(elements) => {
                let each: Vec<String> = elements.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", each.join(", "))
            }
        }
    }
}

/// The first thing in which `facts` differ from the model that a plan was compiled for, in words;
/// `None` where the plan fits.
pub fn difference(planned: &ModelFacts, facts: &dyn Facts) -> Option<String> {
    for Metadatum { key, value } in &planned.metadata {
        let found = match key.as_str() {
            ARCHITECTURE => facts.architecture().map(String::from),
            key => facts.meta(key).map(|value| value.to_string()),
        };
        if found != *value {
            let say = |value: &Option<String>| match value {
                Some(value) => format!("{value:?}"),
                None => "nothing".into(),
            };
            return Some(format!(
                "it was compiled for a model whose {key} is {}, this one says {}",
                say(value),
                say(&found)
            ));
        }
    }
    let shape = |tensor: &TensorInfo| format!("{} of shape {:?}", tensor.format, tensor.shape);
    for tensor in &planned.tensors {
        let name = &tensor.name;
        match facts.tensor(name) {
            Some(found) if found == tensor => {}
            Some(found) => {
                let (wanted, found) = (shape(tensor), shape(found));
                return Some(format!(
                    "it wants the tensor {name} as {wanted}, the model's is {found}"
                ));
            }
            None => {
                return Some(format!("it reads the tensor {name}, which the model does not have"));
            }
        }
    }
    let found = planned.absent.iter().find(|name| facts.tensor(name).is_some())?;
    Some(format!("the model has a tensor {found}, which the plan knows nothing of"))
}
