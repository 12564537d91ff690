//! The arithmetic of each op as a plain function of slices, for the interpreter and for tests of
//! single kernels.
//!
//! Tensors are dense and row-major. Lengths are the caller's to get right: each function says what
//! it asserts.

mod attention;
mod elementwise;
mod linear;
mod normalize;
mod rope;
mod rows;

pub use attention::{AttentionShape, Cache, attention};
pub(crate) use elementwise::binary_to;
pub use elementwise::{binary, binary_function, unary, unary_function};
pub use linear::{Matrix, linear};
pub use normalize::normalize;
pub use rope::rope;
pub use rows::{embed, gather_rows, slice};
