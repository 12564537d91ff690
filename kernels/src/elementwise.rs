//! WGSL for functions of elements, the same text for `f32` and `vec4<f32>`.

use quarrel_ir::graph::{BinaryOp, UnaryOp};

/// An expression for the function of `x`, a name; `wide` says that it is a `vec4<f32>`.
///
/// Arguments of `exp` and `tanh` are limited where a larger one changes nothing but may overflow:
/// Metal's fast `tanh` yields NaN beyond 44.
pub fn unary(op: UnaryOp, x: &str, wide: bool) -> String {
    let splat = |value: &str| if wide { format!("vec4<f32>({value})") } else { value.to_string() };
    let tanh = |x: &str| format!("tanh(clamp({x}, {}, {}))", splat("-15.0"), splat("15.0"));
    let decay = format!("exp(min(-{x}, {}))", splat("80.0"));
    match op {
        UnaryOp::Neg => format!("-{x}"),
        UnaryOp::Exp => format!("exp({x})"),
        UnaryOp::Tanh => tanh(x),
        UnaryOp::Sigmoid => format!("1.0 / (1.0 + {decay})"),
        UnaryOp::Silu => format!("{x} / (1.0 + {decay})"),
        UnaryOp::Gelu => {
            let inner = format!("0.7978845608 * ({x} + 0.044715 * {x} * {x} * {x})");
            format!("0.5 * {x} * (1.0 + {})", tanh(&inner))
        }
        UnaryOp::GeluErf => {
            let erfc = if wide { "erfc_4" } else { "erfc_1" };
            format!("0.5 * {x} * {erfc}(-0.7071067812 * {x})")
        }
        UnaryOp::Relu => format!("max({x}, {})", splat("0.0")),
        UnaryOp::Sqrt => format!("sqrt({x})"),
        // Exact where exp(-|x|) would vanish beside 1.
        UnaryOp::Softplus => format!("max({x}, {}) + log(1.0 + exp(-abs({x})))", splat("0.0")),
    }
}

/// An expression for the function of `a` and `b`, both names of the same type.
pub fn binary(op: BinaryOp, a: &str, b: &str) -> String {
    match op {
        BinaryOp::Add => format!("{a} + {b}"),
        BinaryOp::Sub => format!("{a} - {b}"),
        BinaryOp::Mul => format!("{a} * {b}"),
        BinaryOp::Div => format!("{a} / {b}"),
        BinaryOp::Max => format!("max({a}, {b})"),
        BinaryOp::Min => format!("min({a}, {b})"),
    }
}

/// Functions that expressions of `op` call; empty for most.
///
/// The complementary error function is the Chebyshev fit of Press et al., Numerical Recipes, with a
/// relative error under 1.2e-7.
pub fn helpers(op: UnaryOp) -> &'static str {
    match op {
        UnaryOp::GeluErf => include_str!("erfc.wgsl"),
        _ => "",
    }
}
