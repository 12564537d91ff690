//! The sampling programs, on the reference's logits.

use crate::CheckError;
use crate::chain::{largest, reference_logits};
use crate::device::Device;
use crate::oracle::{Done, Steps};
use crate::report::{Compared, Difference, Table};
use crate::sampler::Sampler;
use crate::tolerance;
use quarrel_ir::plan::{Dispatch, Extent, Phase, StepDims};
use quarrel_ir::sampling::Status;
use quarrel_runtime::SamplingParams;
use std::cmp::Reverse;

/// Two scores this close to each other may change places: they are made of logarithms and
/// exponentials that hold about six digits.
const SCORES_WITHIN: f64 = 1e-4;

/// Token, status and tokens so far of a slot; then what the next step reads: token, position, slot,
/// row, whether the slot is live, and the sizes N and R.
type Outcome = [u32; 10];

/// Runs the programs after one step, if it has logits.
pub(crate) fn run(
    device: &Device<'_>,
    steps: &Steps,
    (at, done): (usize, &Done),
    table: &mut Table<'_>,
) -> Result<(), CheckError> {
    let Some(logits) = reference_logits(device, done) else { return Ok(()) };
    for (phase, params) in draws(at as u64) {
        let tokens = text(steps, at);
        let found = draw(device, done, phase, (&params, &tokens), logits)?;
        let difference = compare(device, done, (&params, &tokens), logits, found);
        let program = crate::bound::program(device.plan(), phase)?;
        let first_errs = match &program.dispatches[..] {
            [first, _] => !finds_largest(device, first, logits)?,
            _ => false,
        };
        for (index, dispatch) in program.dispatches.iter().enumerate() {
            // One that was given what is wrong is not to blame.
            let blamed = program.dispatches.len() == 1 || first_errs == (index == 0);
            let difference = if blamed { difference } else { Difference::default() };
            table.alone(Compared {
                phase,
                step: at,
                index,
                dispatch,
                value: "the next token and step".into(),
                difference,
                tolerance: tolerance::of_ids(),
            });
        }
    }
    Ok(())
}

/// Whether a dispatch that looks for the largest logit of each part of a row has found the row's.
fn finds_largest(
    device: &Device<'_>,
    dispatch: &Dispatch,
    logits: &[f32],
) -> Result<bool, CheckError> {
    let Extent::Const(parts) = dispatch.grid[1] else { return Ok(true) };
    let words = device.get(device.plan().io.largest, 0, 2 * parts as usize)?;
    // Of equal logits the lowest token.
    let best = words.chunks_exact(2).max_by_key(|part| (part[0], Reverse(part[1])));
    Ok(best.is_some_and(|part| part[1] == largest(logits)))
}

/// The programs and the parameters that they are run with.
fn draws(seed: u64) -> Vec<(Phase, SamplingParams)> {
    let likeliest = SamplingParams::default();
    let drawn = SamplingParams { temperature: 0.8, seed, ..likeliest };
    vec![
        (Phase::Greedy, likeliest),
        (Phase::Sample, likeliest),
        (Phase::Sample, drawn),
        (Phase::Sample, SamplingParams { top_k: 40, top_p: 0.9, min_p: 0.02, ..drawn }),
        (Phase::Sample, SamplingParams { repeat_penalty: 1.3, temperature: 1.2, ..drawn }),
    ]
}

/// The tokens up to a step's last.
fn text(steps: &Steps, at: usize) -> Vec<u32> {
    let before = steps.all.iter().take(at + 1);
    before.flat_map(|done| done.step.inputs.tokens.iter().copied()).collect()
}

/// Draws on the device. Logits that a kernel has not put back make the outcome wrong.
fn draw(
    device: &Device<'_>,
    done: &Done,
    phase: Phase,
    (params, tokens): (&SamplingParams, &[u32]),
    logits: &[f32],
) -> Result<Option<Outcome>, CheckError> {
    let (engine, io) = (device.engine, &device.plan().io);
    device.write_inputs(&done.step);
    engine.write(io.stop, &[0]);
    engine.write(io.drawn, &[0]);
    engine.write(io.sampler, &params.record(tokens));
    let bits: Vec<u32> = logits.iter().map(|logit| logit.to_bits()).collect();
    engine.write(io.logits, &bits);
    engine.run(&[(phase, StepDims { tokens: 1, out_rows: 1, slots: 1 })])?;
    if device.get(io.logits, 0, bits.len())? != bits {
        return Ok(None);
    }
    let mut outcome = device.get(io.sampled, 0, 3)?;
    for buffer in [io.tokens, io.positions, io.slots, io.out_rows, io.live] {
        outcome.extend(device.get(buffer, 0, 1)?);
    }
    outcome.extend(device.get(io.step, 0, 2)?);
    Ok(outcome.try_into().ok())
}

/// How far an outcome is off: nothing, or how much worse the token is than the best.
fn compare(
    device: &Device<'_>,
    done: &Done,
    (params, tokens): (&SamplingParams, &[u32]),
    logits: &[f32],
    found: Option<Outcome>,
) -> Difference {
    let Some(found) = found else { return Difference::WRONG };
    let position = done.step.end().saturating_sub(1);
    let (mut token, margin) = match params.is_greedy() {
        true => (largest(logits), f64::INFINITY),
        false => Sampler::new(*params, tokens).draw_by(logits, position as usize),
    };
    if margin < SCORES_WITHIN {
        token = found[0];
    }
    let full = position + 1 >= device.plan().options.context;
    // A slot that goes on no further keeps its last input.
    let last = tokens.last().copied().unwrap_or(0);
    let wanted = match full {
        false => [token, Status::Live as u32, position + 2, token, position + 1, 0, 0, 1, 1, 1],
        true => [token, Status::ContextFull as u32, position + 2, last, position, 0, 0, 0, 1, 1],
    };
    match found == wanted {
        true => Difference::default(),
        false => {
            let logit = |token: u32| logits.get(token as usize).copied().map_or(0.0, f64::from);
            let largest = (logit(token) - logit(found[0])).abs();
            Difference { relative: f64::INFINITY, largest }
        }
    }
}
