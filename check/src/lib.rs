//! Plans beside the reference, kernel by kernel.
//!
//! The reference interpreter computes the steps of a short text, and the device runs them, each dispatch
//! on what those before it have left: the chain, which shows how errors add up. Then each dispatch of a
//! step runs alone: what it reads is set from the reference's values, so that errors do not add up, and
//! what it writes is compared with them. After a step that has logits the sampling kernels draw from the
//! reference's.
//!
//! | file | what it holds |
//! |---|---|
//! | `script.rs` | which steps are run, and which layers are compared |
//! | `bound.rs` | which values and states a plan's dispatches read and write |
//! | `oracle.rs` | the reference's values of each step |
//! | `as_loaded.rs` | the weights as the plan expands them |
//! | `words.rs`, `states.rs` | values and rows of states as words of device memory |
//! | `device.rs` | running steps and dispatches, reading and writing what they bind |
//! | `alone.rs`, `chain.rs`, `sampling.rs` | the comparisons |
//! | `sampler.rs` | sampling on the CPU |
//! | `tolerance.rs` | how far a result may be off, and why |
//! | `report.rs` | errors by kernel |

mod alone;
mod as_loaded;
mod bound;
mod chain;
mod device;
mod oracle;
mod report;
mod sampler;
mod sampling;
mod script;
mod states;
mod tolerance;
mod words;

pub use report::{Chain, Diverging, KernelErrors, Report, Worst};
pub use sampler::Sampler;
pub use script::{Layers, Script};
pub use tolerance::Tolerance;

use device::Device;
use oracle::Oracle;
use quarrel_ir::graph::Graph;
use quarrel_ir::weight::WeightSource;
use quarrel_reference::ReferenceError;
use quarrel_runtime::{Engine, RuntimeError};
use report::Table;

/// A check could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The reference refuses the model or the text.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The device failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The plan does not say what the check needs to know.
    #[error("the plan is not one of this graph: {0}")]
    Plan(String),
    /// The text does not suit the plan.
    #[error("{0}")]
    Script(String),
}

/// Compares the plan that `engine` has loaded, fresh from loading, with the reference on the same
/// `weights`. `graph` is the canonical graph that the plan was made from.
///
/// # Errors
/// A text that does not suit the plan, a plan of another graph, or a failing device. Kernels that
/// diverge are no error: [`Report::first`] names them.
pub fn check(
    engine: &Engine,
    graph: &Graph,
    weights: &dyn WeightSource,
    script: &Script,
) -> Result<Report, CheckError> {
    let plan = engine.plan();
    script.fits(plan)?;
    let mut graph = graph.clone();
    if let Some(format) = plan.options.state {
        graph.store_caches_as(format);
    }
    let weights = as_loaded::AsLoaded::new(plan, &mut graph, weights);
    let device = Device::new(engine, &graph);
    let oracle = Oracle::new(&graph, plan, &weights, script)?;
    let mut table = Table::new(plan);
    let (steps, chain) = chain::run(&device, oracle, script, &mut table)?;
    for step in steps.all.iter().enumerate() {
        alone::run(&device, &steps, step, &script.layers, &mut table)?;
        sampling::run(&device, &steps, step, &mut table)?;
    }
    Ok(table.report(script, &steps.all, chain))
}
