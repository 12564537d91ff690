//! Functions of one and of two elements.

use quarrel_ir::graph::{BinaryOp, UnaryOp};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

/// The function of one element, computed in F64 and rounded once.
pub fn unary_function(op: UnaryOp, x: f32) -> f32 {
    let x = f64::from(x);
    let y = match op {
        UnaryOp::Neg => -x,
        UnaryOp::Exp => x.exp(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Sigmoid => sigmoid(x),
        UnaryOp::Silu => x * sigmoid(x),
        UnaryOp::Gelu => 0.5 * x * (1.0 + (FRAC_2_PI.sqrt() * (x + 0.044715 * x * x * x)).tanh()),
        UnaryOp::GeluErf => 0.5 * x * (1.0 + libm::erf(x * FRAC_1_SQRT_2)),
        UnaryOp::Relu => x.max(0.0),
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    };
    y as f32
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The function of each element of `x`.
pub fn unary(op: UnaryOp, x: &[f32]) -> Vec<f32> {
    x.iter().map(|&x| unary_function(op, x)).collect()
}

/// The function of two elements, in F32. Where one is NaN, `Max` and `Min` yield the other.
pub fn binary_function(op: BinaryOp, a: f32, b: f32) -> f32 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Max => a.max(b),
        BinaryOp::Min => a.min(b),
    }
}

/// The function of each pair of elements; the shorter operand repeats along the longer.
///
/// # Panics
/// If an operand is empty and the other is not, or the longer is no multiple of the shorter.
pub fn binary(op: BinaryOp, a: &[f32], b: &[f32]) -> Vec<f32> {
    let len = if a.is_empty() || b.is_empty() { 0 } else { a.len().max(b.len()) };
    for operand in [a, b] {
        let (name, repeats) = (op.name(), operand.len());
        assert!(len.is_multiple_of(repeats), "{name}: {repeats} does not repeat along {len}");
    }
    let pairs = a.iter().cycle().zip(b.iter().cycle());
    pairs.take(len).map(|(&a, &b)| binary_function(op, a, b)).collect()
}

/// The elements of `x[rows, dims]` repeated to `[count, whole]`: see
/// [`quarrel_ir::graph::TensorType::repeats_to`]. `rows` says whether x has a row axis.
///
/// # Panics
/// If x does not repeat so.
pub(crate) fn repeated(
    x: &[f32],
    rows: bool,
    dims: &[u64],
    count: usize,
    whole: &[u64],
) -> Vec<f32> {
    let width: usize = whole.iter().map(|&d| d as usize).product();
    let own: usize = dims.iter().map(|&d| d as usize).product();
    let mut y = Vec::with_capacity(count * width);
    for n in 0..count {
        let row = if rows { &x[n * own..(n + 1) * own] } else { x };
        for place in 0..width {
            let (mut rest, mut at, mut stride) = (place, 0, 1);
            for (axis, &extent) in whole.iter().rev().enumerate() {
                let index = rest % extent as usize;
                rest /= extent as usize;
                let Some(&has) = dims.iter().rev().nth(axis) else { break };
                if has > 1 {
                    at += index * stride;
                }
                stride *= has as usize;
            }
            y.push(row[at]);
        }
    }
    y
}
