//! The variants of products.

use super::model::{Launched, predicted_us};
use super::{Candidate, choose};
use crate::error::CompileError;
use crate::lower::shapes::{self, ProductNeeds, experts, software};
use quarrel_ir::facts::{DeviceFacts, DeviceKind};
use quarrel_ir::format::Format;
use quarrel_ir::plan::{Choice, Cost, Groups, PlanOptions, Work};
use quarrel_kernels::product::{Columns, Matrices, Shape, Staging};

/// Rows of x and of weights that a subgroup holds, and blocks of such rows of a workgroup, of GPUs:
/// of one row of x,
const ONE: [(u32, u32, u32); 7] =
    [(1, 1, 4), (1, 1, 8), (1, 1, 16), (1, 2, 4), (1, 2, 8), (1, 4, 4), (1, 4, 8)];
/// and of many. The last is that of devices whose matrices do not suit the product, too.
const MANY: [(u32, u32, u32); 4] = [(4, 4, 4), (8, 2, 4), (4, 2, 4), (8, 4, 4)];
/// Passes that workgroups may take over the usual blocks, so that fewer of them compute x.
const PASSES: [u32; 2] = [2, 4];
/// Of processors that run kernels in software: of one row of x,
const SOFT_ONE: [(u32, u32, u32); 6] =
    [(1, 1, 32), (1, 1, 64), (1, 1, 128), (1, 2, 16), (1, 2, 32), (1, 4, 8)];
/// and of many.
const SOFT_MANY: [(u32, u32, u32); 3] = [(4, 8, 4), (2, 12, 4), (4, 12, 2)];

/// Tile sizes of a product, and how x is staged.
///
/// # Errors
/// If the user asks for a variant that there is not.
pub fn product(
    device: &DeviceFacts,
    options: &PlanOptions,
    needs: &ProductNeeds,
    formats: &[Format],
    cost: &Cost,
) -> Result<((Shape, Staging), Choice), CompileError> {
    let all = match needs.groups {
        Some((groups, _)) => experts::all(device, needs, groups),
        None => all(device, needs),
    };
    // The kernel that reads shared sums adds them up.
    let usual = all.first().map_or(1, |(shape, _)| shape.shares());
    let candidate = |(shape, staging): &(Shape, Staging)| Candidate {
        name: name(shape, *staging),
        shape: (*shape, *staging),
        us: predicted_us(device, &launched(needs, cost, shape, *staging)),
        changes_others: shape.shares() != usual,
    };
    choose(options, key(needs, formats, usual), all.iter().map(candidate).collect())
}

/// All shapes of a product whose rows are not grouped by expert, the one by rule first.
fn all(device: &DeviceFacts, needs: &ProductNeeds) -> Vec<(Shape, Staging)> {
    let usual = shapes::product(device, needs);
    let mut all = vec![usual];
    let software = device.kind == DeviceKind::Cpu;
    let many = needs.tokens >= shapes::MANY_ROWS;
    if many && !software {
        let shapes = shapes::by_matrices(device, needs).into_iter();
        all.extend(shapes.map(|shape| (shape, Staging::No)));
    }
    let plain: &[(u32, u32, u32)] = match (software, needs.tokens) {
        (true, 1) => &SOFT_ONE,
        (true, _) => &SOFT_MANY,
        (false, 1) => &ONE,
        (false, _) if many => &MANY,
        (false, _) => &[],
    };
    if software {
        let shares = usual.0.shares();
        let rows: &[u32] = if needs.tokens == 1 { &software::ROWS } else { &[1] };
        let down = software::tokens(needs)
            .flat_map(|tokens| rows.iter().map(move |rows| (tokens, *rows, shares)))
            .filter_map(|sizes| software::down(device, needs, sizes));
        all.extend(down.map(|shape| (shape, Staging::Floats)));
    }
    // Of matrices' rivals one is enough: the others are far behind.
    let matrices = matches!(usual.0.columns, Columns::Matrices(_));
    let plain = if matrices { plain.split_at(plain.len() - 1).1 } else { plain };
    all.extend(plain.iter().map(|sizes| shapes::product_of(device, needs, *sizes, 1)));
    if needs.tokens == 1 && !software {
        let (rows, blocks) = shapes::gpu_sizes(device, needs);
        let passes =
            PASSES.map(|passes| shapes::product_of(device, needs, (1, rows, blocks), passes));
        all.extend(passes);
    }
    if usual.1 == Staging::Integers {
        all.push(shapes::product(device, &ProductNeeds { integers: false, ..*needs }));
    }
    all
}

/// What is computed, for people and files.
fn key(needs: &ProductNeeds, formats: &[Format], shares: u32) -> String {
    let mut names: Vec<&str> = formats.iter().map(|format| format.name()).collect();
    names.dedup();
    let mut key =
        format!("product/{}/{}x{}/{}", names.join("+"), needs.rows, needs.columns, needs.tokens);
    let linears = if needs.linears > 1 { format!("x{}", needs.linears) } else { String::new() };
    let experts = match needs.groups {
        Some((groups, _)) => format!("{}experts", groups.experts),
        None if needs.experts => "experts".into(),
        None => String::new(),
    };
    let computed = if needs.computed { "computed" } else { "" };
    let shares = if shares > 1 { format!("{shares}shares") } else { String::new() };
    let words = [linears.as_str(), computed, experts.as_str(), shares.as_str()];
    for word in words.iter().filter(|word| !word.is_empty()) {
        key = key + "/" + word;
    }
    key
}

fn name(shape: &Shape, staging: Staging) -> String {
    let Shape { tokens, rows, tile, threads, columns } = *shape;
    match columns {
        Columns::Matrices(matrices) => {
            let (down, across) = matrices.subgroups;
            let Matrices { depth, buffers, ahead, shares, .. } = matrices;
            let twice = if ahead > 1 { format!("-ahead{ahead}") } else { String::new() };
            let shared = if shares > 1 { format!("-shares{shares}") } else { String::new() };
            format!("matrices-{tokens}x{tile}x{depth}-{down}x{across}-b{buffers}{twice}{shared}")
        }
        Columns::Plain => format!("plain-{tokens}x{rows}-{tile}-{threads}"),
        Columns::Across => format!("across-{tokens}x{rows}-{tile}-{threads}"),
        Columns::Down { shares } => {
            let shared = if shares > 1 { format!("-shares{shares}") } else { String::new() };
            format!("down-{tokens}x{rows}-{tile}-{threads}{shared}")
        }
        Columns::Held => format!("held-{tokens}x{rows}-{tile}-{threads}"),
        Columns::Fetched(fetched) => {
            let shared = match fetched.share {
                1 => String::new(),
                share => format!("-shared{share}"),
            };
            let whole = if staging == Staging::Integers { "-integers" } else { "" };
            let passes = match fetched.passes {
                1 => String::new(),
                passes => format!("-passes{passes}"),
            };
            let ahead = fetched.ahead;
            format!("ahead{ahead}-{tokens}x{rows}-{tile}-{threads}{shared}{passes}{whole}")
        }
    }
}

fn launched(needs: &ProductNeeds, cost: &Cost, shape: &Shape, staging: Staging) -> Launched {
    let tokens = u64::from(needs.tokens);
    let [tile, threads, of_tile] = [shape.tile, shape.threads, shape.tokens].map(u64::from);
    // Rows that are grouped are several of each token.
    let (times, steps, matrices) = match needs.groups {
        Some((Groups { rows, experts }, top)) => {
            let times = Groups::tiles(rows, shape.tokens, experts);
            (times.into(), tokens / u64::from(top.max(1)), experts.into())
        }
        None => (tokens.div_ceil(of_tile), tokens, 1u64),
    };
    let work = Work {
        bytes: cost.bytes(steps, 0),
        flops: cost.flops(steps, 0),
        workgroups: needs.rows.div_ceil(tile) * times * u64::from(shape.shares()),
    };
    // A chunk is loaded sixteen bytes at a time or less, of each row that is held.
    let chunk = needs.format.packing().bytes(needs.format.packing().chunk as u64).max(1);
    let under_way = match shape.columns {
        Columns::Fetched(fetched) => {
            threads * u64::from(fetched.ahead) * u64::from(shape.rows) * chunk
        }
        Columns::Matrices(_) => 16 * threads,
        Columns::Plain | Columns::Held | Columns::Across | Columns::Down { .. } => {
            threads * u64::from(shape.rows) * chunk
        }
    };
    // Each workgroup reads its rows of x, or each of its blocks of rows does; and its weights.
    let blocks = match shape.columns {
        Columns::Matrices(_) => 1,
        _ if staging != Staging::No => 1,
        _ => (tile / u64::from(shape.rows.max(1))).max(1),
    };
    let x = work.workgroups * blocks * of_tile * needs.columns * 4;
    let weights = if times > 1 { cost.weight_bytes / matrices.max(1) * times } else { 0 };
    let matrices = matches!(shape.columns, Columns::Matrices(_));
    Launched { work, threads: shape.threads, under_way, again: x + weights, matrices }
}
