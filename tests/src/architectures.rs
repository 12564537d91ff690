//! Twenty architectures drawn at random, the same each time: Llama with its parts swapped.

use crate::synthetic::{Residual, Variant};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use quarrel_ir::format::Format;

/// A runner that draws the same cases each time, `cases` of them.
pub fn runner(cases: u32, seed: u8) -> TestRunner {
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: 12, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
}

/// `count` values of `strategy`, the same each time.
///
/// # Panics
/// If the strategy refuses too many draws.
pub fn draw<S: Strategy>(strategy: &S, count: u32, seed: u8) -> Vec<S::Value> {
    let mut runner = runner(count, seed);
    let mut one = || strategy.new_tree(&mut runner).unwrap_or_else(|why| panic!("{why}")).current();
    (0..count).map(|_| one()).collect()
}

/// Formats with short blocks, which let models stay small. Products in every format are tested alone.
pub const SHORT: [Format; 8] = [
    Format::F32,
    Format::F16,
    Format::Q4_0,
    Format::Q4_1,
    Format::Q5_0,
    Format::Q5_1,
    Format::Q8_0,
    Format::BF16,
];

/// The twenty.
pub fn twenty() -> Vec<Variant> {
    let mut all = draw(&variant(), 20, 11);
    // Every short format has its turn; formats of the twenty in order.
    for (variant, format) in all.iter_mut().zip(SHORT.into_iter().cycle()) {
        *variant = fit(Variant { format, ..variant.clone() });
    }
    all
}

/// Any architecture of the kind.
pub fn variant() -> impl Strategy<Value = Variant> {
    let heads = (1u64..=3, 1u64..=4, select(vec![8u64, 16, 24, 32, 64]), 1u64..=16);
    let sizes = (2u64..=4, 0u64..=3, 2u64..=5, 50u64..200);
    let residual = select(vec![Residual::Serial, Residual::Parallel, Residual::Scaled]);
    let parts = (
        select(vec!["silu", "gelu", "gelu_erf", "relu"]),
        any::<bool>(),
        residual,
        any::<bool>(),
        prop::option::of(select(vec![5.0f32, 30.0])),
        prop::option::of(select(vec![3.0f32, 15.0])),
    );
    let reach = (any::<bool>(), prop::option::of(select(vec![1u64, 3, 8])));
    let formats = (select(SHORT.to_vec()), select(SHORT.to_vec()));
    (heads, sizes, parts, reach, formats).prop_map(
        |(
            (kv_heads, share, head, turned),
            (width, less, ffn, vocabulary),
            parts,
            reach,
            formats,
        )| {
            fit(Variant {
                layers: 1,
                heads: kv_heads * share,
                kv_heads,
                head,
                width: 32 * width - 8 * less,
                ffn: 32 * ffn - 8 * less,
                vocabulary,
                activation: parts.0,
                layer_norm: parts.1,
                residual: parts.2,
                bias: parts.3,
                score_cap: parts.4,
                logit_cap: parts.5,
                half_rope: reach.0,
                // Whole fours, as every published model has; any number up to the whole head.
                rope_dims: (4 * turned).min(head),
                window: reach.1,
                format: formats.0,
                odd: formats.1,
            })
        },
    )
}

/// The same with sizes rounded up so that rows are whole blocks, as they are in files.
fn fit(variant: Variant) -> Variant {
    let Variant { format, odd, heads, head, width, ffn, .. } = variant;
    let whole = [format, odd].iter().map(|f| f.block_len() as u64).max().unwrap_or(1).max(8);
    let inner = heads * head;
    let blocks = inner.is_multiple_of(format.block_len() as u64);
    Variant {
        width: width.next_multiple_of(whole),
        ffn: ffn.next_multiple_of(whole),
        // Query heads in whole blocks, for the rows of the output product.
        head: if blocks { head } else { 32 },
        ..variant
    }
}
