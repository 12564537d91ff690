//! The plan as one page: a file that needs no network and no other file.
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | puts the page together |
//! | `data.rs` | what the page's script reads: the plan, arranged for it |
//! | `graph.rs` | the graph before fusion, and what each op costs by itself |
//! | `programs.rs` | the dispatches of each program with their costs, bindings and dependencies |
//! | `code.rs` | kernel text in three languages, with the op behind each line |
//! | `spirv.rs` | SPIR-V as text |
//! | `page/` | the page itself: markup, style, and the script's parts in the order of `SCRIPT` |
//!
//! Everything that comes from a model's file is text to the page, never markup: it lies in JSON whose
//! `<` are escaped, the script makes text of it, and a content policy lets nothing run but that
//! script, and nothing be fetched.

mod code;
mod data;
mod graph;
mod programs;
mod spirv;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::Plan;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// What a page shows.
pub(super) struct Page<'a> {
    /// The model, as the user named it.
    pub(super) model: &'a str,
    /// The graph that was fused.
    pub(super) graph: &'a Graph,
    /// The plan.
    pub(super) plan: &'a Plan,
    /// The same, compiled op by op, where that is possible.
    pub(super) unfused: Option<&'a Plan>,
    /// Measured microseconds of each dispatch, by program; empty where nothing was measured.
    pub(super) measured: &'a [Vec<Option<f64>>],
}

const STYLE: &str = include_str!("page/style.css");

/// The script's parts, each a set of functions; the last one runs them.
const SCRIPT: [&str; 12] = [
    include_str!("page/plan.js"),
    include_str!("page/text.js"),
    include_str!("page/layout.js"),
    include_str!("page/graph.js"),
    include_str!("page/camera.js"),
    include_str!("page/details.js"),
    include_str!("page/code.js"),
    include_str!("page/timeline.js"),
    include_str!("page/memory.js"),
    include_str!("page/table.js"),
    include_str!("page/search.js"),
    include_str!("page/main.js"),
];

/// The page.
pub(super) fn page(page: &Page<'_>) -> serde_json::Result<String> {
    let script = format!("'use strict';\n(() => {{\n{}}})();\n", SCRIPT.concat());
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'",
        hash(&script),
        hash(STYLE)
    );
    let mut blocks = String::new();
    for (id, kernel) in page.plan.kernels.iter().enumerate() {
        let sources = code::sources(kernel, page.plan);
        blocks += &block(&format!("code-{id}"), &sources)?;
    }
    let holes = [
        ("{{policy}}", policy),
        ("{{title}}", escaped(page.model)),
        ("{{style}}", STYLE.to_string()),
        ("{{plan}}", block("plan", &data::of(page))?),
        ("{{script}}", script),
        ("{{code}}", blocks),
    ];
    Ok(fill(include_str!("page/page.html"), &holes))
}

/// `template` with its holes filled, in order: what fills one is not searched for others.
fn fill(template: &str, holes: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    for (hole, value) in holes {
        // The template and its holes are written together, and a test makes a page.
        let (before, after) = rest.split_once(hole).unwrap_or((rest, ""));
        text += before;
        text += value;
        rest = after;
    }
    text + rest
}

/// Data in an element of its own. JSON has `<` in strings alone, where it may be escaped, so nothing
/// in it ends the element or begins another.
fn block(id: &str, data: &impl Serialize) -> serde_json::Result<String> {
    let json = serde_json::to_string(data)?.replace('<', "\\u003c");
    Ok(format!("<script type=\"application/json\" id=\"{id}\">{json}</script>\n"))
}

/// Text as markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_does_not_end_its_element() {
        let text = block("x", &["</script><script>alert(1)</script>", "<!--"]).unwrap_or_default();
        assert_eq!(text.matches('<').count(), 2, "{text}");
        assert!(text.contains("\\u003c/script>\\u003cscript>alert(1)"), "{text}");
    }

    #[test]
    fn what_fills_a_hole_is_not_searched() {
        let holes = [("{{a}}", "{{b}}".to_string()), ("{{b}}", "2".to_string())];
        assert_eq!(fill("<{{a}}-{{b}}>", &holes), "<{{b}}-2>");
    }
}
