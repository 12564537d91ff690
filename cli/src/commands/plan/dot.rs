//! A program's dispatches as a graph for Graphviz: an edge where one reads what another has written.

use quarrel_ir::plan::{Access, BufferId, BufferRole, Dispatch, FusedOp, Plan, Program};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;

/// The program in the DOT language.
pub(super) fn program(plan: &Plan, program: &Program) -> String {
    let mut text = format!(
        "digraph {:?} {{\n  rankdir=TB;\n  node [shape=box, fontname=\"monospace\", fontsize=10];\n",
        program.name
    );
    let mut layer = None;
    for (index, dispatch) in program.dispatches.iter().enumerate() {
        if dispatch.layer != layer {
            close(&mut text, layer);
            if let Some(new) = dispatch.layer {
                text += &format!("  subgraph cluster_{new} {{\n    label=\"layer {new}\";\n");
            }
            layer = dispatch.layer;
        }
        // Writing to a string does not fail, here and below.
        let _ = writeln!(text, "    d{index} [label={:?}];", label(plan, dispatch));
    }
    close(&mut text, layer);
    for (from, to) in edges(plan, program) {
        let _ = writeln!(text, "  d{from} -> d{to};");
    }
    text + "}\n"
}

fn close(text: &mut String, layer: Option<u32>) {
    if layer.is_some() {
        *text += "  }\n";
    }
}

fn label(plan: &Plan, dispatch: &Dispatch) -> String {
    let ops: Vec<String> = dispatch.ops.iter().map(FusedOp::in_words).collect();
    format!("{}\n{}", plan.kernel(dispatch.kernel).name, ops.join(", "))
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
