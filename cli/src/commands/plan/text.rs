//! The plan for people, in lines that fit a terminal.

use super::fold::{heading, sections};
use super::step::Step;
use crate::output::{bytes, count};
use quarrel_ir::plan::{
    BufferRole, ChosenBy, Dispatch, FusedOp, Phase, Place, Placed, Plan, Program,
};
use std::fmt::Write;

/// Columns of a line.
const WIDTH: usize = 100;

/// The whole view of one program.
pub(super) fn plan(model: &str, plan: &Plan, program: &Program) -> String {
    let step = Step::of(plan, program);
    let mut text = header(model, plan, program, step);
    for section in sections(&program.dispatches) {
        text += &heading(&section);
        for dispatch in program.dispatches.iter().take(section.range.end).skip(section.range.start)
        {
            text += &show(plan, dispatch, step);
        }
    }
    text += &totals(plan, program, step);
    text += &declined(plan, program.phase);
    text + &memory(plan)
}

// Writing to a string, here and below, does not fail.

fn header(model: &str, plan: &Plan, program: &Program, step: Step) -> String {
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
        step.tokens,
        if step.tokens == 1 { "" } else { "s" },
        step.context,
    );
    text
}

fn show(plan: &Plan, dispatch: &Dispatch, step: Step) -> String {
    let kernel = plan.kernel(dispatch.kernel);
    let cost = &dispatch.cost;
    let grid = dispatch.grid.map(|extent| extent.to_string()).join(" × ");
    let figures = format!(
        "{:>9}  {:>7}FLOP",
        bytes(cost.bytes(step.tokens, step.context)),
        count(cost.flops(step.tokens, step.context))
    );
    let mut text = format!("  {:<18} grid {:<40} {figures:>28}\n", kernel.name, grid);
    text += &wrapped("variant", &format!("{}, {} threads", kernel.variant, kernel.workgroup));
    let unusual = kernel.choice.as_ref().filter(|choice| choice.by != ChosenBy::Rule);
    if let Some(choice) = unusual {
        text += &wrapped("taken", &format!("{}: {}", choice.chosen, choice.reason));
    }
    let at = |place: Place| -> String {
        let ops = dispatch.ops.iter().filter(|op| op.place == place);
        ops.map(op).collect::<Vec<_>>().join(", ")
    };
    let places =
        [("loads", Place::Prologue), ("computes", Place::Anchor), ("stores", Place::Epilogue)];
    for (word, place) in places {
        text += &wrapped(word, &at(place));
    }
    text + &wrapped("why", &dispatch.reason)
}

/// An op with the author's name of its value: `linear q`.
pub(super) fn op(op: &FusedOp) -> String {
    match &op.name {
        Some(name) => format!("{} {name}", op.op),
        None => op.op.clone(),
    }
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

fn totals(plan: &Plan, program: &Program, step: Step) -> String {
    let dispatches = &program.dispatches;
    let sum = |f: &dyn Fn(&Dispatch) -> u64| dispatches.iter().map(f).sum::<u64>();
    let moved = sum(&|d| d.cost.bytes(step.tokens, step.context));
    let flops = sum(&|d| d.cost.flops(step.tokens, step.context));
    let inside = dispatches.iter().filter(|dispatch| dispatch.layer.is_some()).count();
    let mut text = format!(
        "\ntotal    {} dispatches ({:.1} a layer), {}, {}FLOP",
        dispatches.len(),
        inside as f64 / f64::from(plan.model.layers.max(1)),
        bytes(moved),
        count(flops)
    );
    match step.predict(plan, program) {
        Some(each) => {
            let ms = each.iter().map(|prediction| prediction.us).sum::<f64>() / 1e3;
            let _ = write!(text, "; predicted {ms:.2} ms on the device");
        }
        None => {
            text += "\n         no time is predicted: the device was not measured, which \
                     `quarrel devices --measure` does";
        }
    }
    text + "\n"
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

fn memory(plan: &Plan) -> String {
    let mut text = String::from("\nmemory\n");
    let roles = [
        ("weights", BufferRole::Weights),
        ("states", BufferRole::State),
        ("activations", BufferRole::Activation),
        ("inputs and results", BufferRole::Io),
    ];
    for (name, role) in roles {
        let buffers = plan.buffers.iter().filter(|buffer| buffer.role == role).count();
        let whole = bytes(plan.bytes_of(role));
        let s = if buffers == 1 { "" } else { "s" };
        let kv = match (role, plan.options.state) {
            (BufferRole::State, Some(format)) => format!(", keys and values in {}", format.name()),
            _ => String::new(),
        };
        let _ = writeln!(text, "  {name:<18} {whole:>9} in {buffers} buffer{s}{kv}");
    }
    for buffer in plan.buffers.iter().filter(|buffer| buffer.role == BufferRole::Activation) {
        let tenants = buffer.tenants.len();
        let alone: u64 = buffer.tenants.iter().map(|tenant| tenant.bytes).sum();
        let _ = writeln!(
            text,
            "    {:<16} {:>9} holds {tenants} values one after another ({} without reuse)",
            buffer.name,
            bytes(buffer.bytes),
            bytes(alone)
        );
    }
    text
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
