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

fn check(variant: &Variant, fuse: &[bool], bound: f64) {
    let graph = variant.graph();
    let weights = RandomWeights::new(1, variant.tensors());
    let tokens = tokens(variant, 30);
    for &fuse in fuse {
        let options =
            PlanOptions { context: 64, chunk: 11, out_rows: 11, fuse, ..PlanOptions::default() };
        let worst = distance(&graph, &weights, &options, &tokens, 25);
        assert!(worst < bound, "fuse {fuse}: {worst} for {variant:?}");
    }
}

#[test]
fn plain_llama() {
    check(&Variant::default(), &[false, true], 1e-4);
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
        half_rope: true,
        rope_dims: 8,
        ..Variant::default()
    };
    check(&variant, &[false, true], 1e-4);
}

/// Whole models with matrices in two formats; products in every format are tested alone.
#[test]
fn mixed_formats() {
    for (format, odd) in [(Format::Q4_1, Format::Q8_0), (Format::Q5_0, Format::BF16)] {
        check(&Variant { format, odd, ..Variant::default() }, &[true], 1e-4);
    }
}
