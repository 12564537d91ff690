//! How long a dispatch should take on a device, from nothing but what was measured there.
//!
//! The model is as simple as can be: the longest of
//!
//! - what a copy of as many bytes takes, by interpolation between the copies that were measured; the
//!   cost of a dispatch is in it, and a dispatch that moves nothing takes as long as an empty one;
//! - an empty dispatch and what its workgroups take for as many bytes, where one was measured alone:
//!   a few workgroups do not keep enough loads under way;
//! - its arithmetic at the measured rate, of cooperative matrices where it multiplies by those;
//!
//! and then its rounds: for each two barriers in its text what a load and two barriers were measured to
//! take. Between barriers a workgroup waits for what it has loaded; what several workgroups do for each
//! other meanwhile is left out, as are rounds of loops.
//!
//! No constant in it belongs to a model or a kernel. It knows nothing of unpacking, of loads that wait
//! for each other between barriers, and of what the host takes.

use super::{Kernel, Phase, Plan, StepDims, Work};
use crate::facts::{CopyTime, Speeds};
use serde::{Deserialize, Serialize};

/// What a dispatch should take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Microseconds, the dispatch itself included.
    pub us: f64,
    /// What takes that long.
    pub bound: Bound,
}

/// What a dispatch spends its time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// The dispatch itself: more than half of the time is that of an empty one.
    Dispatch,
    /// Moving its bytes.
    Memory,
    /// The few workgroups that it has: more of them would move its bytes sooner.
    Workgroups,
    /// F32 arithmetic.
    Arithmetic,
    /// Products of cooperative matrices.
    Matrices,
}

impl Bound {
    /// A word for people.
    pub fn name(self) -> &'static str {
        match self {
            Bound::Dispatch => "dispatch",
            Bound::Memory => "memory",
            Bound::Workgroups => "workgroups",
            Bound::Arithmetic => "arithmetic",
            Bound::Matrices => "matrices",
        }
    }
}

/// What a dispatch of `kernel` that does this much should take; `None` where the device was not
/// measured.
pub fn predict(work: Work, kernel: &Kernel, speeds: &Speeds) -> Option<Prediction> {
    let dispatch = speeds.dispatch_us.filter(|_| speeds.known())?;
    let copy = copy_us(work.bytes, dispatch, speeds).max(dispatch);
    let bound = if copy < 2.0 * dispatch { Bound::Dispatch } else { Bound::Memory };
    let mut longest = Prediction { us: copy, bound };
    let mut consider = |us: f64, bound: Bound| {
        if us > longest.us {
            longest = Prediction { us, bound };
        }
    };
    if let Some(rate) = positive(speeds.workgroup_bytes_per_s) {
        let all = rate * work.workgroups as f64;
        consider(dispatch + 1e6 * work.bytes as f64 / all, Bound::Workgroups);
    }
    let (rate, bound) = match kernel.multiplies_matrices() {
        true => (speeds.matrix_flops_per_s, Bound::Matrices),
        false => (speeds.flops_per_s, Bound::Arithmetic),
    };
    if let Some(rate) = positive(rate) {
        consider(1e6 * work.flops as f64 / rate, bound);
    }
    longest.us += speeds.round_us.unwrap_or(0.0) * kernel.rounds();
    Some(longest)
}

fn positive(rate: Option<f64>) -> Option<f64> {
    rate.filter(|rate| *rate > 0.0)
}

/// Microseconds of a dispatch that copies, so that so many bytes are read or written.
fn copy_us(bytes: u64, dispatch_us: f64, speeds: &Speeds) -> f64 {
    let bytes = bytes as f64;
    let Some(last) = speeds.copies.last() else {
        let rate = positive(speeds.copy_bytes_per_s).unwrap_or(f64::INFINITY);
        return dispatch_us.max(1e6 * bytes / rate);
    };
    let point = |copy: &CopyTime| (copy.bytes as f64, copy.us);
    let nothing = (0.0, dispatch_us);
    let points = std::iter::once(nothing).chain(speeds.copies.iter().map(point));
    let mut before = nothing;
    for after in points.skip(1) {
        if bytes <= after.0 {
            let share = (bytes - before.0) / (after.0 - before.0).max(1.0);
            return before.1 + share * (after.1 - before.1);
        }
        before = after;
    }
    // Beyond the largest at its rate.
    last.us * bytes / (last.bytes as f64).max(1.0)
}

impl Kernel {
    /// Whether it multiplies by cooperative matrices.
    pub fn multiplies_matrices(&self) -> bool {
        self.wgsl.contains("coop_mat")
    }

    /// Rounds of a workgroup: half as many as its text has barriers.
    fn rounds(&self) -> f64 {
        let barriers = ["workgroupBarrier();", "workgroupUniformLoad("];
        barriers.iter().map(|barrier| self.wgsl.matches(barrier).count()).sum::<usize>() as f64
            / 2.0
    }

    /// Whether it multiplies x, rounded to integers, with weights that are bytes.
    pub fn multiplies_integers(&self) -> bool {
        self.wgsl.contains("dot4I8Packed")
    }
}

impl Plan {
    /// What each dispatch of a program should take in a step in which each token sees `context`
    /// positions; 0 µs for one that is left out. `None` where the device was not measured, or there
    /// is no such program.
    pub fn predict(&self, phase: Phase, dims: StepDims, context: u32) -> Option<Vec<Prediction>> {
        let dispatches = &self.program(phase)?.dispatches;
        let of = |dispatch: &super::Dispatch| match dispatch.work(dims, context) {
            Some(work) => predict(work, self.kernel(dispatch.kernel), &self.device.speeds),
            None => Some(Prediction { us: 0.0, bound: Bound::Dispatch }),
        };
        dispatches.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(wgsl: &str) -> Kernel {
        Kernel {
            name: "k".into(),
            family: "f".into(),
            variant: String::new(),
            choice: None,
            wgsl: wgsl.into(),
            bindings: Vec::new(),
            workgroup: 1,
            workgroup_bytes: 0,
        }
    }

    fn speeds() -> Speeds {
        let copies = [(1_000, 3.0), (10_000, 6.0), (100_000, 30.0)];
        Speeds {
            dispatch_us: Some(2.0),
            copies: copies.map(|(bytes, us)| CopyTime { bytes, us }).to_vec(),
            flops_per_s: Some(1e9),
            matrix_flops_per_s: Some(1e10),
            ..Speeds::default()
        }
    }

    fn at(bytes: u64, flops: u64, wgsl: &str, speeds: &Speeds) -> (f64, Bound) {
        let work = Work { bytes, flops, workgroups: 10 };
        let Prediction { us, bound } = predict(work, &kernel(wgsl), speeds).unwrap();
        (us, bound)
    }

    #[test]
    fn between_copies_that_were_measured() {
        let at = |bytes| at(bytes, 0, "", &speeds());
        assert_eq!(at(0), (2.0, Bound::Dispatch));
        assert_eq!(at(500), (2.5, Bound::Dispatch));
        assert_eq!(at(1_000), (3.0, Bound::Dispatch));
        assert_eq!(at(5_500), (4.5, Bound::Memory));
        assert_eq!(at(100_000), (30.0, Bound::Memory));
        assert_eq!(at(1_000_000), (300.0, Bound::Memory));
    }

    #[test]
    fn arithmetic_and_few_workgroups_take_longer() {
        assert_eq!(at(0, 9_000, "", &speeds()), (9.0, Bound::Arithmetic));
        assert_eq!(at(0, 90_000, "coop_mat8x8<f16, A>", &speeds()), (9.0, Bound::Matrices));
        let few = Speeds { workgroup_bytes_per_s: Some(1e8), ..speeds() };
        assert_eq!(at(10_000, 0, "", &few), (12.0, Bound::Workgroups));
    }

    #[test]
    fn workgroups_that_meet_take_longer() {
        let speeds = Speeds { round_us: Some(0.5), ..speeds() };
        let text = "workgroupBarrier(); { workgroupBarrier(); } workgroupBarrier();";
        assert_eq!(at(1_000, 0, text, &speeds), (3.75, Bound::Dispatch));
        assert_eq!(at(1_000, 0, "", &speeds), (3.0, Bound::Dispatch));
    }

    #[test]
    fn without_sizes_the_rate_of_a_large_copy_and_without_measurements_nothing() {
        let old =
            Speeds { copy_bytes_per_s: Some(1e9), dispatch_us: Some(2.0), ..Speeds::default() };
        assert_eq!(at(5_000, 0, "", &old), (5.0, Bound::Memory));
        assert_eq!(at(500, 0, "", &old), (2.0, Bound::Dispatch));
        let work = Work { bytes: 1, flops: 1, workgroups: 1 };
        assert_eq!(predict(work, &kernel(""), &Speeds::default()), None);
    }
}
