//! What a variant is predicted to take, for comparing it with others of the same kernel.
//!
//! Measured are the device's speeds, where it was measured; where not, those of [`assumed`] stand in.
//! Modelled are how many workgroups a device runs at once, that loads under way and not workgroups
//! decide how near to the memory's rate a kernel comes, and that caches deliver [`CACHES`] times what
//! memory does.

use quarrel_ir::facts::{DeviceFacts, DeviceKind, Speeds};
use quarrel_ir::plan::Work;

/// Bytes that the workgroup whose speed is measured has under way: 256 threads with four loads of 16.
const MEASURED_UNDER_WAY: f64 = 16384.0;

/// Threads that a processor of a GPU runs at once.
const RESIDENT_THREADS: u64 = 2048;

/// What caches deliver, in terms of what memory does.
const CACHES: f64 = 2.0;

/// What the model knows of a variant.
#[derive(Clone, Copy, Debug)]
pub struct Launched {
    /// What it moves and computes, and by how many workgroups.
    pub work: Work,
    /// Threads of a workgroup.
    pub threads: u32,
    /// Bytes of loads that a workgroup has under way.
    pub under_way: u64,
    /// Bytes that workgroups read again, from caches.
    pub again: u64,
    /// Whether cooperative matrices multiply.
    pub matrices: bool,
}

/// Speeds that stand in for those of a device that was not measured, and its processors.
struct Assumed {
    copy: f64,
    workgroup: f64,
    dispatch_us: f64,
    flops: f64,
    matrix_flops: f64,
    processors: u64,
}

/// Of a kind of device: a large one of it, as to order of magnitude.
fn assumed(kind: DeviceKind) -> Assumed {
    let (copy, workgroup, dispatch_us, flops, matrix_flops, processors) = match kind {
        DeviceKind::Cpu => (8e9, 2e9, 20.0, 2e10, 2e10, 4),
        DeviceKind::Integrated => (1e11, 1e10, 5.0, 3e12, 1e13, 16),
        _ => (2e12, 2e10, 2.5, 3e13, 2e14, 128),
    };
    Assumed { copy, workgroup, dispatch_us, flops, matrix_flops, processors }
}

/// Microseconds of a variant.
pub fn predicted_us(device: &DeviceFacts, launched: &Launched) -> f64 {
    let assumed = assumed(device.kind);
    let Speeds { copy_bytes_per_s, workgroup_bytes_per_s, dispatch_us, flops_per_s, .. } =
        device.speeds;
    let Work { bytes, flops, workgroups } = launched.work;
    let workgroups = workgroups.max(1);
    let processors = assumed.processors;
    // Workgroups that run at once.
    let each = (RESIDENT_THREADS / u64::from(launched.threads.max(1))).clamp(1, 16);
    let room = match device.kind {
        DeviceKind::Cpu => processors,
        _ => processors * each,
    };
    let resident = workgroups.min(room) as f64;
    let copy = copy_bytes_per_s.unwrap_or(assumed.copy);
    let one = workgroup_bytes_per_s.unwrap_or(assumed.workgroup);
    let rate = copy.min(resident * one * launched.under_way as f64 / MEASURED_UNDER_WAY);
    // Processors without a workgroup, and those that wait for the last wave.
    let waste = workgroups.div_ceil(processors) as f64 * processors as f64 / workgroups as f64;
    let flop_rate = match launched.matrices {
        true => device.speeds.matrix_flops_per_s.unwrap_or(assumed.matrix_flops),
        false => flops_per_s.unwrap_or(assumed.flops),
    };
    let memory = bytes as f64 / rate.max(1.0);
    let busy = waste * (flops as f64 / flop_rate + launched.again as f64 / (CACHES * copy));
    dispatch_us.unwrap_or(assumed.dispatch_us) + 1e6 * memory.max(busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_processors_and_few_loads_cost_time() {
        let facts = include_str!("../../../../tests/facts/nvidia-h100.json");
        let device: DeviceFacts = serde_json::from_str(facts).unwrap();
        assert_eq!(device.kind, DeviceKind::Discrete);
        let at = |workgroups, under_way| {
            let work = Work { bytes: 1 << 24, flops: 1 << 24, workgroups };
            let threads = 128;
            let launched = Launched { work, threads, under_way, again: 0, matrices: false };
            predicted_us(&device, &launched)
        };
        assert!(at(16, 16384) > 2.0 * at(128, 16384));
        assert!(at(128, 4096) > 1.5 * at(128, 16384));
    }
}
