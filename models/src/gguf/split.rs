//! Models in several files: `NAME-00001-of-00003.gguf`. Each part is a GGUF file of its own with
//! the tensors that it holds; the first has the model's metadata.
//!
//! The keys are those of llama.cpp's `gguf-split`: `split.no` (from 0), `split.count` and
//! `split.tensors.count` (of all parts together).

use super::error::{Fault, GgufError, shorten};
use super::header::Header;
use super::{GgufFile, Tensor};
use crate::mapped::Bytes;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Missing parts that a message names.
const NAMED: usize = 4;

/// One file, opened and checked by itself.
#[derive(Debug)]
pub(super) struct Part {
    /// The file's path, or words that stand for it.
    pub(super) name: String,
    pub(super) bytes: Bytes,
    pub(super) header: Header,
}

/// What a part says of its place among the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From 0.
    no: usize,
    /// At least 2.
    count: usize,
}

impl Place {
    /// The place that the header names; `None` for a model in one file.
    pub(super) fn of(header: &Header) -> Result<Option<Place>, Fault> {
        if header.metadata.get("split.count").is_none() {
            return Ok(None);
        }
        let number = |key: &'static str| {
            let number = header.metadata.u64(key).and_then(|n| u16::try_from(n).ok());
            number.map(usize::from).ok_or_else(|| bad(key, "is no number from 0 to 65535".into()))
        };
        let count = number("split.count")?;
        // Files that were never split may say so.
        if count <= 1 {
            return Ok(None);
        }
        let no = number("split.no")?;
        if no >= count {
            return Err(bad("split.no", format!("is {no}, but there are {count} parts from 0 on")));
        }
        Ok(Some(Place { no, count }))
    }
}

fn bad(key: &str, why: String) -> Fault {
    Fault::Metadata { key: key.into(), why }
}

/// The paths of all parts, from that of one of them.
pub(super) fn paths(path: &Path, place: Place) -> Result<Vec<PathBuf>, Fault> {
    let Place { no, count } = place;
    let ending = |no: usize| format!("-{:05}-of-{count:05}.gguf", no + 1);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(stem) = name.strip_suffix(&ending(no)) else {
        return Err(Fault::SplitName { no: no + 1, count, ending: ending(no) });
    };
    let all = (0..count).map(|no| path.with_file_name(format!("{stem}{}", ending(no))));
    let all: Vec<PathBuf> = all.collect();
    let missing: Vec<String> = all
        .iter()
        .filter(|path| !path.exists())
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    if missing.is_empty() {
        return Ok(all);
    }
    let more = missing.len().saturating_sub(NAMED);
    let named = missing.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
    let missing = if more == 0 { named } else { format!("{named} and {more} more") };
    Err(Fault::MissingParts { count, missing })
}

/// One model of all parts, in their order.
pub(super) fn assemble(parts: Vec<Part>) -> Result<GgufFile, GgufError> {
    let count = parts.len();
    for (no, part) in parts.iter().enumerate() {
        let place = Place::of(&part.header).map_err(|fault| invalid(part, fault))?;
        if place != Some(Place { no, count }) {
            return Err(invalid(part, Fault::WrongPart { no: no + 1, count }));
        }
    }
    let mut file = GgufFile {
        parts: Vec::with_capacity(count),
        version: 0,
        metadata: super::Metadata::default(),
        tensors: Vec::new(),
        by_name: HashMap::new(),
    };
    for (no, Part { name, bytes, header }) in parts.into_iter().enumerate() {
        if no == 0 {
            (file.version, file.metadata) = (header.version, header.metadata);
        }
        for Tensor { info, range, .. } in header.tensors {
            let key = info.name.clone();
            if let Some(other) = file.by_name.insert(key, file.tensors.len()) {
                let why = format!("is also in part {}", file.tensors[other].part + 1);
                let fault = Fault::Tensor { name: shorten(&info.name), why };
                return Err(GgufError::Invalid { file: name, fault });
            }
            file.tensors.push(Tensor { info, range, part: no });
        }
        file.parts.push(bytes);
    }
    match file.metadata.get("split.tensors.count").map(|value| (value, value.as_u64())) {
        None => Ok(file),
        Some((_, Some(claimed))) if claimed == file.tensors.len() as u64 => Ok(file),
        Some((value, _)) => {
            let held = file.tensors.len();
            let why = format!("is {value:?}, but the {count} parts hold {held} tensors");
            let fault = bad("split.tensors.count", why);
            Err(GgufError::Invalid { file: "the parts together".into(), fault })
        }
    }
}

fn invalid(part: &Part, fault: Fault) -> GgufError {
    GgufError::Invalid { file: part.name.clone(), fault }
}
