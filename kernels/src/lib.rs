//! What a plan is made of: families of WGSL kernels, when each applies and how its text is built.
//!
//! A family is a `.wgsl` template with named holes and a Rust type that says what fills them. The
//! compiler emits the element expressions of the fused ops; nothing here knows a graph or a model.
//! Every kernel is right for every subgroup size.

pub mod attention;
pub mod check;
pub mod elementwise;
pub mod formats;
pub mod groups;
pub mod product;
pub mod row_program;
pub mod rows;
pub mod sampling;
pub mod scan;
pub mod shader;
mod template;
pub mod top_k;
