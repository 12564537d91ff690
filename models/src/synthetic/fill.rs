//! Pseudo-random bytes of a tensor, at about the speed of copying memory.

use crate::noise::push_block;
use quarrel_ir::format::Format;
use quarrel_ir::weight::TensorInfo;
use rayon::prelude::*;

/// Blocks of the repeated noise, a prime.
const NOISE_BLOCKS: usize = 65_537;
/// Blocks that one task makes.
const TASK_BLOCKS: usize = 2048;
/// Bytes that one task copies.
const TASK_BYTES: usize = 4 << 20;

/// The tensor's bytes, the same each time.
///
/// A block of noise whose length is prime is repeated, so that rows that are near each other differ.
pub(super) fn fill(info: &TensorInfo) -> Vec<u8> {
    let blocks = info.elements() as usize / info.format.block_len();
    let noise = noise(info, blocks.min(NOISE_BLOCKS));
    let mut bytes = vec![0; blocks * info.format.block_bytes()];
    bytes.par_chunks_mut(TASK_BYTES).enumerate().for_each(|(task, out)| {
        let mut at = task * TASK_BYTES % noise.len().max(1);
        let mut rest = out;
        while !rest.is_empty() {
            let count = rest.len().min(noise.len() - at);
            // `count` is at most the length of either.
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&noise[at..at + count]);
            (rest, at) = (later, 0);
        }
    });
    bytes
}

/// `blocks` blocks of noise.
fn noise(info: &TensorInfo, blocks: usize) -> Vec<u8> {
    // The elements of a matrix keep the size of what they multiply; those of a vector (a norm's) are
    // near 1.
    let range = match info.shape.len() {
        1 => (1.0, 0.1),
        _ => (0.0, 1.7 / (info.row_len() as f32).sqrt()),
    };
    let seed = hash(&info.name);
    let task = |first: usize| task_noise(info.format, range, seed ^ first as u64, blocks - first);
    let tasks: Vec<usize> = (0..blocks).step_by(TASK_BLOCKS).collect();
    tasks.into_par_iter().map(task).collect::<Vec<_>>().concat()
}

fn task_noise(format: Format, range: (f32, f32), seed: u64, left: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let count = left.min(TASK_BLOCKS);
    // A block is made of whole words before it is cut.
    let mut noise = Vec::with_capacity(count * format.block_bytes() + 8);
    for _ in 0..count {
        push_block(format, range, &mut || random.next(), &mut noise);
    }
    noise
}

/// FNV-1a.
fn hash(name: &str) -> u64 {
    let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, add)
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
