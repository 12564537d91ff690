//! The variants of attention.

use super::model::{Launched, predicted_us};
use super::{Candidate, choose};
use crate::error::CompileError;
use crate::lower::shapes::{self, AttentionNeeds};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{Choice, Phase, PlanOptions, Work};
use quarrel_kernels::attention::{Flash, Own, Quads, Shape, Tiles};

/// The shape of attention over states of the format `states`.
///
/// # Errors
/// If the user asks for a variant that there is not.
pub fn attention(
    device: &DeviceFacts,
    options: &PlanOptions,
    needs: &AttentionNeeds,
    states: &str,
) -> Result<(Shape, Choice), CompileError> {
    let usual = shapes::attention(device, needs);
    let mut all = vec![usual];
    match usual {
        Shape::Quads(quads) => all.extend(other_quads(device, needs, quads)),
        Shape::Tiles(tiles) => all.extend(other_tiles(device, needs, tiles)),
        Shape::Own(_) => {
            let tiles = shapes::tiles(device, needs);
            all.push(Shape::Tiles(tiles));
            all.extend(other_tiles(device, needs, tiles));
        }
        Shape::Flash(_) => {
            let fitting = shapes::flash::all(device, needs);
            all.extend(fitting.into_iter().map(|(flash, _)| Shape::Flash(flash)));
        }
    }
    let AttentionNeeds { heads, share, key_size, value_size, slots, .. } = *needs;
    // The tokens of a prompt are one sequence's: other variants suit them than as many sequences.
    let (tokens, prompt) = match needs.phase {
        Phase::Prefill => (options.chunk, "/prompt"),
        _ => (slots, ""),
    };
    let key = format!(
        "attention/{states}/{heads}:{}x{key_size}:{value_size}/{}/{tokens}{prompt}",
        heads / share.max(1),
        needs.positions
    );
    let candidate = |shape: &Shape| Candidate {
        name: name(shape),
        shape: *shape,
        us: us(device, needs, tokens, shape),
        changes_others: shape.splits() != usual.splits(),
    };
    choose(options, key, all.iter().map(candidate).collect())
}

fn name(shape: &Shape) -> String {
    match *shape {
        Shape::Quads(Quads { heads, threads, positions, splits }) => {
            format!("quads-h{heads}-p{positions}-{threads}-s{splits}")
        }
        Shape::Tiles(Tiles { tokens, heads, threads, positions }) => {
            format!("tiles-t{tokens}-h{heads}-p{positions}-{threads}")
        }
        Shape::Own(Own { heads, threads }) => format!("own-h{heads}-{threads}"),
        Shape::Flash(Flash { size, subgroups: (down, across), parts, held, keys, .. }) => {
            let parts = if parts > 1 { format!("-parts{parts}") } else { String::new() };
            format!("flash-{}x{keys}-{down}x{across}{parts}", held * size)
        }
    }
}

/// Other numbers of heads that share loads, and of workgroups that share positions.
fn other_quads(device: &DeviceFacts, needs: &AttentionNeeds, usual: Quads) -> Vec<Shape> {
    let splits = [usual.splits, usual.splits / 2, 2 * usual.splits, 1];
    let heads = [usual.heads, 1, 2, 4];
    let sizes = heads.iter().flat_map(|heads| splits.iter().map(move |splits| (*heads, *splits)));
    let quads = sizes.filter_map(|(heads, splits)| {
        shapes::quads_of(device, needs, heads).map(|quads| Quads { splits, ..quads })
    });
    let fits = |quads: &Quads| {
        quads.splits > 0 && (quads.splits == 1 || quads.splits * quads.step() <= needs.positions)
    };
    quads.filter(fits).map(Shape::Quads).collect()
}

/// Other numbers of tokens of a prompt that share loads.
fn other_tiles(device: &DeviceFacts, needs: &AttentionNeeds, usual: Tiles) -> Vec<Shape> {
    let tokens: &[u32] = if needs.phase == Phase::Prefill { &[8, 2, 1] } else { &[] };
    let fits = |tiles: &Tiles| tiles.workgroup_bytes(needs.key_size) <= device.max_workgroup_bytes;
    let tiles = tokens.iter().map(|tokens| Tiles { tokens: *tokens, ..usual });
    tiles.filter(fits).map(Shape::Tiles).collect()
}

/// Microseconds at a full context, by the model.
fn us(device: &DeviceFacts, needs: &AttentionNeeds, tokens: u32, shape: &Shape) -> f64 {
    let [positions, tokens, splits, share] =
        [needs.positions, tokens, shape.splits(), needs.share].map(u64::from);
    let (heads, rows) = (u64::from(needs.heads), u64::from(needs.heads) * tokens);
    let whole = needs.row_bytes * positions;
    let sequences = if needs.phase == Phase::Prefill { 1 } else { tokens };
    let partials = 8 * splits * rows * u64::from(needs.value_size);
    let both = u64::from(needs.key_size + needs.value_size);
    // Workgroups, how often each position is read, threads and bytes under way.
    let (workgroups, readers, threads, under_way) = match *shape {
        Shape::Quads(quads) => {
            let (of, threads) = (u64::from(quads.heads), quads.threads);
            (rows / of * splits, share / of, threads, 32 * threads * quads.positions)
        }
        Shape::Tiles(Tiles { tokens: of, heads: of_heads, threads, .. }) => {
            let (times, of) = (tokens.div_ceil(of.into()), u64::from(of_heads));
            (heads / of * times, share / of * times, threads, 16 * threads)
        }
        Shape::Own(Own { heads: of_heads, threads }) => {
            let (times, of) = (tokens.div_ceil(threads.into()), u64::from(of_heads));
            (heads / of * times, share / of * times, threads, 16 * threads)
        }
        Shape::Flash(flash) => {
            let times = (tokens * share).div_ceil(flash.rows().into());
            (heads / share * times, times, flash.threads(), 16 * flash.threads())
        }
    };
    let work = Work {
        bytes: whole * sequences + if splits > 1 { partials } else { 0 },
        flops: 2 * both * positions * rows,
        workgroups,
    };
    let launched = Launched {
        work,
        threads,
        under_way: u64::from(under_way),
        again: whole * sequences * readers.max(1),
        matrices: matches!(shape, Shape::Flash(_)),
    };
    // What workgroups leave of a split is combined in a dispatch or at the place of one.
    let combine = if splits > 1 { device.speeds.dispatch_us.unwrap_or(2.0) } else { 0.0 };
    predicted_us(device, &launched) + combine
}
