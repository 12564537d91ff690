//! What can be wrong with a graph, its weights or a step's inputs.

use quarrel_ir::format::Format;
use quarrel_ir::graph::VerifyError;
use quarrel_ir::weight::{TensorInfo, WeightError};

/// The interpreter cannot be built, or a step cannot be run. A step that fails changes no state.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The graph breaks a rule that spans nodes.
    #[error(transparent)]
    Graph(#[from] VerifyError),
    /// A weight could not be read.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// The graph was made for a tensor of another format or shape.
    #[error(
        "the graph wants the weight {:?} as {} {:?}, but the weights hold {} {:?}",
        wanted.name, wanted.format, wanted.shape, found.format, found.shape
    )]
    WeightDiffers {
        /// What the graph declares.
        wanted: Box<TensorInfo>,
        /// What the weights hold.
        found: Box<TensorInfo>,
    },
    /// A weight's bytes are not as many as its shape says.
    #[error("the weight {name:?} should have {expected} bytes, but it has {got}")]
    WeightSize {
        /// The weight.
        name: String,
        /// Bytes by format and shape.
        expected: u64,
        /// Bytes found.
        got: usize,
    },
    /// A weight's rows are not whole blocks, or its size overflows.
    #[error("the weight {name:?} cannot be {format} {shape:?}: its rows are not whole blocks")]
    WeightShape {
        /// The weight.
        name: String,
        /// Its format.
        format: Format,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// A value or state has an extent of zero, or more elements than can be counted.
    #[error("{what} has no size that can be computed with: its extents are {dims:?}")]
    Extents {
        /// The value or state.
        what: String,
        /// Its static extents.
        dims: Vec<u64>,
    },
    /// The states do not fit into the address space.
    #[error("the state {name:?} is too large for {slots} slots of {context} positions")]
    StateTooLarge {
        /// The state.
        name: String,
        /// Slots asked for.
        slots: usize,
        /// Positions a slot.
        context: usize,
    },
    /// An input has not one element a token.
    #[error("the step has {tokens} tokens, but {input} has {got} elements")]
    InputLength {
        /// `position` or `slot`.
        input: &'static str,
        /// Tokens in the step.
        tokens: usize,
        /// The input's length.
        got: usize,
    },
    /// An element of an input is too large.
    #[error("{input}[{index}] is {got}, but it should be below {limit} ({why})")]
    InputRange {
        /// `tokens`, `position`, `slot` or `out_rows`.
        input: &'static str,
        /// Which element.
        index: usize,
        /// The element.
        got: u32,
        /// The first number that is too large.
        limit: usize,
        /// What sets the limit, such as `the vocabulary`.
        why: &'static str,
    },
    /// Two tokens of one step claim the same place.
    #[error("tokens {first} and {second} are both at position {position} of slot {slot}")]
    SamePlace {
        /// The earlier token's row.
        first: usize,
        /// The later token's row.
        second: usize,
        /// Their slot.
        slot: u32,
        /// Their position.
        position: u32,
    },
    /// There is no such slot to reset.
    #[error("there is no slot {slot}: there are {slots}")]
    NoSuchSlot {
        /// The slot asked for.
        slot: usize,
        /// Slots there are.
        slots: usize,
    },
    /// A value that was asked for is not an F32 tensor of this graph.
    #[error("%{0} is not an f32 tensor of the graph")]
    NotATensor(u32),
    /// A value that is given has not the elements of its type.
    #[error("%{value} was given {got} elements, or those of another type: it has {expected}")]
    Given {
        /// The value.
        value: u32,
        /// Elements by its type.
        expected: usize,
        /// Elements given.
        got: usize,
    },
}
