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
//!
//! The low nibbles of the 16 bytes are elements 0 to 15, the high ones 16 to 31, as in GGUF.

use crate::format::Format;

/// A plane: the words that one chunk has in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Bytes of one chunk in this plane.
    pub bytes: usize,
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

const WIDE: Plane = Plane { bytes: 16, element: "vec4<u32>" };
const WIDE2: Plane = Plane { bytes: 32, element: "vec4<u32>" };
const FLOATS: Plane = Plane { bytes: 16, element: "vec4<f32>" };
const HALF: Plane = Plane { bytes: 2, element: "u32" };
const WORD: Plane = Plane { bytes: 4, element: "u32" };
const PAIR: Plane = Plane { bytes: 8, element: "vec2<u32>" };

impl Format {
    /// The device layout of this format.
    pub const fn packing(self) -> Packing {
        match self {
            Format::F32 => Packing { chunk: 4, planes: &[FLOATS] },
            Format::F16 | Format::BF16 => Packing { chunk: 8, planes: &[WIDE] },
            Format::Q4_0 => Packing { chunk: 32, planes: &[WIDE, HALF] },
            Format::Q4_1 => Packing { chunk: 32, planes: &[WIDE, WORD] },
            Format::Q5_0 | Format::Q5_1 => Packing { chunk: 32, planes: &[WIDE, PAIR] },
            Format::Q8_0 => Packing { chunk: 32, planes: &[WIDE2, HALF] },
        }
    }

    /// The byte ranges `(start, end)` of each block that go to `plane`, in order.
    const fn plane_pieces(self, plane: usize) -> &'static [(usize, usize)] {
        match (self, plane) {
            (Format::Q4_0, 0) => &[(2, 18)],
            (Format::Q4_1, 0) => &[(4, 20)],
            (Format::Q4_1, 1) => &[(0, 4)],
            (Format::Q5_0, 0) => &[(6, 22)],
            (Format::Q5_0, 1) => &[(2, 6), (0, 2)],
            (Format::Q5_1, 0) => &[(8, 24)],
            (Format::Q5_1, 1) => &[(4, 8), (0, 4)],
            (Format::Q8_0, 0) => &[(2, 34)],
            (Format::Q4_0 | Format::Q8_0, 1) => &[(0, 2)],
            _ => &[],
        }
    }
}

impl Packing {
    /// Bytes of `plane` for `elements` elements (whole chunks), rounded up to 16.
    pub fn plane_bytes(&self, plane: usize, elements: u64) -> u64 {
        let chunks = elements.div_ceil(self.chunk as u64);
        (chunks * self.planes[plane].bytes as u64).next_multiple_of(16)
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
    let width = format.packing().planes[plane].bytes;
    let pieces = format.plane_pieces(plane);
    for (block, out) in blocks.chunks_exact(format.block_bytes()).zip(out.chunks_exact_mut(width)) {
        let mut at = 0;
        for &(start, end) in pieces {
            let bytes = &block[start..end];
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
        out[at..].fill(0);
    }
}
