//! Checks of a whole plan, made before it is run and after it is loaded from a file.

use super::{
    Access, BufferId, BufferRange, Dispatch, Extent, PLAN_VERSION, Plan, Rewind, StepDims,
};
use std::collections::HashMap;

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
    pub fn verify(&self) -> Result<(), PlanError> {
        if self.version != PLAN_VERSION {
            return Err(PlanError::Version(self.version));
        }
        let context = self.options.context;
        if let Rewind::AtMost(most) = self.rewind
            && most > context
        {
            return Err(PlanError::Rewind { most, context });
        }
        for buffer in &self.buffers {
            let at = format!("buffer {:?}", buffer.name);
            self.limit(&at, "bytes a buffer", buffer.bytes, self.device.max_buffer_bytes)?;
        }
        for kernel in &self.kernels {
            let at = format!("kernel {:?}", kernel.name);
            let d = &self.device;
            let bindings = kernel.bindings.len() as u64;
            self.limit(
                &at,
                "bytes of workgroup memory",
                kernel.workgroup_bytes.into(),
                d.max_workgroup_bytes.into(),
            )?;
            self.limit(
                &at,
                "threads a workgroup",
                kernel.workgroup.into(),
                d.max_workgroup_threads.into(),
            )?;
            self.limit(&at, "storage buffers", bindings, d.max_storage_buffers.into())?;
        }
        for tensor in &self.load {
            for range in &tensor.planes {
                self.verify_range(&format!("tensor {:?}", tensor.sources.join("+")), range)?;
            }
        }
        for program in &self.programs {
            for (index, dispatch) in program.dispatches.iter().enumerate() {
                self.verify_dispatch(&format!("{}, dispatch {index}", program.name), dispatch)?;
            }
        }
        self.verify_io()
    }

    fn verify_io(&self) -> Result<(), PlanError> {
        let io = &self.io;
        let all = [
            io.tokens,
            io.positions,
            io.slots,
            io.out_rows,
            io.step,
            io.logits,
            io.live,
            io.sampler,
            io.sampled,
            io.drawn,
            io.stop,
        ];
        all.into_iter().try_for_each(|id| self.verify_buffer("io", id))
    }

    fn verify_buffer(&self, at: &str, id: BufferId) -> Result<(), PlanError> {
        let known = (id.0 as usize) < self.buffers.len();
        let dangling = || PlanError::Dangling { at: at.into(), what: "buffer", index: id.0 };
        known.then_some(()).ok_or_else(dangling)
    }

    fn verify_range(&self, at: &str, range: &BufferRange) -> Result<(), PlanError> {
        self.verify_buffer(at, range.buffer)?;
        let end = range.offset.checked_add(range.bytes);
        let why = if end.is_none_or(|end| end > self.buffer(range.buffer).bytes) {
            "is outside its buffer"
        } else if !range.offset.is_multiple_of(u64::from(self.device.binding_alignment.max(1))) {
            "is not aligned as the device wants"
        } else if range.bytes == 0 || !range.bytes.is_multiple_of(4) {
            "is not a positive number of words"
        } else if range.bytes > self.device.max_binding_bytes {
            "is larger than the device binds"
        } else {
            return Ok(());
        };
        Err(PlanError::Binding { at: at.into(), offset: range.offset, bytes: range.bytes, why })
    }

    fn verify_dispatch(&self, at: &str, dispatch: &Dispatch) -> Result<(), PlanError> {
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
            self.verify_range(&at, range)?;
            let known = *access.entry(range.buffer).or_insert(binding.access);
            if known != binding.access {
                let buffer = self.buffer(range.buffer).name.clone();
                return Err(PlanError::Conflict { at, buffer });
            }
        }
        let largest = StepDims {
            tokens: self.options.chunk.max(self.options.slots),
            out_rows: self.options.out_rows.max(self.options.slots),
            slots: self.options.slots,
        };
        dispatch.grid.iter().try_for_each(|extent: &Extent| {
            let needs = extent.at(largest).into();
            self.limit(&at, "workgroups along one axis", needs, self.device.max_grid.into())
        })
    }

    fn limit(&self, at: &str, what: &'static str, needs: u64, has: u64) -> Result<(), PlanError> {
        if needs <= has {
            return Ok(());
        }
        let device = self.device.name.clone();
        Err(PlanError::Limit { at: at.into(), what, needs, device, has })
    }
}
