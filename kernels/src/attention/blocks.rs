//! States in blocks of 8 bits an element: how their rows lie in a buffer, how they are read and what
//! rounds them.
//!
//! First come the elements of all rows, a byte each; then the scales, F16, in the order of the blocks:
//! two to a word where heads have an even number of blocks, else one.

use super::CacheRows;
use crate::template::fill;
use quarrel_ir::graph::StateFormat;

/// Where the parts of such a state are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockState {
    /// Where each slot's rows are.
    pub rows: CacheRows,
    /// Slots.
    pub slots: u32,
    /// Heads of a row.
    pub heads: u32,
    /// Elements of a head, whole blocks.
    pub size: u32,
}

impl BlockState {
    /// Words of the elements of all rows: the scales begin after them.
    pub fn element_words(&self) -> u32 {
        let rows = u64::from(self.slots) * u64::from(self.rows.rows);
        // A state is smaller than a binding, of which the device counts the words in 32 bits.
        (rows * u64::from(self.heads) * u64::from(self.size) / 4) as u32
    }

    /// Whether two scales share a word.
    pub fn paired(&self) -> bool {
        StateFormat::pairs_scales(&[u64::from(self.size)])
    }

    /// Words of the scales of a row.
    pub fn scale_words(&self) -> u32 {
        let blocks = self.heads * self.size / StateFormat::BLOCK as u32;
        if self.paired() { blocks / 2 } else { blocks }
    }

    /// The function that loads eight elements: chunk `c` of the head that begins at chunk `head`, from
    /// the bindings `name` (`vec2<u32>`) and `scales` (`u32`).
    pub fn load(&self, function: &str, name: &str, scales: &str) -> String {
        let first = self.element_words();
        let scale = match self.paired() {
            true => format!(
                "let pair = unpack2x16float({scales}[{first}u + ((head + c) >> 3u)]);\n    \
                 let d = select(pair.x, pair.y, (c & 4u) != 0u);"
            ),
            false => {
                format!("let d = unpack2x16float({scales}[{first}u + ((head + c) >> 2u)]).x;")
            }
        };
        format!(
            "fn {function}(head: u32, c: u32) -> Eight {{\n    let w = {name}[head + c];\n    \
             {scale}\n    \
             return Eight(vec4<f32>(unpack4xI8(w.x)) * d, vec4<f32>(unpack4xI8(w.y)) * d);\n}}\n"
        )
    }
}

/// The functions that round blocks in a workgroup of `threads` threads, a multiple of 16.
pub fn rounding(threads: u32) -> String {
    debug_assert!(threads.is_multiple_of(16), "blocks, and pairs of them, are whole");
    fill(include_str!("blocks.wgsl"), &[("threads", &threads.to_string())])
}
