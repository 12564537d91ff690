//! The steps as they run: each dispatch on what those before it have left.

use crate::CheckError;
use crate::alone::of_value;
use crate::bound::{Surface, bindings, compared, label, program};
use crate::device::{Device, Written};
use crate::oracle::{Done, Oracle, Steps, given};
use crate::report::{Chain, Compared, Difference, Table};
use crate::script::{Layers, Script, Step};
use crate::tolerance;
use crate::words;
use quarrel_ir::graph::ValueId;
use quarrel_ir::plan::{Access, Content};
use quarrel_reference::Elements;
use std::collections::BTreeMap;

/// Runs the script on device and reference, then the steps once more in one pass each.
pub(crate) fn run(
    device: &Device<'_>,
    mut oracle: Oracle,
    script: &Script,
    table: &mut Table<'_>,
) -> Result<(Steps, Chain), CheckError> {
    let plan = device.plan();
    let within = tolerance::of_chain(&device.graph).within;
    let mut chain = Chain { within, ..Chain::default() };
    let mut all: Vec<Done> = Vec::new();
    let (mut logits, mut apart) = (Vec::new(), Vec::new());
    let mut waiting = script.prompt_steps(plan).into_iter();
    let total = waiting.len() + script.decode;
    while all.len() < total {
        let step = match (waiting.next(), all.last()) {
            (Some(step), _) => step,
            (None, Some(last)) => Script::decode_step(last.step.end(), largest(&logits)),
            (None, None) => break,
        };
        let at = all.len();
        let done = match script.layers {
            Layers::All => {
                let done = oracle.step(plan, step, BTreeMap::new())?;
                compare(device, (at, &done), table)?;
                done
            }
            Layers::Some(_) => {
                let given = on_device(device, &step, script)?;
                oracle.step(plan, step, given)?
            }
        };
        logits = device_logits(device, &done.step)?;
        apart.push(logits.clone());
        if let (Layers::All, Some(wanted)) = (&script.layers, reference_logits(device, &done)) {
            let off = Difference::of_floats(&logits, wanted).relative;
            chain.logits = Some(chain.logits.unwrap_or(0.0).max(off));
            // The text goes on as the reference has it.
            logits = wanted.to_vec();
        }
        all.push(done);
    }
    chain.together = together(device, &all, &apart)?;
    chain.passed = chain.logits.is_none_or(|logits| logits <= within)
        && chain.together <= tolerance::TOGETHER_WITHIN;
    Ok((oracle.finish(all), chain))
}

/// Runs a step dispatch by dispatch and compares what each leaves.
fn compare(
    device: &Device<'_>,
    (at, done): (usize, &Done),
    table: &mut Table<'_>,
) -> Result<(), CheckError> {
    device.write_inputs(&done.step);
    for (index, dispatch) in compared(device.plan(), &done.step, &Layers::All)? {
        device.run(&done.step, index)?;
        for written in device.written(&done.step, dispatch)? {
            // States show in what reads them.
            let Written::Value(value, found) = written else { continue };
            let Some(wanted) = done.values.get(&value) else { continue };
            table.in_chain(Compared {
                phase: done.step.phase,
                step: at,
                index,
                dispatch,
                value: label(&device.graph, value),
                difference: of_value(&device.graph, done, value, &found, wanted),
                tolerance: tolerance::of_chain(&device.graph),
            });
        }
    }
    Ok(())
}

/// Runs a step dispatch by dispatch; what it computed of the values that the compared layers begin
/// with.
fn on_device(
    device: &Device<'_>,
    step: &Step,
    script: &Script,
) -> Result<BTreeMap<ValueId, Elements>, CheckError> {
    let plan = device.plan();
    let wanted = given(&Surface::of(plan, &device.graph, step, &script.layers)?, &script.layers);
    let mut found = BTreeMap::new();
    device.write_inputs(step);
    let dispatches = program(plan, step.phase)?.dispatches.len();
    for index in 0..dispatches {
        device.run(step, index)?;
        // `index` counts the program's dispatches.
        let dispatch = &program(plan, step.phase)?.dispatches[index];
        let reads = bindings(plan, dispatch).iter().any(|bound| match bound.content {
            Content::Value(value)
            | Content::Halves(value)
            | Content::Partials { value, .. }
            | Content::Shares { value, .. }
            | Content::Groups { value, .. } => {
                bound.access == Access::Write && wanted.contains(&ValueId(value))
            }
            _ => false,
        });
        let written = if reads { device.written(step, dispatch)? } else { vec![] };
        for written in written {
            if let Written::Value(value, elements) = written
                && wanted.contains(&value)
            {
                found.insert(value, elements);
            }
        }
    }
    Ok(found)
}

/// Runs the steps from the beginning, each in one pass; the largest distance of its logits from what
/// the same dispatches left one by one.
fn together(device: &Device<'_>, all: &[Done], apart: &[Vec<f32>]) -> Result<f64, CheckError> {
    let in_one = |done: &Done| -> Result<Vec<f32>, CheckError> {
        device.write_inputs(&done.step);
        device.engine.run(&[(done.step.phase, done.step.dims)])?;
        device_logits(device, &done.step)
    };
    let mut worst: f64 = 0.0;
    for (done, apart) in all.iter().zip(apart) {
        worst = worst.max(Difference::of_floats(&in_one(done)?, apart).relative);
    }
    Ok(worst)
}

fn device_logits(device: &Device<'_>, step: &Step) -> Result<Vec<f32>, CheckError> {
    let plan = device.plan();
    let words = (step.dims.out_rows * plan.model.vocabulary) as usize;
    match words {
        0 => Ok(vec![]),
        _ => Ok(words::floats(&device.get(plan.io.logits, 0, words)?)),
    }
}

/// The reference's logits of a step that has some.
pub(crate) fn reference_logits<'d>(device: &Device<'_>, done: &'d Done) -> Option<&'d [f32]> {
    let buffer = device.plan().io.logits;
    let program = device.plan().program(done.step.phase)?;
    let last = program.dispatches.iter().flat_map(|dispatch| {
        dispatch.bindings.iter().zip(&dispatch.contents).filter_map(
            |(range, content)| match content {
                Content::Value(value) if range.buffer == buffer => Some(ValueId(*value)),
                _ => None,
            },
        )
    });
    match done.values.get(&last.last()?) {
        Some(Elements::Floats(logits)) if !logits.is_empty() => Some(logits),
        _ => None,
    }
}

/// The token with the largest logit.
pub(crate) fn largest(logits: &[f32]) -> u32 {
    let better = |best: (u32, f32), next: (u32, f32)| if next.1 > best.1 { next } else { best };
    (0u32..).zip(logits.iter().copied()).fold((0, f32::NEG_INFINITY), better).0
}
