//! Kernels by cooperative matrices beside the reference, in the tile shapes of a discrete GPU.
//!
//! On a device without such matrices the same models run, a few of them, by other kernels.

use quarrel_ir::facts::DeviceKind;
use quarrel_ir::format::Format;
use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::{Phase, Plan, PlanOptions, Precision};
use quarrel_tests::architectures::draw;
use quarrel_tests::differ::{Runner, gpu};
use quarrel_tests::feed::{Part, chunks, plan_for, plan_logits, reference_logits, tokens, worst};
use quarrel_tests::little::{self, Block, Little, VOCABULARY};

const DECODE: Part = (Phase::Decode, 1);

/// Whether the test device has cooperative matrices.
fn matrices() -> bool {
    !gpu().facts().matrix_shapes.is_empty()
}

/// Whether it runs kernels in software, which takes minutes to compile those with large tiles.
fn software() -> bool {
    gpu().facts().kind == DeviceKind::Cpu
}

/// The distance of a plan in the shapes of a discrete GPU; what `of` says of the plan beside it.
fn distance(
    little: &Little,
    options: &PlanOptions,
    parts: &[Part],
    of: impl Fn(&Plan) -> String,
) -> (f64, String) {
    let (graph, weights) = (little.graph(), little.weights(3));
    let tokens = tokens(VOCABULARY, parts.iter().map(|part| part.1).sum());
    let wanted = reference_logits(&graph, &weights, options, &tokens, 0, parts);
    let plan = plan_for(&graph, options, Some(gpu().facts().subgroup_size));
    let runner = Runner::of(&plan, &weights);
    let found = worst(&plan_logits(&runner, &tokens, 0, parts), &wanted);
    (found, of(&plan))
}

/// How prompts of a plan are computed by the kernels of a family.
fn variant(plan: &Plan, family: &str) -> String {
    let dispatches = plan.program(Phase::Prefill).map_or(&[][..], |program| &program.dispatches);
    let mut kernels = dispatches.iter().map(|dispatch| plan.kernel(dispatch.kernel));
    let first = kernels.find(|kernel| kernel.family == family);
    first.map_or(String::new(), |kernel| kernel.variant.clone())
}

/// Products large enough for each size of tile, the last of which are not full. Measured on llvmpipe
/// with matrices of 8 x 8: 3.6e-4 at most.
#[test]
fn products_of_many_rows() {
    let sizes = [(224, "32 x 64"), (2080, "64 x 64"), (6176, "128 x 128")];
    let count = match (matrices(), software()) {
        (true, false) => sizes.len(),
        (true, true) => 2,
        (false, _) => 1,
    };
    for (rows, tile) in sizes.into_iter().take(count) {
        let little = Little::new(Format::F32, 64)
            .line("x = linear(h, \"up\")")
            .line("logits = linear(silu(x), \"down\")")
            .matrix("up", Format::F16, rows, 64)
            .matrix("down", Format::Q4_0, 24, rows);
        let options = PlanOptions {
            context: 300,
            chunk: 150,
            out_rows: 150,
            precision: Precision::Auto,
            ..PlanOptions::default()
        };
        let parts = [chunks(150, 150), chunks(33, 33)].concat();
        let (found, variant) = distance(&little, &options, &parts, |plan| variant(plan, "product"));
        println!("{variant}: {found:.1e}");
        let by_matrices = variant.starts_with("F16 matrices") && variant.contains(tile);
        assert_eq!(by_matrices, matrices(), "{variant} for {rows} rows");
        assert!(found < if matrices() { 7e-4 } else { 3e-4 }, "{found} with {variant}");
    }
}

/// Prompts whose queries, keys, values and weights are multiplied by matrices: each is rounded to
/// F16, which is 2^-11. Measured on llvmpipe with matrices of 8 x 8: 4.3e-4 at most with attention
/// alone by matrices, 6.9e-4 with the products around it, which round once more.
#[test]
fn attention() {
    let plain = Block {
        formats: [Format::F16; 3],
        window: None,
        softcap: None,
        alibi: None,
        yarn: None,
        head_norms: true,
        ..draw(&little::block(), 1, 46)[0].clone()
    };
    let of = |head, share, kv_heads| Block { head, rope_dims: 8, share, kv_heads, ..plain.clone() };
    // The last two have so many rows that subgroups share positions less.
    let blocks = [
        Block { window: Some(37), ..of(16, 3, 2) },
        of(16, 1, 1),
        of(64, 3, 1),
        Block { window: Some(1), ..of(32, 2, 1) },
        Block { softcap: Some(2.0), alibi: Some(8.0), ..of(96, 2, 1) },
        Block { alibi: Some(8.0), window: Some(100), ..of(48, 5, 1) },
        of(128, 1, 1),
        of(16, 4, 21),
        of(32, 8, 16),
    ];
    let blocks = blocks.iter().filter(|block| block.head <= if software() { 48 } else { 128 });
    let parts = [chunks(100, 100), chunks(33, 32), vec![DECODE], chunks(40, 21)].concat();
    let states = [StateFormat::F16, StateFormat::F32].into_iter().cycle();
    for (block, state) in blocks.zip(states).take(if matrices() { 9 } else { 2 }) {
        let options = PlanOptions {
            context: 200,
            chunk: 100,
            out_rows: 100,
            state: Some(state),
            precision: Precision::Auto,
            ..PlanOptions::default()
        };
        let (found, variant) =
            distance(&block.little(), &options, &parts, |plan| variant(plan, "attention"));
        println!("{variant}, {state:?}: {found:.1e}");
        assert_eq!(variant.starts_with("F16 matrices"), matrices(), "{variant}: {block:?}");
        let within = if matrices() { 1e-3 } else { 3e-4 };
        assert!(found < within, "{found} with {variant}, states in {state:?}: {block:?}");
    }
}
