//! Blocks of 256 elements with small integer scales within: the K formats and IQ4_XS.
//!
//! Each is taken apart into codes and scales, from which values and device layouts follow. Where a
//! block's bits are comes from ggml, which defines these formats.

use super::{Format, IQ4_VALUES, read_f16};

/// A block taken apart: element `j`, of group `g = j / GROUP`, is
/// `d · scales[g] · value(codes[j]) − m · minimums[g]`.
pub(crate) struct Parts {
    /// Each element's code, all its bits together.
    pub codes: [u8; 256],
    /// Each group's scale; a format with 8 groups leaves the rest 0.
    pub scales: [i8; 16],
    /// Each group's minimum, 0 in formats without.
    pub minimums: [u8; 16],
    /// Where the block has `d`, an F16; `m`, where there is one, follows it.
    pub d_at: usize,
}

/// Takes a block of `format` apart.
///
/// # Panics
/// If `block` is no whole block of one of these formats.
pub(crate) fn take_apart(format: Format, block: &[u8]) -> Parts {
    match format {
        Format::Q2_K => q2_k(block),
        Format::Q3_K => q3_k(block),
        Format::Q4_K => with_minimums(block, &block[16..144], |_| 0),
        Format::Q5_K => {
            let fifths = &block[16..48];
            let fifth = |j: usize| ((fifths[j % 32] >> (j / 32)) & 1) << 4;
            with_minimums(block, &block[48..176], fifth)
        }
        Format::Q6_K => q6_k(block),
        Format::IQ4_XS => iq4_xs(block),
        _ => unreachable!("{format} has no such blocks"),
    }
}

/// Writes the values of one block.
pub(super) fn dequantize(format: Format, block: &[u8], out: &mut [f32]) {
    let Parts { codes, scales, minimums, d_at } = take_apart(format, block);
    let d = read_f16(block, d_at);
    let group = group_len(format);
    for (g, (codes, out)) in codes.chunks(group).zip(out.chunks_mut(group)).enumerate() {
        let scale = d * f32::from(scales[g]);
        let code = |code: u8| match format {
            Format::Q3_K => f32::from(code) - 4.0,
            Format::Q6_K => f32::from(code) - 32.0,
            Format::IQ4_XS => f32::from(IQ4_VALUES[usize::from(code)]),
            _ => f32::from(code),
        };
        let minimum = match format {
            Format::Q2_K | Format::Q4_K | Format::Q5_K => {
                Some(read_f16(block, d_at + 2) * f32::from(minimums[g]))
            }
            _ => None,
        };
        for (&q, out) in codes.iter().zip(out) {
            *out = match minimum {
                // Without a minimum nothing is subtracted: −0 stays.
                None => scale * code(q),
                Some(minimum) => scale * code(q) - minimum,
            };
        }
    }
}

/// Elements that share a scale.
const fn group_len(format: Format) -> usize {
    match format {
        Format::Q2_K | Format::Q3_K | Format::Q6_K => 16,
        _ => 32,
    }
}

/// Two bits of element `j`: 128 elements share 32 bytes.
fn two_bits(bytes: &[u8], j: usize) -> u8 {
    (bytes[32 * (j / 128) + j % 32] >> (2 * (j % 128 / 32))) & 3
}

/// Four bits of element `j`: `half` bytes hold the low, then the high nibbles of 2 · `half` elements.
fn four_bits(bytes: &[u8], half: usize, j: usize) -> u8 {
    (bytes[half * (j / (2 * half)) + j % half] >> (4 * (j / half % 2))) & 15
}

/// 16 bytes of scales and minimums, 64 bytes of codes, `d`, `m`.
fn q2_k(block: &[u8]) -> Parts {
    Parts {
        codes: std::array::from_fn(|j| two_bits(&block[16..80], j)),
        scales: std::array::from_fn(|g| (block[g] & 15) as i8),
        minimums: std::array::from_fn(|g| block[g] >> 4),
        d_at: 80,
    }
}

/// 32 bytes of third bits, 64 bytes of low bits, 12 bytes of scales, `d`.
fn q3_k(block: &[u8]) -> Parts {
    let (thirds, low, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let scale = |g: usize| {
        let low = (scales[g % 8] >> (4 * (g / 8))) & 15;
        let high = (scales[8 + g % 4] >> (2 * (g / 4))) & 3;
        (low | high << 4) as i8 - 32
    };
    Parts {
        codes: std::array::from_fn(|j| two_bits(low, j) | ((thirds[j % 32] >> (j / 32)) & 1) << 2),
        scales: std::array::from_fn(scale),
        minimums: [0; 16],
        d_at: 108,
    }
}

/// `d`, `m`, 12 bytes of scales and minimums, then what holds the codes.
fn with_minimums(block: &[u8], nibbles: &[u8], fifth: impl Fn(usize) -> u8) -> Parts {
    let packed = &block[4..16];
    let scale = |g: usize| match g {
        0..4 => packed[g] & 63,
        4..8 => (packed[g + 4] & 15) | (packed[g - 4] >> 6) << 4,
        _ => 0,
    };
    let minimum = |g: usize| match g {
        0..4 => packed[g + 4] & 63,
        4..8 => packed[g + 4] >> 4 | (packed[g] >> 6) << 4,
        _ => 0,
    };
    Parts {
        codes: std::array::from_fn(|j| four_bits(nibbles, 32, j) | fifth(j)),
        scales: std::array::from_fn(|g| scale(g) as i8),
        minimums: std::array::from_fn(minimum),
        d_at: 0,
    }
}

/// 128 bytes of low bits, 64 bytes of high bits, 16 signed scales, `d`.
fn q6_k(block: &[u8]) -> Parts {
    let (low, high) = (&block[..128], &block[128..192]);
    Parts {
        codes: std::array::from_fn(|j| four_bits(low, 64, j) | two_bits(high, j) << 4),
        scales: std::array::from_fn(|g| block[192 + g] as i8),
        minimums: [0; 16],
        d_at: 208,
    }
}

/// `d`, 2 bytes of high bits and 4 of low bits of scales, 128 bytes of codes.
fn iq4_xs(block: &[u8]) -> Parts {
    let high = u16::from_le_bytes([block[2], block[3]]);
    let scale = |g: usize| {
        let low = (block[4 + g / 2] >> (4 * (g % 2))) & 15;
        (low | (((high >> (2 * g)) & 3) << 4) as u8) as i8 - 32
    };
    Parts {
        codes: std::array::from_fn(|j| four_bits(&block[8..136], 16, j)),
        scales: std::array::from_fn(|g| if g < 8 { scale(g) } else { 0 }),
        minimums: [0; 16],
        d_at: 0,
    }
}
