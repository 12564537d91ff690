//! Facts that only running a kernel tells: the real subgroup size, and how fast the device is.
//!
//! | file | what it measures |
//! |---|---|
//! | `mod.rs` | subgroup size, copy bandwidth, the cost of a dispatch and of a round within one, F32 arithmetic |
//! | `copies.rs` | copies of several sizes, and that of one workgroup |
//! | `matrices.rs` | products of cooperative matrices |

mod copies;
mod matrices;

pub(crate) use copies::{copies, workgroup_bytes_per_s};
pub(crate) use matrices::matrix_flops_per_s;

use crate::error::RuntimeError;
use crate::gpu::Gpu;
use crate::pipelines::compile;
use crate::readback::read_words;
use quarrel_ir::facts::DeviceKind;
use quarrel_ir::plan::Access;
use std::time::{Duration, Instant};

/// GPUs lower their clocks when idle: they are kept busy this long before a measurement.
const WARM_UP: Duration = Duration::from_millis(250);
/// How long a measurement runs.
const MEASURE: Duration = Duration::from_millis(250);

const SUBGROUP_KERNEL: &str = "
@group(0) @binding(0) var<storage, read_write> result: array<u32>;
@compute @workgroup_size(128)
fn main(@builtin(subgroup_size) size: u32, @builtin(local_invocation_index) thread: u32) {
    let lanes = subgroupAdd(1u);
    if thread == 0u { result[0] = lanes; result[1] = size; }
}";

const COPY_KERNEL: &str = "
@group(0) @binding(0) var<storage, read> input: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> output: array<vec4<u32>>;
@compute @workgroup_size(256)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let step = groups.x * 256u;
    for (var i = id.x; i < arrayLength(&output); i += step) { output[i] = input[i]; }
}";

const STEP_KERNEL: &str = "
@group(0) @binding(0) var<storage, read_write> value: array<u32>;
@compute @workgroup_size(32)
fn main(@builtin(local_invocation_index) thread: u32) { value[thread] += 1u; }";

/// Rounds of [`ROUND_KERNEL`], each at other places of its buffer, which is larger than the caches near
/// a processor.
const ROUNDS: u32 = 1024;

const ROUND_KERNEL: &str = "
@group(0) @binding(0) var<storage, read_write> value: array<u32>;
var<workgroup> shares: array<u32, 256>;
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
    var at = thread;
    for (var i = 0u; i < 1024u; i += 1u) {
        shares[thread] = value[i * 256u + at];
        workgroupBarrier();
        at = thread + shares[(thread + 1u) % 256u];
        workgroupBarrier();
    }
    if at != thread { value[thread] = at; }
}";

/// Multiply-adds of [`FMA_KERNEL`] in one thread: rounds, accumulators, components.
const FMAS: u64 = 256 * 8 * 4;

const FMA_KERNEL: &str = "
@group(0) @binding(0) var<storage, read_write> value: array<f32>;
@compute @workgroup_size(128)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = vec4(value[id.x]);
    var a = m; var b = m + 1.0; var c = m + 2.0; var d = m + 3.0;
    var e = m + 4.0; var f = m + 5.0; var g = m + 6.0; var h = m + 7.0;
    for (var i = 0u; i < 256u; i += 1u) {
        a = fma(a, m, m); b = fma(b, m, m); c = fma(c, m, m); d = fma(d, m, m);
        e = fma(e, m, m); f = fma(f, m, m); g = fma(g, m, m); h = fma(h, m, m);
    }
    let sum = a + b + c + d + e + f + g + h;
    value[id.x] = sum.x + sum.y + sum.z + sum.w;
}";

/// Lanes of a subgroup, counted by a workgroup of 128.
pub(crate) fn subgroup_size(gpu: &Gpu) -> Result<u32, RuntimeError> {
    let kernel = Probe::new(gpu, "subgroup size", SUBGROUP_KERNEL, &[Access::Write])?;
    let result = storage(gpu, 16);
    let group = kernel.bind(gpu, &[&result]);
    kernel.run(gpu, std::slice::from_ref(&group), 1, 1);
    match read_words(gpu, &result, 0, 2)?[..] {
        [lanes, _] if (4..=128).contains(&lanes) => Ok(lanes),
        // A driver that runs subgroups half full reports the size all the same.
        [_, size] if (4..=128).contains(&size) => Ok(size),
        _ => Err(RuntimeError::Unsupported {
            device: gpu.facts().name,
            what: "subgroup size between 4 and 128".into(),
        }),
    }
}

/// Bytes per second that a kernel copies, read plus written.
pub(crate) fn copy_bytes_per_s(gpu: &Gpu) -> Result<f64, RuntimeError> {
    let facts = gpu.facts();
    // Large enough to leave every cache behind: a data-centre GPU has 50 MB of it.
    let wanted: u64 = if facts.kind == DeviceKind::Cpu { 64 << 20 } else { 512 << 20 };
    let bytes = wanted.min(facts.max_binding_bytes).min(facts.max_buffer_bytes) & !255;
    let kernel = Probe::new(gpu, "copy", COPY_KERNEL, &[Access::Read, Access::Write])?;
    let (from, to) = (storage(gpu, bytes), storage(gpu, bytes));
    gpu.faults.check("allocating buffers to measure bandwidth")?;
    let group = kernel.bind(gpu, &[&from, &to]);
    let groups = u32::try_from(bytes / 16 / 256).unwrap_or(u32::MAX).min(facts.max_grid).min(8192);
    let (rounds, seconds) = kernel.time(gpu, &[group], groups, 4)?;
    let by_kernel = 2.0 * bytes as f64 * rounds as f64 / seconds;
    // Software devices copy faster than they run a kernel that copies.
    Ok(by_kernel.max(copy_command(gpu, &from, &to)?))
}

/// Bytes per second of copy commands, read plus written, on a device that is warm.
fn copy_command(gpu: &Gpu, from: &wgpu::Buffer, to: &wgpu::Buffer) -> Result<f64, RuntimeError> {
    let (start, mut copied) = (Instant::now(), 0);
    while start.elapsed() < MEASURE / 2 {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for _ in 0..4 {
            encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size());
            copied += from.size();
        }
        let submission = gpu.queue.submit([encoder.finish()]);
        gpu.wait(Some(submission), "measuring the device")?;
    }
    Ok(2.0 * copied as f64 / start.elapsed().as_secs_f64())
}

/// Microseconds between dispatches, each of which waits for the one before.
pub(crate) fn dispatch_us(gpu: &Gpu) -> Result<f64, RuntimeError> {
    let kernel = Probe::new(gpu, "dispatch", STEP_KERNEL, &[Access::Write])?;
    let value = storage(gpu, 256);
    let group = kernel.bind(gpu, &[&value]);
    let (rounds, seconds) = kernel.time(gpu, &[group], 1, 1000)?;
    Ok(seconds / rounds as f64 * 1e6)
}

/// Microseconds of a round of a workgroup: a load, whose place the round before decides, and two
/// barriers.
pub(crate) fn round_us(gpu: &Gpu) -> Result<f64, RuntimeError> {
    let kernel = Probe::new(gpu, "rounds", ROUND_KERNEL, &[Access::Write])?;
    // Zeros, as new buffers are.
    let group = kernel.bind(gpu, &[&storage(gpu, 4 * 256 * u64::from(ROUNDS))]);
    let (dispatches, seconds) = kernel.time(gpu, &[group], 1, 4)?;
    Ok(seconds / (dispatches * u64::from(ROUNDS)) as f64 * 1e6)
}

/// F32 operations a second of a kernel that does nothing but multiply and add.
pub(crate) fn flops_per_s(gpu: &Gpu) -> Result<f64, RuntimeError> {
    let kernel = Probe::new(gpu, "arithmetic", FMA_KERNEL, &[Access::Write])?;
    // A data-centre GPU keeps a quarter of a million threads at once.
    let groups: u32 = if gpu.facts().kind == DeviceKind::Cpu { 32 } else { 8192 };
    let threads = 128 * u64::from(groups);
    let group = kernel.bind(gpu, &[&storage(gpu, 4 * threads)]);
    let (rounds, seconds) = kernel.time(gpu, &[group], groups, 2)?;
    Ok(2.0 * (FMAS * threads * rounds) as f64 / seconds)
}

fn storage(gpu: &Gpu, bytes: u64) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("probe"),
        size: bytes,
        usage: wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// A kernel of this file, compiled.
struct Probe {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

impl Probe {
    fn new(gpu: &Gpu, name: &str, wgsl: &str, access: &[Access]) -> Result<Probe, RuntimeError> {
        let layout = crate::pipelines::bind_group_layout(gpu, access);
        let pipeline = compile(gpu, name, wgsl, &layout)?;
        Ok(Probe { pipeline, layout })
    }

    fn bind(&self, gpu: &Gpu, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        let whole: Vec<_> = buffers.iter().map(|buffer| buffer.as_entire_binding()).collect();
        self.bind_resources(gpu, whole)
    }

    fn bind_resources(
        &self,
        gpu: &Gpu,
        resources: Vec<wgpu::BindingResource<'_>>,
    ) -> wgpu::BindGroup {
        let entries: Vec<_> = (0u32..)
            .zip(resources)
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("probe"),
            layout: &self.layout,
            entries: &entries,
        })
    }

    /// Submits `times` dispatches in one pass, with each of `bound` in turn.
    fn run(
        &self,
        gpu: &Gpu,
        bound: &[wgpu::BindGroup],
        groups: u32,
        times: u32,
    ) -> wgpu::SubmissionIndex {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&self.pipeline);
            for (index, group) in bound.iter().cycle().take(times as usize).enumerate() {
                if index == 0 || bound.len() > 1 {
                    pass.set_bind_group(0, group, &[]);
                }
                pass.dispatch_workgroups(groups, 1, 1);
            }
        }
        gpu.queue.submit([encoder.finish()])
    }

    /// Dispatches and seconds of a run that keeps the device busy, after a warm-up.
    fn time(
        &self,
        gpu: &Gpu,
        bound: &[wgpu::BindGroup],
        groups: u32,
        times: u32,
    ) -> Result<(u64, f64), RuntimeError> {
        self.busy(gpu, bound, (groups, times), WARM_UP)?;
        self.busy(gpu, bound, (groups, times), MEASURE)
    }

    /// Dispatches and seconds of submissions of `times` dispatches that take `span` or longer. Two
    /// are under way at any time, so that the device waits for the host only at the end.
    fn busy(
        &self,
        gpu: &Gpu,
        bound: &[wgpu::BindGroup],
        (groups, times): (u32, u32),
        span: Duration,
    ) -> Result<(u64, f64), RuntimeError> {
        let start = Instant::now();
        let mut rounds = 0;
        let mut last = self.run(gpu, bound, groups, times);
        while start.elapsed() < span {
            let next = self.run(gpu, bound, groups, times);
            gpu.wait(Some(last), "measuring the device")?;
            last = next;
            rounds += u64::from(times);
        }
        gpu.wait(Some(last), "measuring the device")?;
        Ok((rounds + u64::from(times), start.elapsed().as_secs_f64()))
    }
}
