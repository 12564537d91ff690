//! GGUF files, versions 2 and 3: a memory map whose header is checked before anything is used.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | [`GgufFile`]: the opened file as a [`WeightSource`] |
//! | `header.rs` | reading and checking the header: metadata, then the tensor table |
//! | `cursor.rs` | bounds-checked reading of the header's primitives |
//! | `split.rs` | models in several files |
//! | `value.rs` | metadata values and typed access to them |
//! | `types.rs` | ggml's type numbers and their names |
//! | `error.rs` | what can be wrong with a file, in words for its owner |
//! | `write.rs` | a writer of small files, for tests |
//!
//! Every length, offset, count and type is checked against the file's size first, so a damaged or
//! hostile file yields a [`GgufError`], never a panic, and memory use stays within a small multiple
//! of the file's size. Tensor data are not looked at. Big-endian files are not read.

mod cursor;
mod error;
mod header;
mod split;
#[cfg(test)]
mod tests;
mod types;
mod value;
pub mod write;

pub use error::{Fault, GgufError};
pub use value::{Array, Metadata, Strings, Value};

use crate::mapped::Bytes;
use header::Header;
use quarrel_ir::weight::{TensorInfo, WeightError, WeightSource};
use split::{Part, Place};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

/// An open GGUF file, or several that hold one model.
///
/// The files must not change while they are open: see [`GgufFile::open`].
#[derive(Debug)]
pub struct GgufFile {
    /// The files' contents: one, or each part of a split model in order.
    parts: Vec<Bytes>,
    version: u32,
    metadata: Metadata,
    tensors: Vec<Tensor>,
    by_name: HashMap<String, usize>,
}

/// A tensor's description and the bytes that hold it, counted from the start of its file.
///
/// Invariant, established by `header.rs`: the range lies within the file and its length is what
/// format and shape say.
#[derive(Debug)]
struct Tensor {
    info: TensorInfo,
    range: Range<usize>,
    /// The file that holds it.
    part: usize,
}

impl GgufFile {
    /// Maps the file at `path` into memory and reads its header. Of a model that is split over
    /// several files, `path` is any part; the others lie beside it.
    ///
    /// Another process that shortens a file while it is open can end this one with a bus error:
    /// the operating system offers no map that is safe from that. Files are replaced by renaming,
    /// never rewritten in place, by everything that fetches models.
    ///
    /// # Errors
    /// [`GgufError::Io`] where a file cannot be opened, [`GgufError::Invalid`] where its contents
    /// are not a GGUF file that Quarrel reads, or a part is missing.
    pub fn open(path: &Path) -> Result<GgufFile, GgufError> {
        let part = open_part(path)?;
        let invalid = |fault| GgufError::Invalid { file: path.display().to_string(), fault };
        let Some(place) = Place::of(&part.header).map_err(invalid)? else {
            return Ok(GgufFile::single(part));
        };
        let paths = split::paths(path, place).map_err(invalid)?;
        let parts = paths.iter().map(|path| open_part(path)).collect::<Result<_, _>>()?;
        split::assemble(parts)
    }

    /// Reads a file that is in memory already.
    ///
    /// # Errors
    /// [`GgufError::Invalid`] where the bytes are not a GGUF file that Quarrel reads, or one part
    /// of several.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<GgufFile, GgufError> {
        GgufFile::from_parts(vec![bytes])
    }

    /// Reads the parts of a model that are in memory already, in their order.
    ///
    /// # Errors
    /// [`GgufError::Invalid`] where the bytes are not GGUF files that Quarrel reads, or do not
    /// belong together.
    pub fn from_parts(parts: Vec<Vec<u8>>) -> Result<GgufFile, GgufError> {
        let (mut read, count) = (Vec::new(), parts.len());
        for (index, bytes) in parts.into_iter().enumerate() {
            let name = match count {
                1 => "the given bytes".to_string(),
                _ => format!("part {} of the given bytes", index + 1),
            };
            read.push(read_part(name, Bytes::Owned(bytes))?);
        }
        let alone = match &read[..] {
            [] => return Err(GgufError::Invalid { file: "no bytes".into(), fault: Fault::Empty }),
            [only] => Place::of(&only.header)
                .map_err(|fault| GgufError::Invalid { file: only.name.clone(), fault })?
                .is_none(),
            _ => false,
        };
        match (alone, read.pop()) {
            (true, Some(part)) => Ok(GgufFile::single(part)),
            (_, last) => split::assemble(read.into_iter().chain(last).collect()),
        }
    }

    fn single(part: Part) -> GgufFile {
        let Header { version, metadata, tensors, by_name } = part.header;
        GgufFile { parts: vec![part.bytes], version, metadata, tensors, by_name }
    }

    /// The version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The file's size in bytes, or that of all parts.
    pub fn size(&self) -> u64 {
        self.parts.iter().map(|part| part.as_slice().len() as u64).sum()
    }

    /// The metadata, in the file's order.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The value of `general.architecture`, such as `llama`; `None` where the file has none or it
    /// is no string.
    pub fn architecture(&self) -> Option<&str> {
        self.metadata.string("general.architecture")
    }

    /// The tensors' descriptions, in the file's order. Names are unique.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.tensors.iter().map(|tensor| &tensor.info)
    }

    fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(*self.by_name.get(name)?)
    }
}

impl WeightSource for GgufFile {
    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensor(name).map(|tensor| &tensor.info)
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError> {
        let tensor = self.tensor(name).ok_or_else(|| WeightError::Missing(name.into()))?;
        // In bounds by the invariant of `Tensor`.
        Ok(Cow::Borrowed(&self.parts[tensor.part].as_slice()[tensor.range.clone()]))
    }

    fn release(&self, name: &str) {
        if let Some(tensor) = self.tensor(name) {
            self.parts[tensor.part].release(&tensor.range);
        }
    }
}

/// Maps one file and reads its header.
fn open_part(path: &Path) -> Result<Part, GgufError> {
    let name = path.display().to_string();
    let bytes = Bytes::open(path).map_err(|why| GgufError::Io { path: path.into(), why })?;
    match bytes {
        Some(bytes) => read_part(name, bytes),
        None => Err(GgufError::Invalid { file: name, fault: Fault::NotAFile }),
    }
}

fn read_part(name: String, bytes: Bytes) -> Result<Part, GgufError> {
    match Header::read(bytes.as_slice()) {
        Ok(header) => Ok(Part { name, bytes, header }),
        Err(fault) => Err(GgufError::Invalid { file: name, fault }),
    }
}
