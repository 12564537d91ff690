//! The `tojson` filter as Hugging Face transformers defines it: Python's `json.dumps` without
//! escaping of non-ASCII characters, and without the escaping for HTML that Jinja's own has.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::filters::MAX_BYTES;
use super::python;

/// Lists and maps within one another.
const MAX_DEPTH: usize = 64;

/// Bytes that indent a level or separate two elements.
const MAX_INDENT: usize = 64;

/// `value|tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    positional: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    const NAMES: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];
    if positional.len() > NAMES.len() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut options = [const { Value::UNDEFINED }; 4];
    for (at, name) in NAMES.into_iter().enumerate() {
        options[at] = match positional.get(at) {
            Some(value) => value.clone(),
            None => named.get::<Option<Value>>(name)?.unwrap_or_default(),
        };
    }
    named.assert_all_used()?;
    let [ensure_ascii, indent, separators, sort_keys] = options;
    let indent = indent_of(&indent)?;
    let (item, key) = separators_of(&separators, indent.is_some())?;
    let (ascii, sorted) = (ensure_ascii.is_true(), sort_keys.is_true());
    let mut json = Json { out: String::new(), indent, item, key, ascii, sorted };
    json.value(value, 0)?;
    state.consume_fuel(json.out.len() as u64 / 4)?;
    Ok(Value::from(json.out))
}

/// What indents a level: so many spaces, or a text.
fn indent_of(option: &Value) -> Result<Option<String>, Error> {
    match option.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(None),
        ValueKind::String => {
            let text = option.as_str().unwrap_or_default();
            let long = text.len() > MAX_INDENT;
            if long { Err(invalid("tojson with so long an indent")) } else { Ok(Some(text.into())) }
        }
        _ => {
            let spaces = i64::try_from(option.clone())?.clamp(0, MAX_INDENT as i64 + 1);
            // In range by the clamp.
            let spaces = spaces as usize;
            if spaces > MAX_INDENT {
                return Err(invalid("tojson with so wide an indent"));
            }
            Ok(Some(" ".repeat(spaces)))
        }
    }
}

/// What stands between elements, and between a key and its value.
fn separators_of(option: &Value, indented: bool) -> Result<(String, String), Error> {
    if option.is_undefined() || option.is_none() {
        return Ok((if indented { "," } else { ", " }.to_owned(), ": ".to_owned()));
    }
    let mut texts = Vec::new();
    for text in option.try_iter()? {
        texts.push(text.as_str().map(str::to_owned));
    }
    match <[Option<String>; 2]>::try_from(texts) {
        Ok([Some(item), Some(key)]) if item.len() + key.len() <= MAX_INDENT => Ok((item, key)),
        _ => Err(invalid("tojson wants two short texts as separators")),
    }
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail.into())
}

/// Writes values.
struct Json {
    out: String,
    /// What indents a level, where each element has its own line.
    indent: Option<String>,
    /// Between elements.
    item: String,
    /// Between a key and its value.
    key: String,
    /// Whether what is not ASCII is escaped.
    ascii: bool,
    /// Whether maps are in the order of their keys.
    sorted: bool,
}

impl Json {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(invalid(format!("tojson of lists more than {MAX_DEPTH} deep")));
        }
        if self.out.len() > MAX_BYTES {
            return Err(Error::from(ErrorKind::OutOfFuel));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            // As text they are Python's `True` and `False`.
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.elements(['[', ']'], items, depth, |json, item| json.value(&item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sorted {
                    keys.sort();
                }
                self.elements(['{', '}'], keys.into_iter(), depth, |json, key| {
                    json.string(&key_text(&key)?)?;
                    json.out.push_str(&json.key.clone());
                    json.value(&value.get_item(&key)?, depth + 1)
                })?;
            }
            other => return Err(invalid(format!("tojson of {other}"))),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        let quoted = serde_json::to_string(text).map_err(|error| invalid(error.to_string()))?;
        if !self.ascii {
            self.out.push_str(&quoted);
            return Ok(());
        }
        for c in quoted.chars() {
            if matches!(c, ' '..='~') {
                self.out.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(self.out, "\\u{unit:04x}");
            }
        }
        Ok(())
    }

    /// Writes `items` between `brackets`, separated as Python separates them.
    fn elements(
        &mut self,
        brackets: [char; 2],
        items: impl Iterator<Item = Value>,
        depth: usize,
        mut write: impl FnMut(&mut Json, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let [open, close] = brackets;
        self.out.push(open);
        let mut any = false;
        for item in items {
            if any {
                self.out.push_str(&self.item.clone());
            }
            any = true;
            self.new_line(depth + 1);
            write(self, item)?;
        }
        if any {
            self.new_line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }
}

/// A number; the three that JSON lacks as Python names them.
fn number(value: &Value) -> String {
    match python::float(value) {
        Some(number) if number.is_nan() => "NaN".to_owned(),
        Some(f64::INFINITY) => "Infinity".to_owned(),
        Some(f64::NEG_INFINITY) => "-Infinity".to_owned(),
        Some(number) => python::float_text(number),
        None => value.to_string(),
    }
}

/// A key as text: Python takes texts, numbers, truth values and none.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => Ok(number(key)),
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        other => Err(invalid(format!("tojson of a map with {other} as a key"))),
    }
}
