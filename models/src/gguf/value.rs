//! Metadata: the keys and values at the head of a GGUF file.

use std::collections::HashMap;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are GGUF's own types")]
pub enum Value {
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
    Array(Array),
}

impl Value {
    /// A whole number of any width that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Value::U64(v) => Some(v),
            _ => u64::try_from(self.as_i64()?).ok(),
        }
    }

    /// A whole number of any width that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::U8(v) => Some(v.into()),
            Value::I8(v) => Some(v.into()),
            Value::U16(v) => Some(v.into()),
            Value::I16(v) => Some(v.into()),
            Value::U32(v) => Some(v.into()),
            Value::I32(v) => Some(v.into()),
            Value::U64(v) => v.try_into().ok(),
            Value::I64(v) => Some(v),
            Value::F32(_) | Value::F64(_) => None,
            Value::Bool(_) | Value::String(_) | Value::Array(_) => None,
        }
    }

    /// A number of any type; whole numbers beyond 2^53 are rounded.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(v) => Some(v.into()),
            Value::F64(v) => Some(v),
            Value::U64(v) => Some(v as f64),
            _ => self.as_i64().map(|v| v as f64),
        }
    }

    /// A boolean.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(v) => Some(v),
            _ => None,
        }
    }

    /// A string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(v) => Some(v),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(v) => Some(v),
            _ => None,
        }
    }
}

/// A metadata array: all elements have one type.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the variants are GGUF's own types")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Strings),
    Array(Vec<Array>),
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(v) => v.len(),
            Array::I8(v) => v.len(),
            Array::U16(v) => v.len(),
            Array::I16(v) => v.len(),
            Array::U32(v) => v.len(),
            Array::I32(v) => v.len(),
            Array::U64(v) => v.len(),
            Array::I64(v) => v.len(),
            Array::F32(v) => v.len(),
            Array::F64(v) => v.len(),
            Array::Bool(v) => v.len(),
            Array::String(v) => v.len(),
            Array::Array(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of element `index`; `None` past the end.
    pub fn get(&self, index: usize) -> Option<Value> {
        match self {
            Array::U8(v) => v.get(index).copied().map(Value::U8),
            Array::I8(v) => v.get(index).copied().map(Value::I8),
            Array::U16(v) => v.get(index).copied().map(Value::U16),
            Array::I16(v) => v.get(index).copied().map(Value::I16),
            Array::U32(v) => v.get(index).copied().map(Value::U32),
            Array::I32(v) => v.get(index).copied().map(Value::I32),
            Array::U64(v) => v.get(index).copied().map(Value::U64),
            Array::I64(v) => v.get(index).copied().map(Value::I64),
            Array::F32(v) => v.get(index).copied().map(Value::F32),
            Array::F64(v) => v.get(index).copied().map(Value::F64),
            Array::Bool(v) => v.get(index).copied().map(Value::Bool),
            Array::String(v) => v.get(index).map(|text| Value::String(text.into())),
            Array::Array(v) => v.get(index).cloned().map(Value::Array),
        }
    }

    /// Copies of the elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// The elements, where they are strings.
    pub fn as_strings(&self) -> Option<&Strings> {
        match self {
            Array::String(v) => Some(v),
            _ => None,
        }
    }

    /// The elements as whole numbers; `None` where one is not a whole number that fits.
    pub fn to_i64s(&self) -> Option<Vec<i64>> {
        self.iter().map(|value| value.as_i64()).collect()
    }

    /// The elements as numbers; `None` where one is no number.
    pub fn to_f64s(&self) -> Option<Vec<f64>> {
        self.iter().map(|value| value.as_f64()).collect()
    }
}

/// A list of strings in one buffer: a vocabulary of 256,000 takes two allocations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    text: String,
    /// Where each string ends in `text`; each starts where the one before ends. All are character
    /// boundaries, in order.
    ends: Vec<usize>,
}

impl Strings {
    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `index`; `None` past the end.
    pub fn get(&self, index: usize) -> Option<&str> {
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.text.get(start..end)
    }

    /// The strings, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        // Every index below `len` has a string, so the default is never taken.
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    pub(super) fn with_capacity(count: usize) -> Strings {
        Strings { text: String::new(), ends: Vec::with_capacity(count) }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }
}

impl<T: AsRef<str>> FromIterator<T> for Strings {
    fn from_iter<I: IntoIterator<Item = T>>(strings: I) -> Strings {
        let mut list = Strings::default();
        strings.into_iter().for_each(|text| list.push(text.as_ref()));
        list
    }
}

/// A file's metadata, in the file's order. Keys are unique.
///
/// The typed getters give `None` both where the key is absent and where its value has another type:
/// use [`Metadata::get`] to tell the two apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    by_key: HashMap<String, usize>,
}

impl Metadata {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(*self.by_key.get(key)?).map(|(_, value)| value)
    }

    /// The value of `key`, where it is a whole number that is not negative.
    pub fn u64(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    /// The value of `key`, where it is a whole number.
    pub fn i64(&self, key: &str) -> Option<i64> {
        self.get(key)?.as_i64()
    }

    /// The value of `key`, where it is a number.
    pub fn f64(&self, key: &str) -> Option<f64> {
        self.get(key)?.as_f64()
    }

    /// The value of `key`, where it is a boolean.
    pub fn bool(&self, key: &str) -> Option<bool> {
        self.get(key)?.as_bool()
    }

    /// The value of `key`, where it is a string.
    pub fn string(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// The value of `key`, where it is an array.
    pub fn array(&self, key: &str) -> Option<&Array> {
        self.get(key)?.as_array()
    }

    /// The value of `key`, where it is an array of strings.
    pub fn strings(&self, key: &str) -> Option<&Strings> {
        self.array(key)?.as_strings()
    }

    /// Adds an entry. A key that is there already keeps its value: the result says whether the
    /// entry was added.
    pub fn insert(&mut self, key: String, value: Value) -> bool {
        if self.by_key.contains_key(&key) {
            return false;
        }
        self.by_key.insert(key.clone(), self.entries.len());
        self.entries.push((key, value));
        true
    }
}
