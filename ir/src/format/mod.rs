//! Weight storage formats: block geometry and exact dequantisation.
//!
//! A tensor in format `F` is a sequence of rows; a row of `k` elements is `k / F.block_len()` blocks
//! of `F.block_bytes()` bytes, as GGUF files store them.

mod coded;
mod grids;
mod k_quants;

pub(crate) use coded::{GROUP, decode};
pub(crate) use k_quants::take_apart;

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// How the elements of a weight tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(non_camel_case_types, reason = "these are the formats' own names")]
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
    /// 256 elements, 2 bits each: F16 `d`, F16 `m`, 4-bit scale and minimum of each 16 elements;
    /// value `d * scale * q - m * minimum`.
    Q2_K,
    /// 256 elements, 3 bits each: F16 `d`, 6-bit scale of each 16; value `d * (scale - 32) * (q - 4)`.
    Q3_K,
    /// 256 elements, 4 bits each: F16 `d`, F16 `m`, 6-bit scale and minimum of each 32; value as Q2_K.
    Q4_K,
    /// 256 elements, 5 bits each, otherwise as Q4_K.
    Q5_K,
    /// 256 elements, 6 bits each: F16 `d`, signed 8-bit scale of each 16; value `d * scale * (q - 32)`.
    Q6_K,
    /// 32 elements: F16 scale `d`, 16 bytes of nibbles; value `d * table[q]`.
    IQ4_NL,
    /// 256 elements: F16 `d`, 6-bit scale of each 32; value `d * (scale - 32) * table[q]`.
    IQ4_XS,
    /// 32 elements: exponent `e`, 16 bytes of 4-bit floats; value `2^(e - 127) * q` (OCP MX 1.0).
    MXFP4,
    /// 64 elements: 8-bit float `d` without a sign for each 16, 4-bit floats; value `d * q`.
    NVFP4,
    /// 256 elements: F16 scale `d`, ternary digits, five a byte; value `d * q`.
    TQ1_0,
    /// 256 elements: F16 scale `d`, ternary digits, four a byte; value `d * q`.
    TQ2_0,
    /// 128 elements: F16 scale `d`, signs.
    Q1_0,
    /// 256 elements: F16 `d`, 3-bit scale of each 32, points of a ternary grid moved by an eighth.
    IQ1_S,
    /// 256 elements: F16 `d`, 3-bit scale of each 16, points as in IQ1_S.
    IQ1_M,
    /// 256 elements: F16 `d`, 4-bit scale of each 32, points of a grid with signs.
    IQ2_XXS,
    /// 256 elements: F16 `d`, 4-bit scale of each 16, points of a grid with signs.
    IQ2_XS,
    /// 256 elements: F16 `d`, 4-bit scale of each 16, points of a grid with signs.
    IQ2_S,
    /// 256 elements: F16 `d`, 4-bit scale of each 32, points of a grid with signs.
    IQ3_XXS,
    /// 256 elements: F16 `d`, 4-bit scale of each 32, points of a grid with signs.
    IQ3_S,
}

/// What the codes of IQ4_NL and IQ4_XS stand for.
pub const IQ4_VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice what 4-bit floats (E2M1) stand for. Their scales are halved in turn.
pub const FP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

impl Format {
    /// Every format, in the order of their GGUF type numbers.
    pub const ALL: [Format; 27] = [
        Format::F32,
        Format::F16,
        Format::Q4_0,
        Format::Q4_1,
        Format::Q5_0,
        Format::Q5_1,
        Format::Q8_0,
        Format::Q2_K,
        Format::Q3_K,
        Format::Q4_K,
        Format::Q5_K,
        Format::Q6_K,
        Format::IQ2_XXS,
        Format::IQ2_XS,
        Format::IQ3_XXS,
        Format::IQ1_S,
        Format::IQ4_NL,
        Format::IQ3_S,
        Format::IQ2_S,
        Format::IQ4_XS,
        Format::IQ1_M,
        Format::BF16,
        Format::TQ1_0,
        Format::TQ2_0,
        Format::MXFP4,
        Format::NVFP4,
        Format::Q1_0,
    ];

    /// Elements in one block.
    pub const fn block_len(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::BF16 => 1,
            Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 | Format::Q8_0 => 32,
            Format::IQ4_NL | Format::MXFP4 => 32,
            Format::NVFP4 => 64,
            Format::Q1_0 => 128,
            Format::Q2_K | Format::Q3_K | Format::Q4_K | Format::Q5_K | Format::Q6_K => 256,
            Format::IQ4_XS | Format::TQ1_0 | Format::TQ2_0 | Format::IQ1_S | Format::IQ1_M => 256,
            Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S => 256,
            Format::IQ3_XXS | Format::IQ3_S => 256,
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
            Format::Q2_K => 84,
            Format::Q3_K => 110,
            Format::Q4_K => 144,
            Format::Q5_K => 176,
            Format::Q6_K => 210,
            Format::IQ4_NL => 18,
            Format::IQ4_XS => 136,
            Format::MXFP4 => 17,
            Format::NVFP4 => 36,
            Format::TQ1_0 => 54,
            Format::TQ2_0 => 66,
            Format::Q1_0 => 18,
            Format::IQ1_S => 50,
            Format::IQ1_M => 56,
            Format::IQ2_XXS => 66,
            Format::IQ2_XS => 74,
            Format::IQ2_S => 82,
            Format::IQ3_XXS => 98,
            Format::IQ3_S => 110,
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
            Format::Q2_K => "Q2_K",
            Format::Q3_K => "Q3_K",
            Format::Q4_K => "Q4_K",
            Format::Q5_K => "Q5_K",
            Format::Q6_K => "Q6_K",
            Format::IQ4_NL => "IQ4_NL",
            Format::IQ4_XS => "IQ4_XS",
            Format::MXFP4 => "MXFP4",
            Format::NVFP4 => "NVFP4",
            Format::TQ1_0 => "TQ1_0",
            Format::TQ2_0 => "TQ2_0",
            Format::Q1_0 => "Q1_0",
            Format::IQ1_S => "IQ1_S",
            Format::IQ1_M => "IQ1_M",
            Format::IQ2_XXS => "IQ2_XXS",
            Format::IQ2_XS => "IQ2_XS",
            Format::IQ2_S => "IQ2_S",
            Format::IQ3_XXS => "IQ3_XXS",
            Format::IQ3_S => "IQ3_S",
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
                for (block, out) in blocks.zip(out.chunks_exact_mut(self.block_len())) {
                    self.dequantize_block(block, out);
                }
            }
        }
    }

    /// Writes `values` to `out` as floats of this format, rounded to the nearest.
    ///
    /// # Panics
    /// If this is no float format, or `out` has not as many bytes as the values take.
    pub fn store(self, values: &[f32], out: &mut [u8]) {
        assert!(self.is_float(), "{self:?} stores no single floats");
        assert_eq!(values.len() * self.block_bytes(), out.len(), "{self:?}: wrong output length");
        for (out, &value) in out.chunks_exact_mut(self.block_bytes()).zip(values) {
            match self {
                Format::F16 => out.copy_from_slice(&f16::from_f32(value).to_le_bytes()),
                Format::BF16 => out.copy_from_slice(&bf16::from_f32(value).to_le_bytes()),
                _ => out.copy_from_slice(&value.to_le_bytes()),
            }
        }
    }

    /// One block of a quantised format.
    fn dequantize_block(self, block: &[u8], out: &mut [f32]) {
        let fifth = |bits: &[u8], j: usize| ((bits[j / 8] >> (j % 8)) & 1) << 4;
        // Each format has its own loop, with its scale and minimum read once.
        match self {
            Format::Q4_0 => {
                let (d, nibbles) = (read_f16(block, 0), &block[2..18]);
                fill(out, |j| (f32::from(nibble(nibbles, j)) - 8.0) * d);
            }
            Format::Q4_1 => {
                let (d, m, nibbles) = (read_f16(block, 0), read_f16(block, 2), &block[4..20]);
                fill(out, |j| f32::from(nibble(nibbles, j)) * d + m);
            }
            Format::Q5_0 => {
                let (d, bits, nibbles) = (read_f16(block, 0), &block[2..6], &block[6..22]);
                fill(out, |j| (f32::from(nibble(nibbles, j) | fifth(bits, j)) - 16.0) * d);
            }
            Format::Q5_1 => {
                let (d, m) = (read_f16(block, 0), read_f16(block, 2));
                let (bits, nibbles) = (&block[4..8], &block[8..24]);
                fill(out, |j| f32::from(nibble(nibbles, j) | fifth(bits, j)) * d + m);
            }
            Format::Q8_0 => {
                let (d, values) = (read_f16(block, 0), &block[2..34]);
                fill(out, |j| f32::from(values[j] as i8) * d);
            }
            Format::IQ4_NL => {
                let (d, nibbles) = (read_f16(block, 0), &block[2..18]);
                fill(out, |j| f32::from(IQ4_VALUES[usize::from(nibble(nibbles, j))]) * d);
            }
            Format::MXFP4 => {
                let (d, nibbles) = (half_power(block[0]), &block[1..17]);
                fill(out, |j| f32::from(FP4_VALUES[usize::from(nibble(nibbles, j))]) * d);
            }
            Format::NVFP4 => fill(out, |j| {
                let (group, j) = (j / 16, j % 16);
                let code = (block[4 + 8 * group + j % 8] >> (4 * (j / 8))) & 15;
                f32::from(FP4_VALUES[usize::from(code)]) * half_e4m3(block[group])
            }),
            Format::Q2_K | Format::Q3_K | Format::Q4_K | Format::Q5_K | Format::Q6_K => {
                k_quants::dequantize(self, block, out);
            }
            Format::IQ4_XS => k_quants::dequantize(self, block, out),
            Format::TQ1_0 | Format::TQ2_0 | Format::Q1_0 | Format::IQ1_S | Format::IQ1_M => {
                coded::dequantize(self, block, out);
            }
            Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S => {
                coded::dequantize(self, block, out);
            }
            Format::IQ3_XXS | Format::IQ3_S => coded::dequantize(self, block, out),
            Format::F32 | Format::F16 | Format::BF16 => unreachable!("not a block format"),
        }
    }
}

/// Element `j` of 32 in 16 bytes: the lower halves come first.
fn nibble(bytes: &[u8], j: usize) -> u8 {
    (bytes[j % 16] >> (4 * (j / 16))) & 15
}

/// Writes the value of each of a block's elements.
fn fill(out: &mut [f32], value: impl Fn(usize) -> f32) {
    for (j, out) in out.iter_mut().enumerate() {
        *out = value(j);
    }
}

/// `2^(e - 128)`: half the scale of MXFP4, for [`FP4_VALUES`]. All are finite.
fn half_power(e: u8) -> f32 {
    let bits = match e {
        // Below the smallest normal float.
        0..2 => 0x0020_0000 << e,
        _ => u32::from(e - 1) << 23,
    };
    f32::from_bits(bits)
}

/// Half the float of 4 bits of exponent and 3 of mantissa, for [`FP4_VALUES`]. The highest bit is
/// ignored; the code of a NaN stands for 0.
fn half_e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    match (code, exponent) {
        (0x7f, _) => 0.0,
        (_, 0) => mantissa * 2f32.powi(-10),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 11),
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

/// The little-endian word of 2 bytes at byte `at`.
fn read_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// The little-endian word of 4 bytes at byte `at`.
fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from(read_u16(bytes, at)) | u32::from(read_u16(bytes, at + 2)) << 16
}
