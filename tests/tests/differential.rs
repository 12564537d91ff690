//! Compiled plans beside the reference: fused, unfused, and for models with their parts swapped.

use quarrel_ir::format::Format;
use quarrel_ir::plan::PlanOptions;
use quarrel_tests::differ::distance;
use quarrel_tests::synthetic::{Residual, Variant};
use quarrel_tests::weights::{Random, RandomWeights};

fn tokens(variant: &Variant, count: usize) -> Vec<u32> {
    let mut random = Random(7);
    (0..count).map(|_| (random.word() % variant.vocabulary) as u32).collect()
}

fn check(variant: &Variant, bound: f64) {
    let graph = variant.graph();
    let weights = RandomWeights::new(1, variant.tensors());
    let tokens = tokens(variant, 30);
    for fuse in [false, true] {
        let options =
            PlanOptions { context: 64, chunk: 11, out_rows: 11, fuse, ..PlanOptions::default() };
        let worst = distance(&graph, &weights, &options, &tokens, 25);
        assert!(worst < bound, "fuse {fuse}: {worst} for {variant:?}");
    }
}

#[test]
fn plain_llama() {
    check(&Variant::default(), 1e-4);
}

#[test]
fn half_rope() {
    check(&Variant { half_rope: true, ..Variant::default() }, 1e-4);
    check(&Variant { half_rope: true, rope_dims: 8, ..Variant::default() }, 1e-4);
}

#[test]
fn parallel_with_layer_norms_and_biases() {
    let variant = Variant {
        residual: Residual::Parallel,
        layer_norm: true,
        bias: true,
        activation: "gelu",
        score_cap: Some(20.0),
        logit_cap: Some(15.0),
        ..Variant::default()
    };
    check(&variant, 1e-4);
}

#[test]
fn every_format() {
    for format in Format::ALL {
        check(&Variant { format, odd: Format::Q8_0, ..Variant::default() }, 1e-4);
    }
}
