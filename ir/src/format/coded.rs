//! Rare formats whose elements are small integers times a scale a group: ternary, one-bit and grid
//! formats.
//!
//! Each block is turned into signed 8-bit codes and an F32 scale for each 16 elements, from which
//! values and the device layout follow; neither step rounds. Where a block's bits are comes from ggml,
//! which defines these formats.

use super::grids::{Grid, IQ1, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, sign};
use super::{Format, read_f16, read_u16, read_u32};

/// Elements that share a scale here.
pub(crate) const GROUP: usize = 16;

/// Writes the codes of a block and the scale of each [`GROUP`] elements: an element is their product.
///
/// # Panics
/// If `block` is no whole block of one of these formats, or `codes` and `scales` are not as long as
/// it needs.
pub(crate) fn decode(format: Format, block: &[u8], codes: &mut [i8], scales: &mut [f32]) {
    match format {
        Format::TQ1_0 => tq1_0(block, codes, scales),
        Format::TQ2_0 => {
            let ternary = |j: usize| (block[32 * (j / 128) + j % 32] >> (2 * (j % 128 / 32))) & 3;
            fill(codes, |j| ternary(j) as i8 - 1);
            scales.fill(read_f16(block, 64));
        }
        Format::Q1_0 => {
            fill(codes, |j| 2 * ((block[2 + j / 8] >> (j % 8)) & 1) as i8 - 1);
            scales.fill(read_f16(block, 0));
        }
        Format::IQ1_S => iq1_s(block, codes, scales),
        Format::IQ1_M => iq1_m(block, codes, scales),
        Format::IQ2_XXS => iq2_xxs(block, codes, scales),
        Format::IQ2_XS => iq2_xs(block, codes, scales),
        Format::IQ2_S => iq2_s(block, codes, scales),
        Format::IQ3_XXS => iq3_xxs(block, codes, scales),
        Format::IQ3_S => iq3_s(block, codes, scales),
        _ => unreachable!("{format} is not one of these"),
    }
}

/// Writes the values of one block.
pub(super) fn dequantize(format: Format, block: &[u8], out: &mut [f32]) {
    let (mut codes, mut scales) = ([0; 256], [0.0; 256 / GROUP]);
    let codes = &mut codes[..out.len()];
    decode(format, block, codes, &mut scales[..out.len() / GROUP]);
    for ((codes, scale), out) in codes.chunks(GROUP).zip(scales).zip(out.chunks_mut(GROUP)) {
        for (code, out) in codes.iter().zip(out) {
            *out = f32::from(*code) * scale;
        }
    }
}

fn fill<T>(out: &mut [T], value: impl Fn(usize) -> T) {
    for (j, out) in out.iter_mut().enumerate() {
        *out = value(j);
    }
}

/// The number in the 4 bits `index` of `bytes`, low nibbles first.
fn nibble(bytes: &[u8], index: usize) -> u8 {
    (bytes[index / 2] >> (4 * (index % 2))) & 15
}

/// Five ternary digits a byte, as fractions of 256: 32 bytes, then 16, then 4 bytes of four digits;
/// the digits of a run of bytes come first of all bytes, then second of all bytes, …
fn tq1_0(block: &[u8], codes: &mut [i8], scales: &mut [f32]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    fill(codes, |j| {
        let (byte, digit) = match j {
            0..160 => (j % 32, j / 32),
            160..240 => (32 + (j - 160) % 16, (j - 160) / 16),
            _ => (48 + (j - 240) % 4, (j - 240) / 4),
        };
        let fraction = block[byte].wrapping_mul(POWERS[digit]);
        ((u16::from(fraction) * 3) >> 8) as i8 - 1
    });
    scales.fill(read_f16(block, 52));
}

/// Points of [`IQ1`], all coordinates moved up or down by an eighth: codes count eighths.
fn iq1_code(point: usize, coordinate: usize, down: bool) -> i8 {
    8 * IQ1.value(point, coordinate) + if down { -1 } else { 1 }
}

/// `d`, 32 bytes of low bits of points, then a word for each 32 elements: 3 high bits of each of 4
/// points, 3 bits of scale, direction.
fn iq1_s(block: &[u8], codes: &mut [i8], scales: &mut [f32]) {
    let word = |group: usize| read_u16(block, 34 + 2 * group);
    fill(codes, |j| {
        let (place, word) = (j / 8, word(j / 32));
        let high = usize::from(word >> (3 * (place % 4))) & 7;
        iq1_code(usize::from(block[2 + place]) | high << 8, j % 8, word & 0x8000 != 0)
    });
    let d = read_f16(block, 0);
    fill(scales, |g| d * f32::from(2 * ((word(g / 2) >> 12) & 7) + 1) * 0.125);
}

/// 32 bytes of low bits of points, 16 bytes with 3 high bits and the direction of each point, then 4
/// words with four 3-bit scales and 4 bits of `d` each.
fn iq1_m(block: &[u8], codes: &mut [i8], scales: &mut [f32]) {
    fill(codes, |j| {
        let place = j / 8;
        let high = nibble(&block[32..48], place);
        let point = usize::from(block[place]) | usize::from(high & 7) << 8;
        iq1_code(point, j % 8, high & 8 != 0)
    });
    let word = |index: usize| read_u16(block, 48 + 2 * index);
    let bits = (0..4).fold(0, |bits, index| bits | (word(index) >> 12) << (4 * index));
    let d = half::f16::from_bits(bits).to_f32();
    fill(scales, |g| d * f32::from(2 * ((word(g / 4) >> (3 * (g % 4))) & 7) + 1) * 0.125);
}

/// A point's coordinate with the sign in bit `coordinate` of `signs`.
fn signed(grid: &Grid, point: usize, coordinate: usize, signs: u8) -> i8 {
    let value = grid.value(point, coordinate);
    if (signs >> coordinate) & 1 == 1 { -value } else { value }
}

/// `d`, then for each 32 elements 4 points and a word: 7 bits of signs of each point, 4 of scale.
fn iq2_xxs(block: &[u8], codes: &mut [i8], scales: &mut [f32]) {
    let word = |group: usize| read_u32(block, 2 + 8 * group + 4);
    fill(codes, |j| {
        let (group, place) = (j / 32, j % 32 / 8);
        let point = usize::from(block[2 + 8 * group + place]);
        signed(&IQ2_XXS, point, j % 8, sign(word(group) >> (7 * place)))
    });
    let d = read_f16(block, 0);
    fill(scales, |g| d * (2 * (word(g / 2) >> 28) + 1) as f32 * 0.125);
}

/// `d`, a word for each 8 elements: 9 bits of point, 7 of signs; then 4 bits of scale for each 16.
fn iq2_xs(block: &[u8], codes: &mut [i8], scales: &mut [f32]) {
    fill(codes, |j| {
        let word = read_u16(block, 2 + 2 * (j / 8));
        signed(&IQ2_XS, usize::from(word & 511), j % 8, sign(u32::from(word >> 9)))
    });
    let d = read_f16(block, 0);
    fill(scales, |g| d * f32::from(2 * nibble(&block[66..74], g) + 1) * 0.125);
}

/// `d`, 32 bytes of low bits of points, 32 bytes of signs, 8 bytes with 2 high bits of each point, 4
/// bits of scale for each 16 elements.
fn iq2_s(block: &[u8], codes: &mut [i8], scales: &mut [f32]) {
    fill(codes, |j| {
        let place = j / 8;
        let high = usize::from(block[66 + place / 4] >> (2 * (place % 4))) & 3;
        let point = usize::from(block[2 + place]) | high << 8;
        signed(&IQ2_S, point, j % 8, block[34 + place])
    });
    let d = read_f16(block, 0);
    fill(scales, |g| d * f32::from(2 * nibble(&block[74..82], g) + 1) * 0.125);
}

/// `d`, 64 points of 4 elements, then a word for each 32 elements: 7 bits of signs of each 8, 4 of
/// scale.
fn iq3_xxs(block: &[u8], codes: &mut [i8], scales: &mut [f32]) {
    let word = |group: usize| read_u32(block, 66 + 4 * group);
    fill(codes, |j| {
        let value = IQ3_XXS.value(usize::from(block[2 + j / 4]), j % 4);
        let signs = sign(word(j / 32) >> (7 * (j % 32 / 8)));
        if (signs >> (j % 8)) & 1 == 1 { -value } else { value }
    });
    let d = read_f16(block, 0);
    fill(scales, |g| d * (2 * (word(g / 2) >> 28) + 1) as f32 * 0.25);
}

/// `d`, 64 bytes of low bits of points of 4 elements, 8 bytes of their high bits, 32 bytes of signs,
/// 4 bits of scale for each 32 elements.
fn iq3_s(block: &[u8], codes: &mut [i8], scales: &mut [f32]) {
    fill(codes, |j| {
        let place = j / 4;
        let high = usize::from(block[66 + place / 8] >> (place % 8)) & 1;
        let value = IQ3_S.value(usize::from(block[2 + place]) | high << 8, j % 4);
        if (block[74 + j / 8] >> (j % 8)) & 1 == 1 { -value } else { value }
    });
    let d = read_f16(block, 0);
    fill(scales, |g| d * f32::from(2 * nibble(&block[106..110], g / 2) + 1));
}
