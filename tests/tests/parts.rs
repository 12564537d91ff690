//! Matrices that are too large for one binding: on a device whose bindings are small, plans beside the
//! reference.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use quarrel_compiler::{CompileError, compile};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::format::Format;
use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::{Phase, Plan, PlanOptions};
use quarrel_tests::differ::{Runner, gpu};
use quarrel_tests::facts::as_if_discrete;
use quarrel_tests::feed::{chunks, plan_logits, reference_logits, tokens, worst};
use quarrel_tests::little::{Block, Little};

/// Relative L2 distance in F32 throughout; measured on llvmpipe: 3e-7.
const WITHIN: f64 = 1e-5;

/// Bytes of a binding: more than any activation of these models needs.
const BINDING: u64 = 64 << 10;

fn small(present: &DeviceFacts) -> DeviceFacts {
    DeviceFacts { max_binding_bytes: BINDING, ..present.clone() }
}

/// The most parts of a tensor in `plan`.
fn parts(plan: &Plan) -> u64 {
    plan.load.iter().map(|t| t.rows.div_ceil(t.part_rows)).max().unwrap_or(0)
}

/// Plans for small bindings, fused and not, in both tile shapes, beside the reference.
fn check(little: &Little, vocabulary: u64, least_parts: u64) {
    let (graph, weights) = (little.graph(), little.weights(9));
    let tokens = tokens(vocabulary, 20);
    let steps = [chunks(16, 7), vec![(Phase::Decode, 1); 4]].concat();
    for (fuse, discrete) in [(true, false), (true, true), (false, false)] {
        let options = PlanOptions {
            context: 24,
            chunk: 7,
            out_rows: 7,
            fuse,
            state: Some(StateFormat::F32),
            ..PlanOptions::default()
        };
        let present = gpu().facts();
        let facts = if discrete {
            as_if_discrete(&present, present.subgroup_size)
        } else {
            present.clone()
        };
        let plan = compile(&graph, &small(&facts), &options);
        let plan = plan.unwrap_or_else(|error| panic!("{error}: {little:?}"));
        assert!(parts(&plan) >= least_parts, "{} parts: {little:?}", parts(&plan));
        let wanted = reference_logits(&graph, &weights, &options, &tokens, 0, &steps);
        // The device's own facts are put back, so that the runtime takes the plan.
        let runner = Runner::of(&Plan { device: present, ..plan }, &weights);
        let found = worst(&plan_logits(&runner, &tokens, 0, &steps), &wanted);
        assert!(found < WITHIN, "{found} (fuse {fuse}, discrete {discrete}): {little:?}");
    }
}

/// Rows of tokens from the table that yields the logits.
fn tied(format: Format, width: u64, vocabulary: u64) -> Little {
    Little { body: "  h = embed(tokens, \"embd\")\n".into(), tensors: vec![] }
        .line("logits = linear(rms_norm(h, \"norm\", 0.00001), \"embd\")")
        .tensor("norm.weight", Format::F32, &[width])
        .matrix("embd", format, vocabulary, width)
}

/// Embedding and output are one matrix, which exists once, in parts.
#[test]
fn tied_embeddings_in_parts() {
    check(&tied(Format::Q8_0, 96, 1250), 1250, 3);
    check(&tied(Format::Q6_K, 256, 800), 800, 3);
    check(&tied(Format::Q5_K, 256, 650), 650, 2);
    check(&tied(Format::F16, 64, 1001), 1001, 3);
}

/// Matrices that meet in an epilogue, one in parts and one not; and all in parts.
#[test]
fn merged_products_in_parts() {
    let meet = |formats: [Format; 2]| {
        Little::new(Format::F32, 64)
            .line("x = silu(linear(h, \"a\")) * linear(h, \"b\")")
            .line("logits = linear(x, \"c\")")
            .matrix("a", formats[0], 608, 64)
            .matrix("b", formats[1], 608, 64)
            .matrix("c", Format::Q8_0, 77, 608)
    };
    check(&meet([Format::F32, Format::Q4_0]), 40, 4);
    check(&meet([Format::F32, Format::F16]), 40, 4);
}

/// Heads that rotate in halves are taken in an order of their own, within parts.
#[test]
fn rotated_heads_in_parts() {
    for half_rope in [false, true] {
        let block = Block {
            kv_heads: 2,
            share: 5,
            head: 64,
            rope_dims: 64,
            half_rope,
            window: None,
            softcap: None,
            alibi: None,
            yarn: None,
            head_norms: false,
            formats: [Format::F32, Format::Q8_0, Format::F16],
        };
        check(&block.little(), 40, 4);
    }
}

/// Rows so long that few of them fit are refused by name.
#[test]
fn rows_that_do_not_fit_are_refused() {
    let graph = tied(Format::F32, 4096, 200).graph();
    match compile(&graph, &small(&gpu().facts()), &PlanOptions::default()) {
        Err(CompileError::TooLarge { tensor, has, .. }) => {
            assert_eq!((tensor.as_str(), has), ("embd.weight", BINDING));
        }
        other => panic!("{:?}", other.map(|_| "a plan")),
    }
}
