//! Each kernel family beside the reference, on random shapes, formats and values: in the tile shapes
//! of the present device and in those of a discrete GPU with subgroups of 32.

use quarrel_ir::format::Format;
use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::{BufferRole, Phase, PlanOptions, Precision};
use quarrel_kernels::product::multiplies_integers;
use quarrel_reference::{Interpreter, StepInputs};
use quarrel_tests::architectures::draw;
use quarrel_tests::differ::{Runner, gpu, relative_l2};
use quarrel_tests::feed::{Part, chunks, plan_for, plan_logits, reference_logits, tokens, worst};
use quarrel_tests::little::{self, Block, Little, Mixture, VOCABULARY};

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
    // Of its own shapes, and of a GPU with its subgroups.
    let shapes = [None, Some(gpu().facts().subgroup_size)];
    let distances = shapes.map(|discrete| {
        let runner = Runner::of(&plan_for(&graph, options, discrete), &weights);
        worst(&plan_logits(&runner, &tokens, first, parts), &wanted)
    });
    distances[0].max(distances[1])
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

/// The same with columns that cooperative matrices take, which multiply in F16 where the device has
/// them: its rounding is 2^-11 of each factor. Measured on an H100: 3.3e-4 at most.
#[test]
fn products_by_matrices() {
    let matrices = !gpu().facts().matrix_shapes.is_empty();
    let within = if matrices { 5e-4 } else { WITHIN };
    let options =
        PlanOptions { precision: Precision::Auto, chunk: 150, out_rows: 150, ..counted() };
    let parts = [chunks(300, 150), chunks(70, 70), vec![DECODE; 2]].concat();
    // Without matrices the kernels are those of other tests.
    let formats = Format::ALL.into_iter().step_by(if matrices { 1 } else { 9 });
    for (index, format) in (0u64..).zip(formats) {
        let (rows, columns) = (40 + 12 * index, 256 * (1 + index % 2));
        let little = Little::new(Format::F32, columns)
            .line("x = linear(h, \"a\") * sigmoid(linear(h, \"b\"))")
            .line("logits = linear(h, \"c\") + slice(x, 0, 24)")
            .matrix("a", format, rows, columns)
            .matrix("b", Format::F16, rows, columns)
            .matrix("c", format, 24, columns);
        let found = distance(&little, &options, 0, &parts);
        println!("{format:?} by matrices: {found:.1e}");
        assert!(found < within, "{found}: {little:?}");
    }
}

/// The same with x in integers of 16 bits, which GPUs multiply with weights that are bytes. Rounding x
/// so is 2e-5 of a row of normally distributed elements.
#[test]
fn products_by_integers() {
    let options = PlanOptions { precision: Precision::Auto, chunk: 3, out_rows: 3, ..counted() };
    let parts = [chunks(6, 3), chunks(4, 2), vec![DECODE; 3]].concat();
    let formats = Format::ALL.into_iter().filter(|format| multiplies_integers(*format));
    for (index, format) in (0u64..).zip(formats) {
        let other = [Format::Q6_K, Format::Q8_0, Format::Q4_K][index as usize % 3];
        // Rows that a lane reads in one turn, and some that are staged in parts.
        for columns in [2048 + 256 * (index % 3), 6144 + 256 * index] {
            let little = Little::new(Format::F32, 256)
                .line("u = linear(h, \"up\")")
                .line("x = rms_norm(u, \"norm\", 0.00001)")
                .line("logits = linear(x, \"a\") + linear(x, \"b\") + linear(u, \"a\")")
                .matrix("up", Format::Q4_1, columns, 256)
                .tensor("norm.weight", Format::F32, &[columns])
                .matrix("a", format, 28, columns)
                .matrix("b", other, 28, columns);
            let found = distance(&little, &options, 0, &parts);
            println!("{format:?}, {columns} columns, by integers: {found:.1e}");
            assert!(found < 1e-4, "{found}: {little:?}");
        }
    }
}

/// Rows of x that are staged in parts, and weights that take several turns to read.
#[test]
fn products_of_long_rows() {
    let all =
        [(Format::Q4_0, 6144u64), (Format::F16, 5000), (Format::Q6_K, 4864), (Format::F32, 4612)]
            .map(|(format, columns)| {
                Little::new(Format::F32, 64)
                    .line("x = linear(h, \"up\")")
                    .line("y = linear(rms_norm(x, \"norm\", 0.00001), \"down\")")
                    .line("logits = linear(x, \"down\") + y")
                    .matrix("up", Format::F16, columns, 64)
                    .tensor("norm.weight", Format::F32, &[columns])
                    .matrix("down", format, 28, columns)
            });
    check("long rows", &all, &[(Phase::Prefill, 3), DECODE, DECODE], &counted());
}

/// Steps of 4 to 8 tokens, whose products hold all rows of x at once.
#[test]
fn products_of_a_few_rows_of_x() {
    for count in [4, 7, 8] {
        let options = PlanOptions { chunk: count, out_rows: count, ..counted() };
        let parts: Vec<Part> = (1..=count as usize).map(|n| (Phase::Prefill, n)).collect();
        let float = [Format::F16, Format::F32, Format::BF16];
        let long = little::product(float[count as usize % 3]);
        check("a few rows", &draw(&long, 2, 51), &parts, &options);
        check("a few rows of groups", &draw(&little::group(), 2, 52), &parts, &options);
    }
}

/// Kernels are right where subgroups are not of the size that their shapes were chosen for.
#[test]
fn subgroups_of_another_size() {
    let own = gpu().facts().subgroup_size;
    let long = Little::new(Format::F32, 64)
        .line("logits = linear(linear(h, \"up\"), \"down\")")
        .matrix("up", Format::F16, 6144, 64)
        .matrix("down", Format::Q4_0, 28, 6144);
    let few = PlanOptions { chunk: 6, out_rows: 6, ..counted() };
    let few_parts: Vec<Part> = (1..=6).map(|count| (Phase::Prefill, count)).collect();
    let groups = draw(&little::group(), 3, 31).into_iter().chain([long]);
    for (index, little) in groups.enumerate() {
        let (options, parts) = match index {
            0 => (few.clone(), few_parts.clone()),
            _ => (counted(), every_count()),
        };
        let (graph, weights) = (little.graph(), little.weights(3));
        let tokens = tokens(VOCABULARY, parts.iter().map(|part| part.1).sum());
        let wanted = reference_logits(&graph, &weights, &options, &tokens, 0, &parts);
        for size in [8, 32, 64].into_iter().filter(|size| *size != own) {
            let runner = Runner::of(&plan_for(&graph, &options, Some(size)), &weights);
            let found = worst(&plan_logits(&runner, &tokens, 0, &parts), &wanted);
            assert!(found < WITHIN, "{found} with shapes for {size}: {little:?}");
        }
    }
}

#[test]
fn products_that_meet_in_an_epilogue() {
    check("groups", &draw(&little::group(), 6, 30), &every_count(), &counted());
}

#[test]
fn rows_of_any_width() {
    let wide = draw(&little::odd_rows(), 3, 31);
    for fuse in [true, false] {
        let options = PlanOptions { fuse, ..counted() };
        let parts = [chunks(35, 33), vec![DECODE]].concat();
        check(&format!("odd rows, fuse {fuse}"), &wide, &parts, &options);
    }
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

/// Heads that cannot be read eight elements at a time; of those with an odd number of elements, no
/// two fit in a word.
#[test]
fn attention_with_heads_of_any_size() {
    let drawn = draw(&little::odd_block(), 2, 44);
    let parts = [chunks(66, 40), vec![DECODE]].concat();
    for state in [StateFormat::F32, StateFormat::F16] {
        check_blocks(&drawn, state, 0, &parts);
    }
    let sized = |head: u64, half_rope: bool, block: &Block| Block {
        head,
        half_rope,
        rope_dims: head / 2 * 2,
        ..block.clone()
    };
    let sizes = [(5, false), (20, true), (7, true)];
    let blocks: Vec<Block> =
        sizes.iter().map(|(head, half)| sized(*head, *half, &drawn[0])).collect();
    check_blocks(&blocks, StateFormat::F16, 0, &parts);
}

/// The smallest and largest heads and shares.
#[test]
fn attention_at_the_ends_of_its_range() {
    let drawn = draw(&little::block(), 2, 42);
    let small = Block { head: 8, rope_dims: 8, share: 1, kv_heads: 3, ..drawn[0].clone() };
    let large = Block { head: 128, rope_dims: 128, share: 8, kv_heads: 1, ..drawn[1].clone() };
    // Six heads: biases beyond the largest power of two have slopes of their own.
    let biased = Block { share: 2, alibi: Some(8.0), yarn: Some(64), ..small.clone() };
    let blocks = [small, biased, Block { window: None, ..large }];
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
    let runner = Runner::of(&plan_for(&graph, &options, None), &weights);
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

/// As many sequences as each way to multiply them takes; from four on by matrices, where there are.
/// Measured on an H100: 4.9e-4 at most.
#[test]
fn many_sequences_decode_together() {
    let matrices = !gpu().facts().matrix_shapes.is_empty();
    let within = if matrices { 7e-4 } else { WITHIN_F16 };
    let block = Block { softcap: None, ..draw(&little::block(), 1, 45)[0].clone() };
    let wide = Little::new(Format::Q8_0, 128)
        .line("x = rms_norm(h, \"norm\", 0.00001)")
        .line("logits = linear(h + silu(linear(x, \"a\")) * linear(x, \"b\"), \"c\")")
        .tensor("norm.weight", Format::F32, &[128])
        .matrix("a", Format::Q4_0, 128, 128)
        .matrix("b", Format::F16, 128, 128)
        .matrix("c", Format::Q8_0, 40, 128);
    for (little, slots) in
        [block.little(), wide].iter().flat_map(|l| [2u32, 5, 9, 20, 40].map(|n| (l, n)))
    {
        let (graph, weights) = (little.graph(), little.weights(6));
        let precision = Precision::Auto;
        let options = PlanOptions { context: 8, slots, precision, ..PlanOptions::default() };
        for discrete in [None, Some(gpu().facts().subgroup_size)] {
            let runner = Runner::of(&plan_for(&graph, &options, discrete), &weights);
            let oracle = Interpreter::new(graph.clone(), &weights, slots as usize, 8);
            let mut oracle = oracle.unwrap_or_else(|error| panic!("{error}"));
            for position in 0..3 {
                let inputs = StepInputs {
                    tokens: (0..slots).map(|n| (n * 7 + position) % VOCABULARY as u32).collect(),
                    position: vec![position; slots as usize],
                    slot: (0..slots).collect(),
                    out_rows: (0..slots).collect(),
                };
                let wanted = oracle.step(&inputs).unwrap_or_else(|error| panic!("{error}"));
                let found = relative_l2(&runner.step(Phase::Decode, &inputs), &wanted);
                println!("{slots} sequences at {position}: {found:.1e}");
                assert!(found < within, "{found} with {slots} slots: {little:?}");
            }
        }
    }
}

/// Experts of random numbers and sizes, chosen by softmax or sigmoid, their shares normalised or not.
#[test]
fn experts_that_are_chosen_on_the_device() {
    let all = [
        (8u64, 2u64, 64u64, 40u64, Format::F16),
        (5, 3, 32, 96, Format::Q8_0),
        (16, 8, 256, 32, Format::Q4_K),
        (6, 2, 30, 21, Format::F16),
    ];
    let all: Vec<Little> = all
        .into_iter()
        .enumerate()
        .map(|(index, (experts, top, width, inner, format))| {
            let gate = if index == 1 { "sigmoid" } else { "softmax" };
            let share = if index == 0 { "take(p, e)" } else { "sum_norm(take(p, e))" };
            Mixture { experts, top, width, inner, formats: [format; 3] }
                .little(&format!("{gate}(linear(h, \"router\"))"), share)
        })
        .collect();
    let parts = [chunks(33, 11), vec![DECODE; 2]].concat();
    check("experts", &all, &parts, &counted());
}

/// Convolutions and scans whose states go on from step to step, in rings that come round.
#[test]
fn states_along_the_sequence() {
    let all: Vec<Little> = [(8u64, 8u64, 1u64, 16u64, 4u64), (6, 4, 2, 24, 3), (64, 1, 1, 5, 2)]
        .into_iter()
        .map(|(heads, size, groups, width, taps)| {
            let (channels, grouped) = (heads * size, groups * width);
            let each = if size == 1 { width } else { 1 };
            Little::new(Format::F32, 64)
                .line("x = silu(short_conv(linear(h, \"in\"), \"conv\"))")
                .line("t = softplus(linear(h, \"steps\"))")
                .line(&format!("b = heads(linear(h, \"b\"), {groups})"))
                .line(&format!("c = heads(linear(h, \"c\"), {groups})"))
                .line(&format!("y = scan(heads(x, {heads}), t, \"decay\", b, c)"))
                .line("logits = linear(y, \"o\")")
                .matrix("in", Format::F16, channels, 64)
                .tensor("conv.weight", Format::F32, &[channels, taps])
                .tensor("conv.bias", Format::F32, &[channels])
                .matrix("steps", Format::F32, heads, 64)
                .matrix("b", Format::F32, grouped, 64)
                .matrix("c", Format::F32, grouped, 64)
                .tensor("decay.weight", Format::F32, &[heads, each])
                .matrix("o", Format::F32, 24, channels)
        })
        .collect();
    let parts = [chunks(37, 11), vec![DECODE; 3], chunks(8, 5), vec![DECODE; 2]].concat();
    let options = PlanOptions { context: 100, chunk: 11, out_rows: 11, ..PlanOptions::default() };
    check("states", &all, &parts, &options);
}

/// Parts of fused weights, together or of every head.
#[test]
fn slices_of_products() {
    let together = Little::new(Format::F32, 64)
        .line("x = linear(h, \"w\")")
        .line("y = silu(slice(x, 0, 40)) * slice(x, 40, 40) + slice(x, 80, 40)")
        .line("logits = y")
        .matrix("w", Format::Q8_0, 120, 64)
        .tensor("w.bias", Format::F32, &[120]);
    let of_heads = Little::new(Format::F32, 64)
        .line("x = heads(linear(h, \"w\"), 3)")
        .line("q = slice(x, 0, 8)")
        .line("k = slice(x, 8, 8)")
        .line("v = slice(x, 16, 8)")
        .line("logits = merge(q) * merge(k) + merge(v)")
        .matrix("w", Format::F16, 72, 64)
        .tensor("w.bias", Format::F32, &[72]);
    check("slices", &[together, of_heads], &every_count(), &counted());
}
