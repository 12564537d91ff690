//! Sampling: a row of logits to the next token, and the inputs of the next step.
//!
//! One workgroup handles one row of logits. With `r` the row, `n = out_rows[r]` is the token row it
//! belongs to, `slots[n]` its slot and `positions[n]` the position of that token. The kernels write
//! the slot's record in `sampled`, at the place of its ring that `drawn` counts, and, at index
//! `slot`, what the decode program reads next, so a plan with one slot goes from prefill to decode,
//! and from decode to decode, without the host. A plan with several slots prefills them one at a
//! time; the host writes their inputs together afterwards, and decode steps follow each other
//! without it.
//!
//! Both kernels bind the buffers that [`buffers`] gives. `greedy` only reads `logits`; `sample`
//! changes penalised logits and puts them back. Their grid is one workgroup a row: `[R, 1, 1]`.
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
use quarrel_ir::plan::{Access, BufferId, Io, Kernel, KernelBinding};
use quarrel_ir::sampling::{HISTORY, RECORDS, SLOT_WORDS};

/// A binding's name, and the buffer of a plan that it stands for.
type Bound = (&'static str, fn(&Io) -> BufferId);

/// The kernels' bindings, in order.
const BINDINGS: [Bound; 11] = [
    ("logits", |io| io.logits),
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

/// The buffers that both kernels bind, whole, in order.
pub fn buffers(io: &Io) -> [BufferId; 11] {
    BINDINGS.map(|(_, buffer)| buffer(io))
}

/// The two sampling kernels of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingKernels {
    /// Takes the largest logit.
    pub greedy: Kernel,
    /// Draws by the slots' sampling parameters.
    pub sample: Kernel,
}

/// The sampling kernels for `vocabulary` logits a row, states of `context` positions and `slots`
/// slots.
pub fn kernels(facts: &DeviceFacts, vocabulary: u32, context: u32, slots: u32) -> SamplingKernels {
    let sizes = Sizes { vocabulary, context, slots };
    // Software devices run the threads of a workgroup one after another. `sample` reduces vectors,
    // which with more threads would fill the workgroup memory that Metal has.
    let (greedy, sample) = match facts.kind {
        DeviceKind::Cpu => (256, 256),
        _ => (1024, 512),
    };
    let threads = |wanted: u32| {
        let most = wanted.min(facts.max_workgroup_threads).max(1);
        1 << most.ilog2()
    };
    SamplingKernels {
        greedy: greedy_kernel(&sizes, threads(greedy)),
        sample: sample_kernel(&sizes, threads(sample)),
    }
}

struct Sizes {
    vocabulary: u32,
    context: u32,
    slots: u32,
}

fn greedy_kernel(sizes: &Sizes, threads: u32) -> Kernel {
    let body = [include_str!("best.wgsl"), include_str!("greedy.wgsl")].concat();
    // Two words a subgroup, of at least four threads, for the reduction, and the row's facts.
    kernel("greedy", Access::Read, sizes, threads, 8 * threads.div_ceil(4) + 16, &body)
}

fn sample_kernel(sizes: &Sizes, threads: u32) -> Kernel {
    // The penalty gives each entry of the history a thread.
    let threads = threads.max(HISTORY as u32);
    let body = [include_str!("best.wgsl"), include_str!("sample.wgsl")].concat();
    let bytes = 8 * threads.div_ceil(4) + 32 * threads + 4 * HISTORY as u32 + 16;
    kernel("sample", Access::Write, sizes, threads, bytes, &body)
}

fn kernel(
    name: &str,
    logits: Access,
    sizes: &Sizes,
    threads: u32,
    workgroup_bytes: u32,
    body: &str,
) -> Kernel {
    let bindings: Vec<_> = BINDINGS
        .into_iter()
        .map(|(name, _)| KernelBinding {
            name: name.into(),
            access: match name {
                "logits" => logits,
                "stop" => Access::Read,
                _ => Access::Write,
            },
        })
        .collect();
    let wide = sizes.vocabulary.is_multiple_of(4);
    let wgsl = [
        declarations(&bindings, wide).as_str(),
        constants(sizes, threads).as_str(),
        loads(wide, logits == Access::Write).as_str(),
        include_str!("common.wgsl"),
        &fill(body, &[]),
    ]
    .concat();
    Kernel {
        name: name.into(),
        family: "sampling".into(),
        variant: format!("{name}, {threads} threads, {} logits a load", if wide { 4 } else { 1 }),
        choice: None,
        wgsl,
        bindings,
        workgroup: threads,
        workgroup_bytes,
    }
}

fn declarations(bindings: &[KernelBinding], wide: bool) -> String {
    let declare = |(index, binding): (usize, &KernelBinding)| {
        let mode = match binding.access {
            Access::Read => "read",
            Access::Write => "read_write",
        };
        let element = if wide && index == 0 { "vec4<u32>" } else { "u32" };
        let name = &binding.name;
        format!("@group(0) @binding({index}) var<storage, {mode}> {name}: array<{element}>;\n")
    };
    bindings.iter().enumerate().map(declare).collect()
}

fn constants(sizes: &Sizes, threads: u32) -> String {
    let Sizes { vocabulary, context, slots } = sizes;
    format!(
        "\nconst VOCABULARY: u32 = {vocabulary}u;\nconst CONTEXT: u32 = {context}u;\n\
         const SLOTS: u32 = {slots}u;\nconst THREADS: u32 = {threads}u;\n\
         const SLOT_WORDS: u32 = {SLOT_WORDS}u;\nconst HISTORY: u32 = {HISTORY}u;\n\
         const RECORDS: u32 = {RECORDS}u;\n\n"
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
