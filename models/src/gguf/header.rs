//! Reading and checking a GGUF file's header: metadata, then the tensor table.

use super::cursor::{Cursor, Field, TextFault};
use super::error::{Fault, not_gguf, shorten};
use super::value::{Array, Metadata, Strings, Value};
use super::{Tensor, types};
use quarrel_ir::weight::TensorInfo;
use std::collections::HashMap;
use std::ops::Range;

/// Arrays within arrays, counted from the outermost; no file in use has more than one.
const MAX_ARRAY_DEPTH: u32 = 4;
/// ggml's limit on a tensor's dimensions.
const MAX_DIMS: u32 = 4;
/// The alignment of tensor data where the metadata name none, in bytes.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The least bytes that a metadata entry takes: key length, type, one byte.
const LEAST_ENTRY: u64 = 8 + 4 + 1;
/// The least bytes that a tensor's description takes: name length, dimensions, type, offset.
const LEAST_TENSOR: u64 = 8 + 4 + 4 + 8;

/// What a header says, checked against the file's size.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<Tensor>,
    pub(super) by_name: HashMap<String, usize>,
}

impl Header {
    /// Reads the header of the file whose contents are `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Result<Header, Fault> {
        if !bytes.starts_with(b"GGUF") {
            return Err(if bytes.is_empty() { Fault::Empty } else { not_gguf(bytes) });
        }
        let mut cursor = Cursor::new(bytes);
        cursor.take(4, Field::Fixed("magic"))?;
        let version = cursor.u32(Field::Fixed("version"))?;
        match version {
            2 | 3 => {}
            // A small number whose bytes are in the other order.
            _ if version != 0 && version & 0xffff == 0 => return Err(Fault::BigEndian),
            _ => return Err(Fault::Version { version }),
        }
        let tensor_count = cursor.u64(Field::Fixed("tensor count"))?;
        let entry_count = cursor.u64(Field::Fixed("metadata count"))?;
        let metadata = read_metadata(&mut cursor, entry_count)?;
        let alignment = alignment(&metadata)?;
        let entries = read_tensor_entries(&mut cursor, tensor_count)?;
        let tensors = place_tensors(entries, cursor.at() as u64, alignment, bytes.len() as u64)?;
        check_overlaps(&tensors)?;
        let by_name = index_names(&tensors)?;
        Ok(Header { version, metadata, tensors, by_name })
    }
}

fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata, Fault> {
    cursor.check(count, LEAST_ENTRY, Field::Fixed("metadata count"))?;
    let mut metadata = Metadata::default();
    for index in 0..count {
        let key = cursor.text(Field::Key(index)).map_err(|fault| {
            fault.or(|| bad_entry(&format!("number {index}"), "has a key that is not UTF-8 text"))
        })?;
        let kind = cursor.u32(Field::Value(key))?;
        let value = read_value(cursor, key, kind)?;
        if !metadata.insert(key.into(), value) {
            return Err(bad_entry(key, "appears twice"));
        }
    }
    Ok(metadata)
}

fn bad_entry(key: &str, why: impl Into<String>) -> Fault {
    Fault::Metadata { key: shorten(key), why: why.into() }
}

fn read_value(cursor: &mut Cursor<'_>, key: &str, kind: u32) -> Result<Value, Fault> {
    if kind == 8 {
        return read_text(cursor, key).map(|text| Value::String(text.into()));
    }
    if kind == 9 {
        return read_array(cursor, key, 0).map(Value::Array);
    }
    // A number is an array of one.
    let only = read_elements(cursor, key, kind, 1, 0)?.get(0);
    only.ok_or_else(|| bad_entry(key, "is empty"))
}

fn read_text<'a>(cursor: &mut Cursor<'a>, key: &str) -> Result<&'a str, Fault> {
    cursor
        .text(Field::Value(key))
        .map_err(|fault: TextFault| fault.or(|| bad_entry(key, "holds text that is not UTF-8")))
}

fn read_array(cursor: &mut Cursor<'_>, key: &str, depth: u32) -> Result<Array, Fault> {
    if depth == MAX_ARRAY_DEPTH {
        return Err(bad_entry(key, format!("nests arrays more than {MAX_ARRAY_DEPTH} deep")));
    }
    let kind = cursor.u32(Field::Value(key))?;
    let count = cursor.u64(Field::Value(key))?;
    read_elements(cursor, key, kind, count, depth)
}

/// Reads `count` values of the type that GGUF numbers `kind`.
fn read_elements(
    cursor: &mut Cursor<'_>,
    key: &str,
    kind: u32,
    count: u64,
    depth: u32,
) -> Result<Array, Fault> {
    Ok(match kind {
        0 => Array::U8(numbers(cursor, key, count, u8::from_le_bytes)?),
        1 => Array::I8(numbers(cursor, key, count, i8::from_le_bytes)?),
        2 => Array::U16(numbers(cursor, key, count, u16::from_le_bytes)?),
        3 => Array::I16(numbers(cursor, key, count, i16::from_le_bytes)?),
        4 => Array::U32(numbers(cursor, key, count, u32::from_le_bytes)?),
        5 => Array::I32(numbers(cursor, key, count, i32::from_le_bytes)?),
        6 => Array::F32(numbers(cursor, key, count, f32::from_le_bytes)?),
        7 => Array::Bool(booleans(cursor, key, count)?),
        8 => {
            let mut strings = Strings::with_capacity(cursor.check(count, 8, Field::Value(key))?);
            for _ in 0..count {
                strings.push(read_text(cursor, key)?);
            }
            Array::String(strings)
        }
        9 => {
            let mut arrays = Vec::with_capacity(cursor.check(count, 12, Field::Value(key))?);
            for _ in 0..count {
                arrays.push(read_array(cursor, key, depth + 1)?);
            }
            Array::Array(arrays)
        }
        10 => Array::U64(numbers(cursor, key, count, u64::from_le_bytes)?),
        11 => Array::I64(numbers(cursor, key, count, i64::from_le_bytes)?),
        12 => Array::F64(numbers(cursor, key, count, f64::from_le_bytes)?),
        _ => return Err(bad_entry(key, format!("has the unknown type {kind}"))),
    })
}

fn numbers<T, const N: usize>(
    cursor: &mut Cursor<'_>,
    key: &str,
    count: u64,
    from: fn([u8; N]) -> T,
) -> Result<Vec<T>, Fault> {
    let count = cursor.check(count, N as u64, Field::Value(key))?;
    let bytes = cursor.take((count * N) as u64, Field::Value(key))?;
    Ok(bytes.as_chunks().0.iter().map(|chunk| from(*chunk)).collect())
}

fn booleans(cursor: &mut Cursor<'_>, key: &str, count: u64) -> Result<Vec<bool>, Fault> {
    let bytes = cursor.take(count, Field::Value(key))?;
    let boolean = |byte: &u8| match byte {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(bad_entry(key, format!("holds a boolean that is {other}, not 0 or 1"))),
    };
    bytes.iter().map(boolean).collect()
}

fn alignment(metadata: &Metadata) -> Result<u64, Fault> {
    let key = "general.alignment";
    match metadata.get(key).map(|value| (value, value.as_u64())) {
        None => Ok(DEFAULT_ALIGNMENT),
        Some((_, Some(alignment))) if alignment.is_power_of_two() => Ok(alignment),
        Some((_, Some(alignment))) => {
            Err(bad_entry(key, format!("is {alignment}, which is no power of two")))
        }
        Some((_, None)) => Err(bad_entry(key, "is no whole number")),
    }
}

/// A tensor whose place in the file is not yet checked.
#[derive(Debug)]
struct Entry {
    info: TensorInfo,
    /// Bytes of its data: what format and shape say.
    size: u64,
    /// Bytes from the start of the data section.
    offset: u64,
}

fn bad_tensor(name: &str, why: impl Into<String>) -> Fault {
    Fault::Tensor { name: shorten(name), why: why.into() }
}

fn read_tensor_entries(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Entry>, Fault> {
    let count = cursor.check(count, LEAST_TENSOR, Field::Fixed("tensor count"))?;
    let mut entries = Vec::with_capacity(count);
    for index in 0..count as u64 {
        entries.push(read_tensor_entry(cursor, index)?);
    }
    Ok(entries)
}

fn read_tensor_entry(cursor: &mut Cursor<'_>, index: u64) -> Result<Entry, Fault> {
    let name = cursor.text(Field::Name(index)).map_err(|fault| {
        fault.or(|| bad_tensor(&format!("number {index}"), "has a name that is not UTF-8 text"))
    })?;
    let field = Field::Tensor(name);
    let dims = cursor.u32(field)?;
    if dims > MAX_DIMS {
        let why = format!("has {dims} dimensions; the format allows {MAX_DIMS}");
        return Err(bad_tensor(name, why));
    }
    let mut shape = Vec::with_capacity(dims as usize);
    for _ in 0..dims {
        shape.push(cursor.u64(field)?);
    }
    // The file's order is innermost first.
    shape.reverse();
    let kind = cursor.u32(field)?;
    let offset = cursor.u64(field)?;
    let format = types::format(kind).ok_or_else(|| Fault::UnsupportedType {
        name: shorten(name),
        type_name: types::describe(kind),
    })?;
    let info = TensorInfo { name: name.into(), format, shape };
    let size = checked_size(&info)?;
    Ok(Entry { info, size, offset })
}

/// Bytes of the tensor's data. Afterwards neither its elements nor its bytes overflow.
fn checked_size(info: &TensorInfo) -> Result<u64, Fault> {
    let name = &info.name;
    if info.shape.contains(&0) {
        return Err(bad_tensor(name, format!("has no elements: its shape is {:?}", info.shape)));
    }
    let too_large = || bad_tensor(name, format!("has the impossible shape {:?}", info.shape));
    let elements = info.shape.iter().try_fold(1u64, |n, extent| n.checked_mul(*extent));
    let elements = elements.ok_or_else(too_large)?;
    let (row, block) = (info.row_len(), info.format.block_len() as u64);
    if row % block != 0 {
        let format = info.format;
        let why = format!("has rows of {row} elements, no multiple of {format}'s block of {block}");
        return Err(bad_tensor(name, why));
    }
    // Rows are whole blocks, so the tensor is too; `row` is not 0.
    let bytes = info.format.row_bytes(row).and_then(|bytes| bytes.checked_mul(elements / row));
    bytes.ok_or_else(too_large)
}

/// Turns offsets into ranges of the file, which has `size` bytes and whose header has
/// `header_size`.
fn place_tensors(
    entries: Vec<Entry>,
    header_size: u64,
    alignment: u64,
    size: u64,
) -> Result<Vec<Tensor>, Fault> {
    let data = header_size.checked_next_multiple_of(alignment);
    let place = |entry: Entry| {
        let Entry { info, size: length, offset } = entry;
        if offset % alignment != 0 {
            let why = format!("is at offset {offset}, no multiple of the alignment {alignment}");
            return Err(bad_tensor(&info.name, why));
        }
        let start = data.and_then(|data| data.checked_add(offset));
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        match range {
            Some(range) if range.end <= size => {
                Ok(Tensor { info, range: as_indices(&range), part: 0 })
            }
            _ => Err(Fault::Truncated {
                field: format!("the data of tensor {:?}", shorten(&info.name)),
                end: range.map_or(u64::MAX, |range| range.end),
                size,
            }),
        }
    };
    entries.into_iter().map(place).collect()
}

/// The range as indices into the file's bytes, within which it lies.
fn as_indices(range: &Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}

fn check_overlaps(tensors: &[Tensor]) -> Result<(), Fault> {
    let mut sorted: Vec<&Tensor> = tensors.iter().collect();
    sorted.sort_unstable_by_key(|tensor| tensor.range.start);
    for pair in sorted.windows(2) {
        if let [first, second] = pair
            && second.range.start < first.range.end
        {
            let why = format!("overlaps the tensor {:?}", shorten(&first.info.name));
            return Err(bad_tensor(&second.info.name, why));
        }
    }
    Ok(())
}

fn index_names(tensors: &[Tensor]) -> Result<HashMap<String, usize>, Fault> {
    let mut by_name = HashMap::with_capacity(tensors.len());
    for (index, tensor) in tensors.iter().enumerate() {
        if by_name.insert(tensor.info.name.clone(), index).is_some() {
            return Err(bad_tensor(&tensor.info.name, "appears twice"));
        }
    }
    Ok(by_name)
}
