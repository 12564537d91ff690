//! The plan for people, in lines that fit a terminal.

use super::fold::{heading, sections};
use super::memory;
use crate::output::{bytes, count};
use quarrel_ir::plan::{
    Bound, ChosenBy, Dispatch, FusedOp, Phase, Place, Placed, Plan, Prediction, Program, Typical,
};
use std::fmt::Write;

/// Columns of a line.
const WIDTH: usize = 100;

/// The whole view of one program.
pub(super) fn plan(model: &str, plan: &Plan, program: &Program) -> String {
    let step = plan.typical(program.phase);
    let predicted = plan.predict(program.phase, step.dims, step.context);
    let mut text = header(model, plan, program, step);
    for section in sections(&program.dispatches) {
        text += &heading(&section);
        for index in section.range.clone() {
            let time = predicted.as_ref().and_then(|all| all.get(index)).copied();
            if let Some(dispatch) = program.dispatches.get(index) {
                text += &show(plan, dispatch, step, time);
            }
        }
    }
    text += &totals(plan, program, step, predicted.as_deref());
    text += "         `--kernel NAME` shows the text and the other variants of a kernel\n";
    text += &declined(plan, program.phase);
    text + &memory::text(plan, program)
}

// Writing to a string, here and below, does not fail.

fn header(model: &str, plan: &Plan, program: &Program, step: Typical) -> String {
    let (device, options) = (&plan.device, &plan.options);
    let weights = options.weights.map_or("as in the file".into(), |format| format!("as {format}"));
    let fused = if options.fuse { "fused" } else { "op by op" };
    let facts = &plan.model;
    let mut text = String::new();
    let _ = write!(
        text,
        "model    {model}: {} of {} layers, vocabulary {}\n\
         device   {} ({}, subgroup {}, {} threads, {} of workgroup memory)\n\
         options  context {}, chunk {}, {fused}, weights {weights}\n\
         program  {}: costs for {} token{} with {} positions each\n",
        facts.architecture,
        facts.layers,
        facts.vocabulary,
        device.name,
        device.backend,
        device.subgroup_size,
        device.max_workgroup_threads,
        bytes(device.max_workgroup_bytes.into()),
        options.context,
        options.chunk,
        program.name,
        step.dims.tokens,
        if step.dims.tokens == 1 { "" } else { "s" },
        step.context,
    );
    text
}

fn show(plan: &Plan, dispatch: &Dispatch, step: Typical, time: Option<Prediction>) -> String {
    let kernel = plan.kernel(dispatch.kernel);
    let grid = dispatch.grid.map(|extent| extent.to_string()).join(" × ");
    let work = dispatch.work(step.dims, step.context);
    let (moved, flops) = work.map_or((0, 0), |work| (work.bytes, work.flops));
    let time = match time {
        Some(Prediction { us, bound }) => format!("{us:>9.1} µs  {}", bound.name()),
        None => String::new(),
    };
    let (moved, flops) = (bytes(moved), count(flops));
    let mut text =
        format!("  {:<15} grid {grid:<24} {moved:>9} {flops:>8}FLOP {time}", kernel.name);
    text.truncate(text.trim_end().len());
    text.push('\n');
    let of = match kernel.choice.as_ref().map_or(1, |choice| choice.alternatives.len()) {
        0 | 1 => String::new(),
        n => format!("; one of {n}"),
    };
    text += &wrapped("variant", &format!("{}, {} threads{of}", kernel.variant, kernel.workgroup));
    let unusual = kernel.choice.as_ref().filter(|choice| choice.by != ChosenBy::Rule);
    if let Some(choice) = unusual {
        text += &wrapped("taken", &format!("{}: {}", choice.chosen, choice.reason));
    }
    let at = |place: Place| -> String {
        let ops = dispatch.ops.iter().filter(|op| op.place == place);
        ops.map(FusedOp::in_words).collect::<Vec<_>>().join(", ")
    };
    let places =
        [("loads", Place::Prologue), ("computes", Place::Anchor), ("stores", Place::Epilogue)];
    for (word, place) in places {
        text += &wrapped(word, &at(place));
    }
    text + &wrapped("why", &dispatch.reason)
}

/// A line with a word before it, broken where it is too long; nothing where there is no text.
pub(super) fn wrapped(word: &str, text: &str) -> String {
    const INDENT: usize = 14;
    let mut lines: Vec<String> = Vec::new();
    for part in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if INDENT + line.chars().count() + part.chars().count() < WIDTH => {
                *line += " ";
                *line += part;
            }
            _ => lines.push(part.into()),
        }
    }
    let mut first = format!("    {word:<9} ");
    let mut result = String::new();
    for line in lines {
        let _ = writeln!(result, "{first}{line}");
        first = " ".repeat(INDENT);
    }
    result
}

fn totals(
    plan: &Plan,
    program: &Program,
    step: Typical,
    predicted: Option<&[Prediction]>,
) -> String {
    let dispatches = &program.dispatches;
    let works: Vec<_> =
        dispatches.iter().filter_map(|dispatch| dispatch.work(step.dims, step.context)).collect();
    let moved = works.iter().map(|work| work.bytes).sum();
    let flops = works.iter().map(|work| work.flops).sum();
    let inside = dispatches.iter().filter(|dispatch| dispatch.layer.is_some()).count();
    let mut text = format!(
        "\ntotal    {} dispatches ({:.1} a layer), {}, {}FLOP\n",
        dispatches.len(),
        inside as f64 / f64::from(plan.model.layers.max(1)),
        bytes(moved),
        count(flops)
    );
    let Some(predicted) = predicted else {
        text += "         no time is predicted: the device was not measured, which `quarrel devices \
                 --measure` does\n";
        return text;
    };
    let us: f64 = predicted.iter().map(|each| each.us).sum();
    let rate = f64::from(step.dims.tokens) / us.max(f64::MIN_POSITIVE) * 1e6;
    let _ = writeln!(text, "         predicted {:.3} ms: {rate:.0} tokens/s", us / 1e3);
    let bounds =
        [Bound::Dispatch, Bound::Memory, Bound::Workgroups, Bound::Arithmetic, Bound::Matrices];
    let share = |bound: Bound| {
        let of_bound = predicted.iter().filter(|each| each.bound == bound);
        let share = 100.0 * of_bound.map(|each| each.us).sum::<f64>() / us.max(f64::MIN_POSITIVE);
        (share >= 0.5).then(|| format!("{} {share:.0}%", bound.name()))
    };
    let shares: Vec<String> = bounds.into_iter().filter_map(share).collect();
    let _ = writeln!(text, "         by what bounds it: {}", shares.join(", "));
    text
}

/// The fusions of a program that were declined: each with the first pair of values it is about.
fn declined(plan: &Plan, phase: Phase) -> String {
    let values = plan.values(phase);
    let label = |value: &u32| values.get(value).map(Placed::label).unwrap_or_default();
    let mut text = String::new();
    for decision in plan.decisions.iter().filter(|d| !d.taken && d.phase == phase) {
        let Some([from, to]) = decision.pairs.first() else { continue };
        let more = match decision.pairs.len() {
            1 => String::new(),
            n => format!(", and {} more", n - 1),
        };
        let (from, to) = (label(from), label(to));
        let _ = writeln!(text, "  {from} – {to}{more}: {}", decision.rule);
        text += &wrapped("why", &decision.reason);
        text += &wrapped("change", &decision.would_change);
    }
    match text.is_empty() {
        true => text,
        false => format!("\nkept apart\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken() {
        let text = wrapped("why", &"word ".repeat(40));
        assert_eq!(text.lines().count(), 3);
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH));
        assert_eq!(wrapped("why", ""), "");
    }
}
