//! Everything that can go wrong while a plan runs, and who is to blame for it.

use quarrel_ir::plan::{Phase, PlanError};
use quarrel_ir::weight::WeightError;

/// Who has to change something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The caller: a prompt, an option or a weights file.
    Input,
    /// The machine: no device, or one that lacks something.
    Device,
    /// Quarrel.
    Bug,
}

/// A plan could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No adapter at all.
    #[error(
        "no GPU was found through {0}. Install a Vulkan driver for your GPU, or a software one \
         (Debian and Ubuntu: apt install mesa-vulkan-drivers; Fedora: dnf install \
         mesa-vulkan-drivers; Arch: pacman -S vulkan-swrast), or use --device reference, which \
         needs no driver but is slow"
    )]
    NoAdapter(&'static str),
    /// The selector names no adapter.
    #[error("no device matches {selector:?}; there are: {known}")]
    NoSuchAdapter {
        /// What was asked for.
        selector: String,
        /// The adapters there are.
        known: String,
    },
    /// The adapter lacks a feature that every kernel needs.
    #[error(
        "{device} cannot run Quarrel: it has no {what}. Update its driver, or choose another \
         device with --device (quarrel devices lists them; reference always works)"
    )]
    Unsupported {
        /// The adapter.
        device: String,
        /// What it lacks.
        what: String,
    },
    /// The driver refused to open the device.
    #[error("{device} could not be opened: {why}")]
    Open {
        /// The adapter.
        device: String,
        /// The driver's reason.
        why: String,
    },
    /// The driver took the device away.
    #[error("the device was lost while {during}: {why}. The driver reset it or it was removed")]
    DeviceLost {
        /// What the runtime was doing.
        during: String,
        /// The driver's reason.
        why: String,
    },
    /// The plan does not fit into memory.
    #[error(transparent)]
    DoesNotFit(#[from] crate::memory::Shortage),
    /// The driver ran out of memory although the plan was expected to fit.
    #[error(
        "{device} ran out of memory while {during}. Use a smaller --ctx or --chunk, weights with \
         fewer bits, or close other programs that use the device"
    )]
    OutOfMemory {
        /// The adapter.
        device: String,
        /// What the runtime was doing.
        during: String,
    },
    /// The plan breaks its own rules.
    #[error("the plan is not valid: {0}")]
    Plan(#[from] PlanError),
    /// The plan was compiled for another device.
    #[error("the plan was compiled for {planned}, but runs on {device}: {why}. Compile it again")]
    OtherDevice {
        /// The device of the plan.
        planned: String,
        /// The device it should run on.
        device: String,
        /// What differs.
        why: String,
    },
    /// The plan has no program for a phase.
    #[error("the plan has no program for {0:?}")]
    NoProgram(Phase),
    /// A weight could not be read.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// A tensor of the weights file is not what the plan was compiled for.
    #[error("tensor {tensor:?} does not fit the plan: {why}")]
    Tensor {
        /// The tensor.
        tensor: String,
        /// What differs.
        why: String,
    },
    /// A kernel does not compile.
    #[error("kernel {kernel:?} does not compile on this device: {why}")]
    Kernel {
        /// The kernel.
        kernel: String,
        /// The compiler's message.
        why: String,
    },
    /// wgpu refused something that a valid plan never asks for.
    #[error("wgpu refused a call while {during}: {why}")]
    Refused {
        /// What the runtime was doing.
        during: String,
        /// wgpu's message.
        why: String,
    },
    /// A prompt has no tokens.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// A token id is outside the vocabulary.
    #[error("token {token} is not in the model's vocabulary of {vocabulary}")]
    Token {
        /// The id.
        token: u32,
        /// Number of ids.
        vocabulary: u32,
    },
    /// The sequence is longer than the states.
    #[error(
        "{needs} tokens do not fit into a context of {context}; use a larger --ctx or a shorter \
         text"
    )]
    Context {
        /// Tokens of the sequence.
        needs: usize,
        /// Positions that the states hold.
        context: u32,
    },
    /// More sequences than the plan has slots, or none.
    #[error("{got} sequences for a plan with {slots} slots")]
    Slots {
        /// Sequences asked for.
        got: usize,
        /// Slots of the plan.
        slots: u32,
    },
    /// A sampling parameter makes no sense.
    #[error("{name} is {value}: {expected}")]
    Sampling {
        /// The parameter.
        name: &'static str,
        /// Its value.
        value: f32,
        /// What it should be.
        expected: &'static str,
    },
    /// More stop tokens than a plan has room for.
    #[error("{0} stop tokens; a plan has room for {max}", max = quarrel_ir::sampling::MAX_STOP_TOKENS)]
    StopTokens(usize),
    /// Some logit was NaN or infinite.
    #[error("the model's logits are not finite: {0}")]
    NotFinite(NotFinite),
    /// A device broke the protocol between kernels and host.
    #[error("{0}")]
    Protocol(String),
}

/// Where numbers first went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFinite {
    /// The first kernel that produced NaN or +∞, where a second run found one.
    pub kernel: Option<BadKernel>,
}

/// The dispatch that first produced a number that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadKernel {
    /// The kernel's name.
    pub kernel: String,
    /// The layer, where it is in one.
    pub layer: Option<u32>,
    /// The graph ops it computes.
    pub ops: Vec<String>,
    /// The value's element in the buffer it was written to.
    pub element: u64,
    /// First position of the step in which it happened.
    pub position: u32,
}

impl std::fmt::Display for NotFinite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(bad) = &self.kernel else {
            return f.write_str(
                "a second run, kernel by kernel, found none that produced such a number, so it \
                 does not happen every time",
            );
        };
        write!(f, "kernel {:?}", bad.kernel)?;
        if let Some(layer) = bad.layer {
            write!(f, " of layer {layer}")?;
        }
        write!(
            f,
            " ({}) was the first to produce such a number, in the step from position {}. Damaged \
             weights, or sums beyond the range of a 16-bit float (try --precision f32)",
            bad.ops.join(", "),
            bad.position
        )
    }
}

impl RuntimeError {
    /// Who has to change something.
    pub fn blame(&self) -> Blame {
        use RuntimeError as E;
        match self {
            E::NoSuchAdapter { .. }
            | E::OtherDevice { .. }
            | E::Weight(_)
            | E::Tensor { .. }
            | E::EmptyPrompt
            | E::Token { .. }
            | E::Context { .. }
            | E::Slots { .. }
            | E::Sampling { .. }
            | E::StopTokens(_)
            | E::NotFinite(_) => Blame::Input,
            E::NoAdapter(_)
            | E::Unsupported { .. }
            | E::Open { .. }
            | E::DeviceLost { .. }
            | E::DoesNotFit(_)
            | E::OutOfMemory { .. } => Blame::Device,
            E::Plan(_)
            | E::NoProgram(_)
            | E::Kernel { .. }
            | E::Refused { .. }
            | E::Protocol(_) => Blame::Bug,
        }
    }
}
