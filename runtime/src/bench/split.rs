//! Where the time of a decode step goes: to the host that records it, to the device that runs it,
//! to the choice of the token, or to nothing between two steps.

use super::timestamps::Queries;
use super::{AHEAD, BenchStep, Program, fits};
use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::session::Session;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Timestamps of a step: the beginnings and ends of its two passes.
const STAMPS: u32 = 4;

/// Parts of a decode step, in microseconds, the mean of many. What the host does, it does while the
/// device works on earlier steps: the parts of the two overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct StepSplit {
    /// From a step's end to the next one's.
    pub step_us: f64,
    /// The host, to record and submit a step.
    pub record_us: f64,
    /// The device, from a step's beginning to its end; `None` where it writes no timestamps, as the
    /// next two.
    pub busy_us: Option<f64>,
    /// The device between two steps.
    pub gap_us: Option<f64>,
    /// The device, to choose the token: part of `busy_us`.
    pub sampling_us: Option<f64>,
}

impl Session {
    /// Decodes `steps` tokens in every slot (at most 1,000 are timed), the first at position
    /// `depth`, and takes the time of a step apart. The session is reset.
    ///
    /// # Errors
    /// A context too short for `depth + steps`, or a failing device.
    pub fn bench_split(&mut self, depth: u32, steps: u32) -> Result<StepSplit, RuntimeError> {
        self.reset();
        let engine = &self.engine;
        let steps = steps.clamp(2, 1000);
        fits(depth as usize + steps as usize + 1, engine.plan().options.context)?;
        let programs = BenchStep::Decode { depth }.write(engine)?;
        engine.ready(&programs)?;
        let device = &engine.gpu().device;
        let timed = device.features().contains(wgpu::Features::TIMESTAMP_QUERY);
        let queries = timed.then(|| Queries::new(device, STAMPS * steps));
        engine.wait()?;
        let (start, mut recording) = (Instant::now(), Duration::ZERO);
        let mut under_way = VecDeque::new();
        for step in 0..steps {
            let began = Instant::now();
            let stamps = queries.as_ref().map(|queries| (queries, STAMPS * step));
            under_way.push_back(submit(engine, &programs, stamps)?);
            recording += began.elapsed();
            if under_way.len() > AHEAD {
                engine.gpu().wait(under_way.pop_front(), "decoding")?;
            }
        }
        engine.wait()?;
        let mean = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(steps);
        let mut split = StepSplit {
            step_us: mean(start.elapsed()),
            record_us: mean(recording),
            ..StepSplit::default()
        };
        if let Some(queries) = queries {
            let mut encoder = device.create_command_encoder(&Default::default());
            queries.resolve(&mut encoder);
            engine.gpu().queue.submit([encoder.finish()]);
            split.add_stamps(&queries.read(engine)?);
        }
        Ok(split)
    }
}

/// Submits a step, each program in a pass of its own between two timestamps from the given one on.
fn submit(
    engine: &Engine,
    programs: &[Program],
    stamps: Option<(&Queries, u32)>,
) -> Result<wgpu::SubmissionIndex, RuntimeError> {
    let mut encoder = engine.gpu().device.create_command_encoder(&Default::default());
    for (pass, program) in (0u32..).zip(programs) {
        let writes = stamps.map(|(queries, first)| wgpu::ComputePassTimestampWrites {
            query_set: &queries.set,
            beginning_of_pass_write_index: Some(first + 2 * pass),
            end_of_pass_write_index: Some(first + 2 * pass + 1),
        });
        engine.record_timed(&mut encoder, std::slice::from_ref(program), writes)?;
    }
    let submission = engine.gpu().queue.submit([encoder.finish()]);
    engine.gpu().faults.check("running a step")?;
    Ok(submission)
}

impl StepSplit {
    /// Fills in what the timestamps of all steps say, in microseconds.
    fn add_stamps(&mut self, stamps: &[f64]) {
        let steps: Vec<[f64; 4]> =
            stamps.chunks_exact(4).map(|s| [s[0], s[1], s[2], s[3]]).collect();
        let mean = |sum: f64, count: usize| if count > 0 { sum / count as f64 } else { 0.0 };
        // The device may begin a step before the one before has ended.
        let gaps = steps.windows(2).map(|pair| (pair[1][0] - pair[0][3]).max(0.0));
        let sampling = steps.iter().map(|step| step[3] - step[2]);
        let gap = mean(gaps.clone().sum(), gaps.len());
        if let (Some(first), Some(last)) = (steps.first(), steps.last()) {
            self.step_us = mean(last[3] - first[0] + gap, steps.len());
        }
        self.gap_us = Some(gap);
        self.busy_us = Some(self.step_us - gap);
        self.sampling_us = Some(mean(sampling.sum(), steps.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_taken_apart() {
        let mut split = StepSplit::default();
        // Steps of 10, the last 2 of each the choice of the token, 1 between them.
        split.add_stamps(&[0.0, 8.0, 8.0, 10.0, 11.0, 19.0, 19.0, 21.0, 22.0, 30.0, 30.0, 32.0]);
        assert_eq!((split.step_us, split.gap_us), (11.0, Some(1.0)));
        assert_eq!((split.busy_us, split.sampling_us), (Some(10.0), Some(2.0)));
    }

    #[test]
    fn steps_that_overlap_have_no_gap() {
        let mut split = StepSplit::default();
        split.add_stamps(&[0.0, 8.0, 8.0, 10.0, 9.0, 18.0, 18.0, 20.0]);
        assert_eq!((split.step_us, split.gap_us), (10.0, Some(0.0)));
    }
}
