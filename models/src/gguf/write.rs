//! A writer of GGUF files: [`GgufWriter`] for small ones, [`write_model`] for whole models.
//!
//! The first writes what it is told: a shape that does not match its bytes, or a key that appears
//! twice, goes into the file as it is, so that tests can make files that must be refused.

use super::types;
use super::value::{Array, Strings, Value};
use quarrel_ir::format::Format;
use quarrel_ir::weight::{TensorInfo, WeightError};
use std::borrow::Cow;
use std::io::Write;

/// A model could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A tensor could not be read.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// A tensor has no place in a GGUF file.
    #[error("tensor {name:?} cannot be written as {format}: {why}")]
    Tensor {
        /// The tensor.
        name: String,
        /// The format.
        format: Format,
        /// What is wrong.
        why: String,
    },
}

/// A tensor's bytes, or why there are none.
pub type TensorBytes<'a> = Result<Cow<'a, [u8]>, WeightError>;

/// Writes a whole model to `out`, of which one tensor at a time is in memory. `bytes` gives a
/// tensor's bytes, exactly as many as its shape and format say.
///
/// # Errors
/// A tensor that cannot be read, that has other bytes than it should, or a file system that refuses.
pub fn write_model<'a>(
    out: &mut dyn Write,
    metadata: &[(String, Value)],
    tensors: &[TensorInfo],
    bytes: &dyn Fn(&TensorInfo) -> TensorBytes<'a>,
) -> Result<(), WriteError> {
    let refused = |info: &TensorInfo, why: &str| WriteError::Tensor {
        name: info.name.clone(),
        format: info.format,
        why: why.into(),
    };
    let mut head = GgufWriter::new();
    for (key, value) in metadata {
        head = head.metadata(key, value.clone());
    }
    let (alignment, mut offset, mut sizes) = (head.alignment as u64, 0u64, Vec::new());
    for info in tensors {
        let size = info.format.row_bytes(info.elements());
        let kind = types::number(info.format).zip(size);
        let (kind, size) = kind.ok_or_else(|| refused(info, "its blocks are not whole"))?;
        head.describe(&info.name, kind, &info.shape, offset);
        offset += size.next_multiple_of(alignment);
        sizes.push(size);
    }
    out.write_all(&head.finish())?;
    for (info, size) in tensors.iter().zip(sizes) {
        let bytes = bytes(info)?;
        if bytes.len() as u64 != size {
            return Err(refused(info, &format!("it has {} bytes, not {size}", bytes.len())));
        }
        out.write_all(&bytes)?;
        out.write_all(&vec![0; (size.next_multiple_of(alignment) - size) as usize])?;
    }
    Ok(out.flush()?)
}

/// A GGUF file that is being put together.
///
/// ```
/// use quarrel_ir::format::Format;
/// use quarrel_models::gguf::{GgufFile, write::GgufWriter};
///
/// let bytes = GgufWriter::new()
///     .metadata("general.architecture", "llama")
///     .metadata("llama.block_count", 2u32)
///     .tensor("output_norm.weight", Format::F32, &[2], &[0; 8])
///     .finish();
/// let file = GgufFile::from_bytes(bytes)?;
/// assert_eq!(file.architecture(), Some("llama"));
/// # Ok::<(), quarrel_models::gguf::GgufError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GgufWriter {
    version: u32,
    alignment: usize,
    entry_count: u64,
    entries: Vec<u8>,
    tensor_count: u64,
    tensors: Vec<u8>,
    data: Vec<u8>,
}

impl Default for GgufWriter {
    fn default() -> GgufWriter {
        GgufWriter::new()
    }
}

impl GgufWriter {
    /// A file of version 3 with nothing in it.
    pub fn new() -> GgufWriter {
        GgufWriter {
            version: 3,
            alignment: 32,
            entry_count: 0,
            entries: Vec::new(),
            tensor_count: 0,
            tensors: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Sets the version number; the layout is that of versions 2 and 3.
    pub fn version(mut self, version: u32) -> GgufWriter {
        self.version = version;
        self
    }

    /// Sets the alignment of tensor data, in bytes, and adds the entry that says so. Comes before
    /// the first tensor.
    pub fn alignment(mut self, alignment: u32) -> GgufWriter {
        self.alignment = (alignment as usize).max(1);
        self.metadata("general.alignment", alignment)
    }

    /// Adds a metadata entry.
    pub fn metadata(mut self, key: &str, value: impl Into<Value>) -> GgufWriter {
        let value = value.into();
        self.entry_count += 1;
        put_text(&mut self.entries, key);
        self.entries.extend(value_kind(&value).to_le_bytes());
        put_value(&mut self.entries, &value);
        self
    }

    /// Adds a tensor; the shape's outermost extent comes first, and `bytes` are rows of blocks as
    /// [`Format`] describes them.
    pub fn tensor(self, name: &str, format: Format, shape: &[u64], bytes: &[u8]) -> GgufWriter {
        // Every format has a number (a test in `types.rs` checks it).
        self.tensor_of_kind(name, types::number(format).unwrap_or(u32::MAX), shape, bytes)
    }

    /// Adds a tensor of the type that ggml numbers `kind`.
    pub fn tensor_of_kind(self, name: &str, kind: u32, shape: &[u64], bytes: &[u8]) -> GgufWriter {
        let offset = self.data.len().next_multiple_of(self.alignment) as u64;
        self.tensor_at(name, kind, shape, offset, bytes)
    }

    /// Adds a tensor whose description claims `offset`, in bytes from the start of the data
    /// section; its bytes follow the last tensor's all the same.
    pub fn tensor_at(
        mut self,
        name: &str,
        kind: u32,
        shape: &[u64],
        offset: u64,
        bytes: &[u8],
    ) -> GgufWriter {
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
        self.data.extend(bytes);
        self.describe(name, kind, shape, offset);
        self
    }

    /// Adds the description of a tensor.
    fn describe(&mut self, name: &str, kind: u32, shape: &[u64], offset: u64) {
        self.tensor_count += 1;
        put_text(&mut self.tensors, name);
        self.tensors.extend((shape.len() as u32).to_le_bytes());
        for extent in shape.iter().rev() {
            self.tensors.extend(extent.to_le_bytes());
        }
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend(offset.to_le_bytes());
    }

    /// The file's bytes.
    pub fn finish(self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend(self.tensor_count.to_le_bytes());
        file.extend(self.entry_count.to_le_bytes());
        file.extend(self.entries);
        file.extend(self.tensors);
        if self.tensor_count > 0 {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
        }
        file.extend(self.data);
        file
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// GGUF's number for the value's type.
fn value_kind(value: &Value) -> u32 {
    match value {
        Value::U8(_) => 0,
        Value::I8(_) => 1,
        Value::U16(_) => 2,
        Value::I16(_) => 3,
        Value::U32(_) => 4,
        Value::I32(_) => 5,
        Value::F32(_) => 6,
        Value::Bool(_) => 7,
        Value::String(_) => 8,
        Value::Array(_) => 9,
        Value::U64(_) => 10,
        Value::I64(_) => 11,
        Value::F64(_) => 12,
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.extend(v.to_le_bytes()),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => put_text(out, v),
        Value::Array(v) => {
            out.extend(element_kind(v).to_le_bytes());
            out.extend((v.len() as u64).to_le_bytes());
            v.iter().for_each(|element| put_value(out, &element));
        }
    }
}

/// GGUF's number for the type of an array's elements.
fn element_kind(array: &Array) -> u32 {
    match array {
        Array::U8(_) => 0,
        Array::I8(_) => 1,
        Array::U16(_) => 2,
        Array::I16(_) => 3,
        Array::U32(_) => 4,
        Array::I32(_) => 5,
        Array::F32(_) => 6,
        Array::Bool(_) => 7,
        Array::String(_) => 8,
        Array::Array(_) => 9,
        Array::U64(_) => 10,
        Array::I64(_) => 11,
        Array::F64(_) => 12,
    }
}

/// Conversions for [`GgufWriter::metadata`]: a plain value or a vector of them.
macro_rules! value_from {
    ($($variant:ident($type:ty)),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$variant(value)
            }
        }

        impl From<Vec<$type>> for Value {
            fn from(values: Vec<$type>) -> Value {
                Value::Array(Array::$variant(values.into_iter().collect()))
            }
        }
    )*};
}

value_from!(
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array)
);

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::String(value.into())
    }
}

impl From<Vec<&str>> for Value {
    fn from(values: Vec<&str>) -> Value {
        Value::Array(Array::String(values.into_iter().collect::<Strings>()))
    }
}
