//! Kernel choice: tile sizes for a device.
//!
//! GPUs want enough subgroups to hide latency, so a subgroup holds few rows when there are few
//! altogether. What is special to processors that run kernels in software is in `software.rs`.

pub mod experts;
pub mod flash;
mod matrices;
pub mod software;

use quarrel_ir::facts::{DeviceFacts, DeviceKind};
use quarrel_ir::format::Format;
use quarrel_ir::plan::{Groups, Phase};
use quarrel_kernels::attention::{Quads, Tiles};
use quarrel_kernels::product::{Columns, Staging};
use quarrel_kernels::{attention, product};

use matrices::by_rule;
pub use matrices::{by_matrices, matrix_size};

/// Bytes of x that a product may stage in workgroup memory.
const STAGE_BYTES: u64 = 16 << 10;

/// The same as integers, at most; and what a device must have besides, for sums.
const INTEGER_STAGE_BYTES: u32 = 40 << 10;
const BESIDE_STAGE_BYTES: u32 = 4 << 10;

/// Workgroups that keep a large GPU busy.
const ENOUGH_GROUPS: u64 = 96;

/// What decides the shape of a product.
pub struct ProductNeeds {
    pub format: Format,
    /// Weight rows altogether.
    pub rows: u64,
    pub columns: u64,
    /// A common multiple of the numbers of linears in the groups.
    pub linears: u32,
    /// Whether x takes work to compute.
    pub computed: bool,
    /// Whether all matrices have chunks of the same length.
    pub same_chunk: bool,
    /// Whether all rows are behind one set of planes.
    pub one_segment: bool,
    /// Most rows of x of a step that share weights, or may.
    pub tokens: u32,
    /// Whether the weights are those of experts.
    pub experts: bool,
    /// Where rows are grouped by expert: all of them, and those of each token.
    pub groups: Option<(Groups, u32)>,
    /// Whether the prologue takes sums over rows of x.
    pub statistics: bool,
    /// Whether cooperative matrices may be used: they round x to F16 and take no statistics.
    pub matrices: bool,
    /// Whether several workgroups may share the columns.
    pub shared: bool,
    /// Whether x may be rounded to integers of 16 bits, to be multiplied with weights that are bytes.
    pub integers: bool,
}

/// Tile sizes of a product and how x is staged, by rule: the first of the variants.
pub fn product(device: &DeviceFacts, needs: &ProductNeeds) -> (product::Shape, Staging) {
    let software = device.kind == DeviceKind::Cpu;
    let few = !software && few_rows(needs);
    let (one, many) = (needs.tokens == 1, needs.tokens >= MANY_ROWS && !few);
    if let Some(shape) = by_rule(device, needs).filter(|_| many && !software) {
        return (shape, Staging::No);
    }
    if let Some(shape) = software::down_by_rule(device, needs) {
        return (shape, Staging::Floats);
    }
    let subgroup = device.subgroup_size.max(4);
    let across = needs.tokens >= ACROSS / 2 && !needs.statistics && !needs.experts;
    let held = one && software::holds(needs, subgroup);
    let (rows, blocks) = gpu_sizes(device, needs);
    let sizes = match (software, one, many) {
        (true, true, _) if held => (1, 1, 2 * software::blocks(needs, subgroup)),
        (true, true, _) => (1, 2, software::blocks(needs, subgroup)),
        (true, false, _) if across => (ACROSS.next_multiple_of(subgroup), 12, 4),
        (true, false, _) => (4, 12, 4),
        (false, true, _) => (1, rows, blocks),
        (false, false, false) if few => (needs.tokens, 4, 4),
        (false, false, false) => (needs.tokens.min(4), rows.min(2), 4),
        (false, false, true) => (8, 4, 4),
    };
    product_of(device, needs, sizes, 1)
}

/// The shape of a product whose subgroups hold so many rows of x and of weights, and whose workgroups
/// take so many blocks of such rows, in so many passes where x is staged once; how x is staged.
pub fn product_of(
    device: &DeviceFacts,
    needs: &ProductNeeds,
    (tokens, rows, blocks): (u32, u32, u32),
    passes: u32,
) -> (product::Shape, Staging) {
    let software = device.kind == DeviceKind::Cpu;
    let subgroup = device.subgroup_size.max(4);
    let one = needs.tokens == 1;
    // Whether a workgroup holds all rows of x, and they are few.
    let ahead = needs.tokens < MANY_ROWS || (few_rows(needs) && tokens >= needs.tokens);
    let threads = if software { subgroup } else { 4 * subgroup };
    let threads = threads.min(device.max_workgroup_threads);
    // Blocks of rows and fours of units fill each linear's share of a tile.
    let step = needs.linears.max(1) * 4 * rows / gcd(4, rows);
    let tile = (rows * blocks).next_multiple_of(step);
    let staged = match needs.computed && needs.columns * 4 * u64::from(tokens) <= STAGE_BYTES {
        true => Staging::Floats,
        false => Staging::No,
    };
    let shape = product::Shape { tokens, rows, tile, threads, columns: Columns::Plain };
    if !software && ahead && needs.same_chunk && !needs.experts {
        // A block of rows for each subgroup, or for several that share its columns.
        let share = sharing(device, needs, rows, tile / rows);
        let threads = tile / rows * share * subgroup;
        if threads <= device.max_workgroup_threads {
            let (fetched, fits) = fetched(device, needs, (subgroup, share), tokens, rows);
            let far_apart = needs.format.packing().chunk >= FAR_APART;
            let staged = match fits && (needs.computed || far_apart) {
                true if integers(device, needs) => Staging::Integers,
                true => Staging::Floats,
                false => Staging::No,
            };
            let once = staged != Staging::No && fetched.staged.is_none();
            let fetched = product::Fetched { passes: if once { passes } else { 1 }, ..fetched };
            let (tile, columns) = (tile * fetched.passes, Columns::Fetched(fetched));
            return (product::Shape { tile, threads, columns, ..shape }, staged);
        }
    }
    let alone = needs.experts && needs.groups.is_none();
    let across = !needs.statistics && !alone && tokens >= ACROSS;
    if software && across && tokens.is_multiple_of(threads) {
        return (product::Shape { columns: Columns::Across, ..shape }, Staging::No);
    }
    if software && one && rows == 1 && software::holds(needs, subgroup) {
        return (product::Shape { columns: Columns::Held, ..shape }, Staging::No);
    }
    (shape, staged)
}

/// Elements of a row from which on integers pay. On an H200 products of 576 columns took 11 % longer
/// with them, those of 2,048 and more 8 to 30 % less.
const INTEGER_COLUMNS: u64 = 2048;

/// Whether weights that are bytes are multiplied with integers.
///
/// GPUs with Vulkan drivers mostly multiply four pairs of bytes at once (measured on NVIDIA's alone);
/// Apple's do not, and there it would be written out in many instructions. Turning x into integers pays
/// where rows are long.
fn integers(device: &DeviceFacts, needs: &ProductNeeds) -> bool {
    let gpu = matches!(device.kind, DeviceKind::Discrete | DeviceKind::Integrated);
    let long = needs.columns >= INTEGER_COLUMNS;
    needs.integers && long && gpu && device.backend == "vulkan" && device.subgroup_size >= 8
}

/// Rows of x of a workgroup that runs in software, where there are many: with subgroups of eight, four
/// of each thread share what it reads of the weights.
const ACROSS: u32 = 32;

/// Rows of x from which on matrices pay.
pub const MANY_ROWS: u32 = 4;

/// Rows of x up to which a subgroup of a GPU holds all of them beside four rows of weights. Then what
/// it loads of x, from the nearest cache, is no more than what it computes with it.
const FEW_ROWS: u32 = 8;

/// Whether a few rows of x go by vectors all at once, though there are enough for matrices: floats,
/// whose lanes read neighbouring parts of x. Matrices pad so few rows to many and wait for memory.
fn few_rows(needs: &ProductNeeds) -> bool {
    let near = needs.format.packing().chunk < FAR_APART;
    (MANY_ROWS..=FEW_ROWS).contains(&needs.tokens) && near && needs.same_chunk && !needs.experts
}

/// Elements of a chunk from which on lanes would read x far apart from each other.
const FAR_APART: usize = 16;

/// Most chunks that a lane reads ahead: each is four registers or more, and what is not in flight in
/// one subgroup is in another.
const MOST_AHEAD: u32 = 4;

/// How far ahead a subgroup that holds `rows` rows reads weights, and whether what a turn needs of
/// `tokens` rows of x fits into what may be staged; where all of x does not, whole turns of it are.
fn fetched(
    device: &DeviceFacts,
    needs: &ProductNeeds,
    (lanes, share): (u32, u32),
    tokens: u32,
    rows: u32,
) -> (product::Fetched, bool) {
    let chunk = needs.format.packing().chunk as u32;
    let (chunks, together) = (needs.columns as u32 / chunk, lanes * share);
    // Bytes of four elements, those of a block's scale and sums included, and bytes altogether.
    let (bytes, most) = match integers(device, needs) {
        true => {
            let left = device.max_workgroup_bytes.saturating_sub(BESIDE_STAGE_BYTES);
            (11, INTEGER_STAGE_BYTES.min(left))
        }
        false => (16, STAGE_BYTES as u32),
    };
    // Turns of one chunk a lane for which x can be staged at once.
    let short_turns = most / (bytes * tokens * chunk / 4 * together);
    let most = (MOST_AHEAD / rows / tokens).min(short_turns).max(1);
    // Turns of equal length.
    let turns = chunks.div_ceil(together * most);
    let ahead = chunks.div_ceil(together * turns);
    let staged = Some(short_turns / ahead).filter(|part| *part > 0 && *part < turns);
    (product::Fetched { lanes, share, ahead, staged, passes: 1 }, short_turns > 0)
}

/// Subgroups at most that share work on one product: what a large GPU has under way at once.
const MOST_SUBGROUPS: u64 = 4096;
/// Subgroups of a workgroup that shares columns.
const SHARING_SUBGROUPS: u32 = 16;

/// How many subgroups share the columns of a block of `rows` rows, where a workgroup has `blocks`.
///
/// Each turn waits for memory. Where rows are few, so are the turns under way at once, and the device
/// waits with them: then more subgroups take fewer turns each, to meet in workgroup memory, as long
/// as a lane has something to read.
fn sharing(device: &DeviceFacts, needs: &ProductNeeds, rows: u32, blocks: u32) -> u32 {
    let chunk = needs.format.packing().chunk as u32;
    let chunks = needs.columns / u64::from(chunk);
    let subgroups = needs.rows.div_ceil(rows.into());
    let (lanes, ahead) = (device.subgroup_size.max(4), (MOST_AHEAD / rows / needs.tokens).max(1));
    let pays = |share: &u32| {
        let waits = chunks > u64::from(share / 2 * lanes * ahead);
        // What a turn needs of x is still staged, where it is.
        let near = 4 * needs.tokens * chunk * lanes * share <= STAGE_BYTES as u32;
        let fits = (near || few_rows(needs))
            && blocks * share <= SHARING_SUBGROUPS
            && blocks * share * lanes <= device.max_workgroup_threads;
        waits && fits && subgroups * u64::from(*share) <= MOST_SUBGROUPS
    };
    [2, 4, 8].into_iter().take_while(pays).last().unwrap_or(1)
}

/// Weight rows that a subgroup of a GPU holds at once when there is one row of x, and blocks of such
/// rows of a workgroup: where x is long and each workgroup computes or stages it, more rows share it.
/// By measurements on an H100 and an H200.
pub fn gpu_sizes(device: &DeviceFacts, needs: &ProductNeeds) -> (u32, u32) {
    let (quantised, few) = (!needs.format.is_float(), needs.rows < FEW_WEIGHT_ROWS);
    let (long, many) = (needs.columns >= LONG_X, needs.rows >= MANY_WEIGHT_ROWS);
    if integers(device, needs) {
        let rows = if few { 1 } else { 2 };
        let rest = !needs.computed && needs.rows >= REST_ROWS;
        return (if many || (long && rest) { 4 } else { rows }, 8);
    }
    let rows = match (quantised, needs.computed, long) {
        _ if few => 1,
        (true, ..) if many => 4,
        (false, true, _) => 1,
        _ => 2,
    };
    let blocks = match (quantised, needs.computed, long) {
        (true, _, true) | (false, true, false) => 8,
        (false, true, true) => 16,
        _ => 4,
    };
    (rows, blocks)
}

/// Rows of weights under which each is a subgroup's own, and from which on a device has enough subgroups
/// if they hold several.
const FEW_WEIGHT_ROWS: u64 = 2048;
const MANY_WEIGHT_ROWS: u64 = 16384;

/// Rows of weights from which on subgroups hold four of integers where x is read as it is.
const REST_ROWS: u64 = 4096;

/// Elements from which on x is long.
const LONG_X: u64 = 4096;

/// What decides the shape of attention.
pub struct AttentionNeeds {
    pub phase: Phase,
    /// Query heads.
    pub heads: u32,
    /// Query heads to a key head.
    pub share: u32,
    pub key_size: u32,
    pub value_size: u32,
    /// Bytes of a position's keys and values, all heads.
    pub row_bytes: u64,
    /// Most positions that a token attends to.
    pub positions: u32,
    /// Tokens of a decode step.
    pub slots: u32,
    /// Workgroups that are to share the positions of a token, where somebody says how many.
    pub split: Option<u32>,
    /// Most tokens of a step.
    pub tokens: u32,
    /// Whether cooperative matrices may be used: they round queries, keys, values and weights to
    /// F16.
    pub matrices: bool,
}

/// The shape of attention.
pub fn attention(device: &DeviceFacts, needs: &AttentionNeeds) -> attention::Shape {
    let decode_on_gpu = device.kind != DeviceKind::Cpu && needs.phase != Phase::Prefill;
    if let Some(flash) = flash::flash(device, needs) {
        return attention::Shape::Flash(flash);
    }
    if let Some(own) = software::own(device, needs) {
        return attention::Shape::Own(own);
    }
    match quads(device, needs).filter(|_| decode_on_gpu) {
        Some(quads) => attention::Shape::Quads(quads),
        None => attention::Shape::Tiles(tiles(device, needs)),
    }
}

/// Threads of a workgroup that takes positions by quads: 64 positions at once, and enough loads
/// under way to hide the latency of memory where there is one workgroup a processor.
const QUAD_THREADS: u32 = 256;

/// Numbers that a thread should hold at most: of queries and sums, and with those of what it loads.
const HELD: u32 = 128;
const HELD_AND_LOADED: u32 = 160;

/// Bytes of keys and values from which on reading them again for each query head takes longer than
/// the latency of a step: what the caches of a large GPU deliver in three microseconds.
const AGAIN_BYTES: u64 = 16 << 20;

/// How many positions of a token are not split: combining takes about as long as the few
/// steps that a split saves.
const WHOLE_CONTEXT: u32 = 1024;

/// Positions of a split at least, where the context is full: two steps. With half as many the
/// products that combine the partials lose more than attention gains.
const LEAST_POSITIONS: u32 = 512;

/// Most partials of a row that a product combines while it reads them.
const IN_PLACE: u32 = 16;

/// Most workgroups that share a token's positions.
const MOST_SPLITS: u32 = 64;

/// Workgroups that attention is split into: a large GPU has about as many processors.
const SPLIT_GROUPS: u32 = 128;

/// The sizes of attention by quads, where heads are whole eights and fit a quad's registers.
fn quads(device: &DeviceFacts, needs: &AttentionNeeds) -> Option<Quads> {
    let both = needs.key_size + needs.value_size;
    // Heads share loads where the loads are what takes time.
    let bytes = needs.row_bytes * u64::from(needs.positions) * u64::from(needs.share);
    let most = if bytes > AGAIN_BYTES { 4 * HELD / both.max(1) } else { 1 };
    // But not so many that workgroups are too few.
    let enough = |heads: u32| {
        let groups = needs.heads / heads * needs.slots;
        groups * splits(needs, groups) >= SPLIT_GROUPS
    };
    let fits = |heads: &u32| needs.share.is_multiple_of(*heads) && enough(*heads);
    quads_of(device, needs, (1..=most).rev().find(fits).unwrap_or(1))
}

/// The sizes of attention by quads whose workgroups take `heads` query heads, where that can be.
pub fn quads_of(device: &DeviceFacts, needs: &AttentionNeeds, heads: u32) -> Option<Quads> {
    let whole = [needs.key_size, needs.value_size].iter().all(|size| size.is_multiple_of(8));
    // Each of four lanes has a fourth of a query and of a sum for each head.
    let both = needs.key_size + needs.value_size;
    if !whole || both > 4 * HELD || QUAD_THREADS > device.max_workgroup_threads {
        return None;
    }
    // A subgroup of query heads has the same key head, and a thread has one result at most.
    let possible = needs.share.is_multiple_of(heads)
        && heads * both <= 4 * HELD
        && heads * needs.value_size / 4 <= QUAD_THREADS;
    // A loaded number takes half a register, as most states are F16.
    let fits = |positions: &u32| heads * both / 4 + positions * both / 8 <= HELD_AND_LOADED;
    let positions = [4, 2].into_iter().find(fits).unwrap_or(1);
    let groups = needs.heads / heads * needs.slots;
    let quads = Quads { heads, threads: QUAD_THREADS, positions, splits: splits(needs, groups) };
    let fits = quads.workgroup_bytes(needs.value_size) <= device.max_workgroup_bytes;
    (possible && fits).then_some(quads)
}

/// Workgroups that share a token's positions where there are `groups` without: enough to keep a
/// large GPU busy, and a power of two, so that a full context is whole steps for each.
fn splits(needs: &AttentionNeeds, groups: u32) -> u32 {
    if let Some(split) = needs.split {
        return split.clamp(1, MOST_SPLITS).next_power_of_two();
    }
    if needs.positions <= WHOLE_CONTEXT {
        return 1;
    }
    let enough = SPLIT_GROUPS.div_ceil(groups.max(1)).next_power_of_two();
    enough.min(1 << (needs.positions / LEAST_POSITIONS).ilog2())
}

/// Whether a product of `groups` workgroups, which all read the same row of `width` elements, should
/// combine its partials while it reads them.
///
/// Each workgroup reads all partials: that is quicker than another dispatch while they are few and
/// the caches deliver them to all workgroups in less time than a dispatch takes (2 to 3 µs).
pub fn combines_in_place(split: &attention::Split, groups: u64, width: u64) -> bool {
    split.splits <= IN_PLACE
        && 4 * width <= STAGE_BYTES
        && groups * split.bytes() <= AGAIN_BYTES / 2
}

/// Sizes of attention in tiles.
pub fn tiles(device: &DeviceFacts, needs: &AttentionNeeds) -> Tiles {
    let software = device.kind == DeviceKind::Cpu;
    let least = needs.value_size.div_ceil(8).next_power_of_two();
    let (tokens, heads, threads, positions) = match (software, needs.phase) {
        (true, Phase::Prefill) => (4, 1, 16, 4),
        (true, _) => (1, needs.share.min(4), 16, 4),
        (false, Phase::Prefill) => (4, 1, 128, 1),
        (false, _) => (1, 1, 256, 1),
    };
    let heads = (1..=heads).rev().find(|h| needs.share.is_multiple_of(*h)).unwrap_or(1);
    let threads = threads.max(least).min(device.max_workgroup_threads);
    let mut tiles = Tiles { tokens, heads, threads, positions };
    // Fewer tokens where large heads would not fit.
    while tiles.tokens > 1 && tiles.workgroup_bytes(needs.key_size) > device.max_workgroup_bytes {
        tiles.tokens /= 2;
    }
    tiles
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
