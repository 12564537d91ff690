//! The closed set of graph operations and what each means.
//!
//! `N` is the step's token axis, `R` the axis of wanted rows. All arithmetic is F32. `x[n, …]` is
//! row `n` of a value; a value without a row axis is the same for all rows.

use super::types::{StateId, WeightId};
use serde::{Deserialize, Serialize};

/// An operation. Operands are listed in order in each variant's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// One of the step's inputs. No operands.
    Input(Input),
    /// A weight tensor, read as F32 values whatever its storage format. No operands.
    Weight(WeightId),
    /// A constant of rank 0. No operands.
    Scalar(f32),
    /// The state as it is at the start of the step. No operands. Used exactly once.
    State(StateId),
    /// `(table[v, d], ids: u32[N]) → f32[N, d]`: row `ids[n]` of the table.
    Embed,
    /// `(x[N, …], rows: u32[R]) → [R, …]`: row `rows[r]` of x.
    GatherRows,
    /// `(w[m, k]) → f32[m / every · len, k]`: some rows of a weight, see [`WeightRows`].
    WeightRows(WeightRows),
    /// `(x[A, k], w[m, k]) → f32[A, m]`: `y[n, i] = Σ_j x[n, j] · w[i, j]`.
    Linear,
    /// `(x[N, k] or x[N, t, k], w[e, m, k], ids: u32[N, t]) → f32[N, t, m]`: the product of row n,
    /// or of its row t, with the matrix of expert `ids[n, t]`:
    /// `y[n, t, i] = Σ_j x[n, (t,) j] · w[ids[n, t], i, j]` (Shazeer et al. 2017).
    ExpertLinear,
    /// `(y[N, t, m], weights[N, t]) → f32[N, m]`: `Σ_t weights[n, t] · y[n, t, i]`.
    ExpertSum,
    /// `(x[N, e]) → u32[N, k]`: where the k largest elements of each row are, the largest first;
    /// of equal ones the first.
    TopK(u32),
    /// `(x[N, e], ids: u32[N, k]) → f32[N, k]`: element `ids[n, i]` of row n. Ids are below e.
    Take,
    /// `(x) → same type`: the function of each element.
    Unary(UnaryOp),
    /// `(a, b)`: the function of each pair of elements. One operand has the result's type. The
    /// other repeats to it: it may lack the row axis and leading axes, and any of its extents may
    /// be 1.
    Binary(BinaryOp),
    /// `(x[…, d]) → same type`: x scaled along its last axis, see [`Normalize`].
    Normalize(Normalize),
    /// `(x[N, h, d], position: u32[N][, factors[dims / 2]]) → same type`: see [`Rope`].
    Rope(Rope),
    /// `(x) → the same elements in the same order`, with these static extents.
    Reshape(Vec<u64>),
    /// `(x[…, d]) → […, len]`: elements `start..start + len` of the last axis.
    Slice {
        /// First element taken.
        start: u64,
        /// Elements taken.
        len: u64,
    },
    /// `(state, x[N, …], slot: u32[N], position: u32[N]) → state`: for each n, row `position[n]` of
    /// slot `slot[n]` becomes `x[n]`, rounded to the state's format. The rows of `x` have the
    /// state's row extents.
    Append,
    /// `(q[N, h, d], keys: state, values: state, slot, position) → f32[N, h, d_v]`: see
    /// [`Attention`]. Reads states without changing them, after the appends that yield them.
    Attention(Attention),
    /// `(state, w[c, taps], slot: u32[N], position: u32[N]) → f32[N, c]`: causal convolution along
    /// each channel of a state of rows `[c]`:
    /// `y[n, i] = Σ_j w[i, j] · row(position[n] − taps + 1 + j)[i]` over the slot's rows, those
    /// before position 0 being zeros. Reads the state without changing it, after the append that
    /// yields it.
    ShortConv,
    /// `(state, x[N, h, p], step[N, h], decay[h, s] or [h, 1], b[N, g, s], c[N, g, s], slot: u32[N],
    /// position: u32[N]) → f32[N, h, p]`: selective state space (Gu & Dao 2023, 2024).
    ///
    /// The state's row is `H[h, p, s]`. The tokens of a slot are consecutive and in order; for each,
    /// H is made zeros where its position is 0, then, with head h reading group `h / (heads / g)`,
    /// `H[h, p, s] ← exp(step[h] · decay[h, s]) · H[h, p, s] + step[h] · b[g, s] · x[h, p]` and
    /// `y[h, p] = Σ_s c[g, s] · H[h, p, s]`. It changes the state, whose next version has no name:
    /// nothing else may use the state in this step.
    Scan,
}

/// Which rows of a weight: row `i` is taken where `start ≤ i % every < start + len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WeightRows {
    /// First row taken of each group.
    pub start: u64,
    /// Rows taken of each group.
    pub len: u64,
    /// Rows of a group; the weight's rows are a multiple of it.
    pub every: u64,
}

/// The inputs of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Input {
    /// `u32[N]`: token ids.
    Tokens,
    /// `u32[N]`: each token's position in its sequence, from 0.
    Position,
    /// `u32[N]`: each token's sequence slot.
    Slot,
    /// `u32[R]`: the rows of `N` whose logits are wanted.
    OutRows,
}

/// Functions of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UnaryOp {
    /// `-x`
    Neg,
    /// `exp(x)`
    Exp,
    /// `tanh(x)`
    Tanh,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `x · sigmoid(x)`
    Silu,
    /// Gaussian error linear unit, tanh form:
    /// `0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))` (Hendrycks & Gimpel 2016).
    Gelu,
    /// Gaussian error linear unit, exact: `0.5 x (1 + erf(x / √2))`. Implementations may use an
    /// approximation of erf with an absolute error under 2e-7.
    GeluErf,
    /// `max(x, 0)`
    Relu,
    /// `√x`
    Sqrt,
    /// `ln(1 + exp(x))`
    Softplus,
}

/// Functions of two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BinaryOp {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a · b`
    Mul,
    /// `a / b`
    Div,
    /// The larger.
    Max,
    /// The smaller.
    Min,
}

/// Normalisation over the last axis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalize {
    /// Which statistics are removed.
    pub kind: NormKind,
    /// Added to the mean square or variance before the square root, or to the sum.
    pub eps: f32,
}

/// What a normalisation makes of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NormKind {
    /// `x / √(mean(x²) + eps)` (Zhang & Sennrich 2019).
    Rms,
    /// `(x - mean(x)) / √(mean((x - mean(x))²) + eps)` (Ba et al. 2016).
    Layer,
    /// `exp(x - max(x)) / (Σ exp(x - max(x)) + eps)`
    Softmax,
    /// `x / (Σ x + eps)`
    Sum,
}

impl NormKind {
    /// Every kind.
    pub const ALL: [NormKind; 4] =
        [NormKind::Rms, NormKind::Layer, NormKind::Softmax, NormKind::Sum];

    /// The name of the op of this kind.
    pub const fn name(self) -> &'static str {
        match self {
            NormKind::Rms => "rms_normalize",
            NormKind::Layer => "layer_normalize",
            NormKind::Softmax => "softmax",
            NormKind::Sum => "sum_normalize",
        }
    }
}

/// Rotary position embedding (Su et al. 2021) of the first `dims` elements of each head.
///
/// Pair `i` of `dims / 2` turns by `θ = m_i · position · base^(-2 i / dims) / factors[i]`
/// (factors 1 where absent): `(a, b) → (a cos θ − b sin θ, a sin θ + b cos θ) · magnitude`. The
/// rest of the head is unchanged. `m_i` is `scale`, or with a ramp `scale + (1 − scale) · r_i`: see
/// [`Ramp`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// The base of the frequencies.
    pub base: f32,
    /// Multiplies the position (1 / linear scaling factor).
    pub scale: f32,
    /// Multiplies the turned elements (YaRN's magnitude), 1 otherwise.
    pub magnitude: f32,
    /// Elements of a head that turn; even, at most the head size.
    pub dims: u32,
    /// Which elements make a pair.
    pub style: RopeStyle,
    /// Pairs that are scaled less than others.
    pub ramp: Option<Ramp>,
}

/// How far pair `i` keeps its own frequency (YaRN, Peng et al. 2023):
/// `r_i = 1 − clamp((i − low) / max(high − low, 0.001), 0, 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ramp {
    /// Pairs up to this one keep it.
    pub low: f32,
    /// Pairs from this one on are scaled in full.
    pub high: f32,
}

/// Which two elements of a head make pair `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RopeStyle {
    /// `(2 i, 2 i + 1)`
    Interleaved,
    /// `(i, i + dims / 2)`
    Half,
}

/// Scaled dot-product attention over cached keys and values (Vaswani et al. 2017), with grouped
/// heads (Ainslie et al. 2023).
///
/// Row n with slot s and position p attends to the cached rows `first..=p` of slot s, where `first`
/// is 0 or, with a window W, `max(0, p - W + 1)`. Query head j reads key and value head
/// `j / (h / h_kv)`. Weights are the softmax over those rows of
/// `cap(scale · q·k) − slope(j) · (p − row)`, `cap(z) = softcap · tanh(z / softcap)` where a soft-cap
/// is given, and slopes where `alibi` is: see [`alibi_slope`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attention {
    /// Multiplies each score.
    pub scale: f32,
    /// Rows attended to, this one included; `None` for all.
    pub window: Option<u32>,
    /// Limit of the scores' size.
    pub softcap: Option<f32>,
    /// The largest bias exponent of linear position biases, 8 in models that have them.
    pub alibi: Option<f32>,
}

/// The slope of query head `head` of `heads` under linear position biases (ALiBi, Press et al.
/// 2022): `2^(-bias · (head + 1) / n)` for the first `n` heads, the largest power of two up to
/// `heads`, and `2^(-bias · (2 (head − n) + 1) / 2n)` for the rest.
pub fn alibi_slope(bias: f32, head: u32, heads: u32) -> f32 {
    let n = 1u32.checked_shl(heads.max(1).ilog2()).unwrap_or(1);
    let exponent = match head < n {
        true => bias * (head + 1) as f32 / n as f32,
        false => bias * (2 * (head - n) + 1) as f32 / (2 * n) as f32,
    };
    (-exponent).exp2()
}

impl Op {
    /// The operation's name in the IR text and in messages.
    pub const fn name(&self) -> &'static str {
        match self {
            Op::Input(_) => "input",
            Op::Weight(_) => "weight",
            Op::Scalar(_) => "scalar",
            Op::State(_) => "state",
            Op::Embed => "embed",
            Op::GatherRows => "gather_rows",
            Op::WeightRows(_) => "weight_rows",
            Op::Linear => "linear",
            Op::ExpertLinear => "expert_linear",
            Op::ExpertSum => "expert_sum",
            Op::TopK(_) => "top_k",
            Op::Take => "take",
            Op::Unary(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Normalize(n) => n.kind.name(),
            Op::Rope(_) => "rope",
            Op::Reshape(_) => "reshape",
            Op::Slice { .. } => "slice",
            Op::Append => "append",
            Op::Attention(_) => "attention",
            Op::ShortConv => "short_conv",
            Op::Scan => "scan",
        }
    }

    /// Whether the op only names something that exists before the step computes anything.
    pub const fn is_leaf(&self) -> bool {
        matches!(self, Op::Input(_) | Op::Weight(_) | Op::Scalar(_) | Op::State(_))
    }
}

impl Input {
    /// Every input.
    pub const ALL: [Input; 4] = [Input::Tokens, Input::Position, Input::Slot, Input::OutRows];

    /// The input's name.
    pub const fn name(self) -> &'static str {
        match self {
            Input::Tokens => "tokens",
            Input::Position => "position",
            Input::Slot => "slot",
            Input::OutRows => "out_rows",
        }
    }
}

impl RopeStyle {
    /// Every style.
    pub const ALL: [RopeStyle; 2] = [RopeStyle::Interleaved, RopeStyle::Half];

    /// The style's name.
    pub const fn name(self) -> &'static str {
        match self {
            RopeStyle::Interleaved => "interleaved",
            RopeStyle::Half => "half",
        }
    }
}

impl UnaryOp {
    /// Every unary function.
    pub const ALL: [UnaryOp; 10] = [
        UnaryOp::Neg,
        UnaryOp::Exp,
        UnaryOp::Tanh,
        UnaryOp::Sigmoid,
        UnaryOp::Silu,
        UnaryOp::Gelu,
        UnaryOp::GeluErf,
        UnaryOp::Relu,
        UnaryOp::Sqrt,
        UnaryOp::Softplus,
    ];

    /// The function's name.
    pub const fn name(self) -> &'static str {
        match self {
            UnaryOp::Neg => "neg",
            UnaryOp::Exp => "exp",
            UnaryOp::Tanh => "tanh",
            UnaryOp::Sigmoid => "sigmoid",
            UnaryOp::Silu => "silu",
            UnaryOp::Gelu => "gelu",
            UnaryOp::GeluErf => "gelu_erf",
            UnaryOp::Relu => "relu",
            UnaryOp::Sqrt => "sqrt",
            UnaryOp::Softplus => "softplus",
        }
    }
}

impl BinaryOp {
    /// Every binary function.
    pub const ALL: [BinaryOp; 6] =
        [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Max, BinaryOp::Min];

    /// The function's name.
    pub const fn name(self) -> &'static str {
        match self {
            BinaryOp::Add => "add",
            BinaryOp::Sub => "sub",
            BinaryOp::Mul => "mul",
            BinaryOp::Div => "div",
            BinaryOp::Max => "max",
            BinaryOp::Min => "min",
        }
    }
}
