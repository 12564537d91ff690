//! What is loaded into weight buffers.

use super::BufferRange;
use crate::format::Format;
use crate::packing::Interleaving;
use serde::{Deserialize, Serialize};

/// One packed matrix or vector of the load program: the named tensors' rows one after another, each
/// expanded to `format` where its own differs, split into planes as [`crate::packing`] says.
///
/// Only F32, F16 and BF16 can be expanded to, or have zeros after each row; a vector of any shape is
/// one row. A matrix that is too large for one binding lies in parts of `part_rows` rows, each with
/// planes of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadTensor {
    /// The tensors whose rows are joined.
    pub sources: Vec<String>,
    /// Rows altogether.
    pub rows: u64,
    /// Elements of a row in the sources.
    pub row_len: u64,
    /// Elements of a row on the device: what the sources do not have is zeros.
    pub columns: u64,
    /// Format on the device.
    pub format: Format,
    /// Rows of each part; the last has what is left.
    pub part_rows: u64,
    /// Rows that are [interleaved](Interleaving), 1 where none are. Parts have multiples of them.
    pub interleaved: u64,
    /// Where each plane of the first part goes, then those of the second, ….
    pub planes: Vec<BufferRange>,
}

impl LoadTensor {
    /// How rows are interleaved, where they are.
    pub fn interleaving(&self) -> Option<Interleaving> {
        let rows = Some(self.interleaved).filter(|rows| *rows > 1)?;
        Interleaving::new(self.format, rows, self.columns)
    }
}
