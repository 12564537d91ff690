//! The folder's safetensors files: one, or several with an index. Headers are checked before
//! anything is used; tensor data are mapped and not looked at.

use super::error::HfError;
use super::json;
use crate::mapped::Bytes;
use quarrel_ir::format::Format;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The most bytes of a file's header; the format's own limit.
const LARGEST_HEADER: usize = 100_000_000;
/// The most bytes of an index; those in use have a few megabytes.
const LARGEST_INDEX: u64 = 100_000_000;
/// The most dimensions of a tensor.
const MAX_DIMS: usize = 4;
/// Missing files that a message names.
const NAMED: usize = 4;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The tensors of all files.
#[derive(Debug)]
pub(super) struct Shards {
    files: Vec<Shard>,
    tensors: Vec<Stored>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    bytes: Bytes,
}

/// A tensor as a file holds it.
///
/// Invariant, established by `read`: the range lies within the file, and its length is what dtype
/// and shape say, which do not overflow.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    pub(super) dtype: Dtype,
    file: usize,
    range: Range<usize>,
}

impl Stored {
    /// The storage format and shape.
    ///
    /// # Errors
    /// Names what Quarrel does not read.
    pub(super) fn described(&self) -> Result<(Format, Vec<u64>), String> {
        let Stored { name, shape, .. } = self;
        let format = match self.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::BF16,
            other => {
                return Err(format!(
                    "the tensor {name:?} has dtype {other:?}; F32, F16 and BF16 are read. Use a \
                     copy of the model in one of these"
                ));
            }
        };
        if shape.len() > MAX_DIMS {
            let dims = shape.len();
            return Err(format!("the tensor {name:?} has {dims} dimensions, more than {MAX_DIMS}"));
        }
        if shape.contains(&0) {
            return Err(format!("the tensor {name:?} has no elements: its shape is {shape:?}"));
        }
        Ok((format, shape.clone()))
    }
}

impl Shards {
    /// Maps the folder's files and reads their headers.
    pub(super) fn open(folder: &Path) -> Result<Shards, HfError> {
        if folder.join(SINGLE).exists() {
            let mut shards = Shards::empty();
            shards.add(folder.join(SINGLE), None)?;
            return Ok(shards);
        }
        if !folder.join(INDEX).exists() {
            return Err(HfError::Folder { folder: folder.into(), why: no_weights(folder) });
        }
        let files = read_index(&folder.join(INDEX))?;
        let missing: Vec<&str> =
            files.keys().filter(|name| !folder.join(name).exists()).map(String::as_str).collect();
        if !missing.is_empty() {
            let more = missing.len().saturating_sub(NAMED);
            let mut named = missing[..missing.len() - more].join(", ");
            if more > 0 {
                named += &format!(" and {more} more");
            }
            let why = format!("{INDEX} names files that are not there: fetch {named}");
            return Err(HfError::Folder { folder: folder.into(), why });
        }
        let mut shards = Shards::empty();
        for (name, tensors) in files {
            shards.add(folder.join(name), Some(tensors))?;
        }
        Ok(shards)
    }

    fn empty() -> Shards {
        Shards { files: Vec::new(), tensors: Vec::new(), by_name: HashMap::new() }
    }

    /// Adds the tensors of a file: all, or those that the index expects in it.
    fn add(&mut self, path: PathBuf, expected: Option<BTreeSet<String>>) -> Result<(), HfError> {
        let bytes = Bytes::open(&path).map_err(|why| HfError::Io { path: path.clone(), why })?;
        let invalid = |why: String| HfError::File { path: path.clone(), why };
        let bytes = bytes.ok_or_else(|| invalid("this is not a regular file".into()))?;
        let read = read(bytes.as_slice(), self.files.len()).map_err(invalid)?;
        let mut waited_for = expected.clone().unwrap_or_default();
        for tensor in read {
            waited_for.remove(&tensor.name);
            if expected.as_ref().is_none_or(|names| names.contains(&tensor.name)) {
                // Names are unique within a file and, by the index, between files.
                self.by_name.insert(tensor.name.clone(), self.tensors.len());
                self.tensors.push(tensor);
            }
        }
        if let Some(name) = waited_for.first() {
            let why = format!(
                "{INDEX} says that the tensor {name:?} is in this file, but it is not: fetch both \
                 again, from one place"
            );
            return Err(HfError::File { path, why });
        }
        self.files.push(Shard { path, bytes });
        Ok(())
    }

    /// The tensor's index, which [`Shards::stored`] and [`Shards::bytes`] take.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The tensor of an index from [`Shards::find`].
    pub(super) fn stored(&self, index: usize) -> &Stored {
        &self.tensors[index]
    }

    /// The names of all tensors, in the files' order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// The bytes of the tensor of an index from [`Shards::find`].
    pub(super) fn bytes(&self, index: usize) -> &[u8] {
        let tensor = &self.tensors[index];
        // In bounds by the invariant of `Stored`.
        &self.files[tensor.file].bytes.as_slice()[tensor.range.clone()]
    }

    /// Says that the tensor's bytes are not needed again.
    pub(super) fn release(&self, index: usize) {
        let tensor = &self.tensors[index];
        self.files[tensor.file].bytes.release(&tensor.range);
    }

    /// The files' paths.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The files' bytes together.
    pub(super) fn size(&self) -> u64 {
        self.files.iter().map(|file| file.bytes.as_slice().len() as u64).sum()
    }
}

/// What a folder without safetensors files lacks.
fn no_weights(folder: &Path) -> String {
    let pickled = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    match pickled.iter().any(|name| folder.join(name).exists()) {
        true => "the weights are a PyTorch checkpoint, which is a program and not read: fetch the \
                 model's safetensors files, or convert it"
            .into(),
        false => format!("there is neither {SINGLE} nor {INDEX}: fetch the model's weights"),
    }
}

/// The tensors that the index expects in each file.
fn read_index(path: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, HfError> {
    let index = json::read(path, LARGEST_INDEX)?;
    let invalid = |why: String| HfError::File { path: path.into(), why };
    let map = index.get("weight_map").and_then(|map| map.as_object());
    let map = map.ok_or_else(|| invalid("there is no object \"weight_map\"".into()))?;
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (tensor, file) in map {
        let file = file.as_str().filter(|name| is_file_name(name)).ok_or_else(|| {
            invalid(format!(
                "the tensor {tensor:?} is said to be in {file}, which is no name of a .safetensors \
                 file in this folder"
            ))
        })?;
        files.entry(file.into()).or_default().insert(tensor.clone());
    }
    if files.is_empty() {
        return Err(invalid("\"weight_map\" names no tensors".into()));
    }
    Ok(files)
}

/// Whether this is the name of a file in the folder itself.
fn is_file_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    name.ends_with(".safetensors") && !name.starts_with('.') && name.chars().all(plain)
}

/// The tensors of a file with these contents, in the order of their data.
fn read(bytes: &[u8], file: usize) -> Result<Vec<Stored>, String> {
    let again = "the download was cut short or the file is damaged: fetch it again";
    let length = bytes.first_chunk().map(|length| u64::from_le_bytes(*length));
    let length = length.ok_or_else(|| format!("the file has {} bytes: {again}", bytes.len()))?;
    let start = usize::try_from(length).ok().filter(|&length| length <= LARGEST_HEADER);
    let header = start.and_then(|length| bytes.get(8..8 + length));
    let Some(header) = header else {
        if bytes.starts_with(b"version https://git-lfs") {
            return Err(
                "this is a Git LFS pointer, which stands in place of the weights: fetch the \
                        file itself"
                    .into(),
            );
        }
        let size = bytes.len();
        return Err(format!("the header claims {length} bytes of the file's {size}: {again}"));
    };
    let metadata: Metadata = serde_json::from_slice(header)
        .map_err(|why| format!("the header cannot be read ({why}): {again}"))?;
    let data = 8 + header.len();
    let mut tensors = Vec::new();
    let mut described: Vec<(String, TensorInfo)> =
        metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
    described.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
    let mut at = 0;
    for (name, TensorInfo { dtype, shape, data_offsets: (from, to) }) in described {
        let bits = shape.iter().try_fold(dtype.bitsize(), |bits, n| bits.checked_mul(*n));
        let right = bits.is_some_and(|bits| bits.is_multiple_of(8))
            && bits.map(|bits| bits / 8) == to.checked_sub(from);
        if !right || from != at || to > bytes.len() - data {
            return Err(format!(
                "the tensor {name:?} of shape {shape:?} cannot lie in bytes {from} to {to} of the \
                 {} after the header: {again}",
                bytes.len() - data
            ));
        }
        at = to;
        let shape = shape.iter().map(|&n| n as u64).collect();
        tensors.push(Stored { name, shape, dtype, file, range: data + from..data + to });
    }
    if at != bytes.len() - data {
        let rest = bytes.len() - data - at;
        return Err(format!("{rest} bytes at the end belong to no tensor: {again}"));
    }
    Ok(tensors)
}
