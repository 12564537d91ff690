//! Each kernel family beside the reference, on random shapes, formats and values: in the tile shapes
//! of the present device and in those of a discrete GPU with subgroups of 32.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use quarrel_ir::format::Format;
use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::{BufferRole, Phase, PlanOptions};
use quarrel_reference::{Interpreter, StepInputs};
use quarrel_tests::architectures::draw;
use quarrel_tests::differ::{Runner, relative_l2};
use quarrel_tests::feed::{Part, chunks, plan_for, plan_logits, reference_logits, tokens, worst};
use quarrel_tests::little::{self, Block, Little, VOCABULARY};

/// Relative L2 distance of what is computed in F32 from F32 or packed weights. Measured on
/// llvmpipe: 1.1e-6 at most for products and rows, 4e-6 for attention near the beginning.
const WITHIN: f64 = 1e-5;
/// The same where states are F16, as values between two halves may be rounded to either: 4e-5.
const WITHIN_F16: f64 = 3e-4;
/// The same far from the beginning, where the angles of rotations are large and F32 holds them to
/// a ten-thousandth; the reference computes them in F64: 3e-5.
const WITHIN_FAR: f64 = 2e-4;

const DECODE: Part = (Phase::Decode, 1);

/// Feeds `parts` from position `first` to the plans of both tile shapes and to the reference.
fn distance(little: &Little, options: &PlanOptions, first: u32, parts: &[Part]) -> f64 {
    let (graph, weights) = (little.graph(), little.weights(3));
    let tokens = tokens(VOCABULARY, parts.iter().map(|part| part.1).sum());
    let wanted = reference_logits(&graph, &weights, options, &tokens, first, parts);
    let shapes = [false, true].map(|discrete| {
        let runner = Runner::of(&plan_for(&graph, options, discrete), &weights);
        worst(&plan_logits(&runner, &tokens, first, parts), &wanted)
    });
    shapes[0].max(shapes[1])
}

fn check(what: &str, all: &[Little], parts: &[Part], options: &PlanOptions) {
    let mut largest: f64 = 0.0;
    for little in all {
        let found = distance(little, options, 0, parts);
        assert!(found < WITHIN, "{found}: {little:?}");
        largest = largest.max(found);
    }
    println!("{what}: {largest:.1e}");
}

/// Prompt steps of 1 to 33 tokens, then two decode steps.
fn every_count() -> Vec<Part> {
    (1..=33).map(|count| (Phase::Prefill, count)).chain([DECODE; 2]).collect()
}

fn counted() -> PlanOptions {
    PlanOptions { context: 600, chunk: 33, out_rows: 33, ..PlanOptions::default() }
}

#[test]
fn products_in_every_format() {
    for (seed, format) in (20u8..).zip(Format::ALL) {
        let all = draw(&little::product(format), 1, seed);
        check(&format!("{format:?}"), &all, &every_count(), &counted());
    }
}

#[test]
fn products_that_meet_in_an_epilogue() {
    check("groups", &draw(&little::group(), 6, 30), &every_count(), &counted());
}

/// Steps after which the context is 1, 63, 64, 65, 200, 255, 256 and 257 tokens, among others; the
/// tiles of attention are 64, 128 and 256 positions long.
fn across_tiles() -> Vec<Part> {
    [
        vec![DECODE],
        chunks(61, 40),
        vec![DECODE; 3],
        chunks(134, 40),
        vec![DECODE; 2],
        chunks(53, 40),
        vec![DECODE; 4],
    ]
    .concat()
}

fn check_blocks(blocks: &[Block], state: StateFormat, first: u32, parts: &[Part]) {
    let within = match (state, first) {
        (StateFormat::F16, _) => WITHIN_F16,
        (_, 0..=1000) => WITHIN,
        _ => WITHIN_FAR,
    };
    let mut largest: f64 = 0.0;
    for block in blocks {
        let options = PlanOptions {
            context: first + 300,
            chunk: 40,
            out_rows: 40,
            state: Some(state),
            ..PlanOptions::default()
        };
        let found = distance(&block.little(), &options, first, parts);
        assert!(found < within, "{found} with states in {state:?}: {block:?}");
        largest = largest.max(found);
    }
    println!("attention with states in {state:?} from position {first}: {largest:.1e}");
}

#[test]
fn attention_with_states_in_f32() {
    check_blocks(&draw(&little::block(), 3, 40), StateFormat::F32, 0, &across_tiles());
}

#[test]
fn attention_with_states_in_f16() {
    check_blocks(&draw(&little::block(), 2, 41), StateFormat::F16, 0, &across_tiles());
}

/// The smallest and largest heads and shares.
#[test]
fn attention_at_the_ends_of_its_range() {
    let drawn = draw(&little::block(), 2, 42);
    let small = Block { head: 8, rope_dims: 8, share: 1, kv_heads: 3, ..drawn[0].clone() };
    let large = Block { head: 128, rope_dims: 128, share: 8, kv_heads: 1, ..drawn[1].clone() };
    let blocks = [small, Block { window: None, ..large }];
    check_blocks(&blocks, StateFormat::F32, 0, &[chunks(66, 40), vec![DECODE; 2]].concat());
}

/// Rotations far from the beginning: the positions before are zeros in plan and reference alike, and
/// a window keeps them out.
#[test]
fn rotations_at_long_positions() {
    let far = |block: Block| Block { window: Some(7), ..block };
    let blocks: Vec<Block> = draw(&little::block(), 2, 43).into_iter().map(far).collect();
    let parts = [chunks(20, 11), vec![DECODE; 3]].concat();
    check_blocks(&blocks, StateFormat::F32, 3970, &parts);
}

/// Embeddings of every format and norms by row kernels, each op its own.
#[test]
fn rows_op_by_op() {
    let options = PlanOptions { fuse: false, ..counted() };
    let parts = [chunks(40, 33), vec![DECODE; 2]].concat();
    for (index, format) in (1u64..).zip(Format::ALL) {
        let width = match format.block_len() as u64 {
            1..=32 => 32 * index,
            block => block * (1 + index % 3),
        };
        let kind = if index.is_multiple_of(2) { "rms_norm" } else { "layer_norm" };
        let little = Little::new(format, width)
            .line(&format!("x = {kind}(h, \"norm\", 0.00001)"))
            .line("logits = gelu(x) + softcap(h * 3, 2) / 0.5")
            .tensor("norm.weight", Format::F32, &[width])
            .tensor("norm.bias", Format::F32, &[width]);
        check(&format!("rows from {format:?}"), &[little], &parts, &options);
    }
}

/// Norms of heads whose elements are no multiple of four, so that nothing is taken four at a time.
#[test]
fn rows_of_odd_heads() {
    let parts = [chunks(40, 33), vec![DECODE; 2]].concat();
    for fuse in [false, true] {
        let little = Little::new(Format::F16, 72)
            .line("x = rms_norm(heads(h, 8), \"norm\", 0.00001)")
            .line("logits = linear(merge(x), \"w\")")
            .tensor("norm.weight", Format::F32, &[9])
            .matrix("w", Format::F16, 21, 72);
        check("odd heads", &[little], &parts, &PlanOptions { fuse, ..counted() });
    }
}

/// The sizes of three sequences that share a decode step.
const PROMPTS: [usize; 3] = [9, 21, 1];

/// One decode step of all slots: each at its own position.
fn together(after: usize) -> StepInputs {
    let at = |slot: usize| (PROMPTS[slot] + after) as u32;
    StepInputs {
        tokens: (0..3).map(|slot| (at(slot) * 7 + slot as u32) % VOCABULARY as u32).collect(),
        position: (0..3).map(at).collect(),
        slot: vec![0, 1, 2],
        out_rows: vec![0, 1, 2],
    }
}

/// Sequences in different slots decode together; one that is not live changes nothing.
#[test]
fn slots_decode_together() {
    let block = Block { softcap: None, window: None, ..draw(&little::block(), 1, 44)[0].clone() };
    let little = block.little();
    let (graph, weights) = (little.graph(), little.weights(5));
    let options =
        PlanOptions { context: 40, chunk: 16, out_rows: 16, slots: 3, ..PlanOptions::default() };
    let runner = Runner::of(&plan_for(&graph, &options, false), &weights);
    let mut oracle =
        Interpreter::new(graph, &weights, 3, 40).unwrap_or_else(|error| panic!("{error}"));
    let mut both = |phase, inputs: &StepInputs| {
        let wanted = oracle.step(inputs).unwrap_or_else(|error| panic!("{error}"));
        let found = relative_l2(&runner.step(phase, inputs), &wanted);
        assert!(found < WITHIN_F16, "{found} for {inputs:?}");
    };
    for (slot, count) in (0u32..).zip(PROMPTS) {
        let all = tokens(VOCABULARY, count);
        for (index, part) in all.chunks(16).enumerate() {
            let inputs = StepInputs::sequence(slot, 16 * index as u32, part).with_all_rows();
            both(Phase::Prefill, &inputs);
        }
    }
    (0..3).for_each(|after| both(Phase::Decode, &together(after)));
    let engine = runner.engine();
    let states = || -> Vec<Vec<u32>> {
        let ids = (0u32..).zip(&runner.plan().buffers);
        let ids = ids.filter(|(_, buffer)| buffer.role == BufferRole::State);
        ids.map(|(id, buffer)| {
            let words = (buffer.bytes / 4) as usize;
            let read = engine.read(quarrel_ir::plan::BufferId(id), 0, words);
            read.unwrap_or_else(|error| panic!("{error}"))
        })
        .collect()
    };
    let of_slot = |states: &[Vec<u32>], slot: usize| -> Vec<Vec<u32>> {
        let third = |words: &Vec<u32>| words.chunks(words.len() / 3).nth(slot).map(<[u32]>::to_vec);
        states.iter().filter_map(third).collect()
    };
    let before = states();
    engine.write(runner.plan().io.live, &[1, 0, 1]);
    runner.step(Phase::Decode, &together(3));
    let after = states();
    assert_eq!(of_slot(&before, 1), of_slot(&after, 1), "a slot that is not live was written");
    for live in [0, 2] {
        assert_ne!(of_slot(&before, live), of_slot(&after, live), "slot {live} was not written");
    }
}
