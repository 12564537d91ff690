//! The dispatches of each program, for the page.

use super::super::fold::{Section, sections};
use super::super::step::Step;
use super::Page;
use quarrel_ir::plan::{
    Access, BufferId, BufferRange, BufferRole, Dispatch, Phase, Place, Plan, Prediction, Program,
};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};

/// A program.
#[derive(Serialize)]
pub(super) struct ProgramData {
    name: String,
    phase: Phase,
    /// Tokens of the step, and positions that each sees, for which costs are given.
    tokens: u64,
    context: u64,
    /// Runs of layers that are alike, shown as one.
    sections: Vec<SectionData>,
    dispatches: Vec<DispatchData>,
    /// Dispatches, bytes and predicted microseconds of the same program op by op, where that is known.
    op_by_op: Option<(usize, u64, Option<f64>)>,
}

#[derive(Serialize)]
struct SectionData {
    first: usize,
    end: usize,
    layers: Vec<u32>,
}

/// A dispatch.
#[derive(Serialize)]
struct DispatchData {
    kernel: u32,
    layer: Option<u32>,
    grid: String,
    /// The number of each value that it computes, and whether while loading (0), as what it is built
    /// around (1) or before storing (2).
    ops: Vec<(u32, u8)>,
    reason: String,
    bytes: u64,
    weight_bytes: u64,
    flops: u64,
    /// Predicted microseconds and what bounds them.
    predicted: Option<(f64, String)>,
    measured: Option<f64>,
    /// What each binding is: buffer, first byte, bytes, and what lies there.
    bindings: Vec<(u32, u64, u64, String)>,
    /// Earlier dispatches that it waits for, each with the buffer that is the reason.
    after: Vec<(usize, u32)>,
}

/// The programs, in the plan's order.
pub(super) fn of(page: &Page<'_>) -> Vec<ProgramData> {
    let measured = |index: usize| page.measured.get(index).map_or(&[][..], Vec::as_slice);
    let programs = page.plan.programs.iter().enumerate();
    programs.map(|(index, program)| one(page, program, measured(index))).collect()
}

fn one(page: &Page<'_>, program: &Program, measured: &[Option<f64>]) -> ProgramData {
    let plan = page.plan;
    let step = Step::of(plan, program);
    let predicted = step.predict(plan, program);
    let said = |prediction: &Prediction| (prediction.us, prediction.bound.name().into());
    let after = dependencies(plan, program);
    let dispatches = program.dispatches.iter().zip(after).enumerate();
    let op_by_op = page.unfused.and_then(|unfused| unfused.program(program.phase)).map(|other| {
        let bytes = other.dispatches.iter().map(|dispatch| step.cost(&dispatch.cost).0).sum();
        let predicted = page.unfused.and_then(|unfused| step.predict(unfused, other));
        let us = predicted.map(|each| each.iter().map(|prediction| prediction.us).sum());
        (other.dispatches.len(), bytes, us)
    });
    ProgramData {
        name: program.name.clone(),
        phase: program.phase,
        tokens: step.tokens,
        context: step.context,
        sections: sections(&program.dispatches)
            .into_iter()
            .map(|Section { range, layers, .. }| SectionData {
                first: range.start,
                end: range.end,
                layers,
            })
            .collect(),
        dispatches: dispatches
            .map(|(index, (dispatch, after))| {
                let (bytes, flops) = step.cost(&dispatch.cost);
                DispatchData {
                    kernel: dispatch.kernel.0,
                    layer: dispatch.layer,
                    grid: dispatch.grid.map(|extent| extent.to_string()).join(" × "),
                    ops: dispatch.ops.iter().map(|op| (op.value, place(op.place))).collect(),
                    reason: dispatch.reason.clone(),
                    bytes,
                    weight_bytes: dispatch.cost.weight_bytes,
                    flops,
                    predicted: predicted.as_ref().and_then(|each| each.get(index)).map(said),
                    measured: measured.get(index).copied().flatten(),
                    bindings: bindings(plan, program, index, dispatch),
                    after,
                }
            })
            .collect(),
        op_by_op,
    }
}

const fn place(place: Place) -> u8 {
    match place {
        Place::Prologue => 0,
        Place::Anchor => 1,
        Place::Epilogue => 2,
    }
}

/// What each binding of dispatch `index` is.
fn bindings(
    plan: &Plan,
    program: &Program,
    index: usize,
    dispatch: &Dispatch,
) -> Vec<(u32, u64, u64, String)> {
    let here = |range: &BufferRange| {
        let buffer = plan.buffer(range.buffer);
        match buffer.role {
            BufferRole::Weights => weights_at(plan, range),
            BufferRole::Activation => {
                let index = index as u32;
                let lives = buffer.tenants.iter().filter(|tenant| {
                    tenant.program == program.name && (tenant.first..=tenant.last).contains(&index)
                });
                lives.map(|tenant| tenant.value.as_str()).collect::<Vec<_>>().join(", ")
            }
            BufferRole::State | BufferRole::Io => buffer.name.clone(),
        }
    };
    let ranges = dispatch.bindings.iter();
    ranges.map(|range| (range.buffer.0, range.offset, range.bytes, here(range))).collect()
}

/// The tensors that lie in a range of packed weights, and which of their planes it is.
fn weights_at(plan: &Plan, range: &BufferRange) -> String {
    let of = plan.load.iter().find_map(|tensor| {
        let plane = tensor.planes.iter().position(|plane| plane == range)?;
        let planes = tensor.planes.len();
        let names = tensor.sources.join(" + ");
        let part =
            if planes > 1 { format!(", plane {} of {planes}", plane + 1) } else { String::new() };
        Some(format!("{names} ({}{part})", tensor.format))
    });
    of.unwrap_or_default()
}

/// For each dispatch the earlier ones whose results it reads or overwrites, with the buffer.
fn dependencies(plan: &Plan, program: &Program) -> Vec<Vec<(usize, u32)>> {
    let mut writer: HashMap<BufferId, usize> = HashMap::new();
    let mut all = Vec::new();
    for (index, dispatch) in program.dispatches.iter().enumerate() {
        let kernel = plan.kernel(dispatch.kernel);
        let bound: Vec<_> = kernel.bindings.iter().zip(&dispatch.bindings).collect();
        let mut after = BTreeSet::new();
        for (binding, range) in &bound {
            // A state keeps what was written before; other buffers are written anew.
            let state = plan.buffer(range.buffer).role == BufferRole::State;
            if binding.access == Access::Read || state {
                after.extend(writer.get(&range.buffer).map(|&from| (from, range.buffer.0)));
            }
        }
        for (binding, range) in bound {
            if binding.access == Access::Write {
                writer.insert(range.buffer, index);
            }
        }
        all.push(after.into_iter().collect());
    }
    all
}
