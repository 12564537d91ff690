//! The memory verdict: what a plan needs, what there is, and what to change if it does not fit.

use crate::gpu::Gpu;
use quarrel_ir::facts::DeviceKind;
use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::{BufferRole, Plan, PlanOptions};
use serde::Serialize;

/// Bytes that a plan needs on the device, by what they hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryNeeds {
    /// Packed weights.
    pub weights: u64,
    /// States of all slots for the whole context.
    pub states: u64,
    /// Intermediate values and step inputs.
    pub activations: u64,
}

impl MemoryNeeds {
    /// What `plan` needs.
    pub fn of(plan: &Plan) -> MemoryNeeds {
        MemoryNeeds {
            weights: plan.bytes_of(BufferRole::Weights),
            states: plan.bytes_of(BufferRole::State),
            activations: plan.bytes_of(BufferRole::Activation) + plan.bytes_of(BufferRole::Io),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.states + self.activations
    }
}

/// A plan needs more memory than there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the model needs {total} ({weights} of weights, {states} of states for {slots} × {context} \
     tokens, {activations} of intermediate values), but {device} has {available}. {advice}",
    total = size(needs.total()),
    weights = size(needs.weights),
    states = size(needs.states),
    slots = options.0,
    context = options.1,
    activations = size(needs.activations),
    available = size(*available),
    advice = self.advice()
)]
pub struct Shortage {
    /// What the plan needs.
    pub needs: MemoryNeeds,
    /// What the device has.
    pub available: u64,
    /// The device's name.
    pub device: String,
    /// Slots and context length of the plan.
    pub options: (u32, u32),
    /// Bytes of states for each position of the context: [`Plan::position_bytes`].
    pub position_bytes: u64,
    /// Whether its keys and values are kept in 8 bits already.
    pub small_states: bool,
}

impl Shortage {
    /// Bytes of states whose rows are as many as positions.
    fn of_positions(&self) -> u64 {
        self.position_bytes.saturating_mul(self.options.1.into())
    }

    /// What to change.
    fn advice(&self) -> String {
        let MemoryNeeds { weights, states, activations } = self.needs;
        if weights >= self.available {
            return "The weights alone do not fit: use a file with fewer bits a weight, or drop \
                    --weights"
                .into();
        }
        let (slots, _) = self.options;
        let other = weights + activations + states.saturating_sub(self.of_positions());
        let fits = match self.available.checked_sub(other) {
            Some(left) if self.position_bytes > 0 => (left / self.position_bytes) / 64 * 64,
            _ => 0,
        };
        let batch = match (slots > 1, self.small_states || states == 0) {
            (true, true) => ", fewer sequences at once",
            (true, false) => ", fewer sequences at once, --kv q8_0",
            (false, true) => "",
            (false, false) => ", --kv q8_0",
        };
        if fits >= 64 {
            format!("Use --ctx {fits} or less{batch}, or a file with fewer bits a weight")
        } else {
            format!("Use a smaller --chunk and --ctx{batch}, or a file with fewer bits a weight")
        }
    }
}

/// `bytes` in the unit that people would use.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// Whether `plan` fits into `available` bytes of `device`.
///
/// # Errors
/// What is needed, what there is, and what to change.
pub fn verdict(plan: &Plan, device: &str, available: u64) -> Result<MemoryNeeds, Shortage> {
    let needs = MemoryNeeds::of(plan);
    if needs.total() <= available {
        return Ok(needs);
    }
    let PlanOptions { slots, context, .. } = plan.options;
    let small_states = plan.options.state == Some(StateFormat::Q8);
    let (device, options) = (device.to_owned(), (slots, context));
    let position_bytes = plan.position_bytes;
    Err(Shortage { needs, available, device, options, position_bytes, small_states })
}

/// Bytes that buffers may take on this device: its own memory where it has some, and the system's
/// `system` bytes where it shares them. `None` if neither is known.
pub(crate) fn available(gpu: &Gpu, system: Option<u64>) -> Option<u64> {
    let own = device_local_bytes(&gpu.adapter);
    match gpu.facts().kind {
        DeviceKind::Cpu => system,
        DeviceKind::Discrete => own,
        DeviceKind::Integrated | DeviceKind::Virtual | DeviceKind::Other => match (own, system) {
            (Some(own), Some(system)) => Some(own.max(system)),
            (own, system) => own.or(system),
        },
    }
}

/// Bytes of the largest memory heap that Vulkan calls local to the device.
#[cfg(not(target_vendor = "apple"))]
#[expect(
    unsafe_code,
    reason = "wgpu reports no memory sizes; Vulkan's own query is only readable so"
)]
fn device_local_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    // SAFETY: the handle is only used while the guard lives, to ask for properties; nothing is
    // created or destroyed through it.
    let properties = unsafe {
        let adapter = adapter.as_hal::<wgpu::hal::api::Vulkan>()?;
        let instance = adapter.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(adapter.raw_physical_device())
    };
    let heaps = properties.memory_heaps.iter().take(properties.memory_heap_count as usize);
    // Bit 0 of a heap's flags says that it is local to the device.
    let local = heaps.filter(|heap| heap.flags.as_raw() & 1 == 1);
    local.map(|heap| heap.size).max()
}

/// Metal shares the system's memory, whose size the caller gives.
#[cfg(target_vendor = "apple")]
fn device_local_bytes(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortage(weights: u64, states: u64, available: u64) -> String {
        let needs = MemoryNeeds { weights, states, activations: 10_000_000 };
        let (device, options) = ("a GPU".into(), (1, 4096));
        let position_bytes = states / 2 / 4096;
        let shortage =
            Shortage { needs, available, device, options, position_bytes, small_states: false };
        shortage.to_string()
    }

    #[test]
    fn the_verdict_names_a_context_that_fits() {
        // Half of the states grow with the context; of them half fits.
        let text = shortage(1_000_000_000, 1_000_000_000, 1_761_000_000);
        assert!(text.contains("needs 2.0 GB (1.0 GB of weights, 1.0 GB of states"), "{text}");
        assert!(text.contains("--ctx 2048 or less, --kv q8_0, or"), "{text}");
        // What does not grow is too large.
        let text = shortage(1_000_000_000, 1_000_000_000, 1_500_000_000);
        assert!(text.contains("smaller --chunk and --ctx, --kv q8_0, or"), "{text}");
    }

    #[test]
    fn weights_that_do_not_fit_are_named() {
        let text = shortage(2_000_000_000, 1_000, 1_000_000_000);
        assert!(text.contains("weights alone do not fit"), "{text}");
    }
}
