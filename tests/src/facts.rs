//! Devices that need not be present: their facts, from `tests/facts/`.

use quarrel_ir::facts::{DeviceFacts, DeviceKind};

/// An Apple M3 Pro with 18 GB, as wgpu's Metal backend reports it.
pub fn apple() -> DeviceFacts {
    read(include_str!("../facts/apple-m3-pro.json"))
}

/// An NVIDIA H100, as wgpu's Vulkan backend reports it.
pub fn nvidia() -> DeviceFacts {
    read(include_str!("../facts/nvidia-h100.json"))
}

/// Mesa's llvmpipe on a processor with lanes of 256 bits.
pub fn llvmpipe() -> DeviceFacts {
    read(include_str!("../facts/llvmpipe.json"))
}

/// The facts of a present device, but for those that only decide tile shapes: as if it were a
/// discrete GPU with subgroups of `subgroup_size`.
pub fn as_if_discrete(present: &DeviceFacts, subgroup_size: u32) -> DeviceFacts {
    DeviceFacts { kind: DeviceKind::Discrete, subgroup_size, ..present.clone() }
}

fn read(text: &str) -> DeviceFacts {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("device facts: {error}"))
}
