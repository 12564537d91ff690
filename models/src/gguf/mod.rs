//! GGUF files, versions 2 and 3: a memory map whose header is checked before anything is used.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | [`GgufFile`]: the opened file as a [`WeightSource`] |
//! | `header.rs` | reading and checking the header: metadata, then the tensor table |
//! | `cursor.rs` | bounds-checked reading of the header's primitives |
//! | `value.rs` | metadata values and typed access to them |
//! | `types.rs` | ggml's type numbers and their names |
//! | `error.rs` | what can be wrong with a file, in words for its owner |
//! | `write.rs` | a writer of small files, for tests |
//!
//! Every length, offset, count and type is checked against the file's size first, so a damaged or
//! hostile file yields a [`GgufError`], never a panic, and memory use stays within a small multiple
//! of the file's size. Tensor data are not looked at. Models split over several files and
//! big-endian files are not read.

mod cursor;
mod error;
mod header;
#[cfg(test)]
mod tests;
mod types;
mod value;
pub mod write;

pub use error::{Fault, GgufError};
pub use value::{Array, Metadata, Strings, Value};

use header::Header;
use memmap2::Mmap;
use quarrel_ir::weight::{TensorInfo, WeightError, WeightSource};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

/// An open GGUF file.
///
/// The file must not change while it is open: see [`GgufFile::open`].
#[derive(Debug)]
pub struct GgufFile {
    bytes: Bytes,
    version: u32,
    metadata: Metadata,
    tensors: Vec<Tensor>,
    by_name: HashMap<String, usize>,
}

/// A tensor's description and the bytes that hold it, counted from the start of the file.
///
/// Invariant, established by `header.rs`: the range lies within the file and its length is what
/// format and shape say.
#[derive(Debug)]
struct Tensor {
    info: TensorInfo,
    range: Range<usize>,
}

/// The file's contents.
#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(vec) => vec,
        }
    }
}

impl GgufFile {
    /// Maps the file at `path` into memory and reads its header.
    ///
    /// Another process that shortens the file while it is open can end this one with a bus error:
    /// the operating system offers no map that is safe from that. Files are replaced by renaming,
    /// never rewritten in place, by everything that fetches models.
    ///
    /// # Errors
    /// [`GgufError::Io`] where the file cannot be opened, [`GgufError::Invalid`] where its contents
    /// are not a GGUF file that Quarrel reads.
    pub fn open(path: &Path) -> Result<GgufFile, GgufError> {
        let io = |why: std::io::Error| GgufError::Io { path: path.into(), why };
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        let invalid = |fault| GgufError::Invalid { file: path.display().to_string(), fault };
        if !about.is_file() {
            return Err(invalid(Fault::NotAFile));
        }
        if about.len() == 0 {
            return Err(invalid(Fault::Empty));
        }
        let bytes = Bytes::Mapped(map(&file).map_err(io)?);
        GgufFile::read(bytes).map_err(invalid)
    }

    /// Reads a file that is in memory already.
    ///
    /// # Errors
    /// [`GgufError::Invalid`] where the bytes are not a GGUF file that Quarrel reads.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<GgufFile, GgufError> {
        GgufFile::read(Bytes::Owned(bytes))
            .map_err(|fault| GgufError::Invalid { file: "the given bytes".into(), fault })
    }

    fn read(bytes: Bytes) -> Result<GgufFile, Fault> {
        let Header { version, metadata, tensors, by_name } = Header::read(bytes.as_slice())?;
        Ok(GgufFile { bytes, version, metadata, tensors, by_name })
    }

    /// The version of the format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The file's size in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.as_slice().len() as u64
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
        Ok(Cow::Borrowed(&self.bytes.as_slice()[tensor.range.clone()]))
    }

    fn release(&self, name: &str) {
        if let (Bytes::Mapped(map), Some(tensor)) = (&self.bytes, self.tensor(name)) {
            release_pages(map, &tensor.range);
        }
    }
}

/// Maps the whole file, read-only.
#[allow(unsafe_code, reason = "mapping a file has no safe interface")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is private and read-only, and is only ever read as bytes. That the file is
    // not changed meanwhile is a condition that `GgufFile::open` documents.
    unsafe { Mmap::map(file) }
}

/// Tells the system that the whole pages within `range` are not needed again.
#[cfg(unix)]
#[allow(unsafe_code, reason = "this advice has no safe interface")]
fn release_pages(map: &Mmap, range: &Range<usize>) {
    /// A multiple of every page size in use (4, 16 and 64 KiB), so that no neighbour's page goes.
    const PAGES: usize = 64 << 10;
    let start = range.start.next_multiple_of(PAGES);
    let end = range.end / PAGES * PAGES;
    if start < end {
        // SAFETY: the map is a private, read-only, never written view of a file: dropped pages are
        // read from the file again if they are touched again.
        let advised = unsafe {
            map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start)
        };
        // Only a hint: where the system declines it the pages merely stay.
        drop(advised);
    }
}

/// Mapped pages are the system's own business here.
#[cfg(not(unix))]
fn release_pages(_map: &Mmap, _range: &Range<usize>) {}
