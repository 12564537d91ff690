//! Every pair of neighbours in a plan has a decision: whether one kernel computes both, by which
//! rule and why, and what would change it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use quarrel_compiler::{canonical, compile};
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::graph::{Graph, Op, ValueId};
use quarrel_ir::plan::{Dispatch, Phase, Plan, PlanOptions, Precision};
use quarrel_tests::architectures::{draw, variant};
use quarrel_tests::little;
use quarrel_tests::small::small_models;
use quarrel_tests::synthetic::Variant;
use quarrel_tests::{facts, smollm2};

/// The value whose memory holds `value`.
fn storage(graph: &Graph, value: ValueId) -> ValueId {
    match graph.op(value) {
        Op::Reshape(_) => storage(graph, graph.operands(value)[0]),
        _ => value,
    }
}

/// Checks every op of every dispatch with each operand that the step computes.
fn check(graph: &Graph, device: &DeviceFacts, options: &PlanOptions) -> usize {
    let plan = compile(graph, device, options).unwrap_or_else(|error| panic!("{error}"));
    let graph = canonical(graph).unwrap();
    let mut checked = 0;
    for phase in [Phase::Decode, Phase::Prefill] {
        let values = plan.values(phase);
        for dispatch in &plan.program(phase).unwrap().dispatches {
            for op in &dispatch.ops {
                for operand in graph.operands(ValueId(op.value)) {
                    let operand = storage(&graph, operand).0;
                    if !values.contains_key(&operand) {
                        assert!(is_given(&graph, ValueId(operand)), "%{operand} is not computed");
                        continue;
                    }
                    check_pair(&plan, phase, [operand, op.value], dispatch.computes(operand));
                    checked += 1;
                }
            }
        }
    }
    for decision in &plan.decisions {
        assert!(!decision.reason.is_empty() && !decision.pairs.is_empty(), "{decision:?}");
        assert_eq!(decision.taken, decision.would_change.is_empty(), "{decision:?}");
    }
    checked
}

/// Whether a value is there before the step: an input, a state, a weight or a part of one.
fn is_given(graph: &Graph, value: ValueId) -> bool {
    let part = matches!(graph.op(value), Op::Slice { .. } | Op::WeightRows(_) | Op::Reshape(_));
    graph.op(value).is_leaf() || (part && graph.operands(value).iter().all(|v| is_given(graph, *v)))
}

fn check_pair(plan: &Plan, phase: Phase, pair: [u32; 2], together: bool) {
    let found = plan.decisions_on(phase, pair).any(|decision| decision.taken == together);
    let names: Vec<String> = pair.iter().map(|v| plan.values(phase)[v].label()).collect();
    assert!(found, "{phase:?}: {} and {}, together {together}: no decision", names[0], names[1]);
}

fn options(context: u32) -> PlanOptions {
    PlanOptions { context, chunk: 16, ..PlanOptions::default() }
}

#[test]
fn of_every_architecture() {
    for (name, graph) in small_models() {
        println!("{name}");
        for device in [facts::llvmpipe(), facts::apple(), facts::nvidia()] {
            assert!(check(&graph, &device, &options(64)) > 10);
        }
        let unfused = PlanOptions { fuse: false, ..options(64) };
        let several = PlanOptions { slots: 3, ..options(64) };
        let matrices = PlanOptions { precision: Precision::Auto, ..several.clone() };
        for options in [unfused, several, matrices] {
            check(&graph, &facts::nvidia(), &options);
        }
    }
}

#[test]
fn of_architectures_drawn_at_random() {
    for one in draw(&variant(), 60, 5) {
        let graph = Variant { layers: 2, ..one }.graph();
        for device in [facts::llvmpipe(), facts::nvidia()] {
            check(&graph, &device, &options(64));
        }
    }
}

/// Attention over a long context is split, and combined.
#[test]
fn of_a_long_context() {
    for device in [facts::apple(), facts::nvidia()] {
        check(&smollm2::graph(), &device, &options(8192));
        let plan = compile(&smollm2::graph(), &device, &options(8192)).unwrap();
        assert!(plan.decisions.iter().any(|decision| decision.rule == "combine-split"));
    }
}

/// What follows a product whose columns are shared is apart from it, and both are told why.
#[test]
fn of_shared_columns() {
    let (graph, device) = (little::shared_columns(2048).graph(), facts::nvidia());
    let options = PlanOptions {
        precision: Precision::Auto,
        context: 1024,
        chunk: 512,
        out_rows: 512,
        ..PlanOptions::default()
    };
    assert!(check(&graph, &device, &options) > 3);
    let plan = compile(&graph, &device, &options).unwrap();
    let of_rule = plan.decisions.iter().filter(|decision| decision.rule == "share-columns");
    assert_eq!(of_rule.map(|decision| decision.pairs.len()).sum::<usize>(), 1);
    let prompt = &plan.program(Phase::Prefill).unwrap().dispatches;
    let shared = |dispatch: &&Dispatch| dispatch.reason.contains("workgroups share its columns");
    assert_eq!(prompt.iter().filter(shared).count(), 2);
}

/// What two names stand for, and what is said of them.
#[test]
fn questions_about_two_values_have_answers() {
    let plan = compile(&smollm2::graph(), &facts::nvidia(), &options(256)).unwrap();
    let ask = |a: &str, b: &str| {
        let pair = plan.pair(Phase::Decode, a, b).unwrap_or_else(|error| panic!("{error}"));
        plan.explain(Phase::Decode, pair).unwrap()
    };
    let rules = |a: &str, b: &str| -> Vec<String> {
        let steps = ask(a, b).steps;
        steps.into_iter().flat_map(|s| s.decisions).map(|d| d.rule).collect()
    };
    // Queries and keys are two products of the same rows, each turned.
    assert_eq!(rules("q", "k"), ["fuse-epilogue", "merge", "fuse-epilogue"]);
    assert!(!ask("q", "k").together.is_empty());
    // Attention waits for the keys, and takes its queries as they are.
    let apart = ask("q", "attention");
    assert_eq!((apart.together.len(), apart.steps.len()), (0, 1));
    assert_eq!(apart.steps[0].decisions[0].rule, "anchor-operands");
    assert_eq!(rules("append", "attention"), ["state-order"]);
    // A norm joins the product that reads it, not the one before.
    let apart = ask("h@3", "x@3");
    assert!(apart.steps[0].decisions.iter().all(|d| !d.taken && !d.would_change.is_empty()));
    // Every other pair has an answer too.
    let values: Vec<u32> = plan.values(Phase::Decode).into_keys().take(60).collect();
    for &a in &values {
        for &b in values.iter().filter(|b| **b > a) {
            let found = plan.explain(Phase::Decode, [a, b]).unwrap();
            let said = !found.steps.is_empty() || found.anchors.iter().all(|of| !of.is_empty());
            assert!(said, "%{a} and %{b}: {found:?}");
        }
    }
    assert!(plan.pair(Phase::Decode, "nothing", "q").is_err());
    assert!(plan.pair(Phase::Decode, "%17", "%17").is_err());
}
