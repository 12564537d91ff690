//! What copies of several sizes take, each between places that no cache holds.

use super::{COPY_KERNEL, MEASURE, Probe, storage};
use crate::error::RuntimeError;
use crate::gpu::Gpu;
use quarrel_ir::facts::{CopyTime, DeviceKind};
use quarrel_ir::plan::Access;
use std::time::Duration;

/// Bytes that the copies read: the smallest weights of a small model to the largest of a large one.
const SIZES: [u64; 10] = [
    64 << 10,
    256 << 10,
    1 << 20,
    2 << 20,
    4 << 20,
    8 << 20,
    16 << 20,
    32 << 20,
    64 << 20,
    256 << 20,
];

/// How long each size is measured, after half as long that is not.
const EACH: Duration = Duration::from_millis(40);
/// About how many bytes one submission moves, and how many dispatches it has at most.
const SUBMISSION_BYTES: u64 = 1 << 30;
const SUBMISSION_DISPATCHES: u64 = 512;

/// Bytes that one round of [`GROUP_KERNEL`] copies: threads, loads, bytes of a load.
const GROUP_STEP: u64 = 256 * 4 * 16;

const GROUP_KERNEL: &str = "
@group(0) @binding(0) var<storage, read> input: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4<u32>>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
    for (var i = thread; i < arrayLength(&output); i += 1024u) {
        let a = input[i];
        let b = input[i + 256u];
        let c = input[i + 512u];
        let d = input[i + 768u];
        output[i] = a;
        output[i + 256u] = b;
        output[i + 512u] = c;
        output[i + 768u] = d;
    }
}";

/// Two buffers larger than any cache where the device has room, for copies from one to the other.
struct Pair {
    from: wgpu::Buffer,
    to: wgpu::Buffer,
}

impl Pair {
    fn new(gpu: &Gpu) -> Result<Pair, RuntimeError> {
        let facts = gpu.facts();
        let wanted: u64 = if facts.kind == DeviceKind::Cpu { 64 << 20 } else { 512 << 20 };
        let bytes = wanted.min(facts.max_binding_bytes).min(facts.max_buffer_bytes) & !0xffff;
        let pair = Pair { from: storage(gpu, bytes), to: storage(gpu, bytes) };
        gpu.faults.check("allocating buffers to measure copies")?;
        Ok(pair)
    }

    /// Bindings of `kernel` for copies of `bytes`, one for each place up to as many as a
    /// submission has dispatches.
    fn places(&self, gpu: &Gpu, kernel: &Probe, bytes: u64) -> Vec<wgpu::BindGroup> {
        let places = (self.from.size() / bytes).min(SUBMISSION_DISPATCHES);
        // As far apart as can be.
        let apart = self.from.size() / places.max(1) / bytes * bytes;
        let size = wgpu::BufferSize::new(bytes);
        let bind = |place: u64| {
            let part = |buffer| wgpu::BufferBinding { buffer, offset: place * apart, size };
            let parts = [&self.from, &self.to].map(part).map(wgpu::BindingResource::Buffer);
            kernel.bind_resources(gpu, parts.into())
        };
        (0..places).map(bind).collect()
    }
}

/// What copies of several sizes take, the smallest first; larger ones never less. Sizes of which the
/// device does not hold four are left out.
///
/// None on processors that run kernels in software: they load word by word, and how many words a
/// kernel loads for how much work decides its speed, so that one that does nothing but copy says
/// less than the rate of copy commands.
pub(crate) fn copies(gpu: &Gpu) -> Result<Vec<CopyTime>, RuntimeError> {
    if gpu.facts().kind == DeviceKind::Cpu {
        return Ok(Vec::new());
    }
    let kernel = Probe::new(gpu, "copies", COPY_KERNEL, &[Access::Read, Access::Write])?;
    let pair = Pair::new(gpu)?;
    let fit = |bytes: &&u64| **bytes <= pair.from.size() / 2;
    let mut copies: Vec<CopyTime> = Vec::new();
    for &bytes in SIZES.iter().filter(fit) {
        let bound = pair.places(gpu, &kernel, bytes);
        let groups = u32::try_from(bytes / 16 / 256).unwrap_or(u32::MAX);
        let groups = groups.min(gpu.facts().max_grid).min(8192);
        // At most 512.
        let times = (SUBMISSION_BYTES / 2 / bytes).clamp(1, SUBMISSION_DISPATCHES) as u32;
        kernel.busy(gpu, &bound, (groups, times), EACH / 2)?;
        let (rounds, seconds) = kernel.busy(gpu, &bound, (groups, times), EACH)?;
        let us = 1e6 * seconds / rounds as f64;
        let before = copies.last().map_or(0.0, |copy| copy.us);
        copies.push(CopyTime { bytes: 2 * bytes, us: us.max(before) });
    }
    Ok(copies)
}

/// Bytes per second that one workgroup copies alone, read plus written.
pub(crate) fn workgroup_bytes_per_s(gpu: &Gpu) -> Result<f64, RuntimeError> {
    let kernel = Probe::new(gpu, "workgroup", GROUP_KERNEL, &[Access::Read, Access::Write])?;
    let pair = Pair::new(gpu)?;
    // Long enough that the dispatch itself does not count.
    let bytes = 64 * GROUP_STEP;
    let bound = pair.places(gpu, &kernel, bytes);
    kernel.busy(gpu, &bound, (1, 64), MEASURE / 4)?;
    let (rounds, seconds) = kernel.busy(gpu, &bound, (1, 64), MEASURE / 2)?;
    Ok(2.0 * (bytes * rounds) as f64 / seconds)
}
