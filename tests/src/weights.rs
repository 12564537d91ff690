//! Random weights for any tensor table, the same for the same seed.

use quarrel_ir::weight::{TensorInfo, WeightError, WeightSource};
use quarrel_models::noise::push_block;
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
    let vector = info.shape.len() == 1;
    let size = if vector { 0.25 } else { 1.7 / (info.row_len() as f32).sqrt() };
    let centre = if vector && !info.name.ends_with(".bias") { 1.0 } else { 0.0 };
    let mut bytes = Vec::new();
    for _ in 0..info.elements() as usize / info.format.block_len() {
        push_block(info.format, (centre, size), &mut || random.word(), &mut bytes);
    }
    bytes
}
