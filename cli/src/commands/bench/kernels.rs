//! What each kernel takes of a step, beside what it is predicted to take.

use crate::error::Result;
use crate::output::Table;
use quarrel_ir::plan::{Dispatch, KernelId, Phase, Plan, StepDims, predict};
use quarrel_runtime::{BenchStep, KernelClock, KernelTime, Session};
use serde::Serialize;
use std::fmt::Write;

/// The kernels of one step.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct Kernels {
    /// `decode` or `prefill`.
    name: &'static str,
    /// Tokens of the step, all sequences together.
    n: u32,
    depth: u32,
    batch: u32,
    clock: KernelClock,
    /// Microseconds of all kernels together.
    step_us: f64,
    /// Microseconds of such a step in the test, where the test is made of such steps.
    test_step_us: Option<f64>,
    /// Predicted microseconds of all of them together.
    predicted_us: f64,
    /// The one that loses most comes first.
    kernels: Vec<Row>,
}

/// One kernel.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(skip)]
    phase: Phase,
    kernel: String,
    family: String,
    variant: String,
    /// What its first dispatch computes.
    ops: String,
    /// Dispatches a step.
    dispatches: u32,
    /// Microseconds a step.
    us: f64,
    /// Part of the time of all kernels.
    share: f64,
    bytes: u64,
    flops: u64,
    gb_per_s: f64,
    gflop_per_s: f64,
    /// Predicted microseconds a step.
    predicted_us: f64,
    /// What the dispatch that takes longest is predicted to spend its time on.
    bound: &'static str,
    /// Microseconds above the prediction; below 0 where it was faster.
    lost_us: f64,
}

/// Times the kernels of `step`, which took so many microseconds in its test.
pub(in crate::commands) fn measure(
    session: &mut Session,
    (step, test_step_us): (BenchStep, Option<f64>),
    clock: KernelClock,
) -> Result<Kernels> {
    let times = session.bench_kernels(step, clock)?;
    let plan = session.engine().plan();
    let batch = plan.options.slots;
    let (name, depth, dims, context) = match step {
        BenchStep::Decode { depth } => {
            let dims = StepDims { tokens: batch, out_rows: batch, slots: batch };
            ("decode", depth, dims, depth + 1)
        }
        BenchStep::Prefill { depth, tokens } => {
            let dims = StepDims { tokens, out_rows: 1, slots: batch };
            // Each token sees those before it.
            ("prefill", depth, dims, depth + tokens.div_ceil(2))
        }
    };
    let step_us: f64 = times.iter().map(|time| time.us).sum();
    let row = |time: &KernelTime| row(plan, *time, dims, context);
    let mut kernels: Vec<Row> = times.iter().map(row).collect();
    for row in &mut kernels {
        row.share = ratio(row.us, step_us);
    }
    kernels.sort_by(|a, b| b.lost_us.total_cmp(&a.lost_us));
    let predicted_us = kernels.iter().map(|row| row.predicted_us).sum();
    let n = dims.tokens;
    Ok(Kernels { name, n, depth, batch, clock, step_us, test_step_us, predicted_us, kernels })
}

fn row(plan: &Plan, time: KernelTime, dims: StepDims, context: u32) -> Row {
    let KernelTime { phase, kernel: id, dispatches, us } = time;
    let kernel = plan.kernel(id);
    let (mut bytes, mut flops, mut predicted_us) = (0u64, 0u64, 0.0);
    let (mut longest, mut bound) = (0.0, "");
    for dispatch in dispatches_of(plan, phase, id) {
        let Some(work) = dispatch.work(dims, context) else { continue };
        (bytes, flops) = (work.bytes.saturating_add(bytes), work.flops.saturating_add(flops));
        if let Some(prediction) = predict(work, kernel, &plan.device.speeds) {
            predicted_us += prediction.us;
            if prediction.us > longest {
                (longest, bound) = (prediction.us, prediction.bound.name());
            }
        }
    }
    Row {
        phase,
        kernel: kernel.name.clone(),
        family: kernel.family.clone(),
        variant: kernel.variant.clone(),
        ops: dispatches_of(plan, phase, id).next().map(Dispatch::made_for).unwrap_or_default(),
        dispatches,
        us,
        share: 0.0,
        bytes,
        flops,
        // A byte a microsecond is a megabyte a second.
        gb_per_s: ratio(bytes as f64, us) / 1e3,
        gflop_per_s: ratio(flops as f64, us) / 1e3,
        predicted_us,
        bound,
        lost_us: us - predicted_us,
    }
}

fn dispatches_of(plan: &Plan, phase: Phase, kernel: KernelId) -> impl Iterator<Item = &Dispatch> {
    let dispatches = plan.program(phase).map_or(&[][..], |program| &program.dispatches);
    dispatches.iter().filter(move |dispatch| dispatch.kernel == kernel)
}

/// `a / b`, or 0 where there is nothing to divide by.
pub(super) fn ratio(a: f64, b: f64) -> f64 {
    if b > 0.0 { a / b } else { 0.0 }
}

impl Kernels {
    /// Microseconds of one dispatch of a kernel in the program of `phase`.
    pub(in crate::commands) fn us_of(&self, phase: Phase, kernel: &str) -> Option<f64> {
        let row = self.kernels.iter().find(|row| row.phase == phase && row.kernel == kernel)?;
        Some(row.us / f64::from(row.dispatches.max(1)))
    }

    /// The table for people.
    pub(in crate::commands) fn table(&self) -> Table {
        let mut table = Table::new([
            "kernel",
            "dispatches",
            "µs/step",
            "share",
            "GB/s",
            "GFLOP/s",
            "predicted",
            "bound by",
            "lost µs",
            "what",
        ]);
        let cells = |row: &Row| {
            [
                row.kernel.clone(),
                row.dispatches.to_string(),
                format!("{:.1}", row.us),
                format!("{:.1} %", 1e2 * row.share),
                format!("{:.2}", row.gb_per_s),
                format!("{:.1}", row.gflop_per_s),
                format!("{:.1}", row.predicted_us),
                row.bound.into(),
                format!("{:.1}", row.lost_us),
                row.ops.clone(),
            ]
        };
        self.kernels.iter().for_each(|row| table.row(cells(row)));
        let sum =
            |of: &dyn Fn(&Row) -> u64| self.kernels.iter().map(|row| of(row) as f64).sum::<f64>();
        table.row([
            "all".into(),
            self.kernels.iter().map(|row| row.dispatches).sum::<u32>().to_string(),
            format!("{:.1}", self.step_us),
            "100.0 %".into(),
            format!("{:.2}", ratio(sum(&|row| row.bytes), self.step_us) / 1e3),
            format!("{:.1}", ratio(sum(&|row| row.flops), self.step_us) / 1e3),
            format!("{:.1}", self.predicted_us),
            String::new(),
            format!("{:.1}", self.step_us - self.predicted_us),
            String::new(),
        ]);
        table
    }

    /// What the table shows.
    pub(in crate::commands) fn heading(&self) -> String {
        let mut text = format!("kernels of a {} step of {} token", self.name, self.n);
        // Writing to a string does not fail.
        let _ = write!(text, "{}", if self.n == 1 { "" } else { "s" });
        let _ = write!(text, " after {}, by ", self.depth);
        text += match self.clock {
            KernelClock::Timestamps => "timestamps between dispatches",
            KernelClock::Repetition => "repetition",
        };
        if let Some(us) = self.test_step_us {
            let _ = write!(text, "; in its test the step took {us:.1} µs");
        }
        text
    }
}
