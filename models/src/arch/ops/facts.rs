//! Functions of the model's facts and of numbers: known when the graph is built.

use super::{Builtin, Call, Kind, optional, required};
use crate::arch::error::ErrorKind;
use crate::arch::eval::{Result, past_the_end};
use crate::arch::suggest;
use crate::arch::value::Value;

pub(super) const TABLE: &[Builtin] = &[
    Builtin {
        name: "meta",
        params: &[required("key", Kind::Text), optional("default", Kind::Deferred)],
        doc: "The metadata value of `ARCHITECTURE.key`, or else of `key`; `default` where the \
              model has neither.",
        lower: meta,
    },
    Builtin {
        name: "has_weight",
        params: &[required("name", Kind::Weight)],
        doc: "Whether the model has a tensor of this name.",
        lower: has_weight,
    },
    Builtin {
        name: "at",
        params: &[required("list", Kind::Known), required("index", Kind::Whole)],
        doc: "Element `index` of a list, counted from 0; a value that is no list is itself, \
              whatever the index.",
        lower: at,
    },
    Builtin {
        name: "len",
        params: &[required("list", Kind::Known)],
        doc: "The number of values in a list.",
        lower: len,
    },
    Builtin {
        name: "log",
        params: &[required("x", Kind::Number)],
        doc: "The natural logarithm of a number.",
        lower: |call| numeric(call, f64::ln),
    },
    Builtin {
        name: "floor",
        params: &[required("x", Kind::Number)],
        doc: "The largest whole number that is not above a number.",
        lower: |call| numeric(call, f64::floor),
    },
];

fn meta(call: &mut Call<'_, '_>) -> Result<Value> {
    let key = call.text("key")?;
    if let Some(value) = call.eval.meta(&key) {
        return Ok(value);
    }
    if let Some(default) = call.written("default")? {
        return call.eval.eval(default);
    }
    let facts = call.eval.facts;
    let full = facts.architecture().map(|architecture| format!("{architecture}.{key}"));
    let keys = facts.meta_keys();
    let near = suggest::near(full.as_deref().unwrap_or(&key), keys.iter().copied(), 3);
    let tried: Vec<String> =
        full.iter().map(String::as_str).chain([&*key]).map(|key| format!("`{key}`")).collect();
    let span = call.written("key")?.unwrap_or(call.expr).span;
    let message = format!("the model has no metadata {}", tried.join(" or "));
    let error =
        crate::arch::ArchError::new(ErrorKind::Metadata, message).label(span, "asked for here");
    let error = match near.is_empty() {
        true => error,
        false => error.help(format!("the nearest keys that it has: `{}`", near.join("`, `"))),
    };
    let help = format!("a default serves models without it: meta(\"{key}\", …)");
    Err(call.eval.called_from(error.help(help)))
}

fn has_weight(call: &mut Call<'_, '_>) -> Result<Value> {
    let wanted = call.value("name")?.as_weight();
    let names = wanted.iter().flat_map(|wanted| wanted.names.iter());
    let found = names.into_iter().any(|name| call.eval.find_tensor(name).is_some());
    Ok(Value::Bool(found))
}

fn at(call: &mut Call<'_, '_>) -> Result<Value> {
    let index = call.whole("index")?;
    match call.value("list")? {
        Value::List(items) => items.get(index as usize).cloned().ok_or_else(|| {
            let written = call.written("index").ok().flatten().unwrap_or(call.expr);
            past_the_end(index.into(), items.len(), written)
        }),
        other => Ok(other),
    }
}

fn len(call: &mut Call<'_, '_>) -> Result<Value> {
    match call.value("list")? {
        Value::List(items) => Ok(Value::Number(items.len() as f64)),
        other => {
            let message =
                format!("`list` of `len` should be a list, but it is {}", other.describe());
            Err(call.error(ErrorKind::Argument, message))
        }
    }
}

fn numeric(call: &mut Call<'_, '_>, function: fn(f64) -> f64) -> Result<Value> {
    let x = call.number("x")?;
    let result = function(x);
    if result.is_finite() {
        return Ok(Value::Number(result));
    }
    Err(call.error(ErrorKind::Argument, format!("there is no finite result for {x}")))
}
