//! Attention whose positions are split over workgroups, beside the reference: the tile shapes of a
//! discrete GPU on the present device.

use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::{Phase, Plan, PlanOptions};
use quarrel_reference::{Interpreter, StepInputs};
use quarrel_tests::architectures::draw;
use quarrel_tests::differ::{Runner, gpu, relative_l2};
use quarrel_tests::feed::{Part, chunks, plan_for, plan_logits, reference_logits, tokens, worst};
use quarrel_tests::little::{self, Block, VOCABULARY};

/// Relative L2 distance with states in F32, for which see `kernels.rs`: rotations at positions in the
/// thousands are exact to a ten-thousandth.
const WITHIN: f64 = 2e-4;
/// The same where states are F16.
const WITHIN_F16: f64 = 3e-4;

/// A block without a window, of formats that the reference reads fast.
fn plain() -> Block {
    let format = quarrel_ir::format::Format::F16;
    Block {
        kv_heads: 1,
        share: 2,
        head: 16,
        rope_dims: 16,
        window: None,
        softcap: None,
        alibi: None,
        yarn: None,
        formats: [format; 3],
        ..draw(&little::block(), 1, 50)[0].clone()
    }
}

/// Steps after which the context is one less, equal, one more and two more than each of `sizes`.
fn around(sizes: &[usize]) -> Vec<Part> {
    let mut parts = vec![];
    let mut at = 0;
    for size in sizes {
        parts.extend(chunks(size - 2 - at, 125));
        parts.extend([(Phase::Decode, 1); 4]);
        at = size + 2;
    }
    parts
}

fn options(context: u32, state: StateFormat, fuse: bool) -> PlanOptions {
    let (chunk, state) = (125, Some(state));
    PlanOptions { context, chunk, out_rows: chunk, state, fuse, ..PlanOptions::default() }
}

/// How the decode program of a plan attends, and whether it combines in a kernel of its own.
fn attends(plan: &Plan) -> (String, bool) {
    let decode = plan.program(Phase::Decode).map_or(&[][..], |program| &program.dispatches);
    let kernels = || decode.iter().map(|dispatch| plan.kernel(dispatch.kernel));
    let variant = kernels().find(|kernel| kernel.family == "attention");
    let own = kernels().any(|kernel| kernel.family == "combine");
    (variant.map(|kernel| kernel.variant.clone()).unwrap_or_default(), own)
}

/// Feeds `parts` to a plan with fusion, which combines few splits in place, and to one without, which
/// combines in a kernel of its own.
fn check(block: &Block, context: u32, state: StateFormat, parts: &[Part], splits: u32) {
    let little = block.little();
    let (graph, weights) = (little.graph(), little.weights(3));
    let tokens = tokens(VOCABULARY, parts.iter().map(|part| part.1).sum());
    let wanted =
        reference_logits(&graph, &weights, &options(context, state, true), &tokens, 0, parts);
    for fuse in [true, false] {
        let plan =
            plan_for(&graph, &options(context, state, fuse), Some(gpu().facts().subgroup_size));
        let (variant, own) = attends(&plan);
        assert!(variant.ends_with(&format!(", {splits} splits")), "{variant}: {block:?}");
        assert_eq!(own, !fuse || splits > 16, "{block:?}");
        let found = worst(&plan_logits(&Runner::of(&plan, &weights), &tokens, 0, parts), &wanted);
        println!("{variant}, fuse {fuse}, {state:?}: {found:.1e}");
        let within = if state == StateFormat::F16 { WITHIN_F16 } else { WITHIN };
        assert!(found < within, "{found}: {variant}: {block:?}");
    }
}

/// Shares are whole steps of 256 positions, or of 128 and 64 where heads are large or several: a
/// split begins and ends at each of these contexts.
#[test]
fn at_the_ends_of_splits() {
    let parts = around(&[3, 64, 128, 256, 512, 1024, 2048]);
    check(&plain(), 2100, StateFormat::F32, &parts, 4);
    check(&plain(), 4096, StateFormat::F16, &parts, 8);
}

/// Windows that do not begin where splits do; caps and biases.
#[test]
fn of_every_kind() {
    let parts = around(&[256, 1100, 2070]);
    for (window, splits) in [(1030, 2), (1500, 2), (2060, 4)] {
        let block = Block { window: Some(window), ..plain() };
        check(&block, 2200, StateFormat::F32, &parts, splits);
    }
    let parts = around(&[256, 520, 1100]);
    let capped = Block { softcap: Some(2.0), kv_heads: 2, ..plain() };
    check(&capped, 2100, StateFormat::F32, &parts, 4);
    let biased = Block { alibi: Some(8.0), share: 3, window: Some(1040), ..plain() };
    check(&biased, 1500, StateFormat::F16, &parts, 2);
}

/// What a short window leaves is not split, however long the context.
#[test]
fn not_within_short_windows() {
    let block = Block { window: Some(1000), ..plain() };
    let plan = plan_for(
        &block.little().graph(),
        &options(20_000, StateFormat::F32, true),
        Some(gpu().facts().subgroup_size),
    );
    let (variant, own) = attends(&plan);
    assert!(variant.contains("a quad") && !variant.contains("splits") && !own, "{variant}");
}

/// Heads of all sizes that quads take, and all shares; those that fill their registers too.
#[test]
fn of_every_size() {
    let parts = around(&[128, 258, 600]);
    let sizes =
        [(8, 1, 3), (24, 4, 1), (40, 5, 2), (64, 3, 3), (72, 7, 1), (128, 8, 1), (256, 2, 1)];
    let states = [StateFormat::F16, StateFormat::F32];
    for ((head, share, kv_heads), state) in sizes.into_iter().zip(states.into_iter().cycle()) {
        let block = Block { head, rope_dims: head, share, kv_heads, ..plain() };
        check(&block, 2100, state, &parts, 4);
    }
}

/// Query heads that share loads, where keys and values are many.
#[test]
fn of_heads_together() {
    let parts = around(&[128, 258, 600]);
    for (head, share, heads, splits) in [(64, 4, 4, 32), (128, 6, 2, 16), (96, 4, 2, 16)] {
        let block = Block { head, rope_dims: head, share, kv_heads: 4, ..plain() };
        let little = block.little();
        let plan = plan_for(
            &little.graph(),
            &options(20_000, StateFormat::F32, true),
            Some(gpu().facts().subgroup_size),
        );
        let (variant, _) = attends(&plan);
        assert!(variant.starts_with(&format!("{heads} heads")), "{variant}");
        check(&block, 20_000, StateFormat::F32, &parts, splits);
    }
}

/// Sequences of very different lengths decode together.
#[test]
fn of_several_slots() {
    const PROMPTS: [usize; 3] = [700, 1, 258];
    let block = Block { share: 3, ..plain() };
    let little = block.little();
    let (graph, weights) = (little.graph(), little.weights(5));
    let options = PlanOptions { slots: 3, ..options(1100, StateFormat::F32, true) };
    let plan = plan_for(&graph, &options, Some(gpu().facts().subgroup_size));
    assert!(attends(&plan).0.ends_with("2 splits"), "{}", attends(&plan).0);
    let runner = Runner::of(&plan, &weights);
    let mut oracle =
        Interpreter::new(graph, &weights, 3, 1100).unwrap_or_else(|error| panic!("{error}"));
    let mut both = |phase, inputs: &StepInputs| {
        let wanted = oracle.step(inputs).unwrap_or_else(|error| panic!("{error}"));
        let found = relative_l2(&runner.step(phase, inputs), &wanted);
        assert!(found < WITHIN_F16, "{found} for {inputs:?}");
    };
    for (slot, count) in (0u32..).zip(PROMPTS) {
        for (index, part) in tokens(VOCABULARY, count).chunks(125).enumerate() {
            let inputs = StepInputs::sequence(slot, 125 * index as u32, part).with_all_rows();
            both(Phase::Prefill, &inputs);
        }
    }
    for after in 0..3 {
        let at = |slot: usize| (PROMPTS[slot] + after) as u32;
        let inputs = StepInputs {
            tokens: (0..3).map(|slot| at(slot) % VOCABULARY as u32).collect(),
            position: (0..3).map(at).collect(),
            slot: vec![0, 1, 2],
            out_rows: vec![0, 1, 2],
        };
        both(Phase::Decode, &inputs);
    }
}
