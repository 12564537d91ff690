//! Python's methods on strings, lists and maps, for templates; the methods themselves are
//! `minijinja-contrib`'s and those of [`strings`]. The engine charges a method for the size of its result once it is there;
//! here the work, and results that grow faster than what they are made from, are charged before.

use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::{filters, strings};

/// Bytes that one unit of fuel pays for, as in the engine.
const BYTES_A_FUEL: u64 = 64;

/// Calls `value.method(args)`.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let (Some(joiner), "join", [items]) = (value.as_str(), method, args) {
        return filters::join_items(state, items, joiner, None).map(Value::from);
    }
    let bytes = match (value.as_str(), method) {
        (Some(text), "replace") => text.len() as u64 + bytes_of_replace(text, args),
        // `'{:999999999}'.format(x)`: widths are numbers in the text.
        (Some(text), "format") if has_long_number(text) => {
            return Err(Error::new(ErrorKind::InvalidOperation, "format with so wide a field"));
        }
        (Some(text), _) => text.len() as u64,
        (None, _) => value.len().unwrap_or(0) as u64 * BYTES_A_FUEL,
    };
    state.consume_fuel(bytes / BYTES_A_FUEL)?;
    if let Some(result) = strings::call(value, method, args) {
        return result;
    }
    if value.as_str().is_some() && method == "split" {
        let (separator, most) = strings::split_arguments(args)?;
        return unknown_method_callback(state, value, method, &[separator, Value::from(most)]);
    }
    unknown_method_callback(state, value, method, args)
}

/// Bytes that `text.replace(old, new)` may add.
fn bytes_of_replace(text: &str, args: &[Value]) -> u64 {
    let text_of = |index: usize| args.get(index).and_then(Value::as_str).unwrap_or_default();
    let matches = text.matches(text_of(0)).count() as u64;
    matches.saturating_mul(text_of(1).len() as u64)
}

/// Whether a text holds a number of five digits or more.
fn has_long_number(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() >= 5)
}
