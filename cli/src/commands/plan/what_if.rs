//! What a change of device, options or fusion is predicted to bring.

use crate::error::{CliError, Result};
use crate::model::Model;
use crate::output::{self, Table, bytes, count};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{OpsTotal, Phase, Plan, PlanOptions};
use serde::Serialize;

/// Kernels that compute the same ops, without and with the change; `None` where there are none.
#[derive(Debug, Serialize)]
struct Row {
    ops: String,
    before: Option<OpsTotal>,
    after: Option<OpsTotal>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Output<'a> {
    changes: &'a [String],
    /// Predicted microseconds of a step, without and with the change.
    us: [Option<f64>; 2],
    dispatches: [usize; 2],
    kernels: &'a [Row],
}

pub(super) fn execute(
    model: &Model,
    plan: &Plan,
    phase: Phase,
    changes: &[String],
    json: bool,
) -> Result<()> {
    let (mut device, mut options) = (plan.device.clone(), plan.options.clone());
    for change in changes {
        apply(change, plan, phase, (&mut device, &mut options))?;
    }
    let changed = model.compile(&device, &options)?;
    check_together(&changed, phase)?;
    let rows = rows(&plan.totals(phase), &changed.totals(phase));
    let dispatches = [plan, &changed].map(|p| p.program(phase).map_or(0, |p| p.dispatches.len()));
    let us = [plan, &changed].map(|plan| plan.predicted_us(phase));
    let output = Output { changes, us, dispatches, kernels: &rows };
    match json {
        true => output::json(&output),
        false => output::text(&text(&output)),
    }
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
                    "--what-if variant needs a kernel's key and a name: variant=KEY:NAME. `choice` in \
                     `quarrel plan MODEL --json` has both",
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
fn rows(before: &[OpsTotal], after: &[OpsTotal]) -> Vec<Row> {
    let of = |all: &[OpsTotal], ops: &str| all.iter().find(|total| total.ops == ops).cloned();
    let new = after.iter().filter(|total| of(before, &total.ops).is_none());
    let all = before.iter().chain(new);
    all.map(|OpsTotal { ops, .. }| Row {
        ops: ops.clone(),
        before: of(before, ops),
        after: of(after, ops),
    })
    .collect()
}

fn text(output: &Output<'_>) -> String {
    let mut table = Table::new(["dispatches", "moved", "FLOP", "µs", "difference", "ops"]);
    for Row { ops, before, after } in output.kernels {
        let both = [before, after].map(Option::as_ref);
        let cell = |f: &dyn Fn(&OpsTotal) -> String| {
            let [a, b] = both.map(|side| side.map_or("–".into(), f));
            if a == b { a } else { format!("{a} → {b}") }
        };
        let us = |total: &OpsTotal| total.us.map_or("?".into(), |us| format!("{us:.1}"));
        let time = both.map(|side| side.map_or(Some(0.0), |total| total.us));
        table.row([
            cell(&|total| total.dispatches.to_string()),
            cell(&|total| bytes(total.bytes)),
            cell(&|total| count(total.flops)),
            cell(&us),
            difference(time),
            short(ops),
        ]);
    }
    let sum = |times: [Option<f64>; 2]| match times {
        [Some(a), Some(b)] => format!(
            "predicted {:.3} ms → {:.3} ms a step ({})",
            a / 1e3,
            b / 1e3,
            difference(times)
        ),
        _ => {
            "no time is predicted: the device was not measured, which `quarrel devices --measure` \
              does"
                .into()
        }
    };
    let [a, b] = output.dispatches;
    format!(
        "{}\n\n{}\ntotal    {a} → {b} dispatches; {}\n",
        output.changes.join(", "),
        table.render(),
        sum(output.us)
    )
}

fn difference(us: [Option<f64>; 2]) -> String {
    match us {
        [Some(a), Some(b)] if (a - b).abs() >= 0.05 => format!("{:+.1} µs", b - a),
        [Some(_), Some(_)] => "0".into(),
        _ => "?".into(),
    }
}

/// As many ops as a terminal has room for.
fn short(ops: &str) -> String {
    const MOST: usize = 40;
    match ops.chars().count() {
        0..=MOST => ops.into(),
        _ => ops.chars().take(MOST - 1).chain(['…']).collect(),
    }
}
