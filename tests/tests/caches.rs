//! Keys and values kept in fewer bytes, beside the reference, which keeps all: in blocks of 8 bits an
//! element, and of windows only what they reach. In the tile shapes of the present device and in
//! those of a discrete GPU.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use quarrel_ir::format::Format;
use quarrel_ir::graph::{Graph, StateFormat};
use quarrel_ir::plan::{BufferRole, Phase, Plan, PlanOptions, Precision, Rewind};
use quarrel_reference::{Interpreter, StepInputs};
use quarrel_runtime::{Engine, LoadOptions, Session};
use quarrel_tests::differ::{Runner, gpu, relative_l2};
use quarrel_tests::feed::{Part, chunks, plan_for, plan_logits, reference_logits, tokens, worst};
use quarrel_tests::little::{Block, VOCABULARY};
use quarrel_tests::weights::RandomWeights;

/// Relative L2 distance where keys and values are in 8 bits. Measured on llvmpipe: 5.5e-4 at most, in
/// most tests 2e-6: an element between two steps may be rounded to either.
const WITHIN_Q8: f64 = 2e-3;

/// The same where they are F16 and F32, for which see `kernels.rs`.
const WITHIN_F16: f64 = 3e-4;
const WITHIN_F32: f64 = 1e-5;

const DECODE: Part = (Phase::Decode, 1);

/// Key heads, query heads to each, elements of a head.
fn block(kv_heads: u64, share: u64, head: u64) -> Block {
    Block {
        kv_heads,
        share,
        head,
        rope_dims: head,
        half_rope: kv_heads == 1,
        window: None,
        softcap: None,
        alibi: None,
        yarn: None,
        head_norms: false,
        formats: [Format::F16; 3],
    }
}

fn options(context: u32, chunk: u32, state: StateFormat) -> PlanOptions {
    PlanOptions { context, chunk, out_rows: chunk, state: Some(state), ..PlanOptions::default() }
}

/// The plans for the present device, and with the shapes of a discrete GPU.
fn plans(graph: &Graph, options: &PlanOptions) -> [Plan; 2] {
    [None, Some(gpu().facts().subgroup_size)].map(|shapes| plan_for(graph, options, shapes))
}

/// Feeds `parts` to both plans, and checks every row of logits.
fn check(block: &Block, options: &PlanOptions, parts: &[Part], within: f64) {
    let little = block.little();
    let (graph, weights) = (little.graph(), little.weights(3));
    let tokens = tokens(VOCABULARY, parts.iter().map(|part| part.1).sum());
    let wanted = reference_logits(&graph, &weights, options, &tokens, 0, parts);
    for plan in plans(&graph, options) {
        let found = worst(&plan_logits(&Runner::of(&plan, &weights), &tokens, 0, parts), &wanted);
        println!("{found:.1e}: {block:?}");
        assert!(found < within, "{found}: {block:?}");
    }
}

/// Heads of one block, of pairs of blocks and of an odd number of them; one head and several; norms
/// of heads, rotations, caps, windows and biases.
#[test]
fn blocks_of_heads_of_every_size() {
    let blocks = [
        block(1, 3, 32),
        Block { softcap: Some(2.0), window: Some(7), ..block(3, 1, 64) },
        Block { head_norms: true, alibi: Some(8.0), ..block(2, 2, 96) },
        Block { head_norms: true, window: Some(64), ..block(1, 2, 128) },
        Block { rope_dims: 8, ..block(2, 1, 256) },
    ];
    let parts = [vec![DECODE], chunks(70, 33), vec![DECODE; 3], chunks(40, 33)].concat();
    for block in &blocks {
        for fuse in [true, false] {
            let options = PlanOptions { fuse, ..options(200, 33, StateFormat::Q8) };
            check(block, &options, &parts, WITHIN_Q8);
        }
    }
}

/// Positions that several workgroups share.
#[test]
fn blocks_over_long_contexts() {
    let parts = [chunks(1020, 125), vec![DECODE; 6], chunks(60, 125), vec![DECODE]].concat();
    check(&block(1, 2, 32), &options(1100, 125, StateFormat::Q8), &parts, WITHIN_Q8);
    check(&block(2, 3, 64), &options(1100, 125, StateFormat::Q8), &parts, WITHIN_Q8);
}

/// States take what they say, and heads that are no whole blocks are as they were.
#[test]
fn bytes_of_states() {
    let states = |block: &Block, state| {
        let plan = plan_for(&block.little().graph(), &options(256, 32, state), None);
        let declined = plan.decisions.iter().any(|d| d.rule == "store-caches" && !d.taken);
        (plan.bytes_of(BufferRole::State), declined)
    };
    for (block, bytes) in [(block(2, 1, 64), 2 * 68), (block(1, 1, 96), 108)] {
        assert_eq!(states(&block, StateFormat::Q8), (2 * 256 * bytes, false), "{block:?}");
    }
    let odd = block(2, 1, 40);
    assert_eq!(states(&odd, StateFormat::Q8), (2 * 256 * 2 * 80, true));
    assert_eq!(states(&odd, StateFormat::F16), (2 * 256 * 2 * 80, false));
}

/// A block whose tokens see `window` positions.
fn windowed(window: u64, block: Block) -> Block {
    Block { window: Some(window), ..block }
}

/// Contexts of several windows, by chunks and token by token, in states of every format and in heads
/// of any size.
#[test]
fn windows_come_round() {
    let parts = [chunks(100, 9), vec![DECODE; 30], chunks(20, 5), vec![DECODE; 2]].concat();
    let within = |state| match state {
        StateFormat::F32 => WITHIN_F32,
        StateFormat::F16 => WITHIN_F16,
        StateFormat::Q8 => WITHIN_Q8,
    };
    let blocks = [
        (windowed(1, block(2, 2, 32)), StateFormat::F32),
        (windowed(7, block(1, 4, 32)), StateFormat::F32),
        (windowed(24, Block { softcap: Some(2.0), ..block(2, 1, 64) }), StateFormat::F16),
        (windowed(15, Block { head_norms: true, ..block(2, 2, 64) }), StateFormat::Q8),
        (windowed(30, Block { alibi: Some(8.0), ..block(1, 2, 12) }), StateFormat::F16),
        (
            windowed(11, Block { rope_dims: 6, half_rope: false, ..block(1, 2, 7) }),
            StateFormat::F32,
        ),
    ];
    for (block, state) in &blocks {
        for fuse in [true, false] {
            let options = PlanOptions { fuse, ..options(160, 9, *state) };
            check(block, &options, &parts, within(*state));
        }
    }
}

/// The same where prompts may be multiplied by cooperative matrices, in F16: rows of keys and values
/// that wrap within a chunk, and states that matrices do not take. Measured on llvmpipe with matrices
/// of 8 x 8: 5.6e-4 for F16, as in `matrices.rs`; 2.2e-3 in 8 bits, because keys and values that
/// matrices have rounded go to the other of two steps one time in dozens.
#[test]
fn by_matrices() {
    let parts = [chunks(200, 40), vec![DECODE; 2], chunks(30, 40), vec![DECODE]].concat();
    let blocks = [
        (windowed(20, block(1, 2, 32)), StateFormat::F16),
        (windowed(50, block(2, 2, 64)), StateFormat::F16),
        (windowed(20, block(1, 2, 64)), StateFormat::Q8),
        (block(2, 2, 32), StateFormat::Q8),
    ];
    for (block, state) in &blocks {
        let options = PlanOptions { precision: Precision::Auto, ..options(300, 40, *state) };
        let within = match (gpu().facts().matrix_shapes.is_empty(), state) {
            (true, StateFormat::Q8) => WITHIN_Q8,
            (true, _) => WITHIN_F16,
            (false, StateFormat::Q8) => 5e-3,
            (false, _) => 1e-3,
        };
        check(block, &options, &parts, within);
    }
}

/// Windows whose positions several workgroups share.
#[test]
fn long_windows_come_round() {
    let parts = [chunks(1150, 125), vec![DECODE; 4], chunks(1200, 125), vec![DECODE; 3]].concat();
    // Angles of rotations in the thousands: see `split_attention.rs`.
    check(&windowed(1030, block(1, 2, 16)), &options(4096, 125, StateFormat::F32), &parts, 2e-4);
}

/// A state of a window has the rows that a chunk at its end reads, and no more than positions.
#[test]
fn bytes_of_windows() {
    let block = windowed(20, block(1, 1, 32));
    let rows = |context, chunk, slots| {
        let options = PlanOptions { slots, ..options(context, chunk, StateFormat::F32) };
        let plan = plan_for(&block.little().graph(), &options, None);
        let bytes = plan.bytes_of(BufferRole::State);
        (bytes / (2 * 4 * 32), plan.rewind, plan.position_bytes)
    };
    assert_eq!(rows(1000, 16, 1), (35, Rewind::AtMost(16), 0));
    assert_eq!(rows(1000, 1, 4), (4 * 23, Rewind::AtMost(4), 0));
    assert_eq!(rows(35, 16, 1), (35, Rewind::All, 2 * 4 * 32));
    assert_eq!(rows(36, 16, 2), (70, Rewind::AtMost(16), 0));
}

#[test]
fn windows_of_several_slots() {
    let options = |state| PlanOptions { slots: 3, ..options(60, 8, state) };
    let block = |window, head| windowed(window, block(2, 2, head));
    check_slots(&block(5, 16), &options(StateFormat::F16), [40, 3, 17], WITHIN_F16);
    check_slots(&block(12, 32), &options(StateFormat::Q8), [9, 31, 1], WITHIN_Q8);
}

/// A window's positions that were overwritten are processed again.
#[test]
fn windows_of_a_session_that_goes_back() {
    let little = windowed(6, block(2, 2, 16)).little();
    let weights = little.weights(3);
    let mut texts =
        Texts::new(little.graph(), &weights, &options(64, 8, StateFormat::F16), WITHIN_F16);
    // As many as there are logits.
    let text = tokens(24, 40);
    let beginning = |len: usize| [&text[..len], &[23]].concat();
    assert_eq!(texts.check(&text), 40);
    assert_eq!(texts.check(&beginning(33)), 1, "seven back");
    assert_eq!(texts.check(&beginning(32)), 1, "eight back");
    assert_eq!(texts.check(&beginning(31)), 32, "nine back");
    assert_eq!(texts.check(&beginning(24)), 1, "eight back, from what was processed again");
    assert_eq!(texts.check(&text), 16, "on from there");
    assert_eq!(texts.check(&beginning(20)), 21, "too far");
}

/// One step of sequences in these slots, each at its own position.
fn together(slots: &[u32], lengths: [u32; 3]) -> StepInputs {
    // Slots are those of three sequences.
    let position: Vec<u32> = slots.iter().map(|slot| lengths[*slot as usize]).collect();
    StepInputs {
        tokens: position.iter().map(|at| (at * 7) % VOCABULARY as u32).collect(),
        position,
        slot: slots.to_vec(),
        out_rows: (0..slots.len() as u32).collect(),
    }
}

/// Sequences of different lengths decode together; one that is not live leaves its states alone.
fn check_slots(block: &Block, options: &PlanOptions, lengths: [u32; 3], within: f64) {
    const ALL: [u32; 3] = [0, 1, 2];
    let little = block.little();
    let (mut graph, weights) = (little.graph(), little.weights(5));
    if let Some(format) = options.state {
        graph.store_caches_as(format);
    }
    let context = options.context as usize;
    for plan in plans(&graph, options) {
        let runner = Runner::of(&plan, &weights);
        let mut oracle = Interpreter::new(graph.clone(), &weights, 3, context).unwrap();
        let compare = |oracle: &mut Interpreter, phase, inputs: &StepInputs| {
            let wanted = oracle.step(inputs).unwrap();
            let found = relative_l2(&runner.step(phase, inputs), &wanted);
            assert!(found < within, "{found} for {inputs:?}");
        };
        let chunk = options.chunk as usize;
        for (slot, count) in (0u32..).zip(lengths) {
            for (index, part) in tokens(VOCABULARY, count as usize).chunks(chunk).enumerate() {
                let inputs = StepInputs::sequence(slot, (chunk * index) as u32, part);
                compare(&mut oracle, Phase::Prefill, &inputs.with_all_rows());
            }
        }
        let at = |after: u32| lengths.map(|length| length + after);
        for after in 0..3 {
            compare(&mut oracle, Phase::Decode, &together(&ALL, at(after)));
        }
        // Slot 1 has no part in two steps.
        runner.engine().write(plan.io.live, &[1, 0, 1]);
        for after in 3..5 {
            runner.step(Phase::Decode, &together(&ALL, at(after)));
            oracle.step(&together(&[0, 2], at(after))).unwrap();
        }
        runner.engine().write(plan.io.live, &[1; 3]);
        let [zero, mut one, two] = at(5);
        if block.window.is_some() {
            // It goes on where it was: a ring has older positions in those rows.
            one -= 2;
        }
        // Without a window it sees those rows, which are zeros in plan and reference.
        compare(&mut oracle, Phase::Decode, &together(&ALL, [zero, one, two]));
    }
}

#[test]
fn blocks_of_several_slots() {
    let options = PlanOptions { slots: 3, ..options(60, 16, StateFormat::Q8) };
    check_slots(&block(2, 2, 32), &options, [9, 31, 1], WITHIN_Q8);
    check_slots(&block(1, 2, 64), &options, [20, 3, 17], WITHIN_Q8);
}

/// A session beside the reference: how many tokens of a text are processed.
struct Texts<'a> {
    graph: Graph,
    weights: &'a RandomWeights,
    session: Session,
    within: f64,
}

impl<'a> Texts<'a> {
    fn new(
        mut graph: Graph,
        weights: &'a RandomWeights,
        options: &PlanOptions,
        within: f64,
    ) -> Texts<'a> {
        if let Some(format) = options.state {
            graph.store_caches_as(format);
        }
        let plan = plan_for(&graph, options, None);
        let engine = Engine::load(gpu(), &plan, weights, LoadOptions::default(), &|_, _| ());
        Texts { graph, weights, session: Session::new(engine.unwrap()), within }
    }

    /// Checks the logits after `tokens`; how many of them were processed.
    fn check(&mut self, tokens: &[u32]) -> usize {
        let before = self.session.processed_tokens();
        let logits = self.session.logits(tokens).unwrap();
        let mut oracle =
            Interpreter::new(self.graph.clone(), self.weights, 1, tokens.len()).unwrap();
        let wanted = oracle.step(&StepInputs::sequence(0, 0, tokens)).unwrap();
        let error = relative_l2(&logits, &wanted);
        assert!(error < self.within, "{error} after {tokens:?}");
        (self.session.processed_tokens() - before) as usize
    }
}

#[test]
fn blocks_of_a_session_that_goes_back() {
    let little = block(2, 2, 32).little();
    let weights = little.weights(3);
    let mut texts =
        Texts::new(little.graph(), &weights, &options(64, 8, StateFormat::Q8), WITHIN_Q8);
    // As many as there are logits.
    let text = tokens(24, 40);
    let beginning = |len: usize| [&text[..len], &[23]].concat();
    assert_eq!(texts.check(&text), 40);
    assert_eq!(texts.check(&[&text[..], &[1, 2]].concat()), 2);
    assert_eq!(texts.check(&beginning(3)), 1);
    assert_eq!(texts.check(&text), 37);
}
