//! Python's methods that `minijinja-contrib` lacks. What it has is left to it.

use minijinja::value::{Kwargs, Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, Value};

use super::filters::MAX_BYTES;

/// Calls `value.method(args)`, or returns `None` where the method is not one of those here.
pub(super) fn call(value: &Value, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => of_text(text, method, args),
        (None, ValueKind::Map) if method == "copy" => Some(copy(value, args)),
        (None, ValueKind::Seq) if method == "copy" => Some(copy(value, args)),
        (None, ValueKind::Seq) if method == "index" => Some(index_in(value, args)),
        _ => None,
    }
}

fn of_text(text: &str, method: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    Some(match method {
        "partition" => parted(text, args, false),
        "rpartition" => parted(text, args, true),
        "rsplit" => split_from_right(text, args),
        "removeprefix" => from_args(args)
            .map(|(part,): (&str,)| Value::from(text.strip_prefix(part).unwrap_or(text))),
        "removesuffix" => from_args(args)
            .map(|(part,): (&str,)| Value::from(text.strip_suffix(part).unwrap_or(text))),
        "index" => found(text, args, false),
        "rindex" => found(text, args, true),
        "zfill" => filled(text, args),
        "ljust" => padded(text, args, |_| 0),
        "rjust" => padded(text, args, |missing| missing),
        _ => return None,
    })
}

/// The arguments of `split` and `rsplit`, which may be named: separator (none: whitespace) and the
/// most splits (below 0: no limit).
pub(super) fn split_arguments(args: &[Value]) -> Result<(Value, i64), Error> {
    let (separator, most, named): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = match separator {
        Some(separator) => Some(separator),
        None => named.get("sep")?,
    };
    let most = match most {
        Some(most) => Some(most),
        None => named.get("maxsplit")?,
    };
    named.assert_all_used()?;
    let separator = separator.unwrap_or(Value::from(()));
    if separator.as_str() == Some("") {
        return Err(invalid("split by an empty text"));
    }
    Ok((separator, most.unwrap_or(-1)))
}

fn split_from_right(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (separator, most) = split_arguments(args)?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut rest = Some(text);
    match separator.as_str() {
        Some(separator) => {
            while let Some(text) = rest {
                let cut = if parts.len() < most { text.rsplit_once(separator) } else { None };
                parts.push(Value::from(cut.map_or(text, |(_, last)| last)));
                rest = cut.map(|(before, _)| before);
            }
        }
        None => {
            // Runs of whitespace separate, and none stands at the ends.
            while let Some(text) = rest.map(str::trim_end).filter(|text| !text.is_empty()) {
                let cut = text.rsplit_once(char::is_whitespace).filter(|_| parts.len() < most);
                parts.push(Value::from(cut.map_or(text, |(_, last)| last)));
                rest = cut.map(|(before, _)| before);
            }
        }
    }
    parts.reverse();
    Ok(Value::from(parts))
}

/// The text before, at and after the first (or last) place of another.
fn parted(text: &str, args: &[Value], last: bool) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(invalid("partition by an empty text"));
    }
    let cut = if last { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match cut {
        Some((before, after)) => [before, separator, after],
        None if last => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// Where another text stands, in characters.
fn found(text: &str, args: &[Value], last: bool) -> Result<Value, Error> {
    let (part,): (&str,) = from_args(args)?;
    let at = if last { text.rfind(part) } else { text.find(part) };
    let at = at.ok_or_else(|| invalid("substring not found"))?;
    // `find` returns where a character begins.
    Ok(Value::from(text[..at].chars().count()))
}

/// With zeros after the sign, up to a width in characters.
fn filled(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (width,): (i64,) = from_args(args)?;
    let digits = text.trim_start_matches(['+', '-']);
    // At most one sign counts as one.
    let sign = &text[..usize::from(digits.len() < text.len())];
    let zeros = "0".repeat(missing(text, width, 1)?);
    Ok(Value::from(format!("{sign}{zeros}{}", &text[sign.len()..])))
}

/// With a character (a space if none is given) around it, up to a width in characters; `before`
/// says how many of them come first.
fn padded(text: &str, args: &[Value], before: fn(usize) -> usize) -> Result<Value, Error> {
    let (width, fill): (i64, Option<&str>) = from_args(args)?;
    let fill = fill.unwrap_or(" ");
    if fill.chars().count() != 1 {
        return Err(invalid("the fill must be one character"));
    }
    let missing = missing(text, width, fill.len())?;
    let first = before(missing);
    Ok(Value::from(format!("{}{text}{}", fill.repeat(first), fill.repeat(missing - first))))
}

/// Characters of `bytes` each that `text` lacks to be `width` wide.
fn missing(text: &str, width: i64, bytes: usize) -> Result<usize, Error> {
    let width = usize::try_from(width).unwrap_or(0);
    if width > MAX_BYTES / bytes.max(1) / 64 {
        return Err(invalid("so wide a field"));
    }
    Ok(width.saturating_sub(text.chars().count()))
}

fn index_in(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let (item,): (Value,) = from_args(args)?;
    let at = value.try_iter()?.position(|other| other == item);
    at.map(Value::from).ok_or_else(|| invalid("the item is not in the list"))
}

/// Values do not change, so a copy is the value.
fn copy(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let () = from_args(args)?;
    Ok(value.clone())
}

fn invalid(detail: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail)
}
