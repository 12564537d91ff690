//! Kernel choice: tile sizes of attention by cooperative matrices.

use super::{AttentionNeeds, matrix_size};
use quarrel_ir::facts::{DeviceFacts, DeviceKind};
use quarrel_ir::plan::Phase;
use quarrel_kernels::attention::Flash;

/// Subgroups along the rows and along the positions of a workgroup, rows of each subgroup, and
/// positions of each in a step.
type Tile = ((u32, u32), u32, u32);

/// Tiles, largest first. Where rows are many, those of a workgroup share what it reads; where they
/// are few, its subgroups share positions, so that each has fewer steps. Large heads take tiles of
/// few positions: those of a step are in workgroup memory.
const TILES: [Tile; 7] = [
    ((4, 1), 16, 64),
    ((4, 1), 16, 32),
    ((2, 2), 16, 32),
    ((2, 2), 16, 16),
    ((1, 4), 16, 16),
    ((1, 2), 16, 16),
    ((2, 1), 16, 16),
];
/// The same of heads that subgroups have parts of.
const TILES_OF_PARTS: [Tile; 3] = [((2, 1), 16, 32), ((2, 1), 16, 16), ((1, 2), 16, 16)];

/// Workgroups that keep a large GPU busy: each is a few subgroups, of which a processor runs a dozen
/// at once.
const ENOUGH_GROUPS: u64 = 192;

/// Most elements of a head that a subgroup takes, as it holds queries and sums of its rows in registers.
/// 256 need more than there are: what came out on an NVIDIA H200 was not finite.
const LARGEST_PART: u32 = 128;

/// Tile sizes for prompts, where the device has cooperative matrices and heads are whole ones.
pub fn flash(device: &DeviceFacts, needs: &AttentionNeeds) -> Option<Flash> {
    let fitting = all(device, needs);
    let enough = fitting.iter().find(|(_, groups)| *groups >= ENOUGH_GROUPS);
    // Where none is enough, the one with the most.
    let most = fitting.iter().rev().max_by_key(|(_, groups)| *groups);
    enough.or(most).map(|(flash, _)| *flash)
}

/// All tile sizes for prompts that the device can run, the largest first, each with its workgroups.
pub fn all(device: &DeviceFacts, needs: &AttentionNeeds) -> Vec<(Flash, u64)> {
    let many = needs.phase == Phase::Prefill && needs.tokens > 1;
    if !needs.matrices || !many || device.kind == DeviceKind::Cpu {
        return Vec::new();
    }
    let parts = needs.key_size.max(needs.value_size).div_ceil(LARGEST_PART).next_power_of_two();
    let tiles: &[Tile] = if parts > 1 { &TILES_OF_PARTS } else { &TILES };
    let Some(size) = matrix_size(device) else { return Vec::new() };
    let made = |&(subgroups, rows, keys): &Tile| {
        let lanes = device.subgroup_size;
        let vectors = device.backend == "vulkan";
        let flash = Flash { size, lanes, subgroups, parts, held: rows / size, keys, vectors };
        let fits = flash.takes(needs.key_size, needs.value_size)
            && flash.threads() <= device.max_workgroup_threads
            && flash.workgroup_bytes(needs.key_size, needs.value_size)
                <= device.max_workgroup_bytes;
        let rows = u64::from(needs.tokens) * u64::from(needs.share);
        let groups = u64::from(needs.heads / needs.share) * rows.div_ceil(flash.rows().into());
        fits.then_some((flash, groups))
    };
    tiles.iter().filter_map(made).collect()
}
