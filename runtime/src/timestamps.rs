//! The time of each dispatch of a program, by timestamps written between them.

use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::readback::read_words;
use quarrel_ir::plan::{Phase, StepDims};

/// Queries of one set; wgpu's limit.
const MOST: usize = wgpu::QUERY_SET_MAX_QUERIES as usize;

/// Runs a program once; microseconds of each of its dispatches.
///
/// The device must be able to write timestamps inside passes.
pub(crate) fn dispatches(
    engine: &Engine,
    phase: Phase,
    dims: StepDims,
) -> Result<Vec<f64>, RuntimeError> {
    let count = engine.program(phase)?.len();
    let mut times = Vec::with_capacity(count);
    for first in (0..count).step_by(MOST - 1) {
        times.extend(part(engine, phase, dims, first..count.min(first + MOST - 1))?);
    }
    Ok(times)
}

fn part(
    engine: &Engine,
    phase: Phase,
    dims: StepDims,
    range: std::ops::Range<usize>,
) -> Result<Vec<f64>, RuntimeError> {
    let device = &engine.gpu().device;
    let queries = range.len() as u32 + 1;
    let set = device.create_query_set(&wgpu::QuerySetDescriptor {
        label: None,
        ty: wgpu::QueryType::Timestamp,
        count: queries,
    });
    let resolved = device.create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: 8 * u64::from(queries),
        usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    });
    let mut encoder = device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        pass.write_timestamp(&set, 0);
        for (query, index) in (1u32..).zip(range) {
            engine.record_one(&mut pass, phase, dims, index)?;
            pass.write_timestamp(&set, query);
        }
    }
    encoder.resolve_query_set(&set, 0..queries, &resolved, 0);
    engine.gpu().queue.submit([encoder.finish()]);
    let words = read_words(engine.gpu(), &resolved, 0, 2 * queries as usize)?;
    let ticks: Vec<u64> =
        words.chunks_exact(2).map(|w| u64::from(w[0]) | u64::from(w[1]) << 32).collect();
    let us = f64::from(engine.gpu().queue.get_timestamp_period()) / 1e3;
    Ok(ticks.windows(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * us).collect())
}
