//! Runs plans: opens a device through wgpu, loads weights into it, keeps the states of sequences
//! there, and turns tokens into tokens.
//!
//! A caller opens a [`Gpu`], loads a plan into an [`Engine`] and talks to it through a [`Session`].
//! The crate knows a plan and nothing of the model behind it. It reads no files.

mod bench;
mod engine;
mod error;
mod faults;
mod generate;
mod gpu;
mod kept;
mod load;
mod memory;
mod not_finite;
mod pace;
mod pipelines;
mod probe;
mod program;
mod quiet;
mod readback;
mod ring;
mod sampling;
mod session;
mod slot;
mod spread;
mod trace;

pub use bench::{BarrierCost, BenchStep, KernelClock, KernelTime, StepSplit};
pub use engine::{Engine, LoadOptions};
pub use error::{BadKernel, Blame, NotFinite, RuntimeError};
pub use generate::{GenerateOptions, Generation, StopReason, Timings};
pub use gpu::{AdapterSummary, Gpu, adapters};
pub use memory::{MemoryNeeds, Shortage, verdict};
pub use pace::StepsAtOnce;
pub use sampling::SamplingParams;
pub use session::Session;
pub use trace::{Open, Span, Trace, Tracer, Track};
