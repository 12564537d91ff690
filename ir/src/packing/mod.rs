//! How weights lie in device memory: GGUF blocks split into planes that load as aligned words.
//!
//! A row of `k` elements is `k / chunk` chunks; chunk `c` of row `r` has the index
//! `r · k / chunk + c` in every plane. One layout serves products and row gathers alike.
//!
//! | format | chunk | plane 0 | plane 1 |
//! |---|---|---|---|
//! | F32 | 4 | 4 floats | |
//! | F16, BF16 | 8 | 8 halves | |
//! | Q4_0 | 32 | 16 bytes of nibbles | F16 `d` |
//! | Q4_1 | 32 | 16 bytes of nibbles | F16 `d`, F16 `m` |
//! | Q5_0 | 32 | 16 bytes of nibbles | fifth bits, F16 `d`, 2 bytes of padding |
//! | Q5_1 | 32 | 16 bytes of nibbles | fifth bits, F16 `d`, F16 `m` |
//! | Q8_0 | 32 | 32 signed bytes | F16 `d` |
//! | Q2_K | 64 | 16 bytes of 2-bit codes | 4 bytes of scale and minimum, F16 `d`, F16 `m` |
//! | Q3_K | 32 | 8 bytes of 2-bit codes, third bits, 2 signed scales, F16 `d` | |
//! | Q4_K | 32 | 16 bytes of nibbles | scale and minimum, a byte each | each 8 chunks: F16 `d`, F16 `m` |
//! | Q5_K | 32 | 16 bytes of nibbles | each 8 chunks: F16 `d`, F16 `m`, 12 bytes of scales, then 8 words of fifth bits |
//! | Q6_K | 32 | 16 bytes of nibbles | 8 bytes of high bits; plane 2: 2 signed scales, F16 `d` |
//! | IQ4_NL | 32 | 16 bytes of nibbles | F16 `d` |
//! | IQ4_XS | 32 | 16 bytes of nibbles | each 8 chunks: F16 `d`, 6 bytes of scales |
//! | MXFP4 | 32 | 16 bytes of nibbles | exponent |
//! | NVFP4 | 32 | 16 bytes of nibbles | 2 scales of 8 bits |
//! | all others | 32 | 32 signed bytes | 2 F32 scales, each of 16 elements |
//!
//! The low nibbles of the 16 bytes are elements 0 to 15, the high ones 16 to 31, as in GGUF. Smaller
//! fields lie so that one shift and one mask yield four neighbours, one a byte: see `blocks.rs`.
//!
//! Rows may be interleaved, where the load program says so: see [`Interleaving`].
//!
//! No layout loses anything. Those with names take 1.0 to 1.17 times the file's bytes. The last line
//! is for formats that are rare (ternary, one-bit and grid formats): it takes 10 bits an element, more
//! than their files, and spares a kernel for each.

mod blocks;
mod interleaved;

pub use interleaved::Interleaving;

use crate::format::Format;

/// A plane: the words that one chunk, or a few, have in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Bytes of `chunks` chunks in this plane.
    pub bytes: usize,
    /// Neighbouring chunks that share them. Rows are whole multiples.
    pub chunks: usize,
    /// The WGSL element type under which kernels bind the plane.
    pub element: &'static str,
}

/// The device layout of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// Elements of one chunk.
    pub chunk: usize,
    /// The planes, each its own binding.
    pub planes: &'static [Plane],
}

const WIDE: Plane = Plane { bytes: 16, chunks: 1, element: "vec4<u32>" };
const WIDE2: Plane = Plane { bytes: 32, chunks: 1, element: "vec4<u32>" };
const FLOATS: Plane = Plane { bytes: 16, chunks: 1, element: "vec4<f32>" };
const BYTE: Plane = Plane { bytes: 1, chunks: 1, element: "u32" };
const HALF: Plane = Plane { bytes: 2, chunks: 1, element: "u32" };
const WORD: Plane = Plane { bytes: 4, chunks: 1, element: "u32" };
const PAIR: Plane = Plane { bytes: 8, chunks: 1, element: "vec2<u32>" };
const SCALES: Plane = Plane { bytes: 8, chunks: 1, element: "vec2<f32>" };
const PAIR_OF_8: Plane = Plane { bytes: 8, chunks: 8, element: "vec2<u32>" };
const WORD_OF_8: Plane = Plane { bytes: 4, chunks: 8, element: "u32" };
const WIDE3_OF_8: Plane = Plane { bytes: 48, chunks: 8, element: "vec4<u32>" };

impl Format {
    /// The device layout of this format.
    pub const fn packing(self) -> Packing {
        let (chunk, planes): (usize, &[Plane]) = match self {
            Format::F32 => (4, &[FLOATS]),
            Format::F16 | Format::BF16 => (8, &[WIDE]),
            Format::Q4_0 | Format::IQ4_NL => (32, &[WIDE, HALF]),
            Format::Q4_1 => (32, &[WIDE, WORD]),
            Format::Q5_0 | Format::Q5_1 => (32, &[WIDE, PAIR]),
            Format::Q8_0 => (32, &[WIDE2, HALF]),
            Format::Q2_K => (64, &[WIDE, PAIR]),
            Format::Q3_K => (32, &[WIDE]),
            Format::Q4_K => (32, &[WIDE, HALF, WORD_OF_8]),
            Format::Q5_K => (32, &[WIDE, WIDE3_OF_8]),
            Format::Q6_K => (32, &[WIDE, PAIR, WORD]),
            Format::IQ4_XS => (32, &[WIDE, PAIR_OF_8]),
            Format::MXFP4 => (32, &[WIDE, BYTE]),
            Format::NVFP4 => (32, &[WIDE, HALF]),
            Format::TQ1_0 | Format::TQ2_0 | Format::Q1_0 => (32, &[WIDE2, SCALES]),
            Format::IQ1_S | Format::IQ1_M => (32, &[WIDE2, SCALES]),
            Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S => (32, &[WIDE2, SCALES]),
            Format::IQ3_XXS | Format::IQ3_S => (32, &[WIDE2, SCALES]),
        };
        Packing { chunk, planes }
    }
}

impl Packing {
    /// Bytes of `plane` for `elements` elements (whole chunks), rounded up to 16.
    pub fn plane_bytes(&self, plane: usize, elements: u64) -> u64 {
        let Plane { bytes, chunks, .. } = self.planes[plane];
        let shares = elements.div_ceil((self.chunk * chunks) as u64);
        (shares * bytes as u64).next_multiple_of(16)
    }

    /// Bytes of all planes for `elements` elements.
    pub fn bytes(&self, elements: u64) -> u64 {
        (0..self.planes.len()).map(|plane| self.plane_bytes(plane, elements)).sum()
    }

    /// Neighbouring chunks that are words of their own in every plane: two, or as many as share some.
    pub fn together(&self) -> u64 {
        self.planes.iter().map(|plane| plane.chunks as u64).fold(2, u64::max)
    }

    /// Bytes that a block of `format` has in `plane`.
    pub const fn block_bytes(&self, format: Format, plane: usize) -> usize {
        let Plane { bytes, chunks, .. } = self.planes[plane];
        format.block_len() * bytes / (self.chunk * chunks)
    }
}

/// Splits whole GGUF blocks of `format` into the bytes of one plane, written to `out` from its
/// start. Float formats are copied; `out` may be longer than what is written.
///
/// # Panics
/// If `out` is too short or `blocks` is not whole blocks: plans are made from checked sizes.
pub fn pack_plane(format: Format, plane: usize, blocks: &[u8], out: &mut [u8]) {
    if format.is_float() {
        out[..blocks.len()].copy_from_slice(blocks);
        return;
    }
    let width = format.packing().block_bytes(format, plane);
    for (block, out) in blocks.chunks_exact(format.block_bytes()).zip(out.chunks_exact_mut(width)) {
        blocks::pack(format, plane, block, out);
    }
}
