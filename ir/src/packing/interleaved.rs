//! Interleaved rows.

use super::Packing;
use crate::format::Format;

/// How rows of a packed matrix are interleaved: of each `rows` neighbouring rows, first the first
/// `together` chunks of each, row after row, then the next, …. Threads that have a row of these each
/// read neighbouring words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interleaving {
    /// Rows that are interleaved; a matrix has a multiple of them.
    pub rows: u64,
    /// Chunks of a row that stay together, see [`Packing::together`].
    pub together: u64,
    /// Chunks of a row, a multiple of `together`.
    pub chunks: u64,
}

impl Interleaving {
    /// How `rows` rows of `columns` elements in `format` are interleaved; nothing if rows are no whole
    /// number of what stays together.
    pub fn new(format: Format, rows: u64, columns: u64) -> Option<Interleaving> {
        let packing = format.packing();
        let (together, chunk) = (packing.together(), packing.chunk as u64);
        let whole = rows > 0 && columns > 0 && columns.is_multiple_of(together * chunk);
        whole.then_some(Interleaving { rows, together, chunks: columns / chunk })
    }

    /// The index of a chunk in every plane.
    pub fn place(&self, row: u64, chunk: u64) -> u64 {
        let Interleaving { rows, together, chunks } = *self;
        let before = row / rows * rows * chunks + chunk / together * together * rows;
        before + row % rows * together + chunk % together
    }

    /// Bytes of the rows that are interleaved in a plane.
    pub fn bytes(&self, packing: Packing, plane: usize) -> usize {
        (self.rows * self.chunks) as usize * packing.planes[plane].bytes
            / packing.planes[plane].chunks
    }

    /// Interleaves [`bytes`](Interleaving::bytes) of a plane.
    ///
    /// # Panics
    /// If `from` or `to` is not so long.
    pub fn interleave(&self, packing: Packing, plane: usize, from: &[u8], to: &mut [u8]) {
        let row = self.bytes(packing, plane) / self.rows as usize;
        let width = row / (self.chunks / self.together) as usize;
        for (place, to) in to.chunks_exact_mut(width).enumerate() {
            let (turn, r) = (place / self.rows as usize, place % self.rows as usize);
            to.copy_from_slice(&from[r * row + turn * width..][..width]);
        }
    }
}
