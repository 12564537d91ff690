//! Why two values are in one kernel or in two, for people.

use super::text::wrapped;
use crate::error::{CliError, Result};
use quarrel_ir::plan::{Explanation, Phase, Placed, Plan, Step};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The explanation of two values that the user named.
pub(super) fn find(plan: &Plan, phase: Phase, names: &[String]) -> Result<Explanation> {
    let [a, b] = names else { return Err(CliError::user("--explain takes two values")) };
    let pair = plan.pair(phase, a, b).map_err(|error| {
        CliError::User(format!("{error}. A value is named as in %17, q, or q@3 for layer 3"))
    })?;
    plan.explain(phase, pair).ok_or_else(|| {
        CliError::Failure("a bug in Quarrel, please report it: a value is not in the plan".into())
    })
}

/// The explanation in words.
pub(super) fn text(plan: &Plan, phase: Phase, found: &Explanation) -> String {
    let values = plan.values(phase);
    let Explanation { a, b, together, steps, anchors } = found;
    let mut text = place(plan, phase, a) + &place(plan, phase, b) + "\n";
    // Writing to a string, here and below, does not fail.
    match (together.is_empty(), steps.is_empty()) {
        (false, _) => text += "one kernel computes both\n",
        (true, false) => {
            let way = match steps.len() {
                1 => "one boundary lies between them",
                n => &format!("{n} boundaries lie between them"),
            };
            let _ = writeln!(text, "no kernel computes both: {way}");
        }
        (true, true) => text += &unrelated(&values, anchors),
    }
    for step in steps {
        text += &show(&values, step);
    }
    text
}

/// Where a value is computed.
fn place(plan: &Plan, phase: Phase, placed: &Placed) -> String {
    let layer = placed.layer.map_or(String::new(), |layer| format!(", layer {layer}"));
    let dispatches = plan.program(phase).map_or(&[][..], |program| &program.dispatches);
    let kernels = placed.dispatches.iter().filter_map(|(index, place)| {
        let kernel = plan.kernel(dispatches.get(*index)?.kernel);
        let place = format!("{place:?}").to_lowercase();
        Some(format!("{} (dispatch {index}, {place})", kernel.name))
    });
    let kernels: Vec<String> = kernels.collect();
    format!("{} = {}{layer}: {}\n", placed.label(), placed.op, kernels.join(", "))
}

fn show(values: &BTreeMap<u32, Placed>, step: &Step) -> String {
    let [a, b] = step.pair.map(|value| label(values, value));
    let mut text = String::new();
    for decision in &step.decisions {
        let _ = writeln!(text, "  {a} – {b}: {}", decision.rule);
        text += &wrapped("why", &decision.reason);
        text += &wrapped("change", &decision.would_change);
    }
    text
}

/// What to say of two values of which neither needs the other.
fn unrelated(values: &BTreeMap<u32, Placed>, anchors: &[Vec<u32>; 2]) -> String {
    let [a, b] = anchors.each_ref().map(|anchors| {
        let labels: Vec<String> = anchors.iter().map(|value| label(values, *value)).collect();
        labels.join(", ")
    });
    let reason = format!(
        "kernels grow around products, attention, choices and scans, from op to operand. One of \
         these is built around {a}, the other around {b}, and neither needs the other; only \
         products of the same rows are merged, and row kernels that wait for the same kernels"
    );
    let mut text = String::from("no kernel computes both: neither needs the other\n");
    text += &wrapped("why", &reason);
    text + &wrapped("change", "the same rows as the first operand of both, where they are products")
}

fn label(values: &BTreeMap<u32, Placed>, value: u32) -> String {
    values.get(&value).map_or_else(|| format!("%{value}"), Placed::label)
}
