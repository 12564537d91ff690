//! Random weights for any tensor table, the same for the same seed.

use quarrel_ir::format::Format;
use quarrel_ir::weight::{TensorInfo, WeightError, WeightSource};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A generator of pseudo-random words (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `-1.0..1.0`.
    pub fn signed(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Weights in memory.
#[derive(Debug, Default)]
pub struct RandomWeights {
    tensors: BTreeMap<String, (TensorInfo, Vec<u8>)>,
}

impl RandomWeights {
    /// Random contents for each tensor: matrices keep the size of what they multiply, vectors are
    /// near 1.
    pub fn new(seed: u64, tensors: impl IntoIterator<Item = TensorInfo>) -> RandomWeights {
        let mut random = Random(seed);
        let filled = tensors.into_iter().map(|info| {
            let bytes = fill(&info, &mut random);
            (info.name.clone(), (info, bytes))
        });
        RandomWeights { tensors: filled.collect() }
    }
}

impl WeightSource for RandomWeights {
    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name).map(|(info, _)| info)
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError> {
        let found = self.tensors.get(name).map(|(_, bytes)| Cow::Borrowed(bytes.as_slice()));
        found.ok_or_else(|| WeightError::Missing(name.to_string()))
    }
}

fn fill(info: &TensorInfo, random: &mut Random) -> Vec<u8> {
    let elements = info.elements() as usize;
    let vector = info.shape.len() == 1;
    let scale = if vector { 0.25 } else { 1.7 / (info.row_len() as f32).sqrt() };
    let centre = if vector && !info.name.ends_with(".bias") { 1.0 } else { 0.0 };
    let format = info.format;
    if format.is_float() {
        let values = (0..elements).map(|_| centre + scale * random.signed());
        return values.flat_map(|x| float_bytes(format, x)).collect();
    }
    let levels = match format {
        Format::Q4_0 | Format::Q4_1 => 8.0,
        Format::Q5_0 | Format::Q5_1 => 16.0,
        _ => 128.0,
    };
    let mut bytes = Vec::new();
    for _ in 0..elements / 32 {
        let d = scale / levels * (1.0 + 0.3 * random.signed());
        let half = |x: f32| half_bits(x).to_le_bytes();
        let start = bytes.len();
        bytes.extend(half(d));
        if matches!(format, Format::Q4_1 | Format::Q5_1) {
            bytes.extend(half(-d * levels));
        }
        while bytes.len() < start + format.block_bytes() {
            bytes.push(random.word() as u8);
        }
    }
    bytes
}

fn float_bytes(format: Format, x: f32) -> Vec<u8> {
    match format {
        Format::F16 => half_bits(x).to_le_bytes().to_vec(),
        Format::BF16 => ((x.to_bits() >> 16) as u16).to_le_bytes().to_vec(),
        _ => x.to_le_bytes().to_vec(),
    }
}

fn half_bits(x: f32) -> u16 {
    half::f16::from_f32(x).to_bits()
}
