//! What can go wrong in compilation, and who is to blame.

use quarrel_ir::facts::FactsError;
use quarrel_ir::graph::{TypeError, VerifyError};
use quarrel_ir::plan::PlanError;

/// A graph could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The graph breaks a rule: a bug in whoever built it.
    #[error("the graph is not valid: {0}")]
    Graph(#[from] VerifyError),
    /// The plan breaks a rule: a bug of the compiler.
    #[error("a bug in the compiler: the plan is not valid: {0}")]
    Plan(#[from] PlanError),
    /// A pass left a graph that breaks a rule: a bug of the compiler.
    #[error("a bug in the compiler: the pass {pass:?} broke the graph: {error}")]
    Pass {
        /// The pass.
        pass: &'static str,
        /// What is broken.
        error: VerifyError,
    },
    /// A pass made an op that does not type: a bug of the compiler.
    #[error("a bug in the compiler: a rewrite does not type: {0}")]
    Rewrite(TypeError),
    /// The device facts are those of no device.
    #[error("there is no such device: {0}")]
    Device(#[from] FactsError),
    /// The kernels of this device cannot do what the model needs.
    #[error("{what} is not supported: {why}")]
    Unsupported {
        /// Which part of the model.
        what: String,
        /// What would be needed.
        why: String,
    },
    /// A tensor is larger than the device can bind, in parts too.
    #[error(
        "the tensor {tensor:?} needs {needs} bytes, but {device} binds at most {has} at once, too \
         little even for parts of it: use another device, or a file with smaller weights"
    )]
    TooLarge {
        /// The tensor.
        tensor: String,
        /// What it needs.
        needs: u64,
        /// The device.
        device: String,
        /// What the device can do.
        has: u64,
    },
    /// With these options a state or a value of a step is larger than the device can bind.
    #[error(
        "{what}: {needs} bytes are needed, but {device} binds at most {has} at once: use {instead}"
    )]
    DoesNotFit {
        /// What is too large.
        what: String,
        /// What it needs, in bytes.
        needs: u64,
        /// The device.
        device: String,
        /// What the device can do, in bytes.
        has: u64,
        /// Which options make it smaller.
        instead: String,
    },
    /// An option is out of its range, or does not suit the model.
    #[error("{0}")]
    Options(String),
}
