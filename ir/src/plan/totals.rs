//! What a step of a program moves, computes and should take, by what its kernels compute.

use super::{Bound, Dispatch, FusedOp, Phase, Place, Plan, Program, StepDims};
use serde::Serialize;

/// Positions before a token in the step that plans are judged by, where the context holds as many.
const SHOWN_CONTEXT: u32 = 1024;

/// A step that a program is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Typical {
    /// The sizes of the step.
    pub dims: StepDims,
    /// Positions that each token sees.
    pub context: u32,
}

/// Kernels that compute the same ops, in all layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpsTotal {
    /// The ops, in words that hold in every layer.
    pub ops: String,
    /// The dispatches of a step.
    pub dispatches: usize,
    /// Bytes moved.
    pub bytes: u64,
    /// Floating-point operations.
    pub flops: u64,
    /// Predicted microseconds; `None` where the device was not measured.
    pub us: Option<f64>,
    /// What bounds the slowest of them.
    pub bound: Option<Bound>,
}

impl Plan {
    /// The step that a program is judged by: one token in each slot after 1,024 positions, or a whole
    /// chunk of a prompt from its beginning.
    pub fn typical(&self, phase: Phase) -> Typical {
        let options = &self.options;
        let slots = options.slots;
        match phase {
            Phase::Prefill => Typical {
                dims: StepDims { tokens: options.chunk, out_rows: 1, slots },
                context: options.chunk.div_ceil(2),
            },
            _ => Typical {
                dims: StepDims { tokens: slots, out_rows: slots, slots },
                context: options.context.min(SHOWN_CONTEXT),
            },
        }
    }

    /// What a typical step of the program of `phase` takes, by ops, in the order of their first
    /// dispatch.
    pub fn totals(&self, phase: Phase) -> Vec<OpsTotal> {
        let Typical { dims, context } = self.typical(phase);
        let dispatches = self.program(phase).map_or(&[][..], |program| &program.dispatches);
        let predicted = self.predict(phase, dims, context);
        let mut totals: Vec<OpsTotal> = Vec::new();
        for (index, dispatch) in dispatches.iter().enumerate() {
            let work = dispatch.work(dims, context);
            let (bytes, flops) = work.map_or((0, 0), |work| (work.bytes, work.flops));
            let time = predicted.as_ref().and_then(|all| all.get(index)).copied();
            let ops = dispatch.ops_in_words();
            let known = totals.iter_mut().find(|total| total.ops == ops);
            match known {
                Some(total) => {
                    total.dispatches += 1;
                    total.bytes = total.bytes.saturating_add(bytes);
                    total.flops = total.flops.saturating_add(flops);
                    total.us = total.us.zip(time).map(|(us, more)| us + more.us);
                }
                None => totals.push(OpsTotal {
                    ops,
                    dispatches: 1,
                    bytes,
                    flops,
                    us: time.map(|time| time.us),
                    bound: time.map(|time| time.bound),
                }),
            }
        }
        totals
    }

    /// Predicted microseconds of a typical step of the program of `phase`; `None` where the device
    /// was not measured.
    pub fn predicted_us(&self, phase: Phase) -> Option<f64> {
        let Typical { dims, context } = self.typical(phase);
        Some(self.predict(phase, dims, context)?.iter().map(|each| each.us).sum())
    }

    /// Bytes of activations that hold something at each dispatch of a program: the most of them is
    /// what its activations need at least.
    pub fn held(&self, program: &Program) -> Vec<u64> {
        let tenants = self.buffers.iter().flat_map(|buffer| &buffer.tenants);
        let own: Vec<_> = tenants.filter(|tenant| tenant.program == program.name).collect();
        let at = |index: usize| {
            let alive =
                own.iter().filter(|t| (t.first as usize..=t.last as usize).contains(&index));
            alive.map(|tenant| tenant.bytes).fold(0, u64::saturating_add)
        };
        (0..program.dispatches.len()).map(at).collect()
    }
}

impl FusedOp {
    /// The op with the author's name of its value: `linear q`.
    pub fn in_words(&self) -> String {
        match &self.name {
            Some(name) => format!("{} {name}", self.op),
            None => self.op.clone(),
        }
    }
}

impl Dispatch {
    /// The ops that it computes, in words that hold in every layer.
    pub fn ops_in_words(&self) -> String {
        match self.ops.is_empty() {
            true => self.reason.clone(),
            false => in_words(&mut self.ops.iter()),
        }
    }

    /// What it is made for, in words that hold in every layer: its anchors, or all ops where it has
    /// none.
    pub fn made_for(&self) -> String {
        let mut anchors = self.ops.iter().filter(|op| op.place == Place::Anchor).peekable();
        match anchors.peek() {
            Some(_) => in_words(&mut anchors),
            None => in_words(&mut self.ops.iter()),
        }
    }
}

fn in_words(ops: &mut dyn Iterator<Item = &FusedOp>) -> String {
    ops.map(FusedOp::in_words).collect::<Vec<_>>().join(", ")
}
