//! Tile sizes of products by cooperative matrices.

use super::{ENOUGH_GROUPS, LONG_X, ProductNeeds};
use quarrel_ir::facts::DeviceFacts;
use quarrel_kernels::product::{Columns, Matrices, Shape};

/// Rows of x and of weights of a workgroup, how many subgroups share each, columns of a step, steps that
/// workgroup memory holds, and steps that are read ahead.
type Tile = (u32, u32, (u32, u32), u32, u32, u32);

/// The tile for many rows of weights that are long: subgroups hold four matrices by four, so that each
/// matrix of a factor that is loaded serves four products.
const LARGE: Tile = (128, 128, (2, 2), 64, 1, 1);

/// Tiles by cooperative matrices, largest first; of tiles that give as many workgroups, those that
/// are predicted to be faster first.
const TILES: [Tile; 11] = [
    (128, 128, (4, 2), 64, 1, 2),
    (128, 128, (4, 2), 64, 1, 1),
    LARGE,
    (128, 256, (2, 4), 32, 1, 2),
    (128, 128, (4, 2), 32, 2, 1),
    (128, 128, (4, 2), 32, 1, 2),
    (64, 64, (2, 2), 32, 2, 2),
    (64, 64, (2, 2), 64, 2, 1),
    (64, 64, (2, 2), 32, 2, 1),
    (32, 64, (1, 4), 32, 2, 2),
    (32, 64, (1, 4), 32, 2, 1),
];
/// The same for up to 32 rows of x: steps are long, because the weights come from memory.
const TILES_32: [Tile; 5] = [
    (32, 64, (2, 4), 128, 1, 1),
    (32, 32, (2, 2), 128, 1, 1),
    (32, 16, (2, 1), 128, 1, 1),
    (32, 16, (2, 1), 64, 1, 1),
    (32, 64, (1, 4), 32, 1, 1),
];

/// The same for up to 16: more workgroups fit on a processor, so more is read ahead of them.
const TILES_16: [Tile; 5] = [
    (16, 64, (1, 4), 128, 1, 1),
    (16, 32, (1, 2), 128, 1, 1),
    (16, 16, (1, 1), 128, 1, 1),
    (16, 16, (1, 1), 64, 1, 1),
    (16, 64, (1, 4), 32, 1, 1),
];

/// Workgroups that may share the columns of tiles that are so large and whose steps are so long, and the
/// fewest columns of each.
const SHARES: [u32; 3] = [1, 2, 4];
const SHARED_TILE: (u32, u32) = (128, 64);
const SHARED_COLUMNS: u64 = 512;

/// Weights from which on [`LARGE`] tiles are faster than others of the size, where rows are long and of
/// floats; what is unpacked wants more threads. By measurements on an H200.
const LARGE_WEIGHTS: u64 = 24 << 20;

/// Tile sizes of a product by cooperative matrices, where the device and the product allow them.
///
/// Large tiles read memory less often; small ones give every processor something to do.
pub(super) fn by_rule(device: &DeviceFacts, needs: &ProductNeeds) -> Option<Shape> {
    let fitting = by_matrices(device, needs);
    let groups = |shape: &Shape| {
        u64::from(needs.tokens.div_ceil(shape.tokens))
            * needs.rows.div_ceil(shape.tile.into())
            * u64::from(shape.shares())
    };
    let many = needs.rows * needs.columns >= LARGE_WEIGHTS;
    let large = needs.columns >= LONG_X && many && needs.format.is_float();
    let first = fitting.iter().filter(|shape| large && is_large(shape));
    let mut all = first.chain(&fitting);
    let enough = all.find(|shape| groups(shape) >= ENOUGH_GROUPS);
    enough.or(fitting.iter().rfind(|shape| shape.shares() == 1)).copied()
}

fn is_large(shape: &Shape) -> bool {
    let (tokens, tile, subgroups, depth, ..) = LARGE;
    let Columns::Matrices(matrices) = shape.columns else { return false };
    (shape.tokens, shape.tile, matrices.subgroups, matrices.depth)
        == (tokens, tile, subgroups, depth)
}

/// All tile sizes of a product by cooperative matrices that the device and the product allow, the
/// largest first; of any size for rows that are grouped, as some experts have few.
pub fn by_matrices(device: &DeviceFacts, needs: &ProductNeeds) -> Vec<Shape> {
    let subgroup = device.subgroup_size;
    let Some(size) = matrix_size(device).filter(|_| needs.matrices) else { return Vec::new() };
    let made = |&((tokens, tile, subgroups, depth, buffers, ahead), shares): &(Tile, u32)| {
        let held = (tokens / size / subgroups.0, tile / size / subgroups.1);
        let vectors = device.backend == "vulkan";
        let weights_once = needs.tokens > tokens;
        let matrices = Matrices {
            size,
            subgroups,
            held,
            depth,
            buffers,
            ahead,
            shares,
            vectors,
            weights_once,
        };
        let threads = subgroups.0 * subgroups.1 * subgroup;
        let shared = needs.shared
            && (tile, depth) == SHARED_TILE
            && needs.columns >= u64::from(shares) * SHARED_COLUMNS;
        let fits = (shares == 1 || shared)
            && needs.columns.is_multiple_of(u64::from(depth * ahead * shares))
            && held.0.min(held.1) > 0
            && matrices.divides(threads)
            && tile.is_multiple_of(4 * needs.linears.max(1))
            && threads <= device.max_workgroup_threads
            && matrices.workgroup_bytes() <= device.max_workgroup_bytes;
        let columns = Columns::Matrices(matrices);
        let shape = Shape { tokens, rows: 1, tile, threads, columns };
        fits.then_some(shape)
    };
    let tiles: &[&[Tile]] = match needs.tokens {
        _ if needs.groups.is_some() => &[&TILES, &TILES_32, &TILES_16],
        0..=16 => &[&TILES_16],
        17..=32 => &[&TILES_32],
        _ => &[&TILES],
    };
    let tiles = tiles.iter().copied().flatten();
    let all = tiles.flat_map(|tile| SHARES.map(|shares| (*tile, shares)));
    all.filter_map(|tile| made(&tile)).collect()
}

/// Rows and columns of the cooperative matrices that kernels use on a device.
pub fn matrix_size(device: &DeviceFacts) -> Option<u32> {
    let square = |size: &u32| device.matrix_shapes.contains(&(*size, *size, *size));
    [16, 8].into_iter().find(square).filter(|_| device.shader_f16)
}
