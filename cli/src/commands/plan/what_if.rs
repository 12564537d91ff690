//! What a change of device, options or fusion is predicted to bring, and what it brings.

use super::{Args, View, measure};
use crate::backend::Device;
use crate::commands::bench::kernels::Kernels;
use crate::error::{CliError, Result};
use crate::model::Model;
use crate::output::{self, Table, bytes, count};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{OpsTotal, Phase, Plan, PlanOptions};
use serde::Serialize;
use std::collections::BTreeMap;

/// Kernels that compute the same ops, without and with the change; `None` where there are none.
#[derive(Debug, Serialize)]
struct Row {
    ops: String,
    before: Option<Total>,
    after: Option<Total>,
}

/// What kernels of one plan take that compute the same ops.
#[derive(Clone, Debug, Serialize)]
struct Total {
    #[serde(flatten)]
    predicted: OpsTotal,
    /// Microseconds of a step on this device, where they were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_us: Option<f64>,
}

/// How often both plans are measured.
const ROUNDS: u32 = 3;

/// Measured microseconds of a step, by the ops that its kernels compute.
type Measured = BTreeMap<String, f64>;

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output<'a> {
    changes: &'a [String],
    /// Predicted microseconds of a step, without and with the change.
    us: [Option<f64>; 2],
    /// Measured microseconds of its kernels, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_us: Option<[f64; 2]>,
    /// How they were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    how: Option<String>,
    /// By what part the slowest time of a plan's kernels was above the fastest; of both plans, the
    /// larger part.
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<f64>,
    dispatches: [usize; 2],
    kernels: &'a [Row],
}

pub(super) fn execute(args: &Args, model: &Model, plan: &Plan) -> Result<()> {
    let (phase, changes) = (args.phase.planned(), &args.what_if);
    let (mut device, mut options) = (plan.device.clone(), plan.options.clone());
    for change in changes {
        apply(change, plan, phase, (&mut device, &mut options))?;
    }
    let changed = model.compile(&device, &options)?;
    check_together(&changed, phase)?;
    let measured = match args.measure {
        true => Some(both_measured(args, model, [plan, &changed])?),
        false => None,
    };
    let [before, after] = [plan, &changed].map(|plan| plan.totals(phase));
    let [old, new] = measured.as_ref().map_or([None; 2], |both| both.us.each_ref().map(Some));
    let rows = rows(&totals(before, old), &totals(after, new));
    let dispatches = [plan, &changed].map(|p| p.program(phase).map_or(0, |p| p.dispatches.len()));
    let us = [plan, &changed].map(|plan| plan.predicted_us(phase));
    let measured_us =
        measured.as_ref().map(|both| both.us.each_ref().map(|by_ops| by_ops.values().sum()));
    let spread = measured.as_ref().map(Both::spread);
    let how = measured.map(|both| both.how);
    let output = Output { changes, us, measured_us, how, spread, dispatches, kernels: &rows };
    match args.json || args.format == View::Json {
        true => output::json(&output),
        false => output::text(&text(&output)),
    }
}

/// What both plans take on this device, and how it was measured.
struct Both {
    us: [Measured; 2],
    how: String,
    /// Microseconds of all kernels, each time.
    times: [Vec<f64>; 2],
}

impl Both {
    fn spread(&self) -> f64 {
        let of = |times: &Vec<f64>| {
            let most = times.iter().copied().fold(0.0, f64::max);
            let least = times.iter().copied().fold(f64::INFINITY, f64::min);
            (most - least) / least.max(f64::MIN_POSITIVE)
        };
        self.times.iter().map(of).fold(0.0, f64::max)
    }
}

/// Measures both plans in turn, a few times; of each kernel the least time counts, so that what else
/// the device does comes to bear on neither.
fn both_measured(args: &Args, model: &Model, [plan, changed]: [&Plan; 2]) -> Result<Both> {
    let gpu = Device::start(&args.subject.plan).wait()?.gpu("quarrel plan --measure")?;
    let (facts, planned) = (gpu.facts(), &changed.device);
    if planned.subgroup_size != facts.subgroup_size {
        return Err(CliError::User(format!(
            "--measure runs the changed plan too, which is made for subgroups of {}, and those of {} \
             have {}: without --measure the change is predicted",
            planned.subgroup_size, facts.name, facts.subgroup_size
        )));
    }
    let mut both = Both { us: Default::default(), how: String::new(), times: Default::default() };
    for _ in 0..ROUNDS {
        // The changed one comes first: if any does not fit, it does not.
        let after = measure::kernels(args.phase, model, &gpu, changed)
            .map_err(|error| error.at("the changed plan"))?;
        let before = measure::kernels(args.phase, model, &gpu, plan)?;
        both.how = before.heading();
        let measured = [(plan, &before), (changed, &after)]
            .map(|(plan, kernels)| by_ops(plan, args.phase.planned(), kernels));
        for ((least, times), us) in both.us.iter_mut().zip(&mut both.times).zip(measured) {
            times.push(us.values().sum());
            for (ops, us) in us {
                let least = least.entry(ops).or_insert(us);
                *least = least.min(us);
            }
        }
    }
    Ok(both)
}

/// What the program of `phase` takes, by the ops of its dispatches.
fn by_ops(plan: &Plan, phase: Phase, kernels: &Kernels) -> Measured {
    let mut measured = Measured::new();
    for dispatch in plan.program(phase).map_or(&[][..], |program| &program.dispatches) {
        let us = kernels.us_of(phase, &plan.kernel(dispatch.kernel).name).unwrap_or(0.0);
        *measured.entry(dispatch.ops_in_words()).or_default() += us;
    }
    measured
}

/// Adds what was measured to what is predicted.
fn totals(predicted: Vec<OpsTotal>, measured: Option<&Measured>) -> Vec<Total> {
    let total = |predicted: OpsTotal| {
        let measured_us = measured.and_then(|us| us.get(&predicted.ops)).copied();
        Total { predicted, measured_us }
    };
    predicted.into_iter().map(total).collect()
}

/// Makes one change.
fn apply(
    change: &str,
    plan: &Plan,
    phase: Phase,
    (device, options): (&mut DeviceFacts, &mut PlanOptions),
) -> Result<()> {
    let (word, value) = change.split_once('=').unwrap_or((change, ""));
    let number = |most: u32| match value.parse::<u32>() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(CliError::User(format!("--what-if {word} needs a number from 1 to {most}"))),
    };
    match word {
        "fuse" => {
            let (a, b) = value
                .split_once(',')
                .ok_or_else(|| CliError::user("--what-if fuse needs two values: fuse=A,B"))?;
            let pair = plan.pair(phase, a, b).map_err(|error| CliError::User(error.to_string()))?;
            options.together.push(pair);
        }
        "variant" => {
            // The compiler knows which keys and names there are, and says so.
            let (key, name) = value.rsplit_once(':').ok_or_else(|| {
                CliError::user(
                    "--what-if variant needs a kernel's key and a name: variant=KEY:NAME. `quarrel \
                     plan MODEL --kernel NAME` shows both",
                )
            })?;
            options.choices.insert(key.into(), name.into());
        }
        "split" => options.split = Some(number(64)?),
        "no-fuse" => options.fuse = false,
        "no-coop" => device.matrix_shapes.clear(),
        "subgroup" => device.subgroup_size = number(128)?,
        "ctx" => {
            options.context = number(1 << 24)?;
            options.chunk = options.chunk.min(options.context);
        }
        "chunk" => options.chunk = number(32_768)?.min(options.context),
        "slots" => options.slots = number(256)?,
        _ => {
            return Err(CliError::User(format!(
                "{change:?} is no change: fuse=A,B, variant=KEY:NAME, split=N, no-fuse, no-coop, subgroup=N, ctx=N, \
                 chunk=N and slots=N are"
            )));
        }
    }
    Ok(())
}

/// Refuses a fusion that no rule may do: it says why.
fn check_together(plan: &Plan, phase: Phase) -> Result<()> {
    for pair in &plan.options.together {
        let Some(found) = plan.explain(phase, *pair).filter(|found| found.together.is_empty())
        else {
            continue;
        };
        let decisions = found.steps.iter().flat_map(|step| &step.decisions);
        let reasons: Vec<String> =
            decisions.map(|decision| format!("{}: {}", decision.rule, decision.reason)).collect();
        let reasons = match reasons.is_empty() {
            true => "neither needs the other".into(),
            false => reasons.join("; "),
        };
        return Err(CliError::User(format!(
            "{} and {} cannot be computed by one kernel: {reasons}",
            found.a.label(),
            found.b.label()
        )));
    }
    Ok(())
}

/// Both plans' kernels by what they compute, in the order of the first, then of the second.
fn rows(before: &[Total], after: &[Total]) -> Vec<Row> {
    let of =
        |all: &[Total], ops: &str| all.iter().find(|total| total.predicted.ops == ops).cloned();
    let new = after.iter().filter(|total| of(before, &total.predicted.ops).is_none());
    let all = before.iter().chain(new).map(|total| &total.predicted.ops);
    all.map(|ops| Row { ops: ops.clone(), before: of(before, ops), after: of(after, ops) })
        .collect()
}

fn text(output: &Output<'_>) -> String {
    let table = match output.measured_us {
        None => predicted_table(output.kernels),
        Some(_) => measured_table(output.kernels),
    };
    let [a, b] = output.dispatches;
    let mut lines = vec![format!("{a} → {b} dispatches a step")];
    lines.push(match output.us {
        [Some(a), Some(b)] => format!("predicted {}", change(a, b)),
        _ => {
            "no time is predicted: the device was not measured, which `quarrel devices --measure` \
             does"
                .into()
        }
    });
    lines.extend(output.measured_us.map(|[a, b]| format!("measured  {}", change(a, b))));
    let spread = output.spread.map(|spread| 1e2 * spread);
    lines.extend(spread.map(|spread| format!("of one plan, the times differ by {spread:.0} %")));
    let how = output.how.as_ref().map_or(String::new(), |how| {
        format!("measured: {how};\n          each in turn, the least of {ROUNDS} times\n")
    });
    format!(
        "{}\n{how}\n{}\ntotal    {}\n",
        output.changes.join(", "),
        table.render(),
        lines.join("\n         ")
    )
}

/// `15.963 ms → 16.402 ms (+439.0 µs, +2.8 %)`
fn change(a: f64, b: f64) -> String {
    let share = 1e2 * (b - a) / a.max(f64::MIN_POSITIVE);
    format!(
        "{:.3} ms → {:.3} ms ({}, {share:+.1} %)",
        a / 1e3,
        b / 1e3,
        difference([Some(a), Some(b)])
    )
}

fn predicted_table(rows: &[Row]) -> Table {
    let mut table = Table::new(["dispatches", "moved", "FLOP", "µs", "difference", "ops"]);
    for row in rows {
        let [us, less] = row.times(|total| total.predicted.us);
        table.row([
            row.cell(|total| total.predicted.dispatches.to_string()),
            row.cell(|total| bytes(total.predicted.bytes)),
            row.cell(|total| count(total.predicted.flops)),
            us,
            less,
            short(&row.ops, 40),
        ]);
    }
    table
}

fn measured_table(rows: &[Row]) -> Table {
    let headings = ["dispatches", "predicted µs", "difference", "measured µs", "difference", "ops"];
    let mut table = Table::new(headings);
    for row in rows {
        let [predicted, predicted_less] = row.times(|total| total.predicted.us);
        let [measured, measured_less] = row.times(|total| total.measured_us);
        table.row([
            row.cell(|total| total.predicted.dispatches.to_string()),
            predicted,
            predicted_less,
            measured,
            measured_less,
            short(&row.ops, 24),
        ]);
    }
    table
}

impl Row {
    /// What `f` says of both, once where it says the same.
    fn cell(&self, f: impl Fn(&Total) -> String) -> String {
        let [a, b] = [&self.before, &self.after].map(|side| side.as_ref().map_or("–".into(), &f));
        if a == b { a } else { format!("{a} → {b}") }
    }

    /// Both times, and the difference.
    fn times(&self, us: impl Fn(&Total) -> Option<f64>) -> [String; 2] {
        let both = [&self.before, &self.after];
        let shown = |total: &Total| us(total).map_or("?".into(), |us| format!("{us:.1}"));
        let less = both.map(|side| side.as_ref().map_or(Some(0.0), &us));
        [self.cell(shown), difference(less)]
    }
}

fn difference(us: [Option<f64>; 2]) -> String {
    match us {
        [Some(a), Some(b)] if (a - b).abs() >= 0.05 => format!("{:+.1} µs", b - a),
        [Some(_), Some(_)] => "0".into(),
        _ => "?".into(),
    }
}

/// As many ops as a terminal has room for.
fn short(ops: &str, most: usize) -> String {
    match ops.chars().count() <= most {
        true => ops.into(),
        false => ops.chars().take(most - 1).chain(['…']).collect(),
    }
}
