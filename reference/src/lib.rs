//! A plain interpreter of the graph IR on the CPU: the oracle that kernels are tested against.
//!
//! It does what the texts of [`quarrel_ir::graph::Op`] say, one node after the other, and knows
//! nothing of plans, fusion or devices. Values are F32. Whatever sums (products, means, softmax)
//! and every function of one element is computed in F64 and rounded to F32 once, so a difference
//! from the oracle is the kernel's rounding and not the oracle's.
//!
//! | file | what it holds |
//! |---|---|
//! | `interpreter.rs` | [`Interpreter`]: a graph with its weights and states, run step by step |
//! | `evaluate.rs` | one node: an exhaustive match over the ops |
//! | `part.rs` | part of a step, from values that are given |
//! | `inputs.rs` | [`StepInputs`] and their checks |
//! | `states.rs` | the rows that live across steps, rounded as they are written |
//! | `ops/` | each op's arithmetic as a function of slices |

mod error;
mod evaluate;
mod inputs;
mod interpreter;
pub mod ops;
mod part;
mod states;

pub use error::ReferenceError;
pub use inputs::StepInputs;
pub use interpreter::Interpreter;
pub use part::{Elements, needed};
pub use states::{StateRows, cache_row, round};
