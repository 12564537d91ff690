//! The plan: everything that a runtime needs to turn tokens into tokens, as plain data.
//!
//! A plan is compiled for one model's tensor table, one device and one set of options. It holds the
//! buffers, the kernels as WGSL text, several programs over the same weights and states, and the
//! program that loads the weights. It never names a model's architecture in a rule: a runtime
//! executes it without knowing what it computes.
//!
//! Invariants, checked by [`Plan::verify`]: every index is in range; every binding lies within its
//! buffer, is aligned and within the device's limits; no dispatch binds a buffer both read-only and
//! writable; grids stay within the device's limit; the buffers of [`Io`] have room for a step.

mod barriers;
mod choice;
mod cost;
mod decision;
mod diff;
mod explain;
mod extent;
mod groups;
mod identity;
mod load;
mod mark;
mod predict;
mod rewind;
mod saved;
mod totals;
mod verify;

pub use barriers::{Barrier, Barriers, Cause, Change, Hazard, HazardKind};
pub use choice::{Alternative, Choice, ChosenBy, Variants};
pub use cost::{Cost, Work};
pub use decision::{Decision, MERGE, Placed};
pub use diff::{Change as KernelChange, Diff, Figure, FusionChange, Input as DiffInput};
pub use explain::{Explanation, NameError, Step};
pub use extent::{Extent, StepDims};
pub use groups::Groups;
pub use identity::identity;
pub use load::LoadTensor;
pub use mark::{mark, marked_op};
pub use predict::{Bound, Prediction, predict};
pub use rewind::Rewind;
pub use saved::SavedError;
pub use totals::{OpsTotal, Typical};
pub use verify::PlanError;

use crate::facts::DeviceFacts;
use crate::format::Format;
use crate::graph::StateFormat;
use crate::weight::TensorInfo;
use serde::{Deserialize, Serialize};

/// Version of the plan's data format; a runtime refuses any other.
pub const PLAN_VERSION: u32 = 6;

/// A compiled plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_VERSION`] when it was written.
    pub version: u32,
    /// Hash of architecture, tensor table, device facts and options, in hexadecimal.
    pub identity: String,
    /// Hash of the plan's text without it, where it was [saved](Plan::to_json); else empty.
    pub checksum: String,
    /// What it runs.
    pub model: ModelFacts,
    /// How it was compiled.
    pub options: PlanOptions,
    /// The device it was compiled for.
    pub device: DeviceFacts,
    /// How far the states of a slot can go back.
    pub rewind: Rewind,
    /// Bytes of states for each position of the context, over all slots; the rest have a fixed number
    /// of rows.
    pub position_bytes: u64,
    /// All device memory.
    pub buffers: Vec<Buffer>,
    /// Where the step's inputs and results are.
    pub io: Io,
    /// Compute kernels.
    pub kernels: Vec<Kernel>,
    /// Sequences of dispatches.
    pub programs: Vec<Program>,
    /// How weights get into their buffers.
    pub load: Vec<LoadTensor>,
    /// What the compiler decided, taken and declined.
    pub decisions: Vec<Decision>,
}

/// What a runtime and its user need to know of the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// The architecture's name.
    pub architecture: String,
    /// Number of token ids.
    pub vocabulary: u32,
    /// Repetitions of the layer block.
    pub layers: u32,
    /// The tensors that the plan reads, as the model describes them.
    pub tensors: Vec<TensorInfo>,
    /// The metadata that decided on the graph; empty where nobody has noted them.
    pub metadata: Vec<Metadatum>,
    /// Tensors that the graph would use, and that the model does not have; empty where nobody has
    /// noted them.
    pub absent: Vec<String>,
}

/// A metadata key that was asked for, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadatum {
    /// The full key, such as `llama.rope.freq_base`.
    pub key: String,
    /// The value as text; `None` if the model has none.
    pub value: Option<String>,
}

/// Options that shape a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanOptions {
    /// Positions that each slot's states hold.
    pub context: u32,
    /// Most tokens of one prompt step.
    pub chunk: u32,
    /// Sequences decoded together.
    pub slots: u32,
    /// Most rows whose logits one prompt step yields.
    pub out_rows: u32,
    /// Whether ops may share kernels.
    pub fuse: bool,
    /// Format that matrices are expanded to at load; `None` keeps the file's.
    pub weights: Option<Format>,
    /// Overrides the storage format of keys and values, where their rows can be stored so.
    pub state: Option<StateFormat>,
    /// What products may round.
    pub precision: Precision,
    /// Pairs of values, operand first, that are to be computed together although that is predicted
    /// to cost more; what is not legal is not done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub together: Vec<[u32; 2]>,
    /// Workgroups that share the positions of attention, in place of as many as are predicted best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<u32>,
    /// Variants of kernels that are taken whatever rules, model and measurements say, by
    /// [`Choice::key`]. One that the device cannot run, or of a key that the plan does not have, is an
    /// error.
    pub choices: Variants,
    /// Variants that were measured to be the fastest on the device. Those that the device cannot run
    /// count for nothing; a plan keeps those of its own keys.
    pub tuned: Variants,
}

/// Precision of arithmetic. Sums are F32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Products of many rows may round both factors to F16, where the device multiplies matrices so;
    /// products with weights that are bytes may round x to integers of 16 bits with a scale for each 32.
    Auto,
    /// F32 throughout.
    #[default]
    F32,
}

impl PlanOptions {
    /// Most tokens of any step: a prompt's chunk, or one for each slot.
    pub fn step_tokens(&self) -> u32 {
        self.chunk.max(self.slots)
    }
}

impl Default for PlanOptions {
    fn default() -> PlanOptions {
        PlanOptions {
            context: 4096,
            chunk: 512,
            slots: 1,
            out_rows: 1,
            fuse: true,
            weights: None,
            state: None,
            precision: Precision::F32,
            together: Vec::new(),
            split: None,
            choices: Variants::new(),
            tuned: Variants::new(),
        }
    }
}

/// Index of a buffer in [`Plan::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BufferId(pub u32);

/// Index of a kernel in [`Plan::kernels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KernelId(pub u32);

/// A device buffer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buffer {
    /// A name for people.
    pub name: String,
    /// Size in bytes, a multiple of 16.
    pub bytes: u64,
    /// What it holds.
    pub role: BufferRole,
    /// Values that share it one after another, with the dispatches (of the program named first)
    /// between which each lives; empty but for activations.
    pub tenants: Vec<Tenant>,
}

/// A value that lives in an activation buffer for part of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The program.
    pub program: String,
    /// The value, such as `%17 q`.
    pub value: String,
    /// Index of the dispatch that writes it.
    pub first: u32,
    /// Index of the last dispatch that reads it.
    pub last: u32,
    /// Bytes it needs.
    pub bytes: u64,
}

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BufferRole {
    /// Packed weights, written once at load.
    Weights,
    /// A state, zero at the start of a sequence. Rows of slot 0 come first.
    State,
    /// Intermediate values of a step.
    Activation,
    /// Inputs and results of a step: see [`Io`].
    Io,
}

/// The buffers through which the host talks to the programs. All are arrays of u32 but `logits`.
///
/// The sampling programs write `tokens`, `positions`, `slots`, `out_rows` and `step` so that the
/// decode program can run next without the host; they read and write `sampler`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Io {
    /// `u32[max(chunk, slots)]`: token ids of the step.
    pub tokens: BufferId,
    /// `u32[max(chunk, slots)]`: their positions.
    pub positions: BufferId,
    /// `u32[max(chunk, slots)]`: their slots.
    pub slots: BufferId,
    /// `u32[max(out_rows, slots)]`: rows whose logits are wanted.
    pub out_rows: BufferId,
    /// `u32[4]`: N, R, 0, 0.
    pub step: BufferId,
    /// `f32[max(out_rows, slots), vocabulary]`.
    pub logits: BufferId,
    /// `u32[max(out_rows, slots), MOST_PARTS, 2]` with [`crate::sampling::MOST_PARTS`]: the largest
    /// logit of each part of a row, as an integer of the same order, and its token.
    pub largest: BufferId,
    /// `u32[slots]`: 1 while the slot's sequence goes on. A slot at 0 has its states left alone.
    pub live: BufferId,
    /// [`crate::sampling::SLOT_WORDS`] words a slot: sampling parameters and history.
    pub sampler: BufferId,
    /// `u32[RECORDS, slots, 4]` with [`crate::sampling::RECORDS`]: token,
    /// [`crate::sampling::Status`], the slot's tokens so far, 0. A ring: a step's records lie where
    /// `drawn` says.
    pub sampled: BufferId,
    /// `u32[slots]`: records written for the slot, which the sampling programs count. The next goes
    /// to this place of `sampled`, modulo its length.
    pub drawn: BufferId,
    /// `u32[1 + n]`: the number of stop tokens and their ids; room for
    /// [`crate::sampling::MAX_STOP_TOKENS`].
    pub stop: BufferId,
}

/// A compute kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// Unique name, such as `product_3`.
    pub name: String,
    /// The family it was made from.
    pub family: String,
    /// Which variant of the family, with its parameters.
    pub variant: String,
    /// What other variants there are, and why this one; `None` where there is but one.
    pub choice: Option<Choice>,
    /// WGSL text with one entry point, `main`.
    pub wgsl: String,
    /// Its bindings in group 0, by index.
    pub bindings: Vec<KernelBinding>,
    /// Threads of a workgroup.
    pub workgroup: u32,
    /// Workgroup memory in bytes.
    pub workgroup_bytes: u32,
}

/// A binding that a kernel declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelBinding {
    /// Its name in the WGSL text.
    pub name: String,
    /// Whether the kernel writes through it.
    pub access: Access,
}

/// How a kernel uses a storage binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    Write,
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// One token for every slot: N = R = S = the plan's slots.
    Decode,
    /// Up to `chunk` tokens at consecutive positions of one slot, up to `out_rows` rows of logits.
    Prefill,
    /// Logits to the next tokens by largest logit; writes the next step's inputs.
    Greedy,
    /// Logits to the next tokens by the slots' sampling parameters; writes the next step's inputs.
    Sample,
}

/// Dispatches that run one after another in one pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Unique name.
    pub name: String,
    /// What it is for.
    pub phase: Phase,
    /// The dispatches, in order.
    pub dispatches: Vec<Dispatch>,
}

/// One launch of a kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    /// Which kernel.
    pub kernel: KernelId,
    /// What each of the kernel's bindings is, in order.
    pub bindings: Vec<BufferRange>,
    /// What each of them holds, in the same order.
    pub contents: Vec<Content>,
    /// Workgroups along x, y and z.
    pub grid: [Extent; 3],
    /// The layer it works for; `None` outside layers.
    pub layer: Option<u32>,
    /// The graph ops it computes.
    pub ops: Vec<FusedOp>,
    /// Why these ops are together, in a sentence or two.
    pub reason: String,
    /// What it moves and computes.
    pub cost: Cost,
}

/// A graph op that a dispatch computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FusedOp {
    /// The value's number in the graph.
    pub value: u32,
    /// The op's name.
    pub op: String,
    /// The author's name for the value, where there is one.
    pub name: Option<String>,
    /// The layer that the value belongs to; `None` outside layers.
    pub layer: Option<u32>,
    /// Its place in the kernel.
    pub place: Place,
}

/// Where in a kernel an op is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// While operands are loaded.
    Prologue,
    /// The op the kernel is built around.
    Anchor,
    /// Before results are stored.
    Epilogue,
}

/// What a binding of a dispatch holds. Values and states are those of the canonical graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// The rows of value `%n`, of F32 or U32, one after another.
    Value(u32),
    /// The rows of value `%n`, rounded to F16, one after another: only products by matrices of F16
    /// read them.
    Halves(u32),
    /// What the workgroups that share the positions of attention leave of it: rows of
    /// `value size + 4` F32, one for each token, head and split, in this order. A row is the sum of
    /// the split's values, each times the exponential of its score less the split's highest; then
    /// the highest score, the sum of the exponentials, the number of splits that have positions, and
    /// zero. A split without positions has a highest score of -1e30 and zeros.
    Partials {
        /// The attention's value.
        value: u32,
        /// Workgroups that share the positions of a token and head.
        splits: u32,
    },
    /// What the workgroups that share the columns of a product leave of its value, which is their sum:
    /// for each of them a row of F32 for each row of the largest step.
    Shares {
        /// The product's value.
        value: u32,
        /// Workgroups that share the columns.
        shares: u32,
    },
    /// The rows that have chosen each expert, by what value `%n` of U32 says, as [`Groups`] lists them.
    Groups {
        /// The ids.
        value: u32,
        /// How they lie.
        groups: Groups,
    },
    /// Packed weights.
    Weights,
    /// The rows of the state with this index, all slots.
    State(u32),
    /// One of the buffers of [`Io`].
    Io,
}

/// Part of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BufferRange {
    /// The buffer.
    pub buffer: BufferId,
    /// First byte, aligned to the device's binding alignment.
    pub offset: u64,
    /// Bytes, a multiple of 4.
    pub bytes: u64,
}

impl Plan {
    /// The buffer with this id.
    ///
    /// # Panics
    /// If the id is of another plan; [`Plan::verify`] has checked those inside a plan.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// The kernel with this id.
    ///
    /// # Panics
    /// If the id is of another plan.
    pub fn kernel(&self, id: KernelId) -> &Kernel {
        &self.kernels[id.0 as usize]
    }

    /// The program for `phase`.
    pub fn program(&self, phase: Phase) -> Option<&Program> {
        self.programs.iter().find(|program| program.phase == phase)
    }

    /// Bytes of all buffers with this role.
    pub fn bytes_of(&self, role: BufferRole) -> u64 {
        self.buffers.iter().filter(|b| b.role == role).map(|b| b.bytes).sum()
    }
}
