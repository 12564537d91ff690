//! Where the time of a decode step goes: to the host that records it, to the device that runs it,
//! to the choice of the token, or to nothing between two steps.

use super::timestamps::Queries;
use super::{BenchStep, Program, fits, receive};
use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::ring::Ring;
use crate::session::Session;
use std::time::{Duration, Instant};

/// Timestamps of a submission: the beginnings and ends of its two passes.
const STAMPS: u32 = 4;

/// Parts of a decode step, in microseconds, the mean of many. What the host does, it does while the
/// device works on earlier steps: the parts of the two overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct StepSplit {
    /// Steps that were submitted together.
    pub steps_per_submission: f64,
    /// From a step's end to the next one's.
    pub step_us: f64,
    /// The host, to record and submit a step.
    pub record_us: f64,
    /// The device, from a step's beginning to its end; `None` where it writes no timestamps, as the
    /// next two.
    pub busy_us: Option<f64>,
    /// The device between two submissions, for each step of one.
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
        let mut ring = Ring::new(engine, self.steps_at_once)?;
        engine.wait()?;
        let (start, mut recording) = (Instant::now(), Duration::ZERO);
        ring.begin();
        let (mut left, mut submissions) = (steps, Vec::new());
        while left > 0 || ring.is_under_way() {
            while left > 0 && ring.has_room() {
                let began = Instant::now();
                let together = ring.steps_of_next(left as usize);
                let first = STAMPS * submissions.len() as u32;
                let stamps = queries.as_ref().map(|queries| (queries, first));
                ring.submit(engine, &programs, together, |encoder| {
                    record(engine, encoder, &programs.repeat(together as usize), stamps)
                })?;
                recording += began.elapsed();
                submissions.push(together);
                left -= together;
            }
            receive(engine, &mut ring)?;
        }
        let mean = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(steps);
        let mut split = StepSplit {
            steps_per_submission: f64::from(steps) / submissions.len() as f64,
            step_us: mean(start.elapsed()),
            record_us: mean(recording),
            ..StepSplit::default()
        };
        if let Some(queries) = queries {
            let stamps = queries.read(engine, STAMPS * submissions.len() as u32)?;
            split.add_stamps(&stamps, f64::from(steps));
        }
        Ok(split)
    }
}

/// Records the programs of a submission: the last, which chooses a token, in a pass of its own, each
/// pass between two timestamps from the given one on.
fn record(
    engine: &Engine,
    encoder: &mut wgpu::CommandEncoder,
    programs: &[Program],
    stamps: Option<(&Queries, u32)>,
) -> Result<(), RuntimeError> {
    // A step has two programs.
    let (before, last) = programs.split_at(programs.len() - 1);
    for (pass, programs) in (0u32..).zip([before, last]) {
        let writes = stamps.map(|(queries, first)| wgpu::ComputePassTimestampWrites {
            query_set: &queries.set,
            beginning_of_pass_write_index: Some(first + 2 * pass),
            end_of_pass_write_index: Some(first + 2 * pass + 1),
        });
        engine.record_timed(encoder, programs, writes)?;
    }
    Ok(())
}

impl StepSplit {
    /// Fills in what the timestamps of all submissions, of `steps` steps, say, in microseconds.
    fn add_stamps(&mut self, stamps: &[f64], steps: f64) {
        let submissions: Vec<[f64; 4]> =
            stamps.chunks_exact(4).map(|s| [s[0], s[1], s[2], s[3]]).collect();
        let mean = |sum: f64, count: usize| if count > 0 { sum / count as f64 } else { 0.0 };
        // The device may begin a submission before the one before has ended.
        let gaps = submissions.windows(2).map(|pair| (pair[1][0] - pair[0][3]).max(0.0));
        let sampling = submissions.iter().map(|stamps| stamps[3] - stamps[2]);
        let count = submissions.len();
        let gap = mean(gaps.clone().sum(), gaps.len()) * count as f64 / steps;
        if let (Some(first), Some(last)) = (submissions.first(), submissions.last()) {
            let gaps: f64 = gaps.sum();
            self.step_us = (last[3] - first[0] - gaps) / steps + gap;
        }
        self.gap_us = Some(gap);
        self.busy_us = Some(self.step_us - gap);
        self.sampling_us = Some(mean(sampling.sum(), count));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_taken_apart() {
        let mut split = StepSplit::default();
        // Steps of 10, the last 2 of each the choice of the token, 1 between them.
        let stamps = [0.0, 8.0, 8.0, 10.0, 11.0, 19.0, 19.0, 21.0, 22.0, 30.0, 30.0, 32.0];
        split.add_stamps(&stamps, 3.0);
        assert_eq!((split.step_us, split.gap_us), (11.0, Some(1.0)));
        assert_eq!((split.busy_us, split.sampling_us), (Some(10.0), Some(2.0)));
        // The same in two steps each, with 4 between them.
        split.add_stamps(&[0.0, 18.0, 18.0, 20.0, 24.0, 42.0, 42.0, 44.0], 4.0);
        assert_eq!((split.step_us, split.gap_us), (12.0, Some(2.0)));
        assert_eq!((split.busy_us, split.sampling_us), (Some(10.0), Some(2.0)));
    }

    #[test]
    fn steps_that_overlap_have_no_gap() {
        let mut split = StepSplit::default();
        split.add_stamps(&[0.0, 8.0, 8.0, 10.0, 9.0, 18.0, 18.0, 20.0], 2.0);
        assert_eq!((split.step_us, split.gap_us), (10.0, Some(0.0)));
    }
}
