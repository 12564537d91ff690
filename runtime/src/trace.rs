//! What host and device did, and when, for whoever asked to know.
//!
//! The host's spans are taken by its clock. The device's are timestamps, written between the
//! dispatches where a device can do that, else at the beginning and the end of each program. Its clock
//! is compared with the host's at the beginning and at the end, each time by a submission that does
//! nothing else; between them it is taken to run evenly. How well that is known is part of the result.

use crate::bench::Queries;
use crate::engine::Engine;
use crate::error::RuntimeError;
use quarrel_ir::plan::{Phase, StepDims};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Instant;

/// Submissions by which the clocks are compared; the shortest counts.
const COMPARISONS: usize = 8;

/// Where a span belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Track {
    /// A thread of the host, by the order in which they were first seen.
    Host(usize),
    /// The device.
    Device,
}

/// Something that took time. Spans of a track are apart from each other or one within another.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Where it belongs.
    pub track: Track,
    /// What was done; for dispatches, the kernel's name in the plan.
    pub name: String,
    /// More about it.
    pub details: Vec<(&'static str, String)>,
    /// Microseconds from the tracer's beginning to its own.
    pub start_us: f64,
    /// Microseconds that it took.
    pub us: f64,
}

/// All spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The device's name.
    pub device: String,
    /// The spans, by track and beginning, those that hold others before them.
    pub spans: Vec<Span>,
    /// The names of the host's threads, by their tracks.
    pub threads: Vec<String>,
    /// Microseconds by which the device's spans may be off against the host's; `None` where the device
    /// has no clock, and so no spans.
    pub clocks_within_us: Option<f64>,
}

/// Collects spans.
#[derive(Debug)]
pub struct Tracer {
    origin: Instant,
    host: Mutex<HostSpans>,
    device: Mutex<DeviceSpans>,
}

#[derive(Debug, Default)]
struct HostSpans {
    spans: Vec<Span>,
    threads: HashMap<ThreadId, usize>,
    names: Vec<String>,
}

#[derive(Debug, Default)]
struct DeviceSpans {
    passes: Vec<Pass>,
    clocks: Vec<Clocks>,
}

/// Timestamps around the dispatches of one program in a step.
#[derive(Debug)]
struct Pass {
    queries: Queries,
    count: u32,
    name: String,
    dims: StepDims,
    /// What lies between two timestamps, and its layer; nothing where there are only two.
    between: Vec<(String, Option<u32>)>,
}

/// The two clocks at the same time.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    host_us: f64,
    ticks: u64,
    within_us: f64,
}

impl Default for Tracer {
    fn default() -> Tracer {
        Tracer::since(Instant::now())
    }
}

/// A span of this thread, which ends when it is dropped.
#[derive(Debug)]
pub struct Open<'a> {
    tracer: &'a Tracer,
    name: &'static str,
    details: Vec<(&'static str, String)>,
    start: Instant,
}

impl Open<'_> {
    /// Says more about it.
    pub fn detail(&mut self, name: &'static str, value: impl ToString) {
        self.details.push((name, value.to_string()));
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let details = std::mem::take(&mut self.details);
        self.tracer.add(self.name, details, self.start, Instant::now());
    }
}

/// What a lock guards; a thread that panicked has left whole spans.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tracer {
    /// A tracer whose times count from `origin`.
    pub fn since(origin: Instant) -> Tracer {
        Tracer { origin, host: Mutex::default(), device: Mutex::default() }
    }

    /// Adds a span of this thread from the origin until now.
    pub fn until_now(&self, name: &str) {
        self.add(name, Vec::new(), self.origin, Instant::now());
    }

    /// Begins a span of this thread.
    pub fn begin(&self, name: &'static str) -> Open<'_> {
        Open { tracer: self, name, details: Vec::new(), start: Instant::now() }
    }

    fn us(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.origin).as_secs_f64() * 1e6
    }

    fn add(&self, name: &str, details: Vec<(&'static str, String)>, start: Instant, end: Instant) {
        let (start_us, end_us) = (self.us(start), self.us(end));
        let mut host = locked(&self.host);
        let thread = std::thread::current();
        let next = host.threads.len();
        let track = *host.threads.entry(thread.id()).or_insert(next);
        if track == next {
            host.names.push(thread.name().unwrap_or("worker").to_owned());
        }
        host.spans.push(Span {
            track: Track::Host(track),
            name: name.to_owned(),
            details,
            start_us,
            us: end_us - start_us,
        });
    }

    /// Compares the clocks of host and device, if the device has one.
    pub(crate) fn compare_clocks(&self, engine: &Engine) -> Result<(), RuntimeError> {
        let device = &engine.gpu().device;
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(());
        }
        let mut best: Option<Clocks> = None;
        for _ in 0..COMPARISONS {
            engine.wait()?;
            let queries = Queries::new(device, 2);
            let mut encoder = device.create_command_encoder(&Default::default());
            drop(encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(queries.around()),
            }));
            let before = self.us(Instant::now());
            engine.gpu().queue.submit([encoder.finish()]);
            engine.wait()?;
            let after = self.us(Instant::now());
            let within_us = (after - before) / 2.0;
            if best.is_none_or(|best| within_us < best.within_us) {
                // It has two.
                let ticks = queries.ticks(engine, 2)?[0];
                best = Some(Clocks { host_us: before + within_us, ticks, within_us });
            }
        }
        locked(&self.device).clocks.extend(best);
        Ok(())
    }

    /// Records programs with timestamps.
    pub(crate) fn record(
        &self,
        engine: &Engine,
        encoder: &mut wgpu::CommandEncoder,
        programs: &[(Phase, StepDims)],
    ) -> Result<(), RuntimeError> {
        let features = engine.gpu().device.features();
        let each = features.contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES);
        let timed = features.contains(wgpu::Features::TIMESTAMP_QUERY);
        for &program in programs {
            let between = if each { engine.dispatches(program)? } else { vec![] };
            if !timed || between.len() >= wgpu::QUERY_SET_MAX_QUERIES as usize {
                engine.record_timed(encoder, &[program], None)?;
                continue;
            }
            let count = if each { between.len() as u32 + 1 } else { 2 };
            let queries = Queries::new(&engine.gpu().device, count);
            match each {
                true => record_each(engine, encoder, program, &queries)?,
                false => engine.record_timed(encoder, &[program], Some(queries.around()))?,
            }
            let name = engine.plan().program(program.0).map(|program| program.name.clone());
            let between = between.into_iter().map(|(_, name, layer)| (name, layer)).collect();
            let name = name.unwrap_or_default();
            locked(&self.device).passes.push(Pass {
                queries,
                count,
                name,
                dims: program.1,
                between,
            });
        }
        Ok(())
    }

    /// Everything so far. The device must have done all that was submitted.
    pub(crate) fn finish(&self, engine: &Engine) -> Result<Trace, RuntimeError> {
        self.compare_clocks(engine)?;
        let (passes, clocks) = {
            let mut device = locked(&self.device);
            (std::mem::take(&mut device.passes), device.clocks.clone())
        };
        let period_us = f64::from(engine.gpu().queue.get_timestamp_period()) / 1e3;
        let mut spans = Vec::new();
        if let Some(map) = ClockMap::of(&clocks, period_us) {
            let mut free = f64::NEG_INFINITY;
            for pass in &passes {
                let times = pass.queries.ticks(engine, pass.count)?;
                let times: Vec<f64> = times.into_iter().map(|ticks| map.host_us(ticks)).collect();
                free = pass.add_spans(&times, free, &mut spans);
            }
        }
        let host = locked(&self.host);
        spans.extend(host.spans.iter().cloned());
        // Those that hold others end later.
        spans.sort_by(|a, b| {
            let starts = a.track.cmp(&b.track).then(a.start_us.total_cmp(&b.start_us));
            starts.then(b.us.total_cmp(&a.us))
        });
        let clocks_within_us = clocks.iter().map(|clock| clock.within_us).reduce(f64::max);
        let device = engine.gpu().facts().name;
        Ok(Trace { device, spans, threads: host.names.clone(), clocks_within_us })
    }
}

/// Records the dispatches of a program with a timestamp before the first and after each.
fn record_each(
    engine: &Engine,
    encoder: &mut wgpu::CommandEncoder,
    (phase, dims): (Phase, StepDims),
    queries: &Queries,
) -> Result<(), RuntimeError> {
    let mut pass = encoder.begin_compute_pass(&Default::default());
    pass.write_timestamp(&queries.set, 0);
    for (query, (index, ..)) in (1u32..).zip(engine.dispatches((phase, dims))?) {
        engine.record_one(&mut pass, phase, dims, index)?;
        pass.write_timestamp(&queries.set, query);
    }
    Ok(())
}

impl Pass {
    /// Adds the pass and what it holds, no part of it before `free`; when the device is free again.
    /// Timestamps of one pass may be written before the work of another has ended: what is left of its
    /// beginning counts.
    fn add_spans(&self, times: &[f64], free: f64, spans: &mut Vec<Span>) -> f64 {
        let mut ends = Vec::with_capacity(times.len());
        let mut last = free;
        for time in times {
            last = time.max(last);
            ends.push(last);
        }
        let (Some(&start), Some(&end)) = (ends.first(), ends.last()) else { return free };
        let span = |name: &str, details, start_us: f64, end_us: f64| Span {
            track: Track::Device,
            name: name.to_owned(),
            details,
            start_us,
            us: end_us - start_us,
        };
        let details = vec![("tokens", self.dims.tokens.to_string())];
        spans.push(span(&self.name, details, start, end));
        for ((name, layer), pair) in self.between.iter().zip(ends.windows(2)) {
            let details = layer.map(|layer| ("layer", layer.to_string()));
            // Windows of two have two.
            spans.push(span(name, details.into_iter().collect(), pair[0], pair[1]));
        }
        end
    }
}

/// From the device's ticks to the host's microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ClockMap {
    ticks: u64,
    host_us: f64,
    us_per_tick: f64,
}

impl ClockMap {
    /// By the first and the last comparison; `period_us` is what the device says of its ticks.
    fn of(clocks: &[Clocks], period_us: f64) -> Option<ClockMap> {
        let (first, last) = (clocks.first()?, clocks.last()?);
        let ticks = last.ticks.wrapping_sub(first.ticks) as i64 as f64;
        let host_us = last.host_us - first.host_us;
        // Two comparisons close to each other say less of the period than the device does.
        let within = first.within_us + last.within_us;
        let known = ticks > 0.0 && host_us > 1e3 * within;
        let us_per_tick = if known { host_us / ticks } else { period_us };
        Some(ClockMap { ticks: first.ticks, host_us: first.host_us, us_per_tick })
    }

    fn host_us(&self, ticks: u64) -> f64 {
        self.host_us + ticks.wrapping_sub(self.ticks) as i64 as f64 * self.us_per_tick
    }
}

/// Begins a span where somebody traces.
pub(crate) fn begin<'a>(tracer: Option<&'a Arc<Tracer>>, name: &'static str) -> Option<Open<'a>> {
    tracer.map(|tracer| tracer.begin(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(host_us: f64, ticks: u64) -> Clocks {
        Clocks { host_us, ticks, within_us: 1.0 }
    }

    #[test]
    fn ticks_become_microseconds_of_the_host() {
        let far =
            ClockMap::of(&[clocks(100.0, 1000), clocks(1_000_100.0, 2_001_000)], 0.4).unwrap();
        assert_eq!(far.host_us(1000), 100.0);
        assert_eq!(far.host_us(3000), 1100.0);
        // Too close to say how fast the device's clock is.
        let near = ClockMap::of(&[clocks(100.0, 1000), clocks(150.0, 1100)], 0.4).unwrap();
        assert_eq!(near.host_us(2000), 500.0);
        assert_eq!(ClockMap::of(&[], 1.0), None);
    }

    #[test]
    fn spans_end_when_they_are_dropped() {
        let tracer = Tracer::default();
        {
            let mut outer = tracer.begin("outer");
            outer.detail("tokens", 3);
            drop(tracer.begin("inner"));
        }
        let host = locked(&tracer.host);
        let names: Vec<_> = host.spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["inner", "outer"]);
        let (inner, outer) = (&host.spans[0], &host.spans[1]);
        assert!(outer.start_us <= inner.start_us);
        assert!(inner.start_us + inner.us <= outer.start_us + outer.us);
        assert_eq!(outer.details, [("tokens", "3".to_owned())]);
    }
}
