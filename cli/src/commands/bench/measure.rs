//! The tests on one compiled plan: prompts and decoding, repeated, and what they cost by the plan's
//! own account.

use super::kernels::{self, Kernels};
use crate::error::Result;
use quarrel_ir::plan::{Phase, Plan, StepDims};
use quarrel_runtime::{BenchStep, KernelClock, Session, StepSplit};
use serde::Serialize;
use std::time::{Duration, Instant};

/// GPUs lower their clocks when idle, and raise them after a while: they are kept busy in rounds this
/// long, until one is not faster than the one before by more than a share, but not for ever.
const WARM_UP: Duration = Duration::from_millis(500);
const FASTER: f64 = 0.97;
const MOST_ROUNDS: u32 = 6;
/// Steps whose time is taken apart.
const SPLIT_STEPS: u32 = 64;

/// One test's result.
#[derive(Debug, Serialize)]
pub(super) struct Test {
    pub(super) name: &'static str,
    /// Tokens of the prompt, or tokens generated for each sequence.
    pub(super) n: u32,
    /// Tokens in the context before.
    pub(super) depth: u32,
    /// Sequences decoded together.
    pub(super) batch: u32,
    /// Of all sequences together.
    pub(super) tokens_per_s: Spread,
    /// Median of each sequence.
    pub(super) tokens_per_s_per_sequence: f64,
    /// Seconds of one repetition, the median.
    pub(super) seconds: f64,
    /// Seconds of all repetitions.
    pub(super) total_seconds: f64,
    pub(super) bytes_per_token: f64,
    pub(super) gb_per_s: f64,
    pub(super) dispatches_per_token: f64,
    /// Of a decode step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) split: Option<StepSplit>,
}

/// A figure over the repetitions.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) mean: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// The spread of some values; zeros where there are none.
    pub(super) fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
        let (last, middle) = (values.len().saturating_sub(1), values.len() / 2);
        let median = match values.len() % 2 {
            0 => (at(middle.saturating_sub(1)) + at(middle)) / 2.0,
            _ => at(middle),
        };
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        Spread { median, mean, min: at(0), max: at(last) }
    }
}

/// A loaded plan and how often to repeat.
pub(super) struct Bench {
    pub(super) session: Session,
    pub(super) reps: u32,
}

impl Bench {
    fn plan(&self) -> &Plan {
        self.session.engine().plan()
    }

    /// A prompt of `n` tokens after `depth` others.
    pub(super) fn prefill(&mut self, depth: u32, n: u32) -> Result<Test> {
        let seconds = self.repeat(|session| Ok(session.bench_prefill(depth, n)?))?;
        let (slots, chunk) = (self.plan().options.slots, self.plan().options.chunk);
        let mut cost = Cost::default();
        for first in (0..n).step_by(chunk as usize) {
            let tokens = chunk.min(n - first);
            let out_rows = u32::from(first + tokens == n);
            let dims = StepDims { tokens, out_rows, slots };
            let alone = dims == StepDims { tokens: 1, out_rows: 1, slots: 1 };
            let phase = if alone { Phase::Decode } else { Phase::Prefill };
            cost.add(self.plan(), phase, dims, depth + first + tokens.div_ceil(2));
        }
        Ok(test("prefill", n, (depth, 1), seconds, cost))
    }

    /// `n` tokens in each slot after `depth` others.
    pub(super) fn decode(&mut self, depth: u32, n: u32) -> Result<Test> {
        let seconds = self.repeat(|session| Ok(session.bench_decode(depth, n)?))?;
        let slots = self.plan().options.slots;
        let dims = StepDims { tokens: slots, out_rows: slots, slots };
        let mut cost = Cost::default();
        for step in 0..n {
            cost.add(self.plan(), Phase::Decode, dims, depth + step + 1);
            cost.add(self.plan(), Phase::Greedy, dims, 0);
        }
        let mut test = test("decode", n, (depth, slots), seconds, cost);
        if n > 1 {
            test.split = Some(self.session.bench_split(depth, n.min(SPLIT_STEPS))?);
        }
        Ok(test)
    }

    /// The kernels of a prompt's chunk or of a decode step, with its time in the test.
    pub(super) fn kernels(
        &mut self,
        step: (BenchStep, Option<f64>),
        clock: KernelClock,
    ) -> Result<Kernels> {
        kernels::measure(&mut self.session, step, clock)
    }

    /// Warms up, then measures as often as was asked for; seconds of each repetition.
    fn repeat(&mut self, once: impl Fn(&mut Session) -> Result<Duration>) -> Result<Vec<f64>> {
        let mut before = f64::INFINITY;
        for _ in 0..MOST_ROUNDS {
            let (start, mut fastest) = (Instant::now(), f64::INFINITY);
            while {
                fastest = once(&mut self.session)?.as_secs_f64().min(fastest);
                start.elapsed() < WARM_UP
            } {}
            // What takes long by itself has warmed up.
            if fastest > FASTER * before || fastest > WARM_UP.as_secs_f64() {
                break;
            }
            before = fastest;
        }
        (0..self.reps).map(|_| Ok(once(&mut self.session)?.as_secs_f64())).collect()
    }
}

/// The result of a test of `n` tokens a sequence, at a depth, for a batch, which took these seconds.
fn test(
    name: &'static str,
    n: u32,
    (depth, batch): (u32, u32),
    seconds: Vec<f64>,
    cost: Cost,
) -> Test {
    let tokens = f64::from(n) * f64::from(batch);
    let rate = |&seconds: &f64| if seconds > 0.0 { tokens / seconds } else { 0.0 };
    let tokens_per_s = Spread::of(seconds.iter().map(rate).collect());
    let bytes_per_token = cost.bytes as f64 / tokens;
    Test {
        name,
        n,
        depth,
        batch,
        tokens_per_s,
        tokens_per_s_per_sequence: tokens_per_s.median / f64::from(batch),
        total_seconds: seconds.iter().sum(),
        seconds: Spread::of(seconds).median,
        bytes_per_token,
        gb_per_s: bytes_per_token * tokens_per_s.median / 1e9,
        dispatches_per_token: cost.dispatches as f64 / tokens,
        split: None,
    }
}

/// Bytes and dispatches of a test, by the plan's own account.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    bytes: u64,
    dispatches: u64,
}

impl Cost {
    /// Adds a step in which each token sees `context` positions.
    fn add(&mut self, plan: &Plan, phase: Phase, dims: StepDims, context: u32) {
        let dispatches = plan.program(phase).map_or(&[][..], |program| &program.dispatches);
        for dispatch in dispatches {
            if let Some(work) = dispatch.work(dims, context) {
                self.bytes = self.bytes.saturating_add(work.bytes);
                self.dispatches += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_between() {
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(Spread::of(vec![4.0, 1.0]).median, 2.5);
        assert_eq!(Spread::of(vec![4.0, 1.0]).max, 4.0);
        assert_eq!(Spread::of(vec![4.0, 1.0, 1.0]).mean, 2.0);
    }

    #[test]
    fn a_batch_counts_all_its_tokens() {
        let cost = Cost { bytes: 8_000_000_000, dispatches: 400 };
        let test = test("decode", 10, (0, 8), vec![4.0, 2.0, 1.0], cost);
        assert_eq!((test.tokens_per_s.median, test.tokens_per_s.max), (40.0, 80.0));
        assert_eq!((test.tokens_per_s_per_sequence, test.seconds), (5.0, 2.0));
        assert_eq!((test.bytes_per_token, test.dispatches_per_token), (1e8, 5.0));
        assert_eq!(test.gb_per_s, 4.0);
    }
}
