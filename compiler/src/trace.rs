//! What each pass leaves, for people: as text, and as lines of which two can be compared.

use crate::Staged;
use crate::lower::{Resource, WeightTable};
use crate::region::{Anchor, Region, is_leaf, label};
use quarrel_ir::graph::{Graph, Op, ValueId};
use quarrel_ir::plan::{Phase, Place};
use std::fmt::Write;

/// A pass that has run.
#[derive(Clone, Debug)]
pub struct Passed {
    /// Its name, one of [`PASSES`](crate::PASSES), or `graph` before the first.
    pub name: &'static str,
    /// What it left.
    pub text: String,
    /// The same line by line, in one form or more. What a pass changed is the difference between
    /// its lines and those that a pass before it left in the same form.
    pub lines: Vec<(Form, Vec<Line>)>,
}

/// What lines speak of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The graph.
    Graph,
    /// Which kernel computes what.
    Kernels,
    /// Where weights are.
    Weights,
    /// How kernels compute it.
    Variants,
    /// Where values are.
    Memory,
}

/// A line of what a pass left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The layer it speaks of, where it speaks of one.
    pub layer: Option<u32>,
    /// The text.
    pub text: String,
}

// Writing to a string, here and below, does not fail.

/// A graph as it is before or after a rewrite.
pub(crate) fn graph(name: &'static str, graph: &Graph) -> Passed {
    let text = graph.to_string();
    let layers: Vec<Option<u32>> = graph.values().map(|v| graph.node(v).origin.layer).collect();
    let mut next = layers.into_iter();
    let lines = text.lines().map(|line| {
        let layer = if line.starts_with("  %") { next.next().flatten() } else { None };
        Line { layer, text: line.into() }
    });
    let mut lines = vec![(Form::Graph, lines.collect())];
    if name != "graph" {
        lines.push((Form::Kernels, alone(graph)));
        lines.push((Form::Weights, in_the_file(graph)));
    }
    Passed { name, text, lines }
}

/// Each op as a kernel of its own: what fusion begins with.
fn alone(graph: &Graph) -> Vec<Line> {
    let ops = graph.values().filter(|v| !is_leaf(graph, *v) && !is_reshape(graph, *v));
    let ops: Vec<ValueId> = ops.collect();
    let phases = [Phase::Decode, Phase::Prefill];
    let line = |phase: Phase, value: ValueId| Line {
        layer: graph.node(value).origin.layer,
        text: member(graph, phase, value, value, Place::Anchor),
    };
    phases.into_iter().flat_map(|phase| ops.iter().map(move |v| line(phase, *v))).collect()
}

fn is_reshape(graph: &Graph, value: ValueId) -> bool {
    matches!(graph.op(value), Op::Reshape(_))
}

fn member(graph: &Graph, phase: Phase, value: ValueId, head: ValueId, place: Place) -> String {
    let (phase, place) = (word(phase), format!("{place:?}").to_lowercase());
    let (value, op, head) = (label(graph, value), graph.op(value).name(), label(graph, head));
    format!("{phase}: {value} ({op}) in the kernel of {head}, {place}")
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Prefill => "prefill",
        _ => "decode",
    }
}

fn in_the_file(graph: &Graph) -> Vec<Line> {
    let line = |weight: &quarrel_ir::weight::TensorInfo| {
        let text = format!("{}: {} {:?} in the file", weight.name, weight.format, weight.shape);
        Line { layer: layer_in(&weight.name), text }
    };
    graph.weights.iter().map(line).collect()
}

/// The layer in a tensor's name, by which long lists are cut: the first number.
fn layer_in(name: &str) -> Option<u32> {
    name.split('.').find_map(|part| part.parse().ok())
}

/// The value by which a region is called: the first that its anchor yields.
fn head(region: &Region) -> ValueId {
    let anchors = region.members.iter().filter(|(_, place)| **place == Place::Anchor);
    let first = anchors.map(|(value, _)| *value).min();
    // A region stores something.
    first.or(region.outputs.first().copied()).unwrap_or(ValueId(0))
}

fn kind(region: &Region) -> &'static str {
    match region.anchor {
        Anchor::Product(_) => "product",
        Anchor::Attention(_) => "attention",
        Anchor::Combine(_) => "combine",
        Anchor::Group(_) => "groups",
        Anchor::TopK(_) => "top_k",
        Anchor::Scan(_) => "scan",
        Anchor::Rows(_) => "rows",
    }
}

/// The kernels to be, in order.
pub(crate) fn regions(name: &'static str, graph: &Graph, phases: &[Staged]) -> Passed {
    let (mut text, mut lines) = (String::new(), Vec::new());
    for staged in phases {
        let _ = writeln!(text, "{}", staged.name);
        for region in &staged.regions {
            text += &block(graph, region);
            let called = head(region);
            let own = match region.anchor {
                Anchor::Combine(_) => Some("combined in a kernel of its own"),
                Anchor::Group(_) => Some("listed, the rows of each expert together"),
                _ => None,
            };
            if let Some(own) = own {
                let text = format!("{}: {} {own}", staged.name, label(graph, called));
                lines.push(Line { layer: graph.node(called).origin.layer, text });
            }
            for (&value, &place) in region.members.iter().filter(|(v, _)| !is_reshape(graph, **v)) {
                let text = member(graph, staged.phase, value, called, place);
                lines.push(Line { layer: graph.node(value).origin.layer, text });
            }
        }
    }
    Passed { name, text, lines: vec![(Form::Kernels, lines)] }
}

fn block(graph: &Graph, region: &Region) -> String {
    let mut text = format!("  kernel of {} ({})\n", label(graph, head(region)), kind(region));
    for (word, place) in
        [("loads", Place::Prologue), ("computes", Place::Anchor), ("works on", Place::Epilogue)]
    {
        let of_place =
            region.members.iter().filter(|(v, p)| **p == place && !is_reshape(graph, **v));
        let ops: Vec<String> = of_place
            .map(|(v, _)| format!("{} = {}", label(graph, *v), graph.op(*v).name()))
            .collect();
        if !ops.is_empty() {
            let _ = writeln!(text, "    {word:<9} {}", ops.join(", "));
        }
    }
    let stored: Vec<String> = region.outputs.iter().map(|v| label(graph, *v)).collect();
    let _ = writeln!(text, "    {:<9} {}", "stores", stored.join(", "));
    text
}

/// Where weights are.
pub(crate) fn weights(table: &WeightTable) -> Passed {
    let (mut text, mut lines) = (String::new(), Vec::new());
    for tensor in &table.load {
        let places: Vec<String> = tensor
            .planes
            .iter()
            .map(|range| format!("weights {} at {}", range.buffer.0, range.offset))
            .collect();
        let (rows, columns) = (tensor.rows, tensor.columns);
        let place = format!("{} {rows} × {columns}: {}", tensor.format, places.join(", "));
        let _ = writeln!(text, "{}\n    {place}", tensor.sources.join(" + "));
        for source in &tensor.sources {
            let joined = match tensor.sources.len() {
                1 => String::new(),
                n => format!(" with {} others", n - 1),
            };
            lines.push(Line {
                layer: layer_in(source),
                text: format!("{source}: in {place}{joined}"),
            });
        }
    }
    Passed { name: "weights", text, lines: vec![(Form::Weights, lines)] }
}

/// The kernels as they are.
pub(crate) fn launches(graph: &Graph, phases: &[Staged]) -> Passed {
    let (mut text, mut lines, mut memory) = (String::new(), Vec::new(), Vec::new());
    for staged in phases {
        let _ = writeln!(text, "{}", staged.name);
        for (region, launch) in staged.regions.iter().zip(&staged.launches) {
            let called = head(region);
            let layer = graph.node(called).origin.layer;
            let grid = launch.grid.map(|extent| extent.to_string()).join(" × ");
            let (name, shader) = (label(graph, called), &launch.shader);
            let (family, variant, threads) = (shader.family, &shader.variant, shader.workgroup);
            let _ =
                writeln!(text, "  {name}: {family}, grid {grid}\n    {variant}, {threads} threads");
            let variant = format!("{family} {variant}, {threads} threads, grid {grid}");
            lines.push(Line { layer, text: format!("{}: {name}: {variant}", staged.name) });
            for value in stored(graph, region) {
                memory.push(Line {
                    layer: graph.node(value).origin.layer,
                    text: format!("{}: {} is to be stored", staged.name, label(graph, value)),
                });
            }
        }
    }
    Passed { name: "lower", text, lines: vec![(Form::Variants, lines), (Form::Memory, memory)] }
}

/// What a region leaves in memory of the pool.
fn stored<'a>(graph: &'a Graph, region: &'a Region) -> impl Iterator<Item = ValueId> + 'a {
    // A list of rows is no value.
    let lists = matches!(region.anchor, Anchor::Group(_));
    region.outputs.iter().copied().filter(move |v| !lists && graph.tensor(*v).is_some())
}

/// Where values are.
pub(crate) fn memory(graph: &Graph, phases: &[Staged]) -> Passed {
    let (mut text, mut lines) = (String::new(), Vec::new());
    for staged in phases {
        let _ = writeln!(text, "{}", staged.name);
        for region in &staged.regions {
            if let Anchor::Group(ids) = region.anchor {
                let list = staged.assigned.iter().find(
                    |(resource, _)| matches!(resource, Resource::Groups { ids: of, .. } if *of == ids),
                );
                let (name, layer) = (label(graph, ids), graph.node(ids).origin.layer);
                if let Some((_, index)) = list {
                    let place = format!("groups by {name}: activations {index}");
                    let _ = writeln!(text, "  {place}");
                    lines.push(Line { layer, text: format!("{}: {place}", staged.name) });
                }
            }
            for value in stored(graph, region) {
                let partials = staged.assigned.iter().find(|(resource, _)| match resource {
                    Resource::Partials { value: of, .. } | Resource::Shares { value: of, .. } => {
                        *of == value
                    }
                    _ => false,
                });
                let whole = [Resource::Value(value), Resource::Halves(value)]
                    .iter()
                    .find_map(|resource| staged.assigned.get_key_value(resource));
                let place = match whole.or(partials) {
                    Some((_, index)) => format!("activations {index}"),
                    None => "logits".into(),
                };
                let name = label(graph, value);
                let _ = writeln!(text, "  {name}: {place}");
                let layer = graph.node(value).origin.layer;
                lines.push(Line { layer, text: format!("{}: {name} in {place}", staged.name) });
            }
        }
    }
    Passed { name: "memory", text, lines: vec![(Form::Memory, lines)] }
}
