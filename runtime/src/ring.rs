//! The ring of mapped buffers through which sampled tokens return.

use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::readback::{staging, with_mapped};
use quarrel_ir::plan::{Phase, StepDims};
use std::collections::VecDeque;

/// What a sampling kernel says of one slot after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) token: u32,
    pub(crate) status: u32,
}

/// Steps under way, oldest first, each with the buffer its records go to.
#[derive(Debug)]
pub(crate) struct Ring {
    free: Vec<wgpu::Buffer>,
    under_way: VecDeque<(wgpu::Buffer, wgpu::SubmissionIndex)>,
    bytes: u64,
    records: Vec<Record>,
}

impl Ring {
    /// A ring for `ahead` steps besides the one that is waited for.
    pub(crate) fn new(engine: &Engine, ahead: usize) -> Result<Ring, RuntimeError> {
        let bytes = 16 * u64::from(engine.plan().options.slots);
        let free = (0..ahead + 1).map(|_| staging(engine.gpu(), bytes)).collect();
        engine.gpu().faults.check("allocating buffers for tokens")?;
        Ok(Ring { free, under_way: VecDeque::new(), bytes, records: Vec::new() })
    }

    /// Whether another step can be submitted.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Submits `programs` as one step and has its records copied.
    ///
    /// Callers have asked [`has_room`](Ring::has_room), or have received as often as submitted.
    pub(crate) fn submit(
        &mut self,
        engine: &Engine,
        programs: &[(Phase, StepDims)],
    ) -> Result<(), RuntimeError> {
        let full = || RuntimeError::Protocol("more steps are under way than the ring holds".into());
        engine.ready(programs)?;
        let buffer = self.free.pop().ok_or_else(full)?;
        let gpu = engine.gpu();
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        engine.record(&mut encoder, programs)?;
        let sampled = engine.buffer(engine.plan().io.sampled);
        encoder.copy_buffer_to_buffer(sampled, 0, &buffer, 0, self.bytes);
        let submission = gpu.queue.submit([encoder.finish()]);
        // Whether mapping succeeded shows when the range is asked for.
        buffer.slice(..).map_async(wgpu::MapMode::Read, |_| ());
        gpu.faults.check("running a step")?;
        self.under_way.push_back((buffer, submission));
        Ok(())
    }

    /// Waits for the oldest step; its records, one a slot. [`recycle`](Ring::recycle) takes them
    /// back.
    pub(crate) fn receive(&mut self, engine: &Engine) -> Result<Vec<Record>, RuntimeError> {
        let none = || RuntimeError::Protocol("no step is under way".into());
        let (buffer, submission) = self.under_way.pop_front().ok_or_else(none)?;
        engine.gpu().wait(Some(submission), "running a step")?;
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        with_mapped(&buffer, self.bytes, |bytes| {
            let word =
                |b: &[u8], i: usize| u32::from_le_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
            records.extend(
                bytes.chunks_exact(16).map(|b| Record { token: word(b, 0), status: word(b, 4) }),
            );
        })?;
        self.free.push(buffer);
        Ok(records)
    }

    /// Takes records back, so that none are allocated for the next step.
    pub(crate) fn recycle(&mut self, records: Vec<Record>) {
        self.records = records;
    }
}
