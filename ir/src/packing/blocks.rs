//! One block of a GGUF file as its bytes in one plane.
//!
//! Where a block's bytes are in the plane's order already, they are copied. Otherwise the block is
//! taken apart and its fields are laid out so that a kernel gets four neighbouring elements, one a
//! byte, by one shift and one mask.

use crate::format::{Format, GROUP, decode, take_apart};

/// Writes what `block` has in `plane` to `out`, all of it.
pub(super) fn pack(format: Format, plane: usize, block: &[u8], out: &mut [u8]) {
    match format {
        Format::NVFP4 if plane == 0 => {
            let code = |j: usize| (block[4 + 8 * (j / 16) + j % 8] >> (4 * (j % 16 / 8))) & 15;
            nibbles(&std::array::from_fn::<u8, 64, _>(code), out);
        }
        Format::Q2_K | Format::Q3_K | Format::Q4_K | Format::Q5_K | Format::Q6_K => {
            k_block(format, plane, block, out);
        }
        Format::TQ1_0 | Format::TQ2_0 | Format::Q1_0 | Format::IQ1_S | Format::IQ1_M => {
            coded(format, plane, block, out);
        }
        Format::IQ2_XXS | Format::IQ2_XS | Format::IQ2_S => coded(format, plane, block, out),
        Format::IQ3_XXS | Format::IQ3_S => coded(format, plane, block, out),
        _ => {
            let mut at = 0;
            for &(start, end) in pieces(format, plane) {
                let bytes = &block[start..end];
                out[at..at + bytes.len()].copy_from_slice(bytes);
                at += bytes.len();
            }
            out[at..].fill(0);
        }
    }
}

/// The byte ranges `(start, end)` of each block that go to `plane` as they are, in order.
const fn pieces(format: Format, plane: usize) -> &'static [(usize, usize)] {
    match (format, plane) {
        (Format::Q4_0 | Format::IQ4_NL, 0) => &[(2, 18)],
        (Format::Q4_1, 0) => &[(4, 20)],
        (Format::Q4_1, 1) => &[(0, 4)],
        (Format::Q5_0, 0) => &[(6, 22)],
        (Format::Q5_0, 1) => &[(2, 6), (0, 2)],
        (Format::Q5_1, 0) => &[(8, 24)],
        (Format::Q5_1, 1) => &[(4, 8), (0, 4)],
        (Format::Q8_0, 0) => &[(2, 34)],
        (Format::Q4_0 | Format::Q8_0 | Format::IQ4_NL, 1) => &[(0, 2)],
        (Format::IQ4_XS, 0) => &[(8, 136)],
        (Format::IQ4_XS, 1) => &[(0, 8)],
        (Format::MXFP4, 0) => &[(1, 17)],
        (Format::MXFP4, 1) => &[(0, 1)],
        (Format::NVFP4, 1) => &[(0, 4)],
        _ => &[],
    }
}

/// A block of one of the K formats.
fn k_block(format: Format, plane: usize, block: &[u8], out: &mut [u8]) {
    let parts = take_apart(format, block);
    let d = &block[parts.d_at..][..2];
    let scale_bytes =
        |pair: usize| [parts.scales[2 * pair] as u8, parts.scales[2 * pair + 1] as u8];
    match (format, plane) {
        (Format::Q2_K, 0) => two_bits(&parts.codes, 0, 16, out),
        (Format::Q2_K, _) => {
            let fours = block[..16].chunks_exact(4);
            for (scales, out) in fours.zip(out.chunks_exact_mut(8)) {
                out[..4].copy_from_slice(scales);
                out[4..].copy_from_slice(&block[parts.d_at..][..4]);
            }
        }
        (Format::Q3_K, _) => {
            for (c, out) in out.chunks_exact_mut(16).enumerate() {
                let codes = &parts.codes[32 * c..][..32];
                two_bits(codes, 0, 8, &mut out[..8]);
                single_bits(codes, 2, &mut out[8..12]);
                out[12..14].copy_from_slice(&scale_bytes(c));
                out[14..].copy_from_slice(d);
            }
        }
        (Format::Q6_K, 1) => two_bits(&parts.codes, 4, 8, out),
        (Format::Q6_K, 2) => {
            for (c, out) in out.chunks_exact_mut(4).enumerate() {
                out[..2].copy_from_slice(&scale_bytes(c));
                out[2..].copy_from_slice(d);
            }
        }
        (_, 0) => nibbles(&parts.codes, out),
        (Format::Q4_K, 1) => {
            let pairs = parts.scales.iter().zip(&parts.minimums);
            for ((scale, minimum), out) in pairs.zip(out.chunks_exact_mut(2)) {
                out.copy_from_slice(&[*scale as u8, *minimum]);
            }
        }
        (Format::Q4_K, _) => out.copy_from_slice(&block[..4]),
        _ => {
            out[..4].copy_from_slice(&block[..4]);
            let scales = parts.scales.map(|scale| scale as u8);
            six_bits(&scales[..8], &parts.minimums[..8], &mut out[4..16]);
            single_bits(&parts.codes, 4, &mut out[16..]);
        }
    }
}

/// A block of a format of 8-bit codes and F32 scales.
fn coded(format: Format, plane: usize, block: &[u8], out: &mut [u8]) {
    let len = format.block_len();
    let (mut codes, mut scales) = ([0; 256], [0.0f32; 256 / GROUP]);
    let (codes, scales) = (&mut codes[..len], &mut scales[..len / GROUP]);
    decode(format, block, codes, scales);
    if plane == 0 {
        for (code, out) in codes.iter().zip(out) {
            *out = *code as u8;
        }
    } else {
        for (scale, out) in scales.iter().zip(out.chunks_exact_mut(4)) {
            out.copy_from_slice(&scale.to_le_bytes());
        }
    }
}

/// The low four bits of each 32 codes in 16 bytes: codes 0 to 15, then, in the high halves, the rest.
fn nibbles(codes: &[u8], out: &mut [u8]) {
    for (codes, out) in codes.chunks_exact(32).zip(out.chunks_exact_mut(16)) {
        for (b, out) in out.iter_mut().enumerate() {
            *out = codes[b] & 15 | (codes[b + 16] & 15) << 4;
        }
    }
}

/// Two bits, from bit `bit` on, of each `4 · run` codes in `run` bytes: byte b has those of codes b,
/// b + run, …, lowest first.
fn two_bits(codes: &[u8], bit: usize, run: usize, out: &mut [u8]) {
    for (codes, out) in codes.chunks_exact(4 * run).zip(out.chunks_exact_mut(run)) {
        for (b, out) in out.iter_mut().enumerate() {
            *out = (0..4).fold(0, |byte, k| byte | ((codes[b + run * k] >> bit) & 3) << (2 * k));
        }
    }
}

/// Bit `bit` of each 32 codes in 4 bytes: byte b has those of codes b, b + 4, …, lowest first.
fn single_bits(codes: &[u8], bit: usize, out: &mut [u8]) {
    for (codes, out) in codes.chunks_exact(32).zip(out.chunks_exact_mut(4)) {
        for (b, out) in out.iter_mut().enumerate() {
            *out = (0..8).fold(0, |byte, k| byte | ((codes[b + 4 * k] >> bit) & 1) << k);
        }
    }
}

/// Eight scales and eight minimums of 6 bits in three words: low nibbles of the scales, low nibbles
/// of the minimums, then high bits of the scales and of the minimums.
fn six_bits(scales: &[u8], minimums: &[u8], out: &mut [u8]) {
    let pack = |values: &[u8], shift: usize, bits: usize| {
        let field = |value: u8| u32::from(value >> shift) & ((1 << bits) - 1);
        values.iter().enumerate().fold(0u32, |word, (c, v)| word | field(*v) << (bits * c))
    };
    let words =
        [pack(scales, 0, 4), pack(minimums, 0, 4), pack(scales, 4, 2) | pack(minimums, 4, 2) << 16];
    for (word, out) in words.iter().zip(out.chunks_exact_mut(4)) {
        out.copy_from_slice(&word.to_le_bytes());
    }
}
