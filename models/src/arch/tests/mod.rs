//! Tests of the architecture language.

mod build;
mod diagnostics;
mod docs;
mod draft;
mod hostile;
mod language;

use super::{ArchError, ArchFile, Facts, FactsTable};
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use quarrel_ir::graph::Graph;

/// A diagnostic as a terminal shows it, without colours and 100 columns wide.
fn render(error: &dyn Diagnostic) -> String {
    let theme = GraphicalTheme::unicode_nocolor();
    let mut text = String::new();
    GraphicalReportHandler::new_themed(theme)
        .with_width(100)
        .render_report(&mut text, error)
        .unwrap();
    text.lines().map(|line| line.trim_end().to_string() + "\n").collect()
}

/// A model with one layer, of width 8 with 2 heads and 10 tokens.
fn small() -> FactsTable {
    FactsTable::new("small")
        .with_meta("small.block_count", 2.0)
        .with_meta("small.attention.head_count", 2.0)
        .with_meta("small.pattern", vec![true, false])
        .with_meta("small.kv", vec![2.0, 1.0])
        .with_meta("general.name", "Small")
        .with_tensor("token_embd.weight", &[10, 8])
        .with_tensor("norm.weight", &[8])
        .with_tensor("up.weight", &[12, 8])
        .with_tensor("up.bias", &[12])
        .with_tensor("down.weight", &[8, 12])
        .with_tensor("blk.0.q.weight", &[8, 8])
        .with_tensor("blk.1.q.weight", &[8, 8])
}

/// A file with this body between an embedding and the logits.
fn with_body(body: &str) -> String {
    format!(
        "arch small serves \"small\" {{\n  h = embed(tokens, \"token_embd\")\n{body}\n  \
         logits = linear(h, \"token_embd\")\n}}\n"
    )
}

fn build(text: &str, facts: &dyn Facts) -> Result<Graph, ArchError> {
    ArchFile::parse("small.arch", text).and_then(|file| file.build(facts))
}
