//! The time of each dispatch of a step, by timestamps written between them.

use super::{At, BenchStep};
use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::readback::read_words;

/// Queries of one set; wgpu's limit.
const MOST: usize = wgpu::QUERY_SET_MAX_QUERIES as usize;

/// Runs a step twice, the first time to have caches and clocks as they are in a real one;
/// microseconds of each of its dispatches.
///
/// The device must be able to write timestamps inside passes.
pub(super) fn dispatches(engine: &Engine, step: BenchStep) -> Result<Vec<f64>, RuntimeError> {
    engine.run(&step.write(engine)?)?;
    // The first has written inputs of its own.
    let all = At::all(engine, &step.write(engine)?)?;
    let mut times = Vec::with_capacity(all.len());
    for part in all.chunks(MOST - 1) {
        times.extend(time_part(engine, part)?);
    }
    Ok(times)
}

fn time_part(engine: &Engine, part: &[At]) -> Result<Vec<f64>, RuntimeError> {
    let device = &engine.gpu().device;
    let queries = Queries::new(device, part.len() as u32 + 1);
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.write_timestamp(&queries.set, 0);
        for (query, at) in (1u32..).zip(part) {
            engine.record_one(&mut pass, at.phase, at.dims, at.index)?;
            pass.write_timestamp(&queries.set, query);
        }
    }
    engine.gpu().queue.submit([encoder.finish()]);
    let times = queries.read(engine, part.len() as u32 + 1)?;
    // Windows of two have two.
    Ok(times.windows(2).map(|pair| (pair[1] - pair[0]).max(0.0)).collect())
}

/// A set of timestamps and the buffer that they are read from.
#[derive(Debug)]
pub(crate) struct Queries {
    pub(crate) set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

impl Queries {
    /// A set of `count` timestamps.
    pub(crate) fn new(device: &wgpu::Device, count: u32) -> Queries {
        let set = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: None,
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let resolved = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 8 * u64::from(count),
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        Queries { set, resolved }
    }

    /// The first `count` timestamps, which have been submitted, in microseconds after the first of
    /// them, when all that was submitted is done.
    pub(super) fn read(&self, engine: &Engine, count: u32) -> Result<Vec<f64>, RuntimeError> {
        let ticks = self.ticks(engine, count)?;
        let us = f64::from(engine.gpu().queue.get_timestamp_period()) / 1e3;
        let first = ticks.first().copied().unwrap_or(0);
        // A clock that is set back gives negative times.
        Ok(ticks.iter().map(|&tick| tick.wrapping_sub(first) as i64 as f64 * us).collect())
    }

    /// The same in ticks of the device's clock.
    pub(crate) fn ticks(&self, engine: &Engine, count: u32) -> Result<Vec<u64>, RuntimeError> {
        let mut encoder = engine.gpu().device.create_command_encoder(&Default::default());
        encoder.resolve_query_set(&self.set, 0..count, &self.resolved, 0);
        engine.gpu().queue.submit([encoder.finish()]);
        let words = read_words(engine.gpu(), &self.resolved, 0, 2 * count as usize)?;
        Ok(words.chunks_exact(2).map(|w| u64::from(w[0]) | u64::from(w[1]) << 32).collect())
    }

    /// The first two, at the beginning and the end of a pass.
    pub(crate) fn around(&self) -> wgpu::ComputePassTimestampWrites<'_> {
        wgpu::ComputePassTimestampWrites {
            query_set: &self.set,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        }
    }
}
