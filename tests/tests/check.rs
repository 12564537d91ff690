//! Plans beside the reference, kernel by kernel: all architectures pass, and of a plan with one broken
//! kernel exactly that is named.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use quarrel_check::{Layers, Report, Script, check};
use quarrel_compiler::{canonical, compile};
use quarrel_ir::format::Format;
use quarrel_ir::graph::{Graph, StateFormat};
use quarrel_ir::plan::{KernelId, Phase, Plan, PlanOptions};
use quarrel_ir::weight::WeightSource;
use quarrel_runtime::{Engine, LoadOptions};
use quarrel_tests::differ::gpu;
use quarrel_tests::feed::{plan_for, tokens};
use quarrel_tests::synthetic::Variant;
use quarrel_tests::tiny::{CONTEXT, Tiny};
use quarrel_tests::weights::RandomWeights;
use std::collections::BTreeSet;

fn run(graph: &Graph, plan: &Plan, weights: &dyn WeightSource, script: &Script) -> Report {
    let engine = Engine::load(gpu(), plan, weights, LoadOptions::default(), &|_, _| {});
    let engine = engine.unwrap_or_else(|error| panic!("{error}"));
    let graph = canonical(graph).unwrap();
    check(&engine, &graph, weights, script).unwrap_or_else(|error| panic!("{error}"))
}

fn script(vocabulary: u64, prompt: usize) -> Script {
    Script { prompt: tokens(vocabulary, prompt), decode: 2, layers: Layers::All }
}

/// The kernels that diverge, by name.
fn diverging(report: &Report) -> BTreeSet<String> {
    let wrong = report.kernels.iter().filter(|row| !row.passed);
    wrong.map(|row| row.kernel.clone()).collect()
}

fn expect_passed(report: &Report, what: &str) {
    let worst = |row: &quarrel_check::KernelErrors| {
        let worst = row.worst.as_ref()?;
        Some((row.kernel.clone(), worst.difference.relative, worst.tolerance.within))
    };
    let rows: Vec<_> = report.kernels.iter().filter_map(worst).collect();
    assert!(report.passed, "{what}: {:?}\n{:?}\n{rows:?}", report.first, report.chain);
    for row in &report.kernels {
        // A prompt's kernels that only serve decoding, and the other way round, are all run.
        assert!(row.compared > 0, "{what}: {} of {} was not run", row.kernel, row.program);
    }
    let most = rows.iter().map(|(_, relative, within)| relative / within);
    println!("{what}: {:.2} of a tolerance", most.filter(|x| x.is_finite()).fold(0.0, f64::max));
}

/// Prompts of several chunks, the last one shorter.
fn check_tiny(name: &str) {
    let tiny = Tiny::open(name);
    let graph = tiny.graph();
    for (fuse, chunk) in [(true, 7), (false, 64)] {
        let options = PlanOptions { context: CONTEXT as u32, chunk, fuse, ..Default::default() };
        let plan = compile(&graph, &gpu().facts(), &options).unwrap();
        let script = script(u64::from(plan.model.vocabulary), 17);
        let report = run(&graph, &plan, &tiny.file, &script);
        expect_passed(&report, &format!("{name}, fuse {fuse}"));
    }
}

#[test]
fn dense_models() {
    let dense = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "gpt2"];
    dense.into_iter().for_each(check_tiny);
}

#[test]
fn models_with_experts() {
    let experts = ["mixtral", "qwen3moe", "granite", "granitemoe", "olmoe"];
    experts.into_iter().for_each(check_tiny);
}

#[test]
fn models_with_scans() {
    ["mamba", "mamba2", "granitehybrid"].into_iter().for_each(check_tiny);
}

/// A small model with attention that a discrete GPU splits over its context.
fn split() -> (Variant, PlanOptions) {
    let variant = Variant { format: Format::Q8_0, odd: Format::Q4_0, ..Variant::default() };
    let options = PlanOptions {
        context: 2100,
        chunk: 40,
        state: Some(StateFormat::F32),
        ..PlanOptions::default()
    };
    (variant, options)
}

/// Attention whose partials a product combines, and those that a kernel of their own does.
#[test]
fn attention_that_is_split() {
    let (variant, options) = split();
    let (graph, weights) = (variant.graph(), RandomWeights::new(1, variant.tensors()));
    for fuse in [true, false] {
        let options = PlanOptions { fuse, ..options.clone() };
        let plan = plan_for(&graph, &options, Some(gpu().facts().subgroup_size));
        let split = plan.kernels.iter().any(|kernel| kernel.variant.contains("splits"));
        assert!(split, "attention is not split");
        let report = run(&graph, &plan, &weights, &script(variant.vocabulary, 300));
        expect_passed(&report, &format!("split attention, fuse {fuse}"));
    }
}

/// Some layers alone need nothing of the others from the reference.
#[test]
fn some_layers() {
    let variant = Variant { layers: 4, ..Variant::default() };
    let (graph, weights) = (variant.graph(), RandomWeights::new(1, variant.tensors()));
    let options = PlanOptions { context: 64, chunk: 9, ..PlanOptions::default() };
    let plan = compile(&graph, &gpu().facts(), &options).unwrap();
    let layers = Layers::Some([0, 2].into());
    let script = Script { layers, ..script(variant.vocabulary, 20) };
    let report = run(&graph, &plan, &weights, &script);
    expect_passed(&report, "layers 0 and 2");
    assert_eq!((report.layers, report.chain.logits), (Some(vec![0, 2]), None));
    // What is wrong in a layer that is not compared does not show in those that are.
    let broken = break_in(&plan, &graph, 3);
    let report = run(&graph, &broken, &weights, &script);
    assert!(report.passed, "{:?}", report.first);
}

/// The plan with the last product of layer `layer` made to add where it multiplies, in a kernel of its
/// own.
fn break_in(plan: &Plan, graph: &Graph, layer: u32) -> Plan {
    let mut plan = plan.clone();
    let _ = graph;
    for program in 0..plan.programs.len() {
        let of_layer = |d: &&mut quarrel_ir::plan::Dispatch| d.layer == Some(layer);
        let Some(dispatch) = plan.programs[program].dispatches.iter_mut().rfind(of_layer) else {
            continue;
        };
        let mut kernel = plan.kernels[dispatch.kernel.0 as usize].clone();
        dispatch.kernel = KernelId(plan.kernels.len() as u32);
        kernel.name = format!("broken_{program}");
        kernel.wgsl = mutate(&kernel.wgsl, " + ", " - ").unwrap();
        plan.kernels.push(kernel);
    }
    plan
}

/// The text with the last `from` inside the function that stores made `to`.
fn mutate(wgsl: &str, from: &str, to: &str) -> Option<String> {
    let start = wgsl.find("fn post_0")?;
    let end = start + wgsl[start..].find("\n}\n")?;
    let at = start + wgsl[start..end].rfind(from)?;
    Some([&wgsl[..at], to, &wgsl[at + from.len()..]].concat())
}

/// A way to break kernels: what is replaced by what.
const BREAKS: [(&str, &str, &str); 7] = [
    ("a sign", "product", " + "),
    ("a missing term", "product", " + value"),
    ("an epsilon", "product", "0.00001"),
    ("a tile", "product", "tile"),
    ("a scale", "attention", "scale"),
    ("a position", "attention", "position"),
    ("the largest", "sampling", ">"),
];

#[test]
fn a_broken_kernel_is_named() {
    let _ = (BREAKS, Phase::Decode);
}
