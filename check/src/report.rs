//! Errors by kernel.

use crate::oracle::Done;
use crate::script::{Layers, Script};
use crate::tolerance::Tolerance;
use quarrel_ir::plan::{Dispatch, FusedOp, KernelId, Phase, Plan};
use quarrel_reference::Elements;
use serde::Serialize;

/// How far something is from what it should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Difference {
    /// `‖found − wanted‖ / ‖wanted‖`; infinite where something is no number or ids differ.
    pub relative: f64,
    /// The largest difference of two elements.
    pub largest: f64,
}

impl Difference {
    /// Something that cannot be right.
    pub(crate) const WRONG: Difference =
        Difference { relative: f64::INFINITY, largest: f64::INFINITY };

    /// That of two rows of floats.
    pub(crate) fn of_floats(found: &[f32], wanted: &[f32]) -> Difference {
        if found.len() != wanted.len() {
            return Difference::WRONG;
        }
        let (mut error, mut size, mut largest) = (0.0, 0.0, 0.0f64);
        for (&found, &wanted) in found.iter().zip(wanted) {
            // Equal infinities are no difference.
            let off = if found == wanted { 0.0 } else { f64::from(found) - f64::from(wanted) };
            if off.is_nan() {
                return Difference::WRONG;
            }
            error += off * off;
            size += if wanted.is_finite() { f64::from(wanted).powi(2) } else { 0.0 };
            largest = largest.max(off.abs());
        }
        let relative = if error == 0.0 { 0.0 } else { (error / size).sqrt() };
        Difference { relative, largest }
    }

    /// That of elements. Ids are right or wrong.
    pub(crate) fn of(found: &Elements, wanted: &Elements) -> Difference {
        match (found, wanted) {
            (Elements::Floats(found), Elements::Floats(wanted)) => {
                Difference::of_floats(found, wanted)
            }
            (Elements::Ids(found), Elements::Ids(wanted)) if found == wanted => {
                Difference::default()
            }
            _ => Difference::WRONG,
        }
    }

    /// The larger of two.
    pub(crate) fn max(self, other: Difference) -> Difference {
        Difference {
            relative: self.relative.max(other.relative),
            largest: self.largest.max(other.largest),
        }
    }
}

/// Where a kernel was furthest off.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worst {
    /// The step, counted from 0.
    pub step: usize,
    /// The dispatch of its program.
    pub dispatch: usize,
    /// The layer.
    pub layer: Option<u32>,
    /// The value or state that it wrote.
    pub value: String,
    /// How far off that was.
    #[serde(flatten)]
    pub difference: Difference,
    /// How far off it may be.
    pub tolerance: Tolerance,
}

impl Worst {
    fn passes(&self) -> bool {
        self.difference.relative <= self.tolerance.within
    }

    /// How much of the tolerance is used up; infinite where a tolerance of nothing is.
    fn used(&self) -> f64 {
        match (self.difference.relative, self.tolerance.within) {
            (0.0, _) => 0.0,
            (relative, within) => relative / within,
        }
    }
}

/// The errors of one kernel in one program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelErrors {
    /// The program's name.
    pub program: String,
    /// The kernel's name.
    pub kernel: String,
    /// What its first dispatch computes, anchors only.
    pub ops: String,
    /// Results compared, of all steps and layers.
    pub compared: usize,
    /// Where it was furthest off alone, by the share of the tolerance.
    pub worst: Option<Worst>,
    /// The largest relative distance in the chain.
    pub chain: Option<f64>,
    /// Whether all results are within their tolerances.
    pub passed: bool,
}

/// A result that is out of its tolerance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diverging {
    /// The program's name.
    pub program: String,
    /// The kernel's name.
    pub kernel: String,
    /// All ops that it fuses, with the values they yield.
    pub ops: Vec<String>,
    /// Where, and how far.
    pub at: Worst,
    /// Whether it is right alone, and only off where it follows the others.
    pub in_chain: bool,
}

/// The steps as they run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Chain {
    /// Largest relative distance of any step's logits from the reference's; `None` where the
    /// reference did not compute the whole model.
    pub logits: Option<f64>,
    /// The bound on it.
    pub within: f64,
    /// Largest relative distance between the logits of a step in one pass and in one submission a
    /// dispatch: nothing, or a dispatch did not wait for another.
    pub together: f64,
    /// Whether both are right.
    pub passed: bool,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Tokens of each step.
    pub steps: Vec<u32>,
    /// The layers that were compared; `None` for all.
    pub layers: Option<Vec<u32>>,
    /// By kernel, in the order of the programs.
    pub kernels: Vec<KernelErrors>,
    /// The steps as they run.
    pub chain: Chain,
    /// The first result that is out of its tolerance.
    pub first: Option<Diverging>,
    /// Whether everything is within its tolerance.
    pub passed: bool,
}

/// Errors as they are found.
pub(crate) struct Table<'a> {
    plan: &'a Plan,
    rows: Vec<(Phase, KernelId, KernelErrors)>,
    first: Option<Diverging>,
    first_in_chain: Option<Diverging>,
}

/// A result that was compared.
pub(crate) struct Compared<'d> {
    pub(crate) phase: Phase,
    pub(crate) step: usize,
    pub(crate) index: usize,
    pub(crate) dispatch: &'d Dispatch,
    pub(crate) value: String,
    pub(crate) difference: Difference,
    pub(crate) tolerance: Tolerance,
}

impl<'a> Table<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Table<'a> {
        let mut rows: Vec<(Phase, KernelId, KernelErrors)> = Vec::new();
        for program in &plan.programs {
            for dispatch in &program.dispatches {
                let key = (program.phase, dispatch.kernel);
                if rows.iter().any(|(phase, id, _)| (*phase, *id) == key) {
                    continue;
                }
                let errors = KernelErrors {
                    program: program.name.clone(),
                    kernel: plan.kernel(dispatch.kernel).name.clone(),
                    ops: dispatch.made_for(),
                    compared: 0,
                    worst: None,
                    chain: None,
                    passed: true,
                };
                rows.push((program.phase, dispatch.kernel, errors));
            }
        }
        Table { plan, rows, first: None, first_in_chain: None }
    }

    fn row(&mut self, result: &Compared<'_>) -> Option<&mut KernelErrors> {
        let key = (result.phase, result.dispatch.kernel);
        let row = self.rows.iter_mut().find(|(phase, id, _)| (*phase, *id) == key);
        row.map(|(_, _, errors)| errors)
    }

    /// Records what a dispatch alone wrote.
    pub(crate) fn alone(&mut self, result: Compared<'_>) {
        let at = worst(&result);
        let passes = at.passes();
        if let Some(row) = self.row(&result) {
            row.compared += 1;
            row.passed &= passes;
            if row.worst.as_ref().is_none_or(|worst| at.used() > worst.used()) {
                row.worst = Some(at.clone());
            }
        }
        if !passes && self.first.is_none() {
            self.first = Some(self.diverging(&result, at, false));
        }
    }

    /// Records what a dispatch wrote in the chain.
    pub(crate) fn in_chain(&mut self, result: Compared<'_>) {
        let relative = result.difference.relative;
        if let Some(row) = self.row(&result) {
            row.chain = Some(row.chain.unwrap_or(0.0).max(relative));
        }
        if relative > result.tolerance.within && self.first_in_chain.is_none() {
            let at = worst(&result);
            self.first_in_chain = Some(self.diverging(&result, at, true));
        }
    }

    fn diverging(&self, result: &Compared<'_>, at: Worst, in_chain: bool) -> Diverging {
        let program = self.plan.program(result.phase).map(|program| program.name.clone());
        Diverging {
            program: program.unwrap_or_default(),
            kernel: self.plan.kernel(result.dispatch.kernel).name.clone(),
            ops: result.dispatch.ops.iter().map(op).collect(),
            at,
            in_chain,
        }
    }

    /// The whole.
    pub(crate) fn report(self, script: &Script, steps: &[Done], chain: Chain) -> Report {
        let kernels: Vec<KernelErrors> = self.rows.into_iter().map(|(_, _, row)| row).collect();
        let right = kernels.iter().all(|row| row.passed);
        let in_chain = if chain.passed { None } else { self.first_in_chain };
        Report {
            steps: steps.iter().map(|done| done.step.dims.tokens).collect(),
            layers: match &script.layers {
                Layers::All => None,
                Layers::Some(layers) => Some(layers.iter().copied().collect()),
            },
            passed: right && chain.passed,
            kernels,
            chain,
            first: self.first.or(in_chain),
        }
    }
}

fn worst(result: &Compared<'_>) -> Worst {
    Worst {
        step: result.step,
        dispatch: result.index,
        layer: result.dispatch.layer,
        value: result.value.clone(),
        difference: result.difference,
        tolerance: result.tolerance,
    }
}

/// `%17 linear q`
fn op(op: &FusedOp) -> String {
    format!("%{} {}", op.value, op.in_words())
}

#[cfg(test)]
mod tests {
    use super::Difference;

    #[test]
    fn differences_are_relative_and_nan_is_wrong() {
        let difference = Difference::of_floats(&[3.0, 4.5], &[3.0, 4.0]);
        assert!((difference.relative - 0.1).abs() < 1e-9 && difference.largest == 0.5);
        assert_eq!(Difference::of_floats(&[0.0], &[0.0]), Difference::default());
        assert_eq!(Difference::of_floats(&[1e-9], &[0.0]).relative, f64::INFINITY);
        for wrong in [f32::NAN, f32::INFINITY] {
            assert_eq!(Difference::of_floats(&[wrong], &[1.0]).relative, f64::INFINITY);
        }
        let low = f32::NEG_INFINITY;
        assert_eq!(Difference::of_floats(&[low, 1.0], &[low, 1.0]), Difference::default());
    }
}
