//! A program's dispatches as a graph for Graphviz: an edge where one reads what another has written.
//! Layers that are alike are drawn once; a dashed edge comes from a layer that is not drawn, or goes
//! to one.

use super::fold::{Section, heading, sections};
use crate::output::{bytes, count};
use quarrel_ir::plan::{
    Access, BufferId, BufferRole, Dispatch, FusedOp, Phase, Place, Plan, Prediction, Program,
    Typical,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

/// Columns of a line of a label.
const WIDTH: usize = 52;

/// What holds for all of the picture.
const STYLE: &str =
    "  node [shape=box, style=\"rounded,filled\", fontname=\"monospace\", fontsize=10];
  edge [color=\"#555555\", arrowsize=0.7];
  fontname=\"monospace\"; fontsize=11; labelloc=t; labeljust=l;
";

// Writing to a string, here and below, does not fail.

/// The program in the DOT language.
pub(super) fn program(plan: &Plan, program: &Program) -> String {
    let step = plan.typical(program.phase);
    let predicted = plan.predict(program.phase, step.dims, step.context);
    let sections = sections(&program.dispatches);
    let name = quoted(std::slice::from_ref(&program.name));
    let mut text = format!("digraph {name} {{\n{STYLE}");
    let edges = drawn(&sections, &edges(plan, program));
    let mut title = title(plan, program, step);
    if edges.values().any(|drawn| !drawn) {
        title.push("dashed: from or to a layer that is not drawn".into());
    }
    let _ = writeln!(text, "  label={};", quoted(&title));
    for (index, section) in sections.iter().enumerate() {
        let layers = !section.layers.is_empty();
        if layers {
            let label = quoted(&[heading(section).trim().to_owned()]);
            let _ = writeln!(text, "  subgraph cluster_{index} {{\n    label={label};");
            text += "    style=rounded; color=\"#999999\";\n";
        }
        for at in section.range.clone() {
            let Some(dispatch) = program.dispatches.get(at) else { continue };
            let time = predicted.as_ref().and_then(|all| all.get(at)).copied();
            let label = quoted(&label(plan, dispatch, step, time));
            let colour = colour(&plan.kernel(dispatch.kernel).family);
            let _ = writeln!(text, "    d{at} [label={label}, fillcolor=\"{colour}\"];");
        }
        text += if layers { "  }\n" } else { "" };
    }
    for ((from, to), drawn) in edges {
        let style = match (drawn, from < to) {
            (true, _) => "",
            (false, true) => " [style=dashed]",
            // It goes on in a later layer, and must not turn the picture over.
            (false, false) => " [style=dashed, constraint=false]",
        };
        let _ = writeln!(text, "  d{from} -> d{to}{style};");
    }
    text + "}\n"
}

/// What is drawn, for what.
fn title(plan: &Plan, program: &Program, step: Typical) -> Vec<String> {
    let phase = match program.phase {
        Phase::Prefill => format!("{} tokens", step.dims.tokens),
        _ => {
            let s = if step.dims.tokens == 1 { "" } else { "s" };
            format!("{} token{s} with {} positions each", step.dims.tokens, step.context)
        }
    };
    let (model, device) = (&plan.model.architecture, &plan.device.name);
    vec![format!("{model} on {device}"), format!("{}: {phase}", program.name)]
}

fn label(plan: &Plan, dispatch: &Dispatch, step: Typical, time: Option<Prediction>) -> Vec<String> {
    let grid = dispatch.grid.map(|extent| extent.to_string()).join(" × ");
    let mut lines = vec![format!("{}: {grid}", plan.kernel(dispatch.kernel).name)];
    let places =
        [("loads", Place::Prologue), ("computes", Place::Anchor), ("stores", Place::Epilogue)];
    for (word, place) in places {
        let ops = dispatch.ops.iter().filter(|op| op.place == place);
        lines.extend(broken(word, &ops.map(FusedOp::in_words).collect::<Vec<_>>()));
    }
    if dispatch.ops.is_empty() {
        lines.push(dispatch.reason.clone());
    }
    if let Some(work) = dispatch.work(step.dims, step.context) {
        let mut cost = format!("{}, {}FLOP", bytes(work.bytes), count(work.flops));
        if let Some(Prediction { us, bound }) = time {
            let _ = write!(cost, ", {us:.1} µs ({})", bound.name());
        }
        lines.push(cost);
    }
    lines
}

/// Ops after a word, in lines that are short enough; spaces that pictures must not leave out do not
/// break.
fn broken(word: &str, ops: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        let comma = if index + 1 < ops.len() { "," } else { "" };
        match lines.last_mut() {
            Some(line) if line.chars().count() + op.chars().count() + 2 <= WIDTH => {
                let _ = write!(line, " {op}{comma}");
            }
            Some(_) => lines.push(format!("{:\u{a0}<9}{op}{comma}", "")),
            None => lines.push(format!("{word:\u{a0}<9}{op}{comma}")),
        }
    }
    lines
}

/// Lines as a string of the language; several stand to the left.
fn quoted(lines: &[String]) -> String {
    let escaped: Vec<String> =
        lines.iter().map(|line| line.replace('\\', "\\\\").replace('"', "\\\"")).collect();
    match escaped.as_slice() {
        [line] => format!("\"{line}\""),
        lines => format!("\"{}\\l\"", lines.join("\\l")),
    }
}

fn colour(family: &str) -> &'static str {
    match family {
        "product" => "#dce9f7",
        "attention" => "#fbe5d0",
        _ => "#eeeeee",
    }
}

/// The edges between dispatches that are drawn: whether they are such, or stand for one of a layer
/// that is not drawn.
fn drawn(sections: &[Section], edges: &BTreeSet<(usize, usize)>) -> BTreeMap<(usize, usize), bool> {
    let stand_in = |index| sections.iter().find_map(|section| section.stand_in(index));
    let mut drawn = BTreeMap::new();
    for &(from, to) in edges {
        if let Some(ends) = stand_in(from).zip(stand_in(to)) {
            *drawn.entry(ends).or_default() |= ends == (from, to);
        }
    }
    drawn
}

fn edges(plan: &Plan, program: &Program) -> BTreeSet<(usize, usize)> {
    let mut writer: HashMap<BufferId, usize> = HashMap::new();
    let mut edges = BTreeSet::new();
    for (index, dispatch) in program.dispatches.iter().enumerate() {
        let kernel = plan.kernel(dispatch.kernel);
        let bound: Vec<_> = kernel.bindings.iter().zip(&dispatch.bindings).collect();
        for (binding, range) in &bound {
            // A state keeps what was written before; other buffers are written anew.
            let state = plan.buffer(range.buffer).role == BufferRole::State;
            if binding.access == Access::Read || state {
                edges.extend(writer.get(&range.buffer).map(|&from| (from, index)));
            }
        }
        for (binding, range) in bound {
            if binding.access == Access::Write {
                writer.insert(range.buffer, index);
            }
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_broken() {
        let line = |text: &str| text.to_owned();
        assert_eq!(quoted(&[line("a \"b\" \\l")]), r#""a \"b\" \\l""#);
        assert_eq!(quoted(&[line("a"), line("b")]), r#""a\lb\l""#);
        let ops = vec![line("linear q"); 7];
        let lines = broken("computes", &ops);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
        assert!(lines[1].trim_start().starts_with("linear q,"), "{lines:?}");
    }

    #[test]
    fn layers_that_are_not_drawn_are_stood_in_for() {
        let layers = Section { range: 1..3, layers: vec![0, 1], starts: vec![1, 3] };
        let outside = |at: usize| Section { range: at..at + 1, layers: vec![], starts: vec![at] };
        let sections = [outside(0), layers, outside(5)];
        let edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)].into();
        let found: Vec<_> = drawn(&sections, &edges).into_iter().collect();
        let expected = [((0, 1), true), ((1, 2), true), ((2, 1), false), ((2, 5), false)];
        assert_eq!(found, expected);
    }
}
