//! Weight storage formats: block geometry and exact dequantisation.
//!
//! A tensor in format `F` is a sequence of rows; a row of `k` elements is `k / F.block_len()` blocks
//! of `F.block_bytes()` bytes, as GGUF files store them.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// How the elements of a weight tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(non_camel_case_types, reason = "these are the formats' own names")]
pub enum Format {
    /// 32-bit IEEE float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// 32 elements: F16 scale `d`, 16 bytes of nibbles; value `d * (q - 8)`.
    Q4_0,
    /// 32 elements: F16 scale `d`, F16 minimum `m`, 16 bytes of nibbles; value `d * q + m`.
    Q4_1,
    /// 32 elements: F16 scale `d`, 4 bytes of fifth bits, 16 bytes of nibbles; value `d * (q - 16)`.
    Q5_0,
    /// 32 elements: F16 `d`, F16 `m`, 4 bytes of fifth bits, 16 bytes of nibbles; value `d * q + m`.
    Q5_1,
    /// 32 elements: F16 scale `d`, 32 signed bytes; value `d * q`.
    Q8_0,
}

impl Format {
    /// Every format, in the order of their GGUF type numbers.
    pub const ALL: [Format; 8] = [
        Format::F32,
        Format::F16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::BF16,
    ];

    /// Elements in one block.
    pub const fn block_len(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::BF16 => 1,
            _ => 32,
        }
    }

    /// Bytes of one block as a GGUF file stores it.
    pub const fn block_bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::BF16 => 2,
            Format::Q4_0 => 18,
            Format::Q4_1 => 20,
            Format::Q5_0 => 22,
            Format::Q5_1 => 24,
            Format::Q8_0 => 34,
        }
    }

    /// Bytes of a row of `k` elements; `None` where `k` is no multiple of the block length or the
    /// size overflows.
    pub fn row_bytes(self, k: u64) -> Option<u64> {
        let block = self.block_len() as u64;
        k.is_multiple_of(block)
            .then(|| (k / block).checked_mul(self.block_bytes() as u64))
            .flatten()
    }

    /// The format's name as llama.cpp spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::BF16 => "BF16",
            Format::Q4_0 => "Q4_0",
            Format::Q4_1 => "Q4_1",
            Format::Q5_0 => "Q5_0",
            Format::Q5_1 => "Q5_1",
            Format::Q8_0 => "Q8_0",
        }
    }

    /// The format with this name, in any case.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// Whether values are stored as plain floats.
    pub const fn is_float(self) -> bool {
        self.block_len() == 1
    }

    /// Writes the values of whole blocks in `bytes` to `out`.
    ///
    /// # Panics
    /// If `bytes` is not whole blocks or `out` has not exactly their elements: callers have checked
    /// the tensor's size when they read its header.
    pub fn dequantize(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len() % self.block_bytes(), 0, "{self:?}: not whole blocks");
        assert_eq!(
            bytes.len() / self.block_bytes() * self.block_len(),
            out.len(),
            "{self:?}: wrong output length"
        );
        let blocks = bytes.chunks_exact(self.block_bytes());
        match self {
            Format::F32 => {
                for (b, o) in blocks.zip(out) {
                    *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            Format::F16 => {
                for (b, o) in blocks.zip(out) {
                    *o = read_f16(b, 0);
                }
            }
            Format::BF16 => {
                for (b, o) in blocks.zip(out) {
                    *o = bf16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
            _ => {
                for (block, out) in blocks.zip(out.chunks_exact_mut(32)) {
                    self.dequantize_block(block, out);
                }
            }
        }
    }

    /// One block of 32 elements of a quantised format.
    fn dequantize_block(self, block: &[u8], out: &mut [f32]) {
        let d = read_f16(block, 0);
        let fifth = |bits: &[u8], j: usize| ((bits[j / 8] >> (j % 8)) & 1) << 4;
        // Each format has its own loop, with its minimum read once.
        match self {
            Format::Q4_0 => {
                let nibbles = &block[2..18];
                fill(out, |j| (f32::from(nibble(nibbles, j)) - 8.0) * d);
            }
            Format::Q4_1 => {
                let (m, nibbles) = (read_f16(block, 2), &block[4..20]);
                fill(out, |j| f32::from(nibble(nibbles, j)) * d + m);
            }
            Format::Q5_0 => {
                let (bits, nibbles) = (&block[2..6], &block[6..22]);
                fill(out, |j| (f32::from(nibble(nibbles, j) | fifth(bits, j)) - 16.0) * d);
            }
            Format::Q5_1 => {
                let (m, bits, nibbles) = (read_f16(block, 2), &block[4..8], &block[8..24]);
                fill(out, |j| f32::from(nibble(nibbles, j) | fifth(bits, j)) * d + m);
            }
            Format::Q8_0 => {
                let values = &block[2..34];
                fill(out, |j| f32::from(values[j] as i8) * d);
            }
            Format::F32 | Format::F16 | Format::BF16 => unreachable!("not a block format"),
        }
    }
}

/// Element `j` of 32 in 16 bytes: the lower halves come first.
fn nibble(bytes: &[u8], j: usize) -> u8 {
    (bytes[j % 16] >> (4 * (j / 16))) & 15
}

/// Writes the value of each of a block's 32 elements.
fn fill(out: &mut [f32], value: impl Fn(usize) -> f32) {
    for (j, out) in out.iter_mut().enumerate().take(32) {
        *out = value(j);
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The little-endian F16 at byte `at`.
fn read_f16(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}
