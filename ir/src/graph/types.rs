//! The types of graph values: run-time row axes, static extents, element types and states.

use serde::{Deserialize, Serialize};

/// A dimension known only when a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RunDim {
    /// `N`: tokens in this step, over all sequences.
    Tokens,
    /// `R`: rows whose logits are wanted.
    OutRows,
    /// `S`: slots, one a sequence.
    Slots,
}

impl RunDim {
    /// The letter that the IR text uses.
    pub const fn letter(self) -> &'static str {
        match self {
            RunDim::Tokens => "N",
            RunDim::OutRows => "R",
            RunDim::Slots => "S",
        }
    }
}

/// Element type of a value inside the graph. Storage types of weights and states are their own
/// affair; arithmetic is F32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DType {
    /// 32-bit float.
    F32,
    /// 32-bit unsigned integer: token ids, positions, slots, row numbers.
    U32,
}

/// A dense tensor: an optional run-time row axis, then static extents, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// The leading run-time axis; `None` for constants (weights, scalars).
    pub rows: Option<RunDim>,
    /// Static extents after the row axis. Empty with `rows: None` is a scalar.
    pub dims: Vec<u64>,
}

impl TensorType {
    /// An F32 tensor with this row axis and these extents.
    pub fn f32(rows: Option<RunDim>, dims: impl Into<Vec<u64>>) -> TensorType {
        TensorType { dtype: DType::F32, rows, dims: dims.into() }
    }

    /// A U32 vector along `rows`.
    pub fn ids(rows: RunDim) -> TensorType {
        TensorType { dtype: DType::U32, rows: Some(rows), dims: vec![] }
    }

    /// Elements in one row: the product of the static extents.
    pub fn width(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Whether an elementwise op may repeat this to `whole`: of its axes, taken from the last, each
    /// has the extent of the other or 1, and it has the other's row axis or none.
    pub fn repeats_to(&self, whole: &TensorType) -> bool {
        let rows = self.rows == whole.rows || self.rows.is_none();
        let axes = self.dims.iter().rev().zip(whole.dims.iter().rev());
        let fits =
            self.dims.len() <= whole.dims.len() && axes.into_iter().all(|(a, b)| a == b || *a == 1);
        self.dtype == whole.dtype && rows && fits
    }

    /// The innermost extent, 1 for a scalar.
    pub fn last(&self) -> u64 {
        self.dims.last().copied().unwrap_or(1)
    }
}

impl std::fmt::Display for TensorType {
    /// `f32[N, 9, 64]`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.dtype {
            DType::F32 => "f32[",
            DType::U32 => "u32[",
        })?;
        let rows = self.rows.map(|dim| dim.letter().to_string());
        let axes: Vec<String> =
            rows.into_iter().chain(self.dims.iter().map(u64::to_string)).collect();
        write!(f, "{}]", axes.join(", "))
    }
}

/// How a state's rows are stored; part of the meaning of writing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StateFormat {
    /// Kept exactly.
    F32,
    /// Rounded to nearest even 16-bit float on write.
    F16,
    /// Rounded on write to 8 bits an element, in blocks of [`StateFormat::BLOCK`] elements that lie
    /// together in a head (the last extent, whole blocks). With `d` the largest magnitude of the
    /// block's elements divided by 127, rounded to nearest even F16, an element `x` becomes
    /// `d · q`, where `q` is `x / d` rounded to the nearest even whole number and kept within
    /// −127 and 127; 0 where `d` is 0. A block with an element that is not finite, or whose `d` is
    /// beyond the largest F16 before it is rounded, becomes NaN.
    #[serde(rename = "Q8_0")]
    Q8,
}

impl StateFormat {
    /// Every format.
    pub const ALL: [StateFormat; 3] = [StateFormat::F32, StateFormat::F16, StateFormat::Q8];

    /// Elements of a block of [`StateFormat::Q8`].
    pub const BLOCK: u64 = 32;

    /// The format's name in the IR text.
    pub const fn name(self) -> &'static str {
        match self {
            StateFormat::F32 => "f32",
            StateFormat::F16 => "f16",
            StateFormat::Q8 => "q8_0",
        }
    }

    /// Bytes that a row of these extents takes on a device. The scales of [`StateFormat::Q8`] lie in
    /// pairs where heads have an even number of blocks, else in words of their own.
    pub fn row_bytes(self, row: &[u64]) -> u64 {
        let width: u64 = row.iter().product();
        match self {
            StateFormat::F32 => 4 * width,
            StateFormat::F16 => 2 * width,
            StateFormat::Q8 if StateFormat::pairs_scales(row) => width + 2 * width / Self::BLOCK,
            StateFormat::Q8 => width + 4 * width / Self::BLOCK,
        }
    }

    /// Whether two scales of [`StateFormat::Q8`] share a word in rows of these extents.
    pub fn pairs_scales(row: &[u64]) -> bool {
        row.last().is_some_and(|head| head.is_multiple_of(2 * Self::BLOCK))
    }

    /// Whether rows of these extents can be stored so.
    pub fn takes(self, row: &[u64]) -> bool {
        match self {
            StateFormat::F32 | StateFormat::F16 => true,
            StateFormat::Q8 => row.last().is_some_and(|head| head.is_multiple_of(Self::BLOCK)),
        }
    }
}

/// Which rows a state keeps for each slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Addressing {
    /// One row for each position up to the context length: row `position` of the slot.
    Append,
    /// The rows of the latest positions: a step may read `window` rows up to each of its own, so
    /// `window − 1` rows more than a step has tokens are kept. Row `position`, counted round.
    Ring {
        /// Rows that are read up to a position, that of the position included.
        window: u32,
    },
    /// One row, which each token of the slot replaces.
    Replace,
}

impl Addressing {
    /// The rule's name.
    pub const fn name(self) -> &'static str {
        match self {
            Addressing::Append => "append",
            Addressing::Ring { .. } => "ring",
            Addressing::Replace => "replace",
        }
    }

    /// Whether a slot has fewer rows than positions, so that later ones take the rows of earlier ones.
    pub fn comes_round(self, context: u32, chunk: u32) -> bool {
        matches!(self, Addressing::Ring { .. }) && self.rows(context, chunk) < context
    }

    /// Rows of each slot, where a sequence has up to `context` positions and a step up to `chunk`
    /// tokens.
    pub fn rows(self, context: u32, chunk: u32) -> u32 {
        match self {
            Addressing::Append => context,
            Addressing::Ring { window } => {
                (window.saturating_sub(1).saturating_add(chunk)).min(context)
            }
            Addressing::Replace => 1,
        }
    }
}

impl std::fmt::Display for Addressing {
    /// `append`, `ring(window=4)`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        match self {
            Addressing::Ring { window } => write!(f, "(window={window})"),
            Addressing::Append | Addressing::Replace => Ok(()),
        }
    }
}

/// A state that lives across steps, one copy for each slot. It starts as zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateDecl {
    /// Unique name, such as `k.3`.
    pub name: String,
    /// Storage of its elements.
    pub format: StateFormat,
    /// Extents of one row, such as `[kv heads, head size]`.
    pub row: Vec<u64>,
    /// Which rows it keeps.
    pub addressing: Addressing,
}

impl StateDecl {
    /// Elements of one row.
    pub fn width(&self) -> u64 {
        self.row.iter().product()
    }
}

/// What a node yields.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Type {
    /// A dense tensor.
    Tensor(TensorType),
    /// A version of the state with this index in [`crate::graph::Graph::states`].
    State(StateId),
}

/// Index of a state declaration in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StateId(pub u32);

/// Index of a weight declaration in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WeightId(pub u32);

/// A node of a graph, and so the value that it yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ValueId(pub u32);
