//! The time that each kernel takes of a step.
//!
//! Two clocks. *Timestamps* are written between the dispatches of a step, where a device can do
//! that. *Repetition* needs nothing: the dispatches of a kernel, those of all layers in turn, are
//! run so often that the time of one round is known. Each layer has weights of its own, so caches
//! are about as in a step, and each dispatch waits for the one before, as in a step. What they read
//! may be left-overs of other kernels. A kernel that finds its rows by what it reads must not be run
//! on these: its dispatches are repeated in their places in whole steps.

use super::{At, BenchStep, Program, median, timestamps};
use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::session::Session;
use quarrel_ir::plan::{BufferRole, Content, Dispatch, Kernel, KernelId, Phase};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// GPUs lower their clocks when idle: they are kept busy this long before a measurement.
const WARM_UP: Duration = Duration::from_millis(250);
/// How long timestamps are taken, and least how often.
const STAMPS: (Duration, usize) = (Duration::from_millis(500), 5);
/// How long one kernel is repeated.
const REPEAT: Duration = Duration::from_millis(60);
/// One submission of repetitions is at least this long, where a kernel may be repeated so often.
const SUBMISSION: Duration = Duration::from_millis(4);
/// A submission this long is not repeated: on slow devices a kernel takes seconds of a prompt's step.
const LONG: Duration = Duration::from_millis(500);
/// Rounds of one submission at most.
const ROUNDS: u32 = 512;

/// How the time of a kernel is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelClock {
    /// Timestamps between the dispatches of a step.
    Timestamps,
    /// The dispatches of one kernel again and again.
    Repetition,
}

/// What a kernel takes of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KernelTime {
    /// The program it is part of.
    pub phase: Phase,
    /// The kernel.
    pub kernel: KernelId,
    /// Its dispatches in a step; those with an empty grid are not counted.
    pub dispatches: u32,
    /// Microseconds of all of them together.
    pub us: f64,
}

/// A kernel's dispatches.
struct Group {
    phase: Phase,
    kernel: KernelId,
    /// Their places in [`At::all`].
    places: Vec<usize>,
}

impl Session {
    /// What each kernel takes of a step, in the order of their first dispatches. The session is
    /// reset.
    ///
    /// # Errors
    /// A step that does not fit into the context, a device that cannot write timestamps where they
    /// are asked for, or one that fails.
    pub fn bench_kernels(
        &mut self,
        step: BenchStep,
        clock: KernelClock,
    ) -> Result<Vec<KernelTime>, RuntimeError> {
        self.bench_kernels_of(step, clock, &|_| true)
    }

    /// What each of the `wanted` kernels takes of a step, otherwise as
    /// [`bench_kernels`](Session::bench_kernels).
    ///
    /// # Errors
    /// As those.
    pub fn bench_kernels_of(
        &mut self,
        step: BenchStep,
        clock: KernelClock,
        wanted: &dyn Fn(&Kernel) -> bool,
    ) -> Result<Vec<KernelTime>, RuntimeError> {
        self.reset();
        let engine = &self.engine;
        let facts = engine.gpu().facts();
        if clock == KernelClock::Timestamps && !facts.timestamps_inside_passes {
            let what = "timestamps inside passes".into();
            return Err(RuntimeError::Unsupported { device: facts.name, what });
        }
        let programs = step.write(engine)?;
        engine.ready(&programs)?;
        let times = by(engine, step, &programs, clock, wanted);
        // A kernel that was repeated may have left anything in the states.
        self.reset_states();
        times
    }
}

fn by(
    engine: &Engine,
    step: BenchStep,
    programs: &[Program],
    clock: KernelClock,
    wanted: &dyn Fn(&Kernel) -> bool,
) -> Result<Vec<KernelTime>, RuntimeError> {
    let all = At::all(engine, programs)?;
    let mut groups = groups(engine, &all)?;
    groups.retain(|group| wanted(engine.plan().kernel(group.kernel)));
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        step.write(engine)?;
        engine.run(programs)?;
        engine.wait()?;
    }
    let us = match clock {
        KernelClock::Timestamps => by_timestamps(engine, step, &groups)?,
        KernelClock::Repetition => {
            let one = |group| by_repetition(engine, step, &all, group);
            groups.iter().map(one).collect::<Result<_, _>>()?
        }
    };
    let time = |(group, us): (&Group, f64)| {
        let Group { phase, kernel, ref places } = *group;
        KernelTime { phase, kernel, dispatches: places.len() as u32, us }
    };
    Ok(groups.iter().zip(us).map(time).collect())
}

/// The dispatches by kernel and program, without those whose grids are empty.
fn groups(engine: &Engine, all: &[At]) -> Result<Vec<Group>, RuntimeError> {
    let plan = engine.plan();
    let mut groups: Vec<Group> = Vec::new();
    let mut known = HashMap::new();
    for (place, at) in all.iter().enumerate() {
        let program = plan.program(at.phase).ok_or(RuntimeError::NoProgram(at.phase))?;
        // `At::all` counts the program's dispatches.
        let dispatch = &program.dispatches[at.index];
        if dispatch.grid.iter().any(|extent| extent.at(at.dims) == 0) {
            continue;
        }
        let (phase, kernel) = (at.phase, dispatch.kernel);
        let group = *known.entry((phase, kernel)).or_insert_with(|| {
            groups.push(Group { phase, kernel, places: Vec::new() });
            groups.len() - 1
        });
        // `known` holds indices of groups.
        groups[group].places.push(place);
    }
    Ok(groups)
}

/// Each kernel's part of a step, the median of many steps.
fn by_timestamps(
    engine: &Engine,
    step: BenchStep,
    groups: &[Group],
) -> Result<Vec<f64>, RuntimeError> {
    let mut all = vec![Vec::new(); groups.len()];
    let (start, mut rounds) = (Instant::now(), 0);
    while start.elapsed() < STAMPS.0 || rounds < STAMPS.1 {
        let times = timestamps::dispatches(engine, step)?;
        for (all, group) in all.iter_mut().zip(groups) {
            // There is a time for each place.
            all.push(group.places.iter().map(|&place| times[place]).sum());
        }
        rounds += 1;
    }
    Ok(all.into_iter().map(median).collect())
}

/// Microseconds of one round of a kernel's dispatches.
fn by_repetition(
    engine: &Engine,
    step: BenchStep,
    all: &[At],
    group: &Group,
) -> Result<f64, RuntimeError> {
    // A sampling kernel goes on by a position each time and stops where the context ends.
    let most = match group.phase {
        Phase::Greedy | Phase::Sample => step.room(engine).clamp(1, ROUNDS),
        Phase::Decode | Phase::Prefill => ROUNDS,
    };
    if !reads_ids(engine, all, group) {
        let in_turn = |rounds| vec![group.places.as_slice(); rounds as usize].concat();
        let (us, rounds) = busy(engine, step, all, 1..=most, &in_turn)?;
        return Ok(us / f64::from(rounds));
    }
    // Other kernels may have left anything there.
    engine.clear(BufferRole::State);
    let in_place = |rounds: u32| -> Vec<usize> {
        let times = |place| if group.places.contains(&place) { rounds as usize } else { 1 };
        (0..all.len()).flat_map(|place| vec![place; times(place)]).collect()
    };
    let (once, _) = busy(engine, step, all, 1..=1, &in_place)?;
    let (often, rounds) = busy(engine, step, all, 9..=33, &in_place)?;
    Ok(((often - once) / f64::from(rounds - 1)).max(0.0))
}

/// Whether a kernel finds rows by numbers that another has computed: choices of experts.
fn reads_ids(engine: &Engine, all: &[At], group: &Group) -> bool {
    let plan = engine.plan();
    let dispatch = |place: &usize| {
        let at = all.get(*place)?;
        plan.program(at.phase)?.dispatches.get(at.index)
    };
    let by_ids = |dispatch: &Dispatch| {
        let lists = |content: &Content| matches!(content, Content::Groups { .. });
        let mut ops = dispatch.ops.iter();
        ops.any(|op| matches!(op.op.as_str(), "expert_linear" | "take"))
            || dispatch.contents.iter().any(lists)
    };
    group.places.iter().filter_map(dispatch).any(by_ids)
}

/// Microseconds of a submission, and the rounds that were made of it: as many as make it long
/// enough, within `range`. `places` gives the dispatches of so many rounds.
fn busy(
    engine: &Engine,
    step: BenchStep,
    all: &[At],
    range: std::ops::RangeInclusive<u32>,
    places: &dyn Fn(u32) -> Vec<usize>,
) -> Result<(f64, u32), RuntimeError> {
    let (mut rounds, most) = range.into_inner();
    loop {
        let start = Instant::now();
        submit(engine, step, all, &places(rounds))?;
        engine.wait()?;
        let took = start.elapsed();
        if took >= LONG {
            return Ok((took.as_secs_f64() * 1e6, rounds));
        }
        if took >= SUBMISSION || rounds >= most {
            break;
        }
        rounds = (2 * rounds).min(most);
    }
    let places = places(rounds);
    let (start, mut submissions) = (Instant::now(), 1u32);
    let mut last = submit(engine, step, all, &places)?;
    // One is recorded while another runs.
    while start.elapsed() < REPEAT || submissions < 3 {
        let next = submit(engine, step, all, &places)?;
        engine.gpu().wait(Some(last), "timing a kernel")?;
        last = next;
        submissions += 1;
    }
    engine.gpu().wait(Some(last), "timing a kernel")?;
    Ok((start.elapsed().as_secs_f64() * 1e6 / f64::from(submissions), rounds))
}

/// Submits dispatches in one pass, after the step's inputs.
fn submit(
    engine: &Engine,
    step: BenchStep,
    all: &[At],
    places: &[usize],
) -> Result<wgpu::SubmissionIndex, RuntimeError> {
    step.write(engine)?;
    let mut encoder = engine.gpu().device.create_command_encoder(&Default::default());
    {
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for at in places.iter().filter_map(|&place| all.get(place)) {
            engine.record_one(&mut pass, at.phase, at.dims, at.index)?;
        }
    }
    let submission = engine.gpu().queue.submit([encoder.finish()]);
    engine.gpu().faults.check("timing a kernel")?;
    Ok(submission)
}
