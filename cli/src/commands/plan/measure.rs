//! `--measure`: what each kernel takes on this device beside what is predicted, and what it costs that
//! dispatches wait for each other.

use super::{Args, Phase, View};
use crate::backend::{Device, GpuModel};
use crate::commands::bench::kernels::{self, Kernels};
use crate::error::Result;
use crate::model::Model;
use crate::output;
use quarrel_ir::plan;
use quarrel_runtime::{BarrierCost, BenchStep, Gpu, KernelClock, Session};
use serde::Serialize;

/// Positions before the token of a decode step, where the context holds as many.
const DEPTH: u32 = 1024;

/// What was measured of one program, with the kernel that chooses the token after a decode step.
#[derive(Debug, Serialize)]
struct Measured {
    /// By kernel, the one that loses most first.
    kernels: Kernels,
    /// What waiting costs; `None` where there is no memory to measure it.
    barriers: Option<BarrierCost>,
}

/// Shows the plan with what was measured.
pub(super) fn execute(args: &Args, model: &Model, plan: plan::Plan) -> Result<()> {
    let gpu = Device::start(&args.subject.plan).wait()?.gpu("quarrel plan --measure")?;
    let measured = measure(args.phase, model, &gpu, &plan)?;
    if args.json || args.format == View::Json {
        let (measured, plan) = (serde_json::to_string(&measured)?, plan.to_json()?);
        return output::text(&format!("{{\"measured\":{measured},\"plan\":{plan}}}\n"));
    }
    super::show(args, &model.name, &plan, &measured.by_dispatch(&plan))?;
    match args.format {
        View::Text => output::text(&measured.text()),
        View::Json | View::Dot | View::Html => Ok(()),
    }
}

/// Times the kernels of the program of `phase`, and its barriers.
fn measure(phase: Phase, model: &Model, gpu: &Gpu, plan: &plan::Plan) -> Result<Measured> {
    let (mut session, step) = load(phase, model, gpu, plan)?;
    let kernels = kernels::measure(&mut session, (step, None), clock(gpu))?;
    let barriers = session.bench_barriers(step)?;
    Ok(Measured { kernels, barriers })
}

/// Times the kernels of the program of `phase` alone.
pub(super) fn kernels(
    phase: Phase,
    model: &Model,
    gpu: &Gpu,
    plan: &plan::Plan,
) -> Result<Kernels> {
    let (mut session, step) = load(phase, model, gpu, plan)?;
    kernels::measure(&mut session, (step, None), clock(gpu))
}

fn clock(gpu: &Gpu) -> KernelClock {
    match gpu.facts().timestamps_inside_passes {
        true => KernelClock::Timestamps,
        false => KernelClock::Repetition,
    }
}

/// The model, loaded, and the step that the view of the program of `phase` is of.
fn load(phase: Phase, model: &Model, gpu: &Gpu, plan: &plan::Plan) -> Result<(Session, BenchStep)> {
    let (step, phase) = match phase {
        Phase::Decode => {
            let depth = DEPTH.min(plan.options.context).saturating_sub(1);
            (BenchStep::Decode { depth }, plan::Phase::Decode)
        }
        Phase::Prefill => {
            (BenchStep::Prefill { depth: 0, tokens: plan.options.chunk }, plan::Phase::Prefill)
        }
    };
    let compiled = GpuModel::of(plan.clone(), gpu.clone());
    let session = compiled.load(model.source.weights(), &[phase, plan::Phase::Greedy])?;
    Ok((session, step))
}

impl Measured {
    /// Microseconds of each dispatch, by program: those of its kernel, shared out evenly.
    fn by_dispatch(&self, plan: &plan::Plan) -> Vec<Vec<Option<f64>>> {
        let programs = plan.programs.iter().map(|program| {
            let us = |dispatch: &plan::Dispatch| {
                self.kernels.us_of(program.phase, &plan.kernel(dispatch.kernel).name)
            };
            program.dispatches.iter().map(us).collect()
        });
        programs.collect()
    }

    /// The table for people.
    fn text(&self) -> String {
        let barriers = match self.barriers {
            None => "barriers: not measured, for that takes more than 2 GiB of memory\n".to_owned(),
            Some(BarrierCost { step_us, apart_us }) => format!(
                "barriers: {} of a step. Its dispatches take {step_us:.1} µs as they are, and \
                 {apart_us:.1} µs with memory of their own for all that each writes, so that none \
                 waits for another\n",
                match step_us - apart_us {
                    cost if cost > 0.0 => format!("{cost:.1} µs"),
                    _ => "nothing that can be measured".to_owned(),
                }
            ),
        };
        format!(
            "\nmeasured: {}\n\n{}\n{barriers}",
            self.kernels.heading(),
            self.kernels.table().render()
        )
    }
}
