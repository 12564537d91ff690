//! The arithmetic of each op as a plain function of slices, for the interpreter and for tests of
//! single kernels.
//!
//! Tensors are dense and row-major. Lengths are the caller's to get right: each function says what
//! it asserts.

mod attention;
mod elementwise;
mod experts;
mod linear;
mod normalize;
mod recurrent;
mod rope;
mod rows;

pub use attention::{AttentionShape, Cache, attention};
pub(crate) use elementwise::repeated;
pub use elementwise::{binary, binary_function, unary, unary_function};
pub use experts::{expert_linear, expert_sum, take, top_k};
pub use linear::{Matrix, linear};
pub use normalize::normalize;
pub use recurrent::{ScanShape, ScanToken, scan_token, short_conv};
pub use rope::rope;
pub use rows::{embed, gather_rows, slice};
