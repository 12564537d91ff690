//! Twenty architectures made from Llama by swapping its parts: dispatches of their decode plans,
//! and fused plans beside unfused ones and the reference.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use quarrel_compiler::compile;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::format::Format;
use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::{Phase, PlanOptions};
use quarrel_tests::architectures::{SHORT, twenty};
use quarrel_tests::differ::Runner;
use quarrel_tests::facts;
use quarrel_tests::feed::{chunks, plan_for, plan_logits, reference_logits, tokens, worst};
use quarrel_tests::synthetic::{Residual, Variant};
use quarrel_tests::weights::RandomWeights;

/// Relative L2 distance that is allowed, in F32 throughout. Measured on llvmpipe: 1.5e-6 from
/// the reference, 5e-7 between fused and unfused.
const WITHIN: f64 = 1e-4;
/// Dispatches of a layer of a decode plan.
const MOST_DISPATCHES: usize = 5;
/// Tokens fed to each: some in prompt steps, the rest one by one.
const TOKENS: usize = 16;

fn most_dispatches(variant: &Variant, device: &DeviceFacts) {
    let graph = Variant { layers: 3, ..variant.clone() }.graph();
    let options = PlanOptions { context: 64, chunk: 16, ..PlanOptions::default() };
    let plan = compile(&graph, device, &options).unwrap_or_else(|e| panic!("{e}: {variant:?}"));
    let decode = plan.program(Phase::Decode).unwrap_or_else(|| panic!("no decode program"));
    let of_layer = |layer| decode.dispatches.iter().filter(move |d| d.layer == Some(layer)).count();
    let middle = of_layer(1);
    assert!(
        (1..=MOST_DISPATCHES).contains(&middle),
        "{middle} dispatches a layer on {}: {variant:?}",
        device.name
    );
    // Outside layers: the embedding and the logits, and the first layer's like any other.
    assert!(of_layer(0) <= MOST_DISPATCHES, "the first layer: {variant:?}");
    assert!(decode.dispatches.len() <= 3 * MOST_DISPATCHES + 2, "{variant:?}");
}

#[test]
fn at_most_five_dispatches_a_layer() {
    for variant in twenty() {
        for device in [facts::llvmpipe(), facts::apple(), facts::nvidia()] {
            most_dispatches(&variant, &device);
        }
    }
}

#[test]
fn the_twenty_cover_every_part() {
    let all = twenty();
    let some = |what: &str, holds: &dyn Fn(&Variant) -> bool| {
        assert!(all.iter().any(holds), "no variant with {what}");
    };
    for activation in ["silu", "gelu", "gelu_erf", "relu"] {
        some(activation, &|v| v.activation == activation);
    }
    for residual in [Residual::Serial, Residual::Parallel, Residual::Scaled] {
        some(&format!("{residual:?}"), &|v| v.residual == residual);
    }
    for format in SHORT {
        some(&format!("{format:?}"), &|v| v.format == format);
    }
    for yes in [false, true] {
        some("layer norms or not", &|v| v.layer_norm == yes);
        some("biases or not", &|v| v.bias == yes);
        some("half rotation or not", &|v| v.half_rope == yes);
        some("partial rotation or not", &|v| (v.rope_dims < v.head) == yes);
        some("partial half rotation or not", &|v| (v.half_rope && v.rope_dims < v.head) == yes);
        some("a window or not", &|v| v.window.is_some() == yes);
        some("a score cap or not", &|v| v.score_cap.is_some() == yes);
        some("a logit cap or not", &|v| v.logit_cap.is_some() == yes);
        some("grouped heads or not", &|v| (v.heads > v.kv_heads) == yes);
        some("one format or two", &|v| (v.format == v.odd) == yes);
    }
}

/// Fused beside the reference and unfused beside fused, with weights and states in F32. Fused plans
/// take prompt and decode steps; of four unfused ones, one takes prompt steps alone and three decode
/// steps alone, whose kernels compile faster.
fn check(index: usize, variant: &Variant) -> (f64, f64) {
    let graph = variant.graph();
    let weights = RandomWeights::new(index as u64, variant.tensors());
    let tokens = tokens(variant.vocabulary, TOKENS);
    let options = PlanOptions {
        context: TOKENS as u32,
        chunk: 7,
        out_rows: 7,
        weights: Some(Format::F32),
        state: Some(StateFormat::F32),
        ..PlanOptions::default()
    };
    let one = (Phase::Decode, 1);
    let parts = [chunks(11, 7), vec![one; TOKENS - 11]].concat();
    let fused = Runner::of(&plan_for(&graph, &options, None), &weights);
    let fused = plan_logits(&fused, &tokens, 0, &parts);
    let reference = reference_logits(&graph, &weights, &options, &tokens, 0, &parts);
    let parts = if (index / 2).is_multiple_of(4) { chunks(TOKENS, 7) } else { vec![one; TOKENS] };
    let options = PlanOptions { fuse: false, ..options };
    let unfused = Runner::of(&plan_for(&graph, &options, None), &weights);
    let unfused = plan_logits(&unfused, &tokens, 0, &parts);
    // Other steps, the same rows in the same order.
    (worst(&fused, &reference), worst(&[unfused.concat()], &[fused.concat()]))
}

fn check_all(start: usize) {
    let mut largest: (f64, f64) = (0.0, 0.0);
    for (index, variant) in twenty().iter().enumerate().skip(start).step_by(2) {
        let (reference, unfused) = check(index, variant);
        assert!(reference < WITHIN, "{reference} from the reference: {index} {variant:?}");
        assert!(unfused < WITHIN, "{unfused} from unfused: {index} {variant:?}");
        largest = (largest.0.max(reference), largest.1.max(unfused));
    }
    println!("from the reference {:.1e}, from unfused {:.1e}", largest.0, largest.1);
}

#[test]
fn fused_equals_unfused_and_the_reference_even() {
    check_all(0);
}

#[test]
fn fused_equals_unfused_and_the_reference_odd() {
    check_all(1);
}
