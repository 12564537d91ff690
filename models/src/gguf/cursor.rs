//! Bounds-checked reading of the header's primitives. All numbers are little-endian.

use super::error::{Fault, shorten};
use std::fmt;

/// What is being read, for error messages: cheap to pass, written out only where it is needed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field<'a> {
    /// A field of the fixed part of the header.
    Fixed(&'static str),
    /// The key of the metadata entry with this index.
    Key(u64),
    /// The value of the metadata entry with this key.
    Value(&'a str),
    /// The name of the tensor with this index.
    Name(u64),
    /// The description of the tensor with this name.
    Tensor(&'a str),
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Fixed(name) => write!(f, "the header's {name}"),
            Field::Key(index) => write!(f, "the key of metadata entry {index}"),
            Field::Value(key) => write!(f, "the metadata entry {:?}", shorten(key)),
            Field::Name(index) => write!(f, "the name of tensor {index}"),
            Field::Tensor(name) => write!(f, "the description of tensor {:?}", shorten(name)),
        }
    }
}

/// A position in the file.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    /// At most `bytes.len()`.
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { bytes, at: 0 }
    }

    /// Bytes from the file's start.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes to the file's end.
    fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: u64, field: Field<'_>) -> Result<&'a [u8], Fault> {
        let taken = usize::try_from(count)
            .ok()
            .and_then(|count| self.bytes.get(self.at..self.at.checked_add(count)?));
        match taken {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => Err(Fault::Truncated {
                field: field.to_string(),
                end: (self.at as u64).saturating_add(count),
                size: self.bytes.len() as u64,
            }),
        }
    }

    fn array<const N: usize>(&mut self, field: Field<'_>) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        // `take` gives exactly as many bytes as it was asked for.
        array.copy_from_slice(self.take(N as u64, field)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, field: Field<'_>) -> Result<u32, Fault> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: Field<'_>) -> Result<u64, Fault> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// Refuses a count of things, each of at least `least` bytes, that the rest of the file could
    /// not hold. What it accepts is safe to allocate for.
    pub(super) fn check(&self, count: u64, least: u64, field: Field<'_>) -> Result<usize, Fault> {
        let (left, most) = (self.left(), self.left() / least);
        if count > most {
            return Err(Fault::Count { field: format!("the count in {field}"), count, left, most });
        }
        // At most `most`, which counts parts of a slice.
        Ok(count as usize)
    }

    /// A string: its length in bytes, then UTF-8. `Err(None)` where it is not UTF-8.
    pub(super) fn text(&mut self, field: Field<'_>) -> Result<&'a str, TextFault> {
        let length = self.u64(field)?;
        std::str::from_utf8(self.take(length, field)?).map_err(|_| TextFault::NotUtf8)
    }
}

/// A string could not be read.
#[derive(Debug)]
pub(super) enum TextFault {
    /// Its bytes are not UTF-8: the caller knows how to name it.
    NotUtf8,
    /// Anything else.
    Fault(Fault),
}

impl From<Fault> for TextFault {
    fn from(fault: Fault) -> TextFault {
        TextFault::Fault(fault)
    }
}

impl TextFault {
    /// The fault, with `not_utf8` for bytes that are no text.
    pub(super) fn or(self, not_utf8: impl FnOnce() -> Fault) -> Fault {
        match self {
            TextFault::NotUtf8 => not_utf8(),
            TextFault::Fault(fault) => fault,
        }
    }
}
