//! Plans beside the reference, kernel by kernel: all architectures pass, and of a plan with one broken
//! kernel exactly that is named.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

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
    let broken = break_in_layer(&plan, 3);
    let report = run(&graph, &broken, &weights, &script);
    assert!(report.passed, "{:?}", report.first);
    let all = Script { layers: Layers::All, ..script };
    let report = run(&graph, &broken, &weights, &all);
    let first = report.first.clone().unwrap();
    assert_eq!((first.kernel.as_str(), first.at.layer), ("broken_1", Some(3)), "{first:?}");
    assert_eq!(diverging(&report), ["broken_0", "broken_1"].map(String::from).into());
}

/// The plan with the residual sum after the feed-forward network of `layer` missing a term, in kernels
/// that only this layer has: `broken_0` decodes, `broken_1` is for prompts.
fn break_in_layer(plan: &Plan, layer: u32) -> Plan {
    let mut plan = plan.clone();
    for program in 0..2 {
        let place = plan.programs[program].dispatches.iter().rposition(|d| d.layer == Some(layer));
        let dispatch = &mut plan.programs[program].dispatches[place.unwrap()];
        let mut kernel = plan.kernels[dispatch.kernel.0 as usize].clone();
        dispatch.kernel = KernelId(plan.kernels.len() as u32);
        kernel.name = format!("broken_{program}");
        kernel.wgsl = without_a_term(&kernel.wgsl).unwrap();
        plan.kernels.push(kernel);
    }
    plan
}

/// The text with the first sum of two names made the first of them.
fn without_a_term(wgsl: &str) -> Option<String> {
    let sum = |line: &str| {
        let (name, sum) = line.trim().strip_prefix("let ")?.split_once(" = ")?;
        let (sum, _) = sum.split_once(';')?;
        let (a, b) = sum.split_once(" + ")?;
        let is_name = |text: &str| text.starts_with('e') && text[1..].parse::<u32>().is_ok();
        (is_name(a) && is_name(b)).then(|| format!("    let {name} = {a};"))
    };
    let (line, other) = wgsl.lines().find_map(|line| Some((line, sum(line)?)))?;
    Some(wgsl.replacen(line, &other, 1))
}

/// A way to break a kernel: what it is, an op that the kernel computes, and what is replaced by what.
type Break = (&'static str, &'static str, &'static str, &'static str);

const BREAKS: [Break; 8] = [
    ("the other direction of a rotation", "rope", "select(-e", "select(e"),
    ("a larger epsilon", "rms_normalize", "1e-5f", "1e-2f"),
    (
        "a cache row off by one",
        "append",
        "cache_row(slots[n], positions[n])",
        "cache_row(slots[n], positions[n] + 1u)",
    ),
    ("the last row of a tile off by one", "silu", "min(first + slot", "min(first + 1u + slot"),
    ("a sign in an activation", "silu", "exp(min(-e", "exp(min(e"),
    ("the newest position not seen", "attention", "<= at", "< at"),
    ("another row of the table", "embed", "tokens[row]", "(tokens[row] ^ 1u)"),
    (
        "one of two rows of x",
        "silu",
        "sums[1u * TILE + slot] = y_1_0;",
        "sums[1u * TILE + slot] = y_0_0;",
    ),
];

/// Whether any dispatch of the kernel computes `op`.
fn computes(plan: &Plan, kernel: usize, op: &str) -> bool {
    let mut dispatches = plan.programs.iter().flat_map(|program| &program.dispatches);
    dispatches.any(|d| d.kernel.0 as usize == kernel && d.ops.iter().any(|own| own.op == op))
}

fn small() -> (Graph, RandomWeights, Plan) {
    let variant = Variant::default();
    let (graph, weights) = (variant.graph(), RandomWeights::new(1, variant.tensors()));
    let options = PlanOptions { context: 64, chunk: 9, ..PlanOptions::default() };
    let plan = compile(&graph, &gpu().facts(), &options).unwrap();
    (graph, weights, plan)
}

/// Every break of every kernel that it can be done to is found, there and nowhere else.
#[test]
fn a_broken_kernel_is_named() {
    let (graph, weights, plan) = small();
    let script = script(Variant::default().vocabulary, 20);
    for (what, op, from, to) in BREAKS {
        let mut tried = 0;
        for kernel in 0..plan.kernels.len() {
            let text = &plan.kernels[kernel].wgsl;
            if !computes(&plan, kernel, op) || !text.contains(from) {
                continue;
            }
            let mut broken = plan.clone();
            broken.kernels[kernel].wgsl = text.replace(from, to);
            expect_named(&graph, &broken, &weights, &script, kernel, what);
            tried += 1;
        }
        assert!(tried > 0, "{what}: no kernel has {from:?}");
    }
}

fn expect_named(
    graph: &Graph,
    broken: &Plan,
    weights: &RandomWeights,
    script: &Script,
    kernel: usize,
    what: &str,
) {
    let name = &broken.kernels[kernel].name;
    let report = run(graph, broken, weights, script);
    assert!(!report.passed, "{what} in {name} was not noticed");
    assert_eq!(diverging(&report), [name.clone()].into(), "{what} in {name}");
    let first = report.first.unwrap();
    assert_eq!((&first.kernel, first.in_chain), (name, false), "{what}: {first:?}");
    println!("{what} in {name}: {:.1e} of {}", first.at.difference.relative, first.at.value);
}

/// A residual sum without one of its terms, a token that is not the best, a score that is not put back.
#[test]
fn broken_sums_and_samplers_are_named() {
    let (graph, weights, plan) = small();
    let script = script(Variant::default().vocabulary, 20);
    let sum = (0..plan.kernels.len()).find_map(|kernel| {
        let product = plan.kernels[kernel].family == "product" && computes(&plan, kernel, "add");
        product.then(|| without_a_term(&plan.kernels[kernel].wgsl)).flatten().map(|w| (kernel, w))
    });
    let sampler = |name: &str, from: &str, to: &str| {
        let kernel = plan.kernels.iter().position(|kernel| kernel.name == name).unwrap();
        let text = &plan.kernels[kernel].wgsl;
        assert!(text.contains(from), "{name} has no {from:?}");
        (kernel, text.replace(from, to))
    };
    let broken = [
        ("a missing term", sum.unwrap()),
        (
            "a token that is not the best",
            sampler("greedy", "best.token, best", "best.token ^ 1u, best"),
        ),
        ("a group off by one", sampler("largest", "keys, 4u * group)", "keys, 4u * group + 4u)")),
        (
            "a position that stays",
            sampler("sample", "position + 1u, status == LIVE", "position, status == LIVE"),
        ),
    ];
    for (what, (kernel, wgsl)) in broken {
        let mut broken = plan.clone();
        broken.kernels[kernel].wgsl = wgsl;
        expect_named(&graph, &broken, &weights, &script, kernel, what);
    }
}

/// Kernels that are right alone, in an order that is not.
#[test]
fn a_wrong_order_shows_in_the_chain() {
    let (graph, weights, mut plan) = small();
    let decode = plan.programs.iter_mut().find(|program| program.phase == Phase::Decode).unwrap();
    // The product after attention runs before it.
    let layer: Vec<usize> =
        (0..decode.dispatches.len()).filter(|i| decode.dispatches[*i].layer == Some(0)).collect();
    decode.dispatches.swap(layer[1], layer[2]);
    let report = run(&graph, &plan, &weights, &script(Variant::default().vocabulary, 20));
    assert!(diverging(&report).is_empty(), "{:?}", report.first);
    assert!(!report.passed && report.first.unwrap().in_chain, "{:?}", report.chain);
}
