//! Tile sizes of products of prompts whose rows are grouped by expert.

use super::{ACROSS, ProductNeeds, by_matrices, product_of};
use quarrel_ir::facts::{DeviceFacts, DeviceKind};
use quarrel_ir::plan::Groups;
use quarrel_kernels::product::{Shape, Staging};

/// Rows of an expert in a full step, on average, from which on products take them together. With fewer,
/// tiles are mostly empty: a workgroup of eight rows computes eight, and the weights of most experts are
/// read about as often as before.
pub const LEAST_ROWS: u32 = 4;

/// Whether products take the rows of each expert together.
pub fn pays(groups: Groups) -> bool {
    groups.rows >= LEAST_ROWS.saturating_mul(groups.experts)
}

/// Rows of x and of weights that a subgroup holds, and blocks of such rows of a workgroup: of GPUs,
const PLAIN: [(u32, u32, u32); 2] = [(8, 4, 4), (8, 2, 4)];
/// and of processors that run kernels in software.
const SOFTWARE: [(u32, u32, u32); 2] = [(8, 6, 4), (8, 4, 4)];

/// All shapes of a product with grouped rows, the one by rule first.
///
/// Tiles of an expert's rows are full but for the last, which is half empty on average: so a tile has no
/// more than half of the rows that an expert has on average, if it can be. Of tiles by matrices the
/// largest such is taken, or the smallest.
pub fn all(device: &DeviceFacts, needs: &ProductNeeds, groups: Groups) -> Vec<(Shape, Staging)> {
    let software = device.kind == DeviceKind::Cpu;
    let mean = groups.rows / groups.experts.max(1);
    let listed = |shape: &(Shape, Staging)| Groups::TILES.contains(&shape.0.tokens);
    let plain: &[(u32, u32, u32)] = if software { &SOFTWARE } else { &PLAIN };
    let mut all: Vec<_> = plain.iter().map(|sizes| product_of(device, needs, *sizes, 1)).collect();
    if software {
        let across = (ACROSS.next_multiple_of(device.subgroup_size.max(4)), 12, 4);
        let at = if mean >= across.0 / 2 { 0 } else { all.len() };
        all.insert(at, product_of(device, needs, across, 1));
    } else {
        let mut matrices = by_matrices(device, needs);
        let fits = |shape: &Shape| 2 * shape.tokens <= mean;
        let least = matrices.iter().map(|shape| shape.tokens).min();
        let smallest = |shape: &Shape| Some(shape.tokens) == least;
        let rule = matrices.iter().position(fits).or(matrices.iter().position(smallest));
        if let Some(rule) = rule {
            let first = matrices.remove(rule);
            // Of matrices' rivals one is enough.
            all.truncate(1);
            let shapes = std::iter::once(first).chain(matrices);
            all.splice(0..0, shapes.map(|shape| (shape, Staging::No)));
        }
    }
    all.retain(listed);
    all
}
