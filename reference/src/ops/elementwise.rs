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
    binary_to(op, a, b, len)
}

/// As [`binary`], with a result of `len` elements: a value of no rows is shorter than what repeats
/// along it.
pub(crate) fn binary_to(op: BinaryOp, a: &[f32], b: &[f32], len: usize) -> Vec<f32> {
    for operand in [a, b] {
        let (name, repeats) = (op.name(), operand.len());
        assert!(len.is_multiple_of(repeats), "{name}: {repeats} does not repeat along {len}");
    }
    let pairs = a.iter().cycle().zip(b.iter().cycle());
    pairs.take(len).map(|(&a, &b)| binary_function(op, a, b)).collect()
}
