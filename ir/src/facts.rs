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
