//! Each op's arithmetic against values computed by hand and against identities.

use quarrel_ir::format::Format;
use quarrel_ir::graph::{Addressing, StateDecl, StateFormat};
use quarrel_ir::graph::{Attention, BinaryOp, NormKind, Normalize, Rope, RopeStyle, UnaryOp};
use quarrel_reference::ops::{self, AttentionShape, Cache, Matrix};
use quarrel_reference::{StateRows, round};

#[track_caller]
fn assert_close(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{got:?} {expected:?}");
    for (got_one, expected_one) in got.iter().zip(expected) {
        let error = (got_one - expected_one).abs();
        assert!(error <= 1e-6 * expected_one.abs().max(1.0), "{got:?} is not {expected:?}");
    }
}

#[test]
fn unary_functions_have_their_textbook_values() {
    let cases = [
        (UnaryOp::Neg, 1.5, -1.5),
        (UnaryOp::Exp, 1.0, 2.718_281_7),
        (UnaryOp::Tanh, 0.5, 0.462_117_16),
        (UnaryOp::Sigmoid, 0.0, 0.5),
        (UnaryOp::Sigmoid, 2.0, 0.880_797_1),
        (UnaryOp::Silu, 1.0, 0.731_058_6),
        (UnaryOp::Silu, -2.0, -0.238_405_85),
        (UnaryOp::Gelu, 1.0, 0.841_192),
        (UnaryOp::Gelu, -0.5, -0.154_286),
        (UnaryOp::GeluErf, 1.0, 0.841_344_7),
        (UnaryOp::GeluErf, -0.5, -0.154_268_77),
        (UnaryOp::Relu, -3.0, 0.0),
        (UnaryOp::Relu, 3.0, 3.0),
        (UnaryOp::Sqrt, 2.25, 1.5),
        (UnaryOp::Softplus, 1.0, 1.313_261_7),
        (UnaryOp::Softplus, -100.0, 0.0),
        (UnaryOp::Softplus, 100.0, 100.0),
    ];
    for (op, x, expected) in cases {
        assert_close(&ops::unary(op, &[x]), &[expected]);
    }
    for op in UnaryOp::ALL {
        assert!(cases.iter().any(|case| case.0 == op), "{} has a case", op.name());
    }
}

#[test]
fn activations_do_not_overflow() {
    for op in [UnaryOp::Sigmoid, UnaryOp::Silu, UnaryOp::Gelu, UnaryOp::GeluErf, UnaryOp::Tanh] {
        let far = ops::unary(op, &[-1e4, 1e4]);
        assert!(far.iter().all(|y| y.is_finite()), "{}: {far:?}", op.name());
        assert!(far[0] == 0.0 || op == UnaryOp::Tanh, "{}: {far:?}", op.name());
    }
}

#[test]
fn binary_functions_repeat_the_shorter_operand() {
    let a = [6.0, 8.0, -9.0, 12.0];
    assert_eq!(ops::binary(BinaryOp::Add, &a, &[1.0]), [7.0, 9.0, -8.0, 13.0]);
    assert_eq!(ops::binary(BinaryOp::Sub, &[1.0], &a), [-5.0, -7.0, 10.0, -11.0]);
    assert_eq!(ops::binary(BinaryOp::Mul, &a, &[2.0, 3.0]), [12.0, 24.0, -18.0, 36.0]);
    assert_eq!(ops::binary(BinaryOp::Div, &a, &[2.0, 4.0]), [3.0, 2.0, -4.5, 3.0]);
    assert_eq!(ops::binary(BinaryOp::Max, &a, &[7.0]), [7.0, 8.0, 7.0, 12.0]);
    assert_eq!(ops::binary(BinaryOp::Min, &a, &[7.0]), [6.0, 7.0, -9.0, 7.0]);
    assert!(ops::binary(BinaryOp::Add, &[], &[1.0, 2.0]).is_empty());
}

#[test]
fn linear_is_a_product_with_the_transposed_weight() {
    let x = [1.0, 2.0, 3.0, -1.0, 0.0, 1.0];
    let w = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, -1.0, 2.0, 0.5, 0.5, 0.5];
    let y = ops::linear(&x, Matrix::Plain(&w), 4, 3);
    assert_eq!(y, [1.0, 6.0, 4.0, 3.0, -1.0, 0.0, 2.0, 0.0]);
    assert!(ops::linear(&[], Matrix::Plain(&w), 4, 3).is_empty());
}

#[test]
fn packed_weights_are_read_as_their_values() {
    for format in Format::ALL {
        // Any bytes are blocks, and floats whose upper byte is below 0x70 are finite.
        let (m, k) = (3, 256);
        let len = m * k / format.block_len() * format.block_bytes();
        let bytes: Vec<u8> = (0..len).map(|i| (i * 37 % 0x70) as u8).collect();
        let mut plain = vec![0.0; m * k];
        format.dequantize(&bytes, &mut plain);
        let x: Vec<f32> = (0..2 * k).map(|i| (i as f32 * 0.7).sin()).collect();
        let packed = ops::linear(&x, Matrix::Packed(format, &bytes), m, k);
        assert_eq!(packed, ops::linear(&x, Matrix::Plain(&plain), m, k), "{format}");
        let rows = ops::embed(Matrix::Packed(format, &bytes), k, &[2, 0]);
        assert_eq!(rows, ops::gather_rows(&plain, k, &[2, 0]), "{format}");
    }
}

#[test]
fn rows_and_parts_are_chosen() {
    let x = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    assert_eq!(ops::gather_rows(&x, 2, &[2, 0, 2]), [4.0, 5.0, 0.0, 1.0, 4.0, 5.0]);
    assert_eq!(ops::slice(&x, 3, 1, 2), [1.0, 2.0, 4.0, 5.0]);
}

#[test]
fn normalisation_divides_by_the_root_of_mean_square_or_variance() {
    let rms = |eps| Normalize { kind: NormKind::Rms, eps };
    let root = 12.5f32.sqrt();
    assert_close(&ops::normalize(&[3.0, 4.0], 2, &rms(0.0)), &[3.0 / root, 4.0 / root]);
    assert_close(&ops::normalize(&[3.0, 4.0], 2, &rms(3.5)), &[0.75, 1.0]);
    assert_close(&ops::normalize(&[3.0, 4.0, 0.0, 0.0], 2, &rms(3.5)), &[0.75, 1.0, 0.0, 0.0]);
    let layer = Normalize { kind: NormKind::Layer, eps: 0.0 };
    let half = 1.5f32.sqrt();
    assert_close(&ops::normalize(&[1.0, 2.0, 3.0], 3, &layer), &[-half, 0.0, half]);
    assert_close(&ops::normalize(&[11.0, 12.0, 13.0], 3, &layer), &[-half, 0.0, half]);
}

const PLAIN_ROPE: Rope = Rope {
    base: 10000.0,
    scale: 1.0,
    magnitude: 1.0,
    dims: 4,
    style: RopeStyle::Interleaved,
    ramp: None,
};

#[test]
fn rope_turns_pairs_by_hand_computed_angles() {
    use std::f32::consts::FRAC_PI_2;
    // Pair 0 turns by π/2 a position, pair 1 by π/2 · 10000^(-1/2).
    let spec = Rope { scale: FRAC_PI_2, ..PLAIN_ROPE };
    let x = [1.0, 0.0, 1.0, 0.0, 7.0];
    let small = FRAC_PI_2 / 100.0;
    let turned = [0.0, 1.0, small.cos(), small.sin(), 7.0];
    assert_close(&ops::rope(&x, 1, 5, &[1], None, &spec), &turned);
    let half = Rope { style: RopeStyle::Half, magnitude: 2.0, ..spec };
    let x = [1.0, 1.0, 0.0, 0.0, 7.0];
    let turned = [0.0, 2.0 * small.cos(), 2.0, 2.0 * small.sin(), 7.0];
    assert_close(&ops::rope(&x, 1, 5, &[1], None, &half), &turned);
}

#[test]
fn rope_factors_divide_the_angle() {
    let x = [0.3, -1.0, 2.0, 0.25];
    let slowed = ops::rope(&x, 1, 4, &[6], Some(&[2.0, 2.0]), &PLAIN_ROPE);
    assert_close(&slowed, &ops::rope(&x, 1, 4, &[3], None, &PLAIN_ROPE));
    let scaled = Rope { scale: 0.5, ..PLAIN_ROPE };
    assert_close(&slowed, &ops::rope(&x, 1, 4, &[6], None, &scaled));
}

#[test]
fn rope_keeps_position_zero_and_relative_products() {
    let (q, k) = ([0.3, -1.0, 2.0, 0.25], [1.0, 0.5, -0.75, 2.0]);
    for style in [RopeStyle::Interleaved, RopeStyle::Half] {
        let spec = Rope { style, ..PLAIN_ROPE };
        let turn = |x: &[f32], position| ops::rope(x, 1, 4, &[position], None, &spec);
        assert_eq!(turn(&q, 0), q);
        let product = |m, n| {
            let (q, k) = (turn(&q, m), turn(&k, n));
            q.iter().zip(&k).map(|(a, b)| a * b).sum::<f32>()
        };
        assert_close(&[product(5, 3), product(905, 903)], &[product(2, 0), product(2, 0)]);
    }
}

/// Two slots of four rows, one key and value head of two elements.
const SHAPE: AttentionShape = AttentionShape { heads: 2, kv_heads: 1, size: 2, value_size: 2 };
const PLAIN: Attention = Attention { scale: 1.0, window: None, softcap: None, alibi: None };
const VALUES: [f32; 16] =
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, -8.0];

fn attend(keys: &[f32], q: &[f32], slot: u32, position: u32, spec: &Attention) -> Vec<f32> {
    let cache = Cache { keys, values: &VALUES, context: 4 };
    ops::attention(q, SHAPE, cache, &[slot], &[position], spec)
}

#[test]
fn attention_with_equal_scores_is_the_mean_of_the_rows_it_may_see() {
    let (keys, q) = ([0.5; 16], [1.0, -1.0, 2.0, 0.0]);
    assert_close(&attend(&keys, &q, 0, 0, &PLAIN), &[1.0, 2.0, 1.0, 2.0]);
    assert_close(&attend(&keys, &q, 0, 2, &PLAIN), &[3.0, 4.0, 3.0, 4.0]);
    assert_close(&attend(&keys, &q, 1, 1, &PLAIN), &[-2.0, -3.0, -2.0, -3.0]);
    for (window, mean) in [(1, 7.0), (2, 6.0), (4, 4.0), (100, 4.0)] {
        let spec = Attention { window: Some(window), ..PLAIN };
        let expected = [mean, mean + 1.0, mean, mean + 1.0];
        assert_close(&attend(&keys, &q, 0, 3, &spec), &expected);
    }
}

#[test]
fn attention_weights_are_the_softmax_of_scaled_and_capped_scores() {
    let mut keys = [0.0; 16];
    keys[..4].copy_from_slice(&[1.0, 0.0, 0.0, 3.0]);
    let q = [2.0, 0.0, 0.0, 40.0];
    let expected = |score: [f64; 2]| {
        let weight = 1.0 / (1.0 + (score[1] - score[0]).exp());
        let row = |c: f64| (weight * (c + 1.0) + (1.0 - weight) * (c + 3.0)) as f32;
        [row(0.0), row(1.0)]
    };
    let spec = Attention { scale: 0.5, ..PLAIN };
    let plain = [expected([1.0, 0.0]), expected([0.0, 60.0])].concat();
    assert_close(&attend(&keys, &q, 0, 1, &spec), &plain);
    let cap = |z: f64| 3.0 * (z / 3.0).tanh();
    let capped = [expected([cap(1.0), 0.0]), expected([0.0, cap(60.0)])].concat();
    assert_close(&attend(&keys, &q, 0, 1, &Attention { softcap: Some(3.0), ..spec }), &capped);
}

#[test]
fn query_heads_share_key_heads_in_order() {
    let shape = AttentionShape { heads: 4, kv_heads: 2, size: 1, value_size: 1 };
    let cache = Cache { keys: &[1.0, 1.0], values: &[10.0, 20.0], context: 1 };
    let y = ops::attention(&[1.0; 4], shape, cache, &[0], &[0], &PLAIN);
    assert_eq!(y, [10.0, 10.0, 20.0, 20.0]);
}

#[test]
fn states_round_to_nearest_even_on_write() {
    let ulp = 2f32.powi(-10);
    let rounded = |format, x: f32| {
        let mut old = [0.0];
        round(format, &[x], &mut old);
        old[0]
    };
    assert_eq!(rounded(StateFormat::F16, 1.0 + ulp / 2.0), 1.0);
    assert_eq!(rounded(StateFormat::F16, 1.0 + 1.5 * ulp), 1.0 + 2.0 * ulp);
    assert_eq!(rounded(StateFormat::F16, 1.0 + 0.51 * ulp), 1.0 + ulp);
    assert_eq!(rounded(StateFormat::F16, 70000.0), f32::INFINITY);
    assert_eq!(rounded(StateFormat::F32, 1.0 + ulp / 2.0), 1.0 + ulp / 2.0);
}

#[test]
fn blocks_of_a_row_share_a_scale() {
    // A scale of 2, of 1/127 rounded to F16, of nothing, and of something that is not finite.
    let mut row = [0.0; 128];
    (row[0], row[1], row[2], row[3]) = (254.0, 1.0, -3.0, 4.9);
    (row[32], row[33]) = (-1.0, 0.5);
    (row[96], row[97]) = (1.0, f32::INFINITY);
    let mut old = [7.0; 128];
    round(StateFormat::Q8, &row, &mut old);
    // Halves go to the even neighbour: 1 / 2 to 0, -3 / 2 to -2.
    assert_eq!(old[..5], [254.0, 0.0, -4.0, 4.0, 0.0]);
    let scale = half::f16::from_f32(1.0 / 127.0).to_f32();
    assert_eq!(old[32..35], [-127.0 * scale, 64.0 * scale, 0.0]);
    assert!(old[64..96].iter().all(|x| *x == 0.0));
    assert!(old[96..].iter().all(|x| x.is_nan()));
    // 127 times the largest F16 is the most that a block may hold.
    let most = 127.0 * 65504.0f32;
    for (x, finite) in [(most, true), (most * 1.001, false)] {
        row[0] = x;
        round(StateFormat::Q8, &row, &mut old);
        assert_eq!(old[0].is_finite(), finite, "{x}");
    }
}

#[test]
fn append_writes_one_row_of_one_slot() {
    let decl = StateDecl {
        name: "k".into(),
        format: StateFormat::F16,
        row: vec![2],
        addressing: Addressing::Append,
    };
    let mut state = StateRows::new(&decl, 2, 3).unwrap();
    state.append(&[1.0, 1.0 + 2f32.powi(-12), 5.0, 6.0], &[1, 0], &[2, 1]);
    assert_eq!(state.rows(), [0.0, 0.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    assert!(StateRows::new(&decl, usize::MAX, 3).is_err());
    assert!(StateRows::new(&StateDecl { row: vec![2, 0], ..decl }, 2, 3).is_err());
}

#[test]
fn shares_of_a_row() {
    let x = [0.0, 2f32.ln(), 5f32.ln(), 1000.0, 1000.0, 1000.0];
    let softmax = Normalize { kind: NormKind::Softmax, eps: 0.0 };
    let third = 1.0 / 3.0;
    assert_close(&ops::normalize(&x, 3, &softmax), &[0.125, 0.25, 0.625, third, third, third]);
    let sum = Normalize { kind: NormKind::Sum, eps: 1.0 };
    assert_close(&ops::normalize(&[1.0, 2.0], 2, &sum), &[0.25, 0.5]);
}

#[test]
fn experts_are_chosen_and_added_up() {
    // Of equal scores the first is chosen.
    assert_eq!(ops::top_k(&[1.0, 3.0, 3.0, -1.0, 0.0, 9.0], 3, 2), [1, 2, 2, 1]);
    assert_eq!(ops::take(&[1.0, 3.0, 5.0], 3, &[2, 0], 2), [5.0, 1.0]);
    // Two experts of one row each: [1, 2] and [3, 4].
    let w = Matrix::Plain(&[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(ops::expert_linear(&[10.0, 1.0], w, (1, 2), &[1, 0], 2), [34.0, 12.0]);
    let own = [10.0, 1.0, 0.0, 1.0];
    assert_eq!(ops::expert_linear(&own, w, (1, 2), &[1, 0], 2), [34.0, 2.0]);
    assert_eq!(ops::expert_sum(&[34.0, 12.0], &[0.5, 2.0], 1, 2), [41.0]);
}

#[test]
fn a_convolution_begins_with_zeros() {
    // Rows of one channel at positions 0, 1, 2; three taps, the last for the row itself.
    let rows = [1.0, 10.0, 100.0];
    let y = ops::short_conv(&rows, 3, &[2.0, 3.0, 4.0], 1, &[0, 0, 0], &[0, 1, 2]);
    assert_eq!(y, [4.0, 43.0, 432.0]);
}

#[test]
fn a_scan_decays_and_adds() {
    use quarrel_reference::ops::{ScanShape, ScanToken};
    let shape = ScanShape { heads: 1, size: 1, width: 2, groups: 1 };
    let mut state = [8.0, 8.0];
    let token = ScanToken { x: &[3.0], step: &[2f32.ln()], b: &[0.0, 1.0], c: &[1.0, 1.0] };
    // exp(ln 2 · -1) halves the state; ln 2 · 1 · 3 is added where b is 1.
    let y = ops::scan_token(&mut state, shape, &[-1.0], token);
    let added = 3.0 * 2f32.ln();
    assert_close(&state, &[4.0, 4.0 + added]);
    assert_close(&y, &[8.0 + added]);
}

#[test]
fn slopes_of_position_biases() {
    use quarrel_ir::graph::alibi_slope;
    let four: Vec<f32> = (0..4).map(|head| alibi_slope(8.0, head, 4)).collect();
    assert_eq!(four, [0.25, 0.0625, 0.015625, 0.00390625]);
    // The paper's rule for 6 heads: those of 4, then every other of 8.
    let rest: Vec<f32> = (4..6).map(|head| alibi_slope(8.0, head, 6)).collect();
    assert_eq!(rest, [0.5, 0.125]);
}
