//! Values as Python writes them. The engine writes most of them alike; what differs is here:
//! numbers with a fraction, and what Jinja's tests call a sequence and an iterable.

use std::fmt::{self, Write};

use minijinja::value::ValueKind;
use minijinja::{Environment, Value};

/// Replaces the tests that differ.
pub(super) fn install(engine: &mut Environment<'_>) {
    engine.add_test("sequence", is_sequence);
    engine.add_test("iterable", is_iterable);
}

/// Has a length and items: text and maps as well as lists.
fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Map, Seq, String, Undefined};
    matches!(value.kind(), Map | Seq | String | Undefined)
}

/// Can be gone through, which `none` cannot: templates ask `tools is iterable`.
fn is_iterable(value: &Value) -> bool {
    is_sequence(value) || value.kind() == ValueKind::Iterable
}

/// The number with a fraction that `value` is, if it is one.
pub(super) fn float(value: &Value) -> Option<f64> {
    let is_float = value.kind() == ValueKind::Number && !value.is_integer();
    is_float.then(|| f64::try_from(value.clone()).ok()).flatten()
}

/// Writes `str(value)`.
pub(super) fn write_text(out: &mut impl Write, value: &Value) -> fmt::Result {
    match float(value) {
        Some(number) => out.write_str(&float_text(number)),
        // In lists and maps the engine writes numbers in its own way: they are rare there, and
        // differ only where they are very small or large.
        None => write!(out, "{value}"),
    }
}

/// `repr` of a number with a fraction: the fewest digits that read back as it, with an exponent
/// from 1e16 on and below 1e-4.
pub(super) fn float_text(number: f64) -> String {
    if !number.is_finite() {
        let name = if number.is_nan() { "nan" } else { "inf" };
        return format!("{}{name}", if number < 0.0 { "-" } else { "" });
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let text = number.to_string();
        return if text.contains('.') { text } else { text + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_python_writes_them() {
        // What `repr` of Python 3.11 gives.
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (1e-7, "1e-07"),
            (1234567890123456.0, "1234567890123456.0"),
            (1e16, "1e+16"),
            (1.25e100, "1.25e+100"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (number, text) in cases {
            assert_eq!(float_text(number), text);
        }
    }
}
