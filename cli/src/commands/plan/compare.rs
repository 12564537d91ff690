//! `quarrel plan diff`: what differs between two plans, and what caused it.

use super::Subject;
use super::fold::spans;
use super::text::wrapped;
use crate::error::{CliError, Result};
use crate::model::Model;
use crate::{output, saved};
use clap::Parser;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::{Diff, DiffInput, FusionChange, KernelChange, Phase, Plan};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// Compare two plans
///
/// Each side is the file of a saved plan, or a model with options of `quarrel plan`, in quotes. Where
/// both sides are compiled from one model, each device fact and option that differs is tried alone,
/// to find which one brings a difference about.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  quarrel plan diff smollm2 \"smollm2 --no-fuse\"\n  quarrel plan diff \
\"smollm2 --for h100.json\" \"smollm2 --for m3.json\"\n  quarrel plan diff old.plan new.plan --json"
)]
pub(super) struct Args {
    /// A saved plan, or a model with options
    #[arg(allow_hyphen_values = true)]
    a: String,
    /// Another
    #[arg(allow_hyphen_values = true)]
    b: String,
    /// Print the differences as JSON
    #[arg(long)]
    json: bool,
}

/// A side that is to be compiled.
#[derive(Parser, Debug)]
#[command(name = "quarrel plan diff", no_binary_name = true, disable_help_flag = true)]
struct Spec {
    #[command(flatten)]
    subject: Subject,
}

/// One of two plans.
struct Side {
    plan: Plan,
    /// What it was compiled from, where that is at hand.
    graph: Option<Graph>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    a: &'a str,
    b: &'a str,
    #[serde(flatten)]
    diff: &'a Diff,
}

pub(super) fn execute(args: &Args) -> Result<()> {
    let (a, b) = (side(&args.a)?, side(&args.b)?);
    let mut diff = Diff::between(&a.plan, &b.plan);
    let common = a.graph.as_ref().filter(|graph| b.graph.as_ref() == Some(graph));
    if let Some(graph) = common {
        find_causes(&mut diff, graph, &a.plan)?;
    }
    match args.json {
        true => output::json(&Output { a: &args.a, b: &args.b, diff: &diff }),
        false => output::text(&text(args, [&a.plan, &b.plan], &diff, common.is_some())),
    }
}

fn side(spec: &str) -> Result<Side> {
    let path = Path::new(spec);
    let plan = path.is_file() && std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"{"));
    if plan {
        return Ok(Side { plan: saved::read(path)?, graph: None });
    }
    let Spec { subject } = Spec::try_parse_from(spec.split_whitespace()).map_err(|error| {
        let message = error.to_string();
        let first: Vec<&str> =
            message.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let first = first.join(" ");
        CliError::User(format!(
            "{spec:?} is neither a saved plan nor a model with options of `quarrel plan`: {}",
            first.strip_prefix("error: ").unwrap_or(&first)
        ))
    })?;
    let source = subject.model.source(&subject.plan.mapping)?;
    let model = Model::bind(subject.model.name()?, source, &subject.plan)?;
    let (device, options) = subject.target(&model, false)?;
    let plan = model.compile(&device, &options)?;
    Ok(Side { plan, graph: Some(model.graph) })
}

/// Tries each differing fact and option of the second side alone on the first.
fn find_causes(diff: &mut Diff, graph: &Graph, a: &Plan) -> Result<()> {
    let inputs: Vec<DiffInput> = diff.inputs.clone();
    for DiffInput { name, values: [_, value] } in inputs {
        let with = |part: &str, whole: serde_json::Value| {
            let mut whole = whole;
            if let Some(field) = name.strip_prefix(part) {
                whole[field] = value.clone();
            }
            whole
        };
        let device = with("device.", serde_json::to_value(&a.device)?);
        let options = with("options.", serde_json::to_value(&a.options)?);
        let (Ok(device), Ok(options)) =
            (serde_json::from_value(device), serde_json::from_value(options))
        else {
            continue;
        };
        // What does not compile alone brings nothing about alone.
        if let Ok(alone) = quarrel_compiler::compile(graph, &device, &options) {
            diff.blame(&name, &Diff::between(a, &alone));
        }
    }
    Ok(())
}

// Writing to a string, here and below, does not fail.

/// The differences for people; `sought` says whether causes were looked for.
fn text(args: &Args, plans: [&Plan; 2], diff: &Diff, sought: bool) -> String {
    let mut text = String::new();
    for (letter, spec, plan) in [("a", &args.a, plans[0]), ("b", &args.b, plans[1])] {
        let (model, device) = (&plan.model.architecture, &plan.device.name);
        let _ = writeln!(text, "{letter}  {spec}: {model} on {device}");
    }
    if diff.is_empty() {
        return text + "\nthe plans are alike\n";
    }
    if !diff.inputs.is_empty() {
        text += "\ncompiled from\n";
    }
    for DiffInput { name, values: [a, b] } in &diff.inputs {
        text += &line(name, &a.to_string(), &b.to_string());
    }
    if !diff.figures.is_empty() {
        text += "\nfigures\n";
    }
    for figure in &diff.figures {
        let [a, b] = figure.values.map(|value| match figure.name.starts_with("bytes") {
            true => output::bytes(value),
            false => value.to_string(),
        });
        text += &line(&figure.name, &a, &b);
    }
    if !diff.fusions.is_empty() {
        text += "\nfusions\n";
    }
    for change in &diff.fusions {
        text += &(fusion(change) + &causes(&change.causes, sought));
    }
    if !diff.changes.is_empty() {
        text += "\nkernels\n";
    }
    for change in &diff.changes {
        text += &(kernel(change) + &causes(&change.causes, sought));
    }
    text
}

fn line(name: &str, a: &str, b: &str) -> String {
    match name.len() + a.len() + b.len() {
        0..=70 => format!("  {name:<32} {a} → {b}\n"),
        _ => {
            let mut text = format!("  {name}\n");
            text += &wrapped("a", a);
            text + &wrapped("b", b)
        }
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Prefill => "prefill",
        _ => "decode",
    }
}

fn kernel(change: &KernelChange) -> String {
    let layers = match change.layers.as_slice() {
        [] => String::new(),
        layers => format!(", layers {}", spans(layers)),
    };
    let mut text = format!("  {}{layers}\n", phase(change.phase));
    text += &wrapped("ops", &change.ops);
    let none = "no kernel of just these ops";
    for (letter, how) in ["a", "b"].iter().zip(&change.how) {
        text += &wrapped(letter, how.as_deref().unwrap_or(none));
    }
    text
}

fn fusion(change: &FusionChange) -> String {
    let [from, to] = &change.pair;
    let (together, apart) = if change.together == 0 { ("a", "b") } else { ("b", "a") };
    let s = if change.pairs == 1 { "" } else { "s" };
    let mut text = format!(
        "  {}: {from} – {to}, {} pair{s}: one kernel in {together}, two in {apart}\n",
        phase(change.phase),
        change.pairs
    );
    if let Some(decision) = &change.declined {
        text += &wrapped("why", &format!("{}: {}", decision.rule, decision.reason));
        text += &wrapped("change", &decision.would_change);
    }
    text
}

fn causes(causes: &[String], sought: bool) -> String {
    match causes.is_empty() && sought {
        true => wrapped("cause", "several facts or options together, none alone"),
        false => wrapped("cause", &causes.join("; ")),
    }
}
