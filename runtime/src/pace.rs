//! How many decode steps go into one submission.
//!
//! Some microseconds lie between two submissions, so steps that are short go several at once. Those
//! of a submission are all waited for before the first of them is known, and those submitted past
//! the end of a sequence are run for nothing, so a submission lasts a few milliseconds at most.

use quarrel_ir::facts::DeviceKind;
use quarrel_ir::sampling::RECORDS;
use std::time::{Duration, Instant};

/// How long a submission lasts at most, if it has more than one step.
const LONGEST: Duration = Duration::from_millis(4);

/// Decode steps of a submission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepsAtOnce {
    /// As many as take a few milliseconds by the time that steps have taken so far: the first ones
    /// go alone, and so do all on software devices.
    #[default]
    Measured,
    /// This many, but no more than the device keeps records for, nor tokens are wanted.
    Fixed(u32),
}

/// Chooses the number of steps of each submission.
#[derive(Debug)]
pub(crate) struct Pace {
    choice: StepsAtOnce,
    /// When the device was done with what came before the first step.
    began: Option<Instant>,
    /// Steps received since, and how long they took.
    steps: u32,
    took: Duration,
    /// Steps of the last submission.
    last: u32,
}

impl Pace {
    pub(crate) fn new(choice: StepsAtOnce, device: DeviceKind) -> Pace {
        let choice = match (choice, device) {
            // Nothing lies between submissions there that steps together would save.
            (StepsAtOnce::Measured, DeviceKind::Cpu) => StepsAtOnce::Fixed(1),
            _ => choice,
        };
        Pace { choice, began: None, steps: 0, took: Duration::ZERO, last: 0 }
    }

    /// The device begins with the first step now, at the latest.
    pub(crate) fn begin(&mut self) {
        (self.began, self.steps, self.took) = (Some(Instant::now()), 0, Duration::ZERO);
    }

    /// Steps of the next submission.
    pub(crate) fn next(&mut self) -> u32 {
        let steps = match self.choice {
            StepsAtOnce::Fixed(steps) => steps,
            // A time is the mean since the beginning, waiting included: never shorter than it is.
            StepsAtOnce::Measured if self.steps > 0 => {
                let fit = LONGEST.as_secs_f64() * f64::from(self.steps) / self.took.as_secs_f64();
                (fit as u32).min(2 * self.last)
            }
            StepsAtOnce::Measured => 1,
        };
        self.last = steps.clamp(1, RECORDS);
        self.last
    }

    /// Steps were received just now.
    pub(crate) fn received(&mut self, steps: u32) {
        if let Some(began) = self.began {
            self.steps += steps;
            self.took = began.elapsed().max(Duration::from_micros(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is chosen in turn where a step takes so many microseconds.
    fn chosen(choice: StepsAtOnce, device: DeviceKind, step_us: u64) -> Vec<u32> {
        let mut pace = Pace::new(choice, device);
        pace.begin();
        let submission = |_| {
            let steps = pace.next();
            pace.steps += steps;
            pace.took += Duration::from_micros(step_us) * steps;
            steps
        };
        (0..6).map(submission).collect()
    }

    #[test]
    fn short_steps_go_together_in_time() {
        let measured = |step_us| chosen(StepsAtOnce::Measured, DeviceKind::Discrete, step_us);
        assert_eq!(measured(700), [1, 2, 4, 5, 5, 5]);
        assert_eq!(measured(10), [1, 2, 4, 8, 16, 16]);
        assert_eq!(measured(2500), [1; 6]);
    }

    #[test]
    fn software_devices_go_step_by_step() {
        assert_eq!(chosen(StepsAtOnce::Measured, DeviceKind::Cpu, 10), [1; 6]);
        assert_eq!(chosen(StepsAtOnce::Fixed(3), DeviceKind::Cpu, 10), [3; 6]);
        assert_eq!(chosen(StepsAtOnce::Fixed(99), DeviceKind::Cpu, 10), [RECORDS; 6]);
    }
}
