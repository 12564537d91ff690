//! What the compiler's passes leave, and what each changed.

use crate::error::{CliError, Result};
use clap::ValueEnum;
use quarrel_compiler::{Form, Line, PASSES, Passed};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::PlanOptions;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::fmt::Write;

/// What there is before the plan: the graph, and what each pass leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Stage {
    /// The graph, as the architecture file describes it
    Graph,
    /// The graph without what computes nothing
    #[value(alias = "canonical")]
    Canonicalise,
    /// The kernels to be, with the values that each computes
    #[value(alias = "fused")]
    Fuse,
    /// The same in the order in which they run
    #[value(alias = "scheduled")]
    Schedule,
    /// Where tensors are packed
    Weights,
    /// The kernels with those that combine split attention and add up products that are shared
    Split,
    /// The same with those that list the rows of each expert
    Group,
    /// The kernels' variants and grids
    #[value(alias = "lowered")]
    Lower,
    /// The buffers of values
    Memory,
}

/// Lines around a change.
const AROUND: usize = 1;

/// What all passes left.
pub(super) fn passes(
    graph: &Graph,
    device: &DeviceFacts,
    options: &PlanOptions,
) -> Result<Vec<Passed>> {
    let mut passes = Vec::new();
    quarrel_compiler::compile_watched(graph, device, options, &mut |left| passes.push(left()))?;
    Ok(passes)
}

/// What one of them left.
pub(super) fn text(passes: &[Passed], stage: Stage) -> Result<String> {
    let names = ["graph"].into_iter().chain(PASSES);
    let name = names.zip(Stage::value_variants()).find(|(_, known)| **known == stage);
    let passed = name.and_then(|(name, _)| passes.iter().find(|passed| passed.name == name));
    passed.map(|passed| passed.text.clone()).ok_or_else(|| {
        CliError::Failure("a bug in Quarrel, please report it: a pass left nothing".into())
    })
}

/// What each pass changed, in the layers up to the first and outside layers.
pub(super) fn trace(passes: &[Passed]) -> String {
    let mut text = String::from(
        "what each pass changed, in the first layer and outside layers; numbers of values count \
         for no change\n",
    );
    for (index, passed) in passes.iter().enumerate().skip(1) {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n{}", passed.name);
        for (form, lines) in &passed.lines {
            let before = passes.iter().take(index).rev().find_map(|earlier| of(earlier, *form));
            if let Some(before) = before {
                text += &changes(&first_layer(before), &first_layer(lines));
            } else if passed.lines.len() == 1 || *form == Form::Variants {
                text += &changes(&[], &first_layer(lines));
            }
        }
    }
    text
}

fn of(passed: &Passed, form: Form) -> Option<&[Line]> {
    passed.lines.iter().find(|(of, _)| *of == form).map(|(_, lines)| lines.as_slice())
}

fn first_layer(lines: &[Line]) -> Vec<&str> {
    let shown = lines.iter().filter(|line| line.layer.is_none_or(|layer| layer == 0));
    shown.map(|line| line.text.as_str()).collect()
}

/// The difference between two lists of lines, in the form of `diff -u`.
fn changes(before: &[&str], after: &[&str]) -> String {
    let keys = |lines: &[&str]| lines.iter().map(|line| unnumbered(line)).collect::<Vec<_>>();
    let ops = capture_diff_slices(Algorithm::Myers, &keys(before), &keys(after));
    let mut text = String::new();
    let mut put = |sign: char, line: Option<&&str>| {
        let _ = writeln!(text, "{sign} {}", line.unwrap_or(&"").trim_start());
    };
    for group in similar::group_diff_ops(ops, AROUND) {
        for op in group {
            let (old, new) = (op.old_range(), op.new_range());
            match op {
                DiffOp::Equal { .. } => new.for_each(|at| put(' ', after.get(at))),
                _ => {
                    old.for_each(|at| put('-', before.get(at)));
                    new.for_each(|at| put('+', after.get(at)));
                }
            }
        }
    }
    match text.is_empty() {
        true => "  nothing\n".into(),
        false => text,
    }
}

/// The line without the numbers of values, which change where others come or go.
fn unnumbered(line: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for c in line.chars() {
        inside = c == '%' || (inside && c.is_ascii_digit());
        if !inside || c == '%' {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_values_count_for_no_change() {
        assert_eq!(unnumbered("%12 q = rope %7, 3"), "% q = rope %, 3");
        let (before, after) = (["%1 a", "%2 b", "%3 c"], ["%1 a", "%2 c"]);
        assert_eq!(changes(&before, &after), "  %1 a\n- %2 b\n  %2 c\n");
        assert_eq!(changes(&after, &after), "  nothing\n");
    }
}
