//! Filters that replace the engine's own. The engine's charge for what they return once it is
//! there; a list can hold the same long string or the same list many times over, so what a small
//! template joins or prints has no bound. These stop at one.

use std::fmt::{self, Write};

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Output, State, Value};

use super::python;

/// Bytes that one value may come to as text.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// Puts the filters in place, and takes out those that no chat template needs.
pub(super) fn install(engine: &mut Environment<'_>) {
    engine.add_filter("tojson", super::json::tojson);
    engine.add_filter("join", join);
    engine.add_filter("string", string);
    engine.add_filter("int", int);
    engine.remove_filter("pprint");
    engine.remove_global("debug");
    engine.set_formatter(print);
}

/// `{{ value }}`.
fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if let Some(text) = value.as_str() {
        return out.write_str(text).map_err(Error::from);
    }
    let mut bounded = Bounded::default();
    bounded.push(state, value)?;
    out.write_str(&bounded.text).map_err(Error::from)
}

/// `value|string`.
fn string(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    if value.as_str().is_some() {
        return Ok(value.clone());
    }
    let mut out = Bounded::default();
    out.push(state, value)?;
    Ok(Value::from(out.text))
}

/// `value|int(default, base)`: the default, or 0, where the value is no number.
fn int(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    options: Kwargs,
) -> Result<Value, Error> {
    let default = match default {
        Some(default) => default,
        None => options.get::<Option<Value>>("default")?.unwrap_or_else(|| Value::from(0)),
    };
    let converted = minijinja::filters::int(state, value, Some(default.clone()), base, options);
    let is_text = value.as_str().is_some();
    converted.or_else(|error| if is_text { Ok(default) } else { Err(error) })
}

/// `value|join(joiner, attribute)`.
fn join(
    state: &State<'_, '_>,
    value: &Value,
    joiner: Option<&str>,
    attribute: Option<&str>,
    options: Kwargs,
) -> Result<Value, Error> {
    let joiner = match joiner {
        Some(joiner) => joiner,
        None => options.get::<Option<&str>>("d")?.unwrap_or_default(),
    };
    let attribute = match attribute {
        Some(attribute) => Some(attribute),
        None => options.get::<Option<&str>>("attribute")?,
    };
    options.assert_all_used()?;
    join_items(state, value, joiner, attribute).map(Value::from)
}

/// The items of `value`, or an attribute of each, with `joiner` between them.
pub(super) fn join_items(
    state: &State<'_, '_>,
    value: &Value,
    joiner: &str,
    attribute: Option<&str>,
) -> Result<String, Error> {
    let mut out = Bounded::default();
    for (index, item) in value.try_iter()?.enumerate() {
        if index > 0 {
            out.push_text(state, joiner)?;
        }
        match attribute {
            Some(attribute) => out.push(state, &item.get_attr(attribute)?)?,
            None => out.push(state, &item)?,
        }
    }
    Ok(out.text)
}

/// Text that takes no more than [`MAX_BYTES`].
#[derive(Default)]
struct Bounded {
    text: String,
}

impl Bounded {
    /// Appends a value as text.
    fn push(&mut self, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
        if let Some(text) = value.as_str() {
            return self.push_text(state, text);
        }
        let before = self.text.len();
        python::write_text(self, value).map_err(|_| Error::from(ErrorKind::OutOfFuel))?;
        state.consume_fuel(1 + (self.text.len() - before) as u64 / 4)
    }

    fn push_text(&mut self, state: &State<'_, '_>, text: &str) -> Result<(), Error> {
        state.consume_fuel(1 + text.len() as u64 / 64)?;
        self.write_str(text).map_err(|_| Error::from(ErrorKind::OutOfFuel))
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.text.len() + text.len() > MAX_BYTES {
            return Err(fmt::Error);
        }
        self.text.push_str(text);
        Ok(())
    }
}
