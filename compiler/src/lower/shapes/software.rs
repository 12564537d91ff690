//! Kernel choice: what is special to processors that run kernels in software.
//!
//! They load memory lane by lane, so many rows share each load, and read what all lanes read alike
//! once, if its place is known in advance: so columns are written out, with a row of weights for each
//! thread.

use super::{AttentionNeeds, ProductNeeds};
use quarrel_ir::facts::{DeviceFacts, DeviceKind};
use quarrel_ir::plan::Phase;
use quarrel_kernels::attention::Own;
use quarrel_kernels::product::{Columns, Shape};

/// Instructions of a text up to which it is written out, for one row of x and for several: a driver
/// compiles some 15,000 a second, and a program has four or five such texts. The first token waits for
/// those of prompts.
const WRITTEN_OUT: u64 = 12_000;
const WRITTEN_OUT_OF_SEVERAL: u64 = 8_000;

/// Rows of weights of a workgroup whose threads have rows of their own; more share what is computed of
/// x.
const TILES: [u32; 6] = [512, 256, 192, 128, 96, 64];

/// Rows of weights of such a thread, most first, where there is one row of x: what a subgroup does
/// before and after the columns is done for all of them.
pub const ROWS: [u32; 2] = [2, 1];

/// Workgroups that a product has at least, if its rows are enough: for a few processors.
const ENOUGH: u64 = 6;

/// Rows of x that such a workgroup takes, most first: each is an accumulator, beside four weights; where
/// there are many, at least so many.
const TOKENS: [u32; 4] = [8, 4, 2, 1];
const LEAST_TOKENS: u32 = 4;

/// Workgroups that may share columns so that texts are short.
const SHARES: [u32; 7] = [1, 2, 3, 4, 6, 8, 12];

/// The shape of a product whose threads have rows of weights of their own, by rule.
pub fn down_by_rule(device: &DeviceFacts, needs: &ProductNeeds) -> Option<Shape> {
    let fits = |(tokens, rows, shares): (u32, u32, u32)| {
        // Four instructions unpack a weight of each row, two multiply it with each row of x.
        let written = needs.columns / u64::from(shares) * u64::from(rows * (4 + 2 * tokens));
        let most = if needs.tokens > 1 { WRITTEN_OUT_OF_SEVERAL } else { WRITTEN_OUT };
        down(device, needs, (tokens, rows, shares)).filter(|_| written <= most)
    };
    let many = TOKENS[0];
    if needs.shared && needs.tokens >= many {
        return SHARES.into_iter().find_map(|shares| fits((many, 1, shares)));
    }
    if needs.tokens == 1 {
        return ROWS.into_iter().find_map(|rows| fits((1, rows, 1)));
    }
    tokens(needs).find_map(|tokens| fits((tokens, 1, 1)))
}

/// Rows of x that such a workgroup may take, most first. With fewer than four of many, each unpacks the
/// weights for itself too often.
pub fn tokens(needs: &ProductNeeds) -> impl Iterator<Item = u32> + use<> {
    let all = needs.tokens.next_power_of_two();
    let enough = move |tokens: &u32| *tokens <= all && *tokens >= all.min(LEAST_TOKENS);
    TOKENS.into_iter().filter(enough)
}

/// The same with `tokens` rows of x a workgroup, `rows` rows of weights a thread, and columns that are
/// shared by so many workgroups, where that can be.
pub fn down(
    device: &DeviceFacts,
    needs: &ProductNeeds,
    (tokens, rows, shares): (u32, u32, u32),
) -> Option<Shape> {
    let software = device.kind == DeviceKind::Cpu && !needs.experts;
    // Pairs of chunks are read at once, and more may have to stay together.
    let packing = needs.format.packing();
    let together = packing.together() * packing.chunk as u64;
    let even = needs.columns.is_multiple_of(together * u64::from(shares));
    let possible = software && needs.one_segment && (shares == 1 || (needs.shared && even));
    let tile = tile(device, needs, rows)?;
    let threads = tile / rows;
    // Rows of x, their sums at most, and the results; what statistics need.
    let own = needs.columns / u64::from(shares);
    let words = u64::from(tokens) * (own + own / 4 + u64::from(tile)) + u64::from(threads);
    let fits = 4 * words <= u64::from(device.max_workgroup_bytes);
    let columns = Columns::Down { shares };
    (possible && fits).then_some(Shape { tokens, rows, tile, threads, columns })
}

/// Rows of weights of such a workgroup: as many as leave the fewest threads idle where two processors
/// have equal shares.
fn tile(device: &DeviceFacts, needs: &ProductNeeds, rows: u32) -> Option<u32> {
    let idle = |tile: &u32| needs.rows.next_multiple_of(2 * u64::from(*tile)) - needs.rows;
    let whole = |tile: &u32| {
        let few = *tile > 64 && needs.rows < ENOUGH * u64::from(*tile);
        let possible = tile.is_multiple_of(rows) && tile / rows <= device.max_workgroup_threads;
        possible && !few && tile.is_multiple_of(4 * needs.linears.max(1))
    };
    TILES.into_iter().filter(whole).min_by_key(idle)
}

/// Whether a subgroup's lanes can hold a row of x: up to 8 steps of 8 vectors each.
pub fn holds(needs: &ProductNeeds, subgroup: u32) -> bool {
    let chunk = needs.format.packing().chunk as u64;
    needs.same_chunk && needs.columns.div_ceil(4 * u64::from(subgroup)) <= 64 && chunk > 4
}

/// Blocks of two weight rows of a workgroup that runs in software, for one row of x: a dozen
/// workgroups, so that a few processors have equal shares, but no more rows than pay for reading and
/// computing x again, and no more than 16 KiB of workgroup memory hold where each thread keeps its share
/// of each sum.
pub fn blocks(needs: &ProductNeeds, subgroup: u32) -> u32 {
    let most = (2048 / subgroup).max(8);
    (needs.rows / (2 * 12)).clamp(8, most.into()) as u32
}

/// Elements of queries and sums that a thread holds where it has a token of its own: more make a text
/// that takes a second to compile.
const OWN_HELD: u32 = 512;

/// Sizes of attention to prompts where there are tokens for all lanes.
pub fn own(device: &DeviceFacts, needs: &AttentionNeeds) -> Option<Own> {
    let threads = device.subgroup_size.max(4);
    let many = needs.phase == Phase::Prefill && needs.tokens >= threads;
    let fits = |heads: &u32| {
        let sizes = [needs.key_size, needs.value_size].map(|size| size.next_multiple_of(8));
        needs.share.is_multiple_of(*heads) && heads * (sizes[0] + sizes[1]) <= OWN_HELD
    };
    let heads = (1..=needs.share).rev().find(fits)?;
    (device.kind == DeviceKind::Cpu && many).then_some(Own { heads, threads })
}
