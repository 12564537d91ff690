//! The `tojson` filter as Hugging Face transformers defines it: Python's `json.dumps` without
//! escaping of non-ASCII characters, and without the escaping for HTML that Jinja's own has.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::filters::MAX_BYTES;

/// Lists and maps within one another.
const MAX_DEPTH: usize = 64;

/// `value|tojson` and `value|tojson(indent=n)`.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    indent: Option<usize>,
    options: Kwargs,
) -> Result<Value, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => options.get::<Option<usize>>("indent")?,
    };
    for option in ["ensure_ascii", "sort_keys"] {
        if options.get::<Option<bool>>(option)? == Some(true) {
            return Err(invalid(format!("tojson does not support {option}=true")));
        }
    }
    options.assert_all_used()?;
    let mut json = Json { out: String::new(), indent: indent.map(|indent| indent.min(16)) };
    json.value(value, 0)?;
    state.consume_fuel(json.out.len() as u64 / 4)?;
    Ok(Value::from(json.out))
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail.into())
}

/// Writes values.
struct Json {
    out: String,
    /// Spaces a level, where each element has its own line.
    indent: Option<usize>,
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
            ValueKind::Number => self.out.push_str(&value.to_string()),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.elements(['[', ']'], items, depth, |json, item| json.value(&item, depth + 1))?;
            }
            ValueKind::Map => {
                let keys = value.try_iter()?;
                self.elements(['{', '}'], keys, depth, |json, key| {
                    json.string(key.as_str().unwrap_or(&key.to_string()))?;
                    json.out.push_str(": ");
                    json.value(&value.get_item(&key)?, depth + 1)
                })?;
            }
            other => return Err(invalid(format!("tojson of {other}"))),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        let quoted = serde_json::to_string(text).map_err(|error| invalid(error.to_string()))?;
        self.out.push_str(&quoted);
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
            match (any, self.indent) {
                (true, Some(_)) => self.out.push(','),
                (true, None) => self.out.push_str(", "),
                (false, _) => {}
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
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}
