//! What it costs the dispatches of a step that they wait for each other.
//!
//! The same dispatches are timed twice: as they are, and with memory of their own for all that each
//! writes, so that none waits for another. What they then read is left over from other steps, which
//! takes as long to read.

use super::timestamps::Queries;
use super::{BenchStep, Program};
use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::program::Prepared;
use crate::session::Session;
use quarrel_ir::plan::{Access, BufferId, BufferRange};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Devices are kept busy this long before a measurement.
const WARM_UP: Duration = Duration::from_millis(250);
/// How long steps are timed, and least how often each kind.
const TIMED: (Duration, usize) = (Duration::from_millis(500), 5);
/// Most bytes of memory that the dispatches get for themselves.
const MOST_BYTES: u64 = 2 << 30;

/// Time of a step's dispatches, without the choice of a token.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct BarrierCost {
    /// Microseconds of the dispatches as they are.
    pub step_us: f64,
    /// Microseconds where none waits for another.
    pub apart_us: f64,
}

impl Session {
    /// What the dispatches of `step` take, and what they would where none waits for another; `None`
    /// where the memory for that is more than 2 GiB. The session is reset.
    ///
    /// # Errors
    /// A step that does not fit into the context, or a failing device.
    pub fn bench_barriers(&mut self, step: BenchStep) -> Result<Option<BarrierCost>, RuntimeError> {
        self.reset();
        let engine = &self.engine;
        let programs = step.write(engine)?;
        engine.ready(&programs)?;
        let Some(&program) = programs.first() else { return Ok(None) };
        let Some(apart) = apart(engine, program)? else { return Ok(None) };
        let cost = time(engine, step, program, &apart);
        self.reset_states();
        cost.map(Some)
    }
}

/// The program with memory of its own for what each dispatch writes.
fn apart(engine: &Engine, (phase, _): Program) -> Result<Option<Prepared>, RuntimeError> {
    let plan = engine.plan();
    let mut program = plan.program(phase).ok_or(RuntimeError::NoProgram(phase))?.clone();
    let mut bytes = Vec::new();
    for dispatch in &mut program.dispatches {
        let kernel = plan.kernel(dispatch.kernel);
        let mut own: HashMap<BufferRange, BufferId> = HashMap::new();
        for (range, binding) in dispatch.bindings.iter_mut().zip(&kernel.bindings) {
            if binding.access == Access::Write {
                let buffer = *own.entry(*range).or_insert_with(|| {
                    bytes.push(range.bytes);
                    BufferId((plan.buffers.len() + bytes.len() - 1) as u32)
                });
                *range = BufferRange { buffer, offset: 0, bytes: range.bytes };
            }
        }
    }
    if bytes.iter().sum::<u64>() > MOST_BYTES {
        return Ok(None);
    }
    let extra: Vec<wgpu::Buffer> = bytes.into_iter().map(|bytes| buffer(engine, bytes)).collect();
    engine.gpu().faults.check("allocating memory for each dispatch")?;
    Ok(Some(engine.prepare(&program, &extra)))
}

fn buffer(engine: &Engine, bytes: u64) -> wgpu::Buffer {
    engine.gpu().device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("what one dispatch writes"),
        size: bytes,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    })
}

/// Times both by turns; the medians.
fn time(
    engine: &Engine,
    step: BenchStep,
    program: Program,
    apart: &Prepared,
) -> Result<BarrierCost, RuntimeError> {
    let own = engine.program(program.0)?;
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        step.write(engine)?;
        engine.run(&[program])?;
        engine.wait()?;
    }
    let (mut together, mut alone) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < TIMED.0 || alone.len() < TIMED.1 {
        step.write(engine)?;
        together.push(pass_us(engine, program, own)?);
        alone.push(pass_us(engine, program, apart)?);
    }
    Ok(BarrierCost { step_us: super::median(together), apart_us: super::median(alone) })
}

/// Microseconds of a pass, by the device's clock where it writes timestamps.
fn pass_us(engine: &Engine, program: Program, prepared: &Prepared) -> Result<f64, RuntimeError> {
    let device = &engine.gpu().device;
    let timed = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
    let queries = timed.then(|| Queries::new(device, 2));
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let timestamp_writes = queries.as_ref().map(|queries| wgpu::ComputePassTimestampWrites {
            query_set: &queries.set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        let mut pass = encoder
            .begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
        engine.record_prepared(&mut pass, prepared, program.1)?;
    }
    let start = Instant::now();
    engine.gpu().queue.submit([encoder.finish()]);
    match queries {
        // Two were written.
        Some(queries) => Ok(queries.read(engine, 2)?[1]),
        None => {
            engine.wait()?;
            Ok(start.elapsed().as_secs_f64() * 1e6)
        }
    }
}
