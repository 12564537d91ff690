//! Random blocks of any weight format whose elements have a given size: for models that are only
//! shapes, and for tests.

use half::{bf16, f16};
use quarrel_ir::format::Format;

/// What scales a block's random codes.
enum Scale {
    /// An F16 at this byte: elements are as large as numbers spread evenly over `±reach` times it.
    Half { at: usize, reach: f32 },
    /// The same, and an F16 at `at` that is this many times as large, which centres the elements.
    Halves { d: usize, m: usize, times: f32, reach: f32 },
    /// Parts of an F16 in four words from byte 48 on.
    Parts,
    /// A power of two.
    Power,
    /// Four 8-bit floats.
    Floats,
}

/// Appends a random block: floats are spread evenly over `centre ± size`, elements of other formats
/// lie around 0 and are as large as numbers spread evenly over `±size`. `word` yields random bits.
pub fn push_block(
    format: Format,
    (centre, size): (f32, f32),
    word: &mut impl FnMut() -> u64,
    out: &mut Vec<u8>,
) {
    let signed = |word: u64| (word >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    let value = centre + size * signed(word());
    let scale = match format {
        Format::F32 => return out.extend(value.to_le_bytes()),
        Format::F16 => return out.extend(f16::from_f32(value).to_le_bytes()),
        Format::BF16 => return out.extend(bf16::from_f32(value).to_le_bytes()),
        _ => scale(format),
    };
    let start = out.len();
    while out.len() < start + format.block_bytes() {
        out.extend(word().to_le_bytes());
    }
    out.truncate(start + format.block_bytes());
    let block = &mut out[start..];
    let vary = 1.0 + 0.3 * signed(word());
    let mut half = |at: usize, x: f32| {
        block[at..at + 2].copy_from_slice(&f16::from_f32(x * vary).to_le_bytes());
    };
    match scale {
        Scale::Half { at, reach } => half(at, size / reach),
        Scale::Halves { d, m, times, reach } => {
            half(d, size / reach);
            half(m, times * size / reach);
        }
        Scale::Parts => {
            let bits = f16::from_f32(size / 12.4 * vary).to_bits();
            for (index, byte) in block[49..56].iter_mut().step_by(2).enumerate() {
                *byte = *byte & 15 | (((bits >> (4 * index)) & 15) as u8) << 4;
            }
        }
        // Which of the nearest codes is random, so that the size is right on average.
        Scale::Power => {
            block[0] = (128.0 + (size / 10.1).log2() + 0.5 * signed(word())).round() as u8;
        }
        Scale::Floats => block[..4].fill_with(|| e4m3(size / 10.1, signed(word()))),
    }
}

fn scale(format: Format) -> Scale {
    let half = |at, reach| Scale::Half { at, reach };
    match format {
        Format::Q4_0 => half(0, 8.0),
        Format::Q4_1 => Scale::Halves { d: 0, m: 2, times: -8.0, reach: 8.0 },
        Format::Q5_0 => half(0, 16.0),
        Format::Q5_1 => Scale::Halves { d: 0, m: 2, times: -16.0, reach: 16.0 },
        Format::Q8_0 => half(0, 128.0),
        Format::Q2_K => Scale::Halves { d: 80, m: 82, times: 1.5, reach: 24.0 },
        Format::Q3_K => half(108, 75.0),
        Format::Q4_K => Scale::Halves { d: 0, m: 2, times: 7.5, reach: 446.0 },
        Format::Q5_K => Scale::Halves { d: 0, m: 2, times: 15.5, reach: 916.0 },
        Format::Q6_K => half(208, 2367.0),
        Format::IQ4_NL => half(0, 117.0),
        Format::IQ4_XS => half(0, 2166.0),
        Format::MXFP4 => Scale::Power,
        Format::NVFP4 => Scale::Floats,
        Format::TQ1_0 => half(52, 1.4),
        Format::TQ2_0 => half(64, 2.1),
        Format::Q1_0 => half(0, 1.7),
        Format::IQ1_S => half(0, 12.4),
        Format::IQ1_M => Scale::Parts,
        Format::IQ2_XXS => half(0, 92.8),
        Format::IQ2_XS | Format::IQ2_S => half(0, 97.5),
        Format::IQ3_XXS => half(0, 247.0),
        Format::IQ3_S => half(0, 241.0),
        Format::F32 | Format::F16 | Format::BF16 => unreachable!("floats have no scale"),
    }
}

/// The 8-bit float (E4M3) whose half is near `x`, rounded up or down as `chance` says.
fn e4m3(x: f32, chance: f32) -> u8 {
    let exponent = (x.log2().floor() as i32 + 8).clamp(0, 14);
    let steps = x / 2f32.powi(exponent.max(1) - 11) + 0.5 * chance;
    let mantissa = (steps.round() as i32 - if exponent > 0 { 8 } else { 0 }).clamp(0, 7);
    (exponent << 3 | mantissa) as u8
}
