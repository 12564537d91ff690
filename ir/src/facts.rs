//! What a plan needs to know of a device: limits, features and measured speed, as plain data, so
//! that a plan can be compiled for a device that is not present.

use serde::{Deserialize, Serialize};

/// Facts of one adapter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceFacts {
    /// The adapter's name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// The graphics interface behind wgpu: `vulkan`, `metal`, …
    pub backend: String,
    /// The driver and its version, where known.
    pub driver: String,
    /// What kind of processor it is.
    pub kind: DeviceKind,
    /// Lanes of a subgroup as a kernel on this device counted them.
    pub subgroup_size: u32,
    /// Bytes of workgroup memory a kernel may declare.
    pub max_workgroup_bytes: u32,
    /// Invocations of a workgroup.
    pub max_workgroup_threads: u32,
    /// Workgroups along one axis of a dispatch.
    pub max_grid: u32,
    /// Storage buffers that one kernel may bind.
    pub max_storage_buffers: u32,
    /// Bytes of one storage binding.
    pub max_binding_bytes: u64,
    /// Bytes of one buffer.
    pub max_buffer_bytes: u64,
    /// Alignment of binding offsets in bytes.
    pub binding_alignment: u32,
    /// Whether kernels may use 16-bit floats (`enable f16`).
    pub shader_f16: bool,
    /// Whether kernels may use 64-bit integers.
    #[serde(default)]
    pub shader_int64: bool,
    /// Shapes of cooperative matrix products, as `(m, n, k)` with F16 operands and F32 sums.
    pub matrix_shapes: Vec<(u32, u32, u32)>,
    /// Whether timestamps can be written between the dispatches of one pass.
    pub timestamps_inside_passes: bool,
    /// How fast it was measured to be.
    #[serde(flatten)]
    pub speeds: Speeds,
}

/// A fact that no device has: the facts come from a file that is damaged, or from a driver that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its {what} is {found}, but {expected}")]
pub struct FactsError {
    /// The fact.
    pub what: &'static str,
    /// What it is.
    pub found: String,
    /// What it must be.
    pub expected: &'static str,
}

impl DeviceFacts {
    /// Refuses facts that are none of a device, as compilers divide by them.
    ///
    /// # Errors
    /// The first such fact.
    pub fn check(&self) -> Result<(), FactsError> {
        let power = |number: u32, most| number.is_power_of_two() && number <= most;
        let (lanes, alignment) = (self.subgroup_size, self.binding_alignment);
        let rules = [
            ("subgroup_size", lanes, power(lanes, 128), "must be a power of two, at most 128"),
            (
                "binding_alignment",
                alignment,
                power(alignment, 4096),
                "must be a power of two, at most 4096",
            ),
            // What WebGPU promises of any device.
            (
                "max_workgroup_bytes",
                self.max_workgroup_bytes,
                self.max_workgroup_bytes >= 16_384,
                "must be at least 16384",
            ),
            (
                "max_workgroup_threads",
                self.max_workgroup_threads,
                self.max_workgroup_threads >= 128,
                "must be at least 128",
            ),
            ("max_grid", self.max_grid, self.max_grid >= 65_535, "must be at least 65535"),
        ];
        match rules.into_iter().find(|(_, _, holds, _)| !holds) {
            Some((what, found, _, expected)) => {
                Err(FactsError { what, found: found.to_string(), expected })
            }
            None => self.speeds.check(),
        }
    }
}

/// Measured speeds of a device, all in kernels that depend on the one before; what was never
/// measured is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Speeds {
    /// Bytes per second of a large copy, read plus written.
    pub copy_bytes_per_s: Option<f64>,
    /// Microseconds between dispatches that do almost nothing.
    pub dispatch_us: Option<f64>,
    /// Microseconds of a round within a kernel: each of 256 threads of a workgroup loads what no cache
    /// near it holds, and they meet at two barriers over what they loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_us: Option<f64>,
    /// Copies of several sizes between places that no cache holds, the smallest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub copies: Vec<CopyTime>,
    /// Bytes per second of a copy by one workgroup of 256 threads, each with four loads of 16 bytes
    /// under way; read plus written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workgroup_bytes_per_s: Option<f64>,
    /// F32 operations a second of multiply-adds, each counted as two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flops_per_s: Option<f64>,
    /// Operations a second of cooperative matrix products whose factors lie in workgroup memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix_flops_per_s: Option<f64>,
}

/// How long a dispatch took that copied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopyTime {
    /// Bytes read plus bytes written.
    pub bytes: u64,
    /// Microseconds, the dispatch itself included.
    pub us: f64,
}

impl Speeds {
    /// Refuses speeds that are none of a device.
    ///
    /// # Errors
    /// The first such speed.
    pub fn check(&self) -> Result<(), FactsError> {
        let copies = self.copies.iter().map(|copy| ("time of a copy", Some(copy.us)));
        let speeds = [
            ("copy_bytes_per_s", self.copy_bytes_per_s),
            ("dispatch_us", self.dispatch_us),
            ("workgroup_bytes_per_s", self.workgroup_bytes_per_s),
            ("flops_per_s", self.flops_per_s),
            ("matrix_flops_per_s", self.matrix_flops_per_s),
        ];
        let all = speeds.into_iter().chain(copies);
        let mut known = all.filter_map(|(what, speed)| Some((what, speed?)));
        match known.find(|(_, speed)| !(1e-6..=1e18).contains(speed)) {
            Some((what, found)) => {
                let expected = "must be from 1e-6 to 1e18";
                Err(FactsError { what, found: found.to_string(), expected })
            }
            None => Ok(()),
        }
    }

    /// Whether anything was measured that predicts the time of a dispatch.
    pub fn known(&self) -> bool {
        self.dispatch_us.is_some() && (self.copy_bytes_per_s.is_some() || !self.copies.is_empty())
    }
}

/// Kinds of processor that run kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the processor's memory.
    Integrated,
    /// A GPU seen through a virtual machine.
    Virtual,
    /// A processor that runs kernels in software.
    Cpu,
    /// Not said.
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_no_device_are_refused() {
        let facts = include_str!("../../tests/facts/nvidia-h100.json");
        let facts: DeviceFacts = serde_json::from_str(facts).unwrap();
        assert_eq!(facts.check(), Ok(()));
        let refused = |change: fn(&mut DeviceFacts), what: &str| {
            let mut changed = facts.clone();
            change(&mut changed);
            let error = changed.check().unwrap_err();
            assert_eq!(error.what, what, "{error}");
        };
        refused(|facts| facts.subgroup_size = 0, "subgroup_size");
        refused(|facts| facts.subgroup_size = 48, "subgroup_size");
        refused(|facts| facts.binding_alignment = 0, "binding_alignment");
        refused(|facts| facts.max_workgroup_bytes = 0, "max_workgroup_bytes");
        refused(|facts| facts.max_workgroup_threads = 1, "max_workgroup_threads");
        refused(|facts| facts.max_grid = 0, "max_grid");
        refused(|facts| facts.speeds.dispatch_us = Some(0.0), "dispatch_us");
        refused(|facts| facts.speeds.flops_per_s = Some(-1.0), "flops_per_s");
        refused(
            |facts| facts.speeds.copies = vec![CopyTime { bytes: 1, us: 1e300 }],
            "time of a copy",
        );
    }
}
