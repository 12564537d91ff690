//! Checks of a whole plan, made before it is run and after it is loaded from a file.

use super::{
    Access, Buffer, BufferId, BufferRange, BufferRole, Dispatch, Extent, Kernel, PLAN_VERSION,
    Plan, Rewind, StepDims,
};
use crate::facts::DeviceFacts;
use crate::sampling::{MAX_STOP_TOKENS, MOST_PARTS, RECORDS, SLOT_WORDS};
use std::collections::HashMap;

/// No device has as much memory: sums of what is smaller stay within 64 bits.
const MOST_BYTES: u64 = 1 << 48;

/// No dispatch moves or computes as much: sums over the dispatches of a program stay within 64 bits.
const MOST_WORK: u64 = 1 << 54;

/// A plan breaks one of its rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Written by another version.
    #[error("the plan has format version {0}, this program reads {PLAN_VERSION}: compile it again")]
    Version(u32),
    /// An index points nowhere.
    #[error("{at}: {what} {index} does not exist")]
    Dangling {
        /// Where it stands.
        at: String,
        /// What it should name.
        what: &'static str,
        /// The index.
        index: u32,
    },
    /// A kernel and a dispatch disagree on the number of bindings.
    #[error("{at}: {got} bindings for a kernel that declares {expected}")]
    BindingCount {
        /// The dispatch.
        at: String,
        /// What the kernel declares.
        expected: usize,
        /// What it gets.
        got: usize,
    },
    /// A binding is outside its buffer, misaligned, or beyond a device limit.
    #[error("{at}: binding {offset}+{bytes} {why}")]
    Binding {
        /// The dispatch or tensor.
        at: String,
        /// First byte.
        offset: u64,
        /// Length.
        bytes: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// A buffer is bound read-only and writable by one dispatch.
    #[error("{at}: buffer {buffer:?} is bound both read-only and writable")]
    Conflict {
        /// The dispatch.
        at: String,
        /// The buffer.
        buffer: String,
    },
    /// A size that a step is made of is 0.
    #[error("its {0} is 0")]
    Nothing(&'static str),
    /// A buffer's size is none that a device allocates.
    #[error("buffer {buffer:?} has {bytes} bytes, no multiple of 16")]
    Size {
        /// The buffer.
        buffer: String,
        /// Its size.
        bytes: u64,
    },
    /// A value does not fit into the buffer that it lives in.
    #[error("{value} needs {needs} bytes, but lives in buffer {buffer:?}, which has {has}")]
    Tenant {
        /// The value.
        value: String,
        /// Bytes that it needs.
        needs: u64,
        /// The buffer.
        buffer: String,
        /// Bytes that it has.
        has: u64,
    },
    /// The states, or a buffer of [`Io`](super::Io), are too small.
    #[error("its {what} take {needs} words, but there is room for {has}")]
    Room {
        /// What there is no room for.
        what: &'static str,
        /// Words that they take.
        needs: u64,
        /// Words that there are.
        has: u64,
    },
    /// A grid is divided into tiles of nothing.
    #[error("{at}: its grid has tiles of 0")]
    Tile {
        /// The dispatch.
        at: String,
    },
    /// A dispatch is said to do more than any can.
    #[error("{at}: what it moves or computes is beyond all measure")]
    Work {
        /// The dispatch.
        at: String,
    },
    /// States are said to go back further than a sequence is long.
    #[error("its states go back {most} tokens, but a sequence has at most {context}")]
    Rewind {
        /// Tokens that can be taken back.
        most: u32,
        /// Positions of a sequence.
        context: u32,
    },
    /// A device limit is exceeded.
    #[error("{at} needs {needs} {what}, but {device} has {has}")]
    Limit {
        /// What is too large.
        at: String,
        /// The quantity.
        what: &'static str,
        /// What it needs.
        needs: u64,
        /// The device.
        device: String,
        /// What the device has.
        has: u64,
    },
}

impl Plan {
    /// Checks every invariant of the plan against itself and its device facts.
    ///
    /// # Errors
    /// The first that is broken.
    pub fn verify(&self) -> Result<(), PlanError> {
        self.verify_on(&self.device)
    }

    /// As [`verify`](Plan::verify), against the limits of another device.
    ///
    /// # Errors
    /// The first that is broken.
    pub fn verify_on(&self, device: &DeviceFacts) -> Result<(), PlanError> {
        if self.version != PLAN_VERSION {
            return Err(PlanError::Version(self.version));
        }
        self.verify_sizes()?;
        self.buffers.iter().try_for_each(|buffer| verify_size(device, buffer))?;
        self.kernels.iter().try_for_each(|kernel| verify_kernel(device, kernel))?;
        for tensor in &self.load {
            for range in &tensor.planes {
                let at = format!("tensor {:?}", tensor.sources.join("+"));
                self.verify_range(device, &at, range)?;
            }
        }
        for program in &self.programs {
            for (index, dispatch) in program.dispatches.iter().enumerate() {
                let at = format!("{}, dispatch {index}", program.name);
                self.verify_dispatch(device, &at, dispatch)?;
            }
        }
        self.verify_room()
    }

    /// Checks what a step is made of.
    fn verify_sizes(&self) -> Result<(), PlanError> {
        let options = &self.options;
        let context = options.context;
        let sizes = [
            ("context", context),
            ("chunk", options.chunk),
            ("number of slots", options.slots),
            ("number of rows with logits", options.out_rows),
            ("vocabulary", self.model.vocabulary),
        ];
        if let Some((what, _)) = sizes.into_iter().find(|(_, size)| *size == 0) {
            return Err(PlanError::Nothing(what));
        }
        match self.rewind {
            Rewind::AtMost(most) if most > context => Err(PlanError::Rewind { most, context }),
            _ => Ok(()),
        }
    }

    /// Checks that there is room for what the host writes and reads, and for every position.
    fn verify_room(&self) -> Result<(), PlanError> {
        let (io, options) = (&self.io, &self.options);
        let [tokens, slots, rows] =
            [options.step_tokens(), options.slots, options.out_rows.max(options.slots)]
                .map(u64::from);
        let needs = [
            ("tokens", io.tokens, tokens),
            ("positions", io.positions, tokens),
            ("slots of tokens", io.slots, tokens),
            ("rows with logits", io.out_rows, rows),
            ("sizes of a step", io.step, 4),
            ("logits", io.logits, rows * u64::from(self.model.vocabulary)),
            ("largest logits", io.largest, 2 * rows * u64::from(MOST_PARTS)),
            ("live slots", io.live, slots),
            ("sampling parameters", io.sampler, slots * SLOT_WORDS as u64),
            ("sampled tokens", io.sampled, 4 * slots * u64::from(RECORDS)),
            ("counts of sampled tokens", io.drawn, slots),
            ("stop tokens", io.stop, 1 + MAX_STOP_TOKENS as u64),
        ];
        for (what, id, needs) in needs {
            self.verify_buffer("io", id)?;
            room(what, needs, self.buffer(id).bytes / 4)?;
        }
        let states = self.position_bytes.saturating_mul(options.context.into());
        room("positions", states / 4, self.bytes_of(BufferRole::State) / 4)
    }

    fn verify_buffer(&self, at: &str, id: BufferId) -> Result<(), PlanError> {
        let known = (id.0 as usize) < self.buffers.len();
        let dangling = || PlanError::Dangling { at: at.into(), what: "buffer", index: id.0 };
        known.then_some(()).ok_or_else(dangling)
    }

    fn verify_range(
        &self,
        device: &DeviceFacts,
        at: &str,
        range: &BufferRange,
    ) -> Result<(), PlanError> {
        self.verify_buffer(at, range.buffer)?;
        let end = range.offset.checked_add(range.bytes);
        let why = if end.is_none_or(|end| end > self.buffer(range.buffer).bytes) {
            "is outside its buffer"
        } else if !range.offset.is_multiple_of(u64::from(device.binding_alignment.max(1))) {
            "is not aligned as the device wants"
        } else if range.bytes == 0 || !range.bytes.is_multiple_of(4) {
            "is not a positive number of words"
        } else if range.bytes > device.max_binding_bytes {
            "is larger than the device binds"
        } else {
            return Ok(());
        };
        Err(PlanError::Binding { at: at.into(), offset: range.offset, bytes: range.bytes, why })
    }

    fn verify_dispatch(
        &self,
        device: &DeviceFacts,
        at: &str,
        dispatch: &Dispatch,
    ) -> Result<(), PlanError> {
        let kernel = self.kernels.get(dispatch.kernel.0 as usize).ok_or_else(|| {
            PlanError::Dangling { at: at.into(), what: "kernel", index: dispatch.kernel.0 }
        })?;
        let at = format!("{at} ({})", kernel.name);
        let expected = kernel.bindings.len();
        for got in [dispatch.bindings.len(), dispatch.contents.len()] {
            if expected != got {
                return Err(PlanError::BindingCount { at, expected, got });
            }
        }
        let mut access: HashMap<BufferId, Access> = HashMap::new();
        for (binding, range) in kernel.bindings.iter().zip(&dispatch.bindings) {
            self.verify_range(device, &at, range)?;
            let known = *access.entry(range.buffer).or_insert(binding.access);
            if known != binding.access {
                let buffer = self.buffer(range.buffer).name.clone();
                return Err(PlanError::Conflict { at, buffer });
            }
        }
        let whole = |extent: &Extent| extent.tile() > 0;
        if !dispatch.grid.iter().all(whole) {
            return Err(PlanError::Tile { at });
        }
        let largest = StepDims {
            tokens: self.options.step_tokens(),
            out_rows: self.options.out_rows.max(self.options.slots),
            slots: self.options.slots,
        };
        let work = dispatch.work(largest, self.options.context);
        if work.is_some_and(|work| work.bytes.max(work.flops) > MOST_WORK) {
            return Err(PlanError::Work { at });
        }
        dispatch.grid.iter().try_for_each(|extent: &Extent| {
            let needs = extent.at(largest).into();
            limit(device, &at, "workgroups along one axis", (needs, device.max_grid.into()))
        })
    }
}

fn verify_size(device: &DeviceFacts, buffer: &Buffer) -> Result<(), PlanError> {
    let bytes = buffer.bytes;
    if !bytes.is_multiple_of(16) {
        return Err(PlanError::Size { buffer: buffer.name.clone(), bytes });
    }
    if let Some(tenant) = buffer.tenants.iter().find(|tenant| tenant.bytes > bytes) {
        let (value, needs) = (tenant.value.clone(), tenant.bytes);
        return Err(PlanError::Tenant { value, needs, buffer: buffer.name.clone(), has: bytes });
    }
    let has = device.max_buffer_bytes.min(MOST_BYTES);
    limit(device, &format!("buffer {:?}", buffer.name), "bytes a buffer", (bytes, has))
}

fn verify_kernel(device: &DeviceFacts, kernel: &Kernel) -> Result<(), PlanError> {
    let at = format!("kernel {:?}", kernel.name);
    let bindings = kernel.bindings.len() as u64;
    let limits = [
        ("bytes of workgroup memory", kernel.workgroup_bytes.into(), device.max_workgroup_bytes),
        ("threads a workgroup", kernel.workgroup.into(), device.max_workgroup_threads),
        ("storage buffers", bindings, device.max_storage_buffers),
    ];
    let check = |(what, needs, has): (_, _, u32)| limit(device, &at, what, (needs, has.into()));
    limits.into_iter().try_for_each(check)
}

/// An error where there is no room for so many words.
fn room(what: &'static str, needs: u64, has: u64) -> Result<(), PlanError> {
    if needs <= has { Ok(()) } else { Err(PlanError::Room { what, needs, has }) }
}

/// An error where something needs more than the device has.
fn limit(
    device: &DeviceFacts,
    at: &str,
    what: &'static str,
    (needs, has): (u64, u64),
) -> Result<(), PlanError> {
    if needs <= has {
        return Ok(());
    }
    Err(PlanError::Limit { at: at.into(), what, needs, device: device.name.clone(), has })
}
