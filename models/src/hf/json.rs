//! JSON files of a folder. They are untrusted: size and depth are bounded (the depth by the
//! parser's own limit of 128).

use super::error::HfError;
use serde_json::{Map, Value};
use std::io::Read;
use std::path::Path;

/// The object in the file at `path`, which may have `largest` bytes.
pub(super) fn read(path: &Path, largest: u64) -> Result<Map<String, Value>, HfError> {
    let io = |why| HfError::Io { path: path.into(), why };
    let invalid = |why: String| HfError::File { path: path.into(), why };
    // Asked before the file is opened, because opening a pipe waits for its other end.
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(invalid("this is not a regular file".into()));
    }
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    file.take(largest + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 > largest {
        return Err(invalid(format!("the file has more than {largest} bytes")));
    }
    match serde_json::from_slice(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(invalid("the file holds no JSON object: fetch it again".into())),
        Err(why) => Err(invalid(format!("the file is no JSON ({why}): fetch it again"))),
    }
}
