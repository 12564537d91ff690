//! The ring of mapped buffers through which sampled tokens return, and what is submitted ahead.

use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::pace::{Pace, StepsAtOnce};
use crate::readback::{staging, with_mapped};
use crate::trace;
use quarrel_ir::plan::{Phase, StepDims};
use quarrel_ir::sampling::RECORDS;
use std::collections::VecDeque;

/// Submissions under way at once: one that runs, one that is ready when it ends, and one that is
/// recorded or read meanwhile.
const UNDER_WAY: usize = 3;

/// Bytes of a slot's record.
const RECORD_BYTES: u64 = 16;

/// What a sampling kernel says of one slot after a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) token: u32,
    pub(crate) status: u32,
}

/// Steps that were submitted together, with the buffer their records go to.
#[derive(Debug)]
struct Submission {
    buffer: wgpu::Buffer,
    index: wgpu::SubmissionIndex,
    steps: u32,
}

/// Steps under way, oldest first.
#[derive(Debug)]
pub(crate) struct Ring {
    free: Vec<wgpu::Buffer>,
    under_way: VecDeque<Submission>,
    /// Bytes of a step's records.
    bytes: u64,
    /// Steps since the device began to count, which say where it writes the next records.
    step: u32,
    pace: Pace,
    records: Vec<Record>,
}

impl Ring {
    /// A ring whose steps go as `choice` says.
    pub(crate) fn new(engine: &Engine, choice: StepsAtOnce) -> Result<Ring, RuntimeError> {
        let bytes = RECORD_BYTES * u64::from(engine.plan().options.slots);
        let most = u64::from(RECORDS) * bytes;
        let free = (0..UNDER_WAY).map(|_| staging(engine.gpu(), most)).collect();
        engine.gpu().faults.check("allocating buffers for tokens")?;
        let pace = Pace::new(choice, engine.gpu().facts().kind);
        let (under_way, records) = (VecDeque::new(), Vec::new());
        let mut ring = Ring { free, under_way, bytes, step: 0, pace, records };
        ring.restart(engine);
        Ok(ring)
    }

    /// Has the device count steps from 0 again: for a step of some slots alone, whose counts go on
    /// without the others', and after it.
    pub(crate) fn restart(&mut self, engine: &Engine) {
        self.step = 0;
        let slots = engine.plan().options.slots as usize;
        engine.write(engine.plan().io.drawn, &vec![0; slots]);
    }

    /// Whether another submission may be made.
    pub(crate) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether there is something to receive.
    pub(crate) fn is_under_way(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Submits as many decode steps as go together, `wanted` at most, each made of `programs`; how
    /// many those are.
    ///
    /// Callers have asked [`has_room`](Ring::has_room).
    pub(crate) fn submit_some(
        &mut self,
        engine: &Engine,
        programs: &[(Phase, StepDims)],
        wanted: usize,
    ) -> Result<u32, RuntimeError> {
        let steps = self.steps_of_next(wanted);
        let record = |encoder: &mut _| engine.record(encoder, &programs.repeat(steps as usize));
        self.submit(engine, programs, steps, record)?;
        Ok(steps)
    }

    /// How many decode steps should go together now, of `wanted`.
    pub(crate) fn steps_of_next(&mut self, wanted: usize) -> u32 {
        let wanted = wanted.clamp(1, RECORDS as usize) as u32;
        self.pace.next().min(wanted)
    }

    /// Submits what `record` records, `steps` steps of `programs`, and has their records copied.
    ///
    /// Callers have asked [`has_room`](Ring::has_room), or have received as often as submitted.
    pub(crate) fn submit(
        &mut self,
        engine: &Engine,
        programs: &[(Phase, StepDims)],
        steps: u32,
        record: impl FnOnce(&mut wgpu::CommandEncoder) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let full = || RuntimeError::Protocol("more steps are under way than the ring holds".into());
        engine.ready(programs)?;
        let buffer = self.free.pop().ok_or_else(full)?;
        let gpu = engine.gpu();
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        record(&mut encoder)?;
        self.copy_records(engine, &mut encoder, &buffer, steps);
        let index = {
            let mut submitting = trace::begin(gpu.tracer(), "submit");
            if let Some(span) = &mut submitting {
                span.detail("steps", steps);
            }
            gpu.queue.submit([encoder.finish()])
        };
        // Whether mapping succeeded shows when the range is asked for.
        let bytes = u64::from(steps) * self.bytes;
        buffer.slice(..bytes).map_async(wgpu::MapMode::Read, |_| ());
        gpu.faults.check("running a step")?;
        self.step = self.step.wrapping_add(steps);
        self.under_way.push_back(Submission { buffer, index, steps });
        Ok(())
    }

    /// Copies the records of the next `steps` steps, in their order: those behind the end of the
    /// device's ring are at its beginning.
    fn copy_records(
        &self,
        engine: &Engine,
        encoder: &mut wgpu::CommandEncoder,
        buffer: &wgpu::Buffer,
        steps: u32,
    ) {
        let sampled = engine.buffer(engine.plan().io.sampled);
        let first = self.step % RECORDS;
        let before = steps.min(RECORDS - first);
        for (from, to, count) in [(first, 0, before), (0, before, steps - before)] {
            let bytes = |steps: u32| u64::from(steps) * self.bytes;
            if count > 0 {
                encoder.copy_buffer_to_buffer(
                    sampled,
                    bytes(from),
                    buffer,
                    bytes(to),
                    bytes(count),
                );
            }
        }
    }

    /// Waits for the oldest submission; its records, one a slot for each step.
    /// [`recycle`](Ring::recycle) takes them back.
    pub(crate) fn receive(&mut self, engine: &Engine) -> Result<Vec<Record>, RuntimeError> {
        let none = || RuntimeError::Protocol("no step is under way".into());
        let Submission { buffer, index, steps } = self.under_way.pop_front().ok_or_else(none)?;
        {
            let _waiting = trace::begin(engine.gpu().tracer(), "wait for the device");
            engine.gpu().wait(Some(index), "running a step")?;
        }
        let _reading = trace::begin(engine.gpu().tracer(), "read back");
        let mut records = std::mem::take(&mut self.records);
        records.clear();
        with_mapped(&buffer, u64::from(steps) * self.bytes, |bytes| {
            let word =
                |b: &[u8], i: usize| u32::from_le_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
            let record = |b: &[u8]| Record { token: word(b, 0), status: word(b, 4) };
            records.extend(bytes.chunks_exact(RECORD_BYTES as usize).map(record));
        })?;
        self.free.push(buffer);
        self.pace.received(steps);
        Ok(records)
    }

    /// What comes next is timed, to choose how many steps go together: the device has done all that
    /// came before.
    pub(crate) fn begin(&mut self) {
        self.pace.begin();
    }

    /// Takes records back, so that none are allocated for the next step.
    pub(crate) fn recycle(&mut self, records: Vec<Record>) {
        self.records = records;
    }
}
