//! Sampling: a row of logits to the next token, and the inputs of the next step.
//!
//! One workgroup handles one row of logits, but that `largest` shares a row out among many. With `r`
//! the row, `n = out_rows[r]` is the token row it belongs to, `slots[n]` its slot and `positions[n]` the
//! position of that token. The kernels write the slot's record in `sampled`, at the place of its ring
//! that `drawn` counts, and, at index `slot`, what the decode program reads next, so a plan with one
//! slot goes from prefill to decode, and from decode to decode, without the host. A plan with several
//! slots prefills them one at a time; the host writes their inputs together afterwards, and decode
//! steps follow each other without it.
//!
//! The greedy program is two dispatches: `largest` finds the largest logit of each part of each row,
//! `greedy` the largest of these. `sample` changes penalised logits and puts them back.
//!
//! # Numerics
//! Any logit that is NaN or +∞, or all of them −∞, makes the status `NotFinite`; −∞ alone is a
//! token never drawn. `greedy` takes the lowest id among equal logits. `sample` works in this order:
//!
//! 1. repetition penalty over the distinct tokens of the history: a positive logit is divided, a
//!    negative one multiplied;
//! 2. top-k keeps the k largest logits, and all that equal the smallest of them;
//! 3. top-p keeps the smallest set of the largest whose probability, among those kept so far and at
//!    temperature 1, reaches p;
//! 4. min-p keeps those with at least that share of the largest probability;
//! 5. temperature, and a draw: the largest of `(logit − max) / temperature + g`, where `g` is
//!    Gumbel noise from a hash of seed, slot, position and token id. Temperature 0 takes the
//!    largest logit after the penalty.
//!
//! Sums are f32 in a fixed order, so one device repeats itself exactly; devices may differ where two
//! scores agree to about six digits.

use crate::template::fill;
use quarrel_ir::facts::{DeviceFacts, DeviceKind};
use quarrel_ir::graph::RunDim;
use quarrel_ir::plan::{Access, BufferId, Extent, Io, Kernel, KernelBinding, Phase};
use quarrel_ir::sampling::{HISTORY, MOST_PARTS, RECORDS, SLOT_WORDS};

/// A binding's name, and the buffer of a plan that it stands for.
type Bound = (&'static str, fn(&Io) -> BufferId);

const LOGITS: Bound = ("logits", |io| io.logits);
const LARGEST: Bound = ("largest", |io| io.largest);
/// What kernels bind that end a step.
const ENDING: [Bound; 10] = [
    ("stop", |io| io.stop),
    ("sampler", |io| io.sampler),
    ("tokens", |io| io.tokens),
    ("positions", |io| io.positions),
    ("slots", |io| io.slots),
    ("out_rows", |io| io.out_rows),
    ("step", |io| io.step),
    ("live", |io| io.live),
    ("sampled", |io| io.sampled),
    ("drawn", |io| io.drawn),
];

/// A dispatch of a sampling program.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The kernel.
    pub kernel: Kernel,
    /// Workgroups of a row.
    pub parts: u32,
    bound: Vec<Bound>,
}

impl Stage {
    /// The buffers that the kernel binds, whole, in order.
    pub fn buffers(&self, io: &Io) -> Vec<BufferId> {
        self.bound.iter().map(|(_, buffer)| buffer(io)).collect()
    }

    /// Workgroups.
    pub const fn grid(&self) -> [Extent; 3] {
        let rows = Extent::Tiles { dim: RunDim::OutRows, tile: 1, times: 1 };
        [rows, Extent::Const(self.parts), Extent::Const(1)]
    }

    /// Logits of a row that it reads, of `vocabulary`.
    pub fn logits_read(&self, vocabulary: u32) -> u64 {
        let reads = self.bound.iter().any(|(name, _)| *name == LOGITS.0);
        if reads { u64::from(vocabulary) } else { 0 }
    }
}

/// The sampling programs of a plan.
#[derive(Clone, Debug)]
pub struct SamplingKernels {
    /// Takes the largest logit.
    pub greedy: [Stage; 2],
    /// Draws by the slots' sampling parameters.
    pub sample: Stage,
}

impl SamplingKernels {
    /// The programs, with the dispatches of each in order.
    pub fn programs(self) -> [(Phase, Vec<Stage>); 2] {
        [(Phase::Greedy, self.greedy.into()), (Phase::Sample, vec![self.sample])]
    }
}

/// The sampling kernels for `vocabulary` logits a row, states of `context` positions and `slots`
/// slots.
pub fn kernels(facts: &DeviceFacts, vocabulary: u32, context: u32, slots: u32) -> SamplingKernels {
    // Software devices run the threads of a workgroup one after another. `sample` reduces vectors,
    // which with more threads would fill the workgroup memory that Metal has.
    let sample = if facts.kind == DeviceKind::Cpu { 256 } else { 512 };
    let threads = |wanted: u32| {
        let most = wanted.min(facts.max_workgroup_threads).max(1);
        1 << most.ilog2()
    };
    let of_part = threads(256);
    // A few loads for each thread of a part.
    let parts = vocabulary.div_ceil(4).div_ceil(4 * of_part).clamp(1, MOST_PARTS);
    let sizes = Sizes { vocabulary, context, slots, parts };
    SamplingKernels {
        greedy: [largest_kernel(&sizes, of_part), greedy_kernel(&sizes, threads(MOST_PARTS))],
        sample: sample_kernel(&sizes, threads(sample)),
    }
}

struct Sizes {
    vocabulary: u32,
    context: u32,
    slots: u32,
    /// Workgroups of a row that look for its largest logit.
    parts: u32,
}

fn largest_kernel(sizes: &Sizes, threads: u32) -> Stage {
    let body =
        [include_str!("ordered.wgsl"), include_str!("best.wgsl"), include_str!("largest.wgsl")]
            .concat();
    let accesses = vec![(LOGITS, Access::Read), (LARGEST, Access::Write)];
    stage("largest", accesses, sizes, threads, 8 * threads.div_ceil(4), &body)
}

fn greedy_kernel(sizes: &Sizes, threads: u32) -> Stage {
    let body = [
        include_str!("ordered.wgsl"),
        include_str!("common.wgsl"),
        include_str!("best.wgsl"),
        include_str!("greedy.wgsl"),
    ]
    .concat();
    // Two words a subgroup, of at least four threads, for the reduction, and the row's facts.
    let bytes = 8 * threads.div_ceil(4) + 16;
    stage("greedy", ending((LARGEST, Access::Read)), sizes, threads, bytes, &body)
}

/// What a kernel binds that ends a step and begins with `first`.
fn ending(first: (Bound, Access)) -> Vec<(Bound, Access)> {
    let access = |bound: Bound| match bound.0 {
        "stop" => Access::Read,
        _ => Access::Write,
    };
    std::iter::once(first).chain(ENDING.map(|bound| (bound, access(bound)))).collect()
}

fn sample_kernel(sizes: &Sizes, threads: u32) -> Stage {
    // The penalty gives each entry of the history a thread.
    let threads = threads.max(HISTORY as u32);
    let body = [
        include_str!("ordered.wgsl"),
        include_str!("common.wgsl"),
        include_str!("best.wgsl"),
        include_str!("sample.wgsl"),
    ]
    .concat();
    let bytes = 8 * threads.div_ceil(4) + 32 * threads + 4 * HISTORY as u32 + 16;
    stage("sample", ending((LOGITS, Access::Write)), sizes, threads, bytes, &body)
}

fn stage(
    name: &str,
    bound: Vec<(Bound, Access)>,
    sizes: &Sizes,
    threads: u32,
    workgroup_bytes: u32,
    body: &str,
) -> Stage {
    let wide = sizes.vocabulary.is_multiple_of(4);
    let logits = bound.iter().find(|((name, _), _)| *name == LOGITS.0).map(|(_, access)| *access);
    let reads = logits.map_or(String::new(), |access| loads(wide, access == Access::Write));
    let wgsl = [
        declarations(&bound, wide).as_str(),
        constants(sizes, threads).as_str(),
        &reads,
        &fill(body, &[]),
    ]
    .concat();
    let per_load = if wide { 4 } else { 1 };
    let variant = match logits {
        Some(_) => format!("{name}, {threads} threads, {per_load} logits a load"),
        None => format!("{name}, {threads} threads, the largest of {} parts", sizes.parts),
    };
    let kernel = Kernel {
        name: name.into(),
        family: "sampling".into(),
        variant,
        choice: None,
        wgsl,
        bindings: bound
            .iter()
            .map(|((name, _), access)| KernelBinding { name: (*name).into(), access: *access })
            .collect(),
        workgroup: threads,
        workgroup_bytes,
    };
    let parts = if name == "largest" { sizes.parts } else { 1 };
    Stage { kernel, parts, bound: bound.into_iter().map(|(bound, _)| bound).collect() }
}

fn declarations(bound: &[(Bound, Access)], wide: bool) -> String {
    let declare = |(index, ((name, _), access)): (usize, &(Bound, Access))| {
        let mode = match access {
            Access::Read => "read",
            Access::Write => "read_write",
        };
        let element = match *name {
            "largest" => "vec2<u32>",
            "logits" if wide => "vec4<u32>",
            _ => "u32",
        };
        format!("@group(0) @binding({index}) var<storage, {mode}> {name}: array<{element}>;\n")
    };
    bound.iter().enumerate().map(declare).collect()
}

fn constants(sizes: &Sizes, threads: u32) -> String {
    let Sizes { vocabulary, context, slots, parts } = sizes;
    format!(
        "\nconst VOCABULARY: u32 = {vocabulary}u;\nconst CONTEXT: u32 = {context}u;\n\
         const SLOTS: u32 = {slots}u;\nconst THREADS: u32 = {threads}u;\n\
         const SLOT_WORDS: u32 = {SLOT_WORDS}u;\nconst HISTORY: u32 = {HISTORY}u;\n\
         const RECORDS: u32 = {RECORDS}u;\nconst PARTS: u32 = {parts}u;\nconst MOST_PARTS: u32 = {MOST_PARTS}u;\n\n"
    )
}

/// The functions that read four logits of a row and, where `one_by_one`, one, and set one.
fn loads(wide: bool, one_by_one: bool) -> String {
    let mut text = String::new();
    text += match wide {
        true => {
            "fn words(row: u32, group: u32) -> vec4<u32> {\n    \
             return logits[row * (VOCABULARY / 4u) + group];\n}\n"
        }
        false => {
            "fn word_or_nothing(row: u32, token: u32) -> u32 {\n    \
             if token < VOCABULARY { return logits[row * VOCABULARY + token]; }\n    \
             return MINUS_INFINITY;\n}\n\
             fn words(row: u32, group: u32) -> vec4<u32> {\n    \
             let i = 4u * group;\n    \
             return vec4(word_or_nothing(row, i), word_or_nothing(row, i + 1u),\n        \
             word_or_nothing(row, i + 2u), word_or_nothing(row, i + 3u));\n}\n"
        }
    };
    let place = match wide {
        true => "logits[row * (VOCABULARY / 4u) + token / 4u][token % 4u]",
        false => "logits[row * VOCABULARY + token]",
    };
    if one_by_one {
        text += &format!(
            "fn word(row: u32, token: u32) -> u32 {{\n    return {place};\n}}\n\
             fn set_word(row: u32, token: u32, bits: u32) {{\n    {place} = bits;\n}}\n"
        );
    }
    text + "\n"
}

#[cfg(test)]
mod tests;
