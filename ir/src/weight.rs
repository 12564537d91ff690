//! Where weights come from: tensor descriptions and the trait that reads them.

use crate::format::Format;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A tensor's name, storage format and shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TensorInfo {
    /// The name in the weights file, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Storage format.
    pub format: Format,
    /// Extents, outermost first: a linear layer's weight is `[rows, columns]`.
    pub shape: Vec<u64>,
}

impl TensorInfo {
    /// Number of elements. Sources guarantee that it does not overflow.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Length of a row (the innermost extent), 1 for a scalar.
    pub fn row_len(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// A weights file, or anything that behaves like one.
pub trait WeightSource: Sync {
    /// The tensor's description, if there is one of that name.
    fn info(&self, name: &str) -> Option<&TensorInfo>;
    /// The tensor's bytes: rows of blocks as [`Format`] describes them, exactly as many as its
    /// shape says.
    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError>;
    /// Says that the tensor's bytes are not needed again, so that mapped pages may be released.
    fn release(&self, _name: &str) {}
}

/// A weight could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WeightError {
    /// No tensor has that name.
    #[error("the weights have no tensor named {0:?}")]
    Missing(String),
    /// Reading the underlying file failed.
    #[error("tensor {name:?} could not be read: {why}")]
    Unreadable {
        /// The tensor.
        name: String,
        /// What went wrong.
        why: String,
    },
}
