//! Every variant that a plan could take, beside the reference: of the present device, and with the
//! shapes of a discrete GPU.

use quarrel_compiler::compile;
use quarrel_ir::format::Format;
use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::{Choice, ChosenBy, Phase, Plan, PlanOptions};
use quarrel_tests::architectures::draw;
use quarrel_tests::differ::{Runner, gpu};
use quarrel_tests::facts;
use quarrel_tests::feed::{Part, plan_for, plan_logits, reference_logits, tokens, worst};
use quarrel_tests::little::{self, Block, VOCABULARY};
use quarrel_tests::small::small_models;
use std::collections::BTreeMap;

/// Relative L2 distance with states in F32: variants differ in the order of sums alone.
const WITHIN: f64 = 2e-4;

fn options() -> PlanOptions {
    let state = Some(StateFormat::F32);
    PlanOptions { context: 2048, chunk: 24, out_rows: 24, state, ..PlanOptions::default() }
}

/// The choices of a plan, by key.
fn choices(plan: &Plan) -> BTreeMap<String, Choice> {
    let made = plan.kernels.iter().filter_map(|kernel| kernel.choice.clone());
    made.map(|choice| (choice.key.clone(), choice)).collect()
}

/// Runs each variant of each kernel, those of all kernels with the same number at once.
fn check(block: &Block, discrete: Option<u32>) {
    let little = block.little();
    let (graph, weights) = (little.graph(), little.weights(3));
    let parts: [Part; 4] =
        [(Phase::Prefill, 24), (Phase::Decode, 1), (Phase::Prefill, 7), (Phase::Decode, 1)];
    let tokens = tokens(VOCABULARY, parts.iter().map(|part| part.1).sum());
    let wanted = reference_logits(&graph, &weights, &options(), &tokens, 0, &parts);
    let choices = choices(&plan_for(&graph, &options(), discrete));
    let most = choices.values().map(|choice| choice.alternatives.len()).max().unwrap_or(0);
    assert!(most > 2, "{choices:?}");
    for number in 0..most {
        let asked = choices.iter().map(|(key, choice)| {
            let last = choice.alternatives.len() - 1;
            (key.clone(), choice.alternatives[number.min(last)].name.clone())
        });
        let options = PlanOptions { choices: asked.collect(), ..options() };
        let plan = plan_for(&graph, &options, discrete);
        for choice in plan.kernels.iter().filter_map(|kernel| kernel.choice.as_ref()) {
            assert_eq!(choice.by, ChosenBy::User);
            assert_eq!(choice.chosen, options.choices[&choice.key]);
        }
        let found = worst(&plan_logits(&Runner::of(&plan, &weights), &tokens, 0, &parts), &wanted);
        assert!(found < WITHIN, "{found}: {:?}: {block:?}", options.choices);
    }
}

/// Blocks of which the reference is quick.
fn blocks() -> impl Iterator<Item = Block> {
    let formats = [[Format::F16; 3], [Format::Q4_0, Format::Q8_0, Format::Q4_1]];
    formats.into_iter().map(|formats| Block {
        head: 32,
        rope_dims: 32,
        kv_heads: 1,
        share: 4,
        formats,
        ..draw(&little::block(), 1, 50)[0].clone()
    })
}

#[test]
fn of_the_present_device() {
    blocks().for_each(|block| check(&block, None));
}

#[test]
fn of_a_discrete_gpu() {
    blocks().for_each(|block| check(&block, Some(gpu().facts().subgroup_size)));
}

/// What was measured is taken where it can be; what belongs to other plans is left out of this one.
#[test]
fn measured_ones_are_taken_where_they_can_be() {
    let graph = draw(&little::block(), 1, 50)[0].little().graph();
    let usual = choices(&plan_for(&graph, &options(), None));
    let (key, other) = usual
        .iter()
        .find_map(|(key, choice)| {
            let other = choice.alternatives.iter().find(|other| other.name != choice.chosen)?;
            Some((key.clone(), other.name.clone()))
        })
        .unwrap_or_else(|| panic!("no kernel has a choice: {usual:?}"));
    let tuned = [(key.clone(), other.clone()), ("product/F16/1x1/1".into(), "gone".into())];
    let options = PlanOptions { tuned: tuned.into(), ..options() };
    let plan = plan_for(&graph, &options, None);
    let choice = &choices(&plan)[&key];
    assert_eq!((choice.chosen.as_str(), choice.by), (other.as_str(), ChosenBy::Tuning));
    assert_eq!(plan.options.tuned.keys().collect::<Vec<_>>(), [&key]);
}

/// A key says enough: what is taken or was measured under one suits all kernels that have it.
#[test]
fn kernels_of_one_key_have_the_same_variants() {
    for (name, graph) in small_models() {
        for device in [facts::apple(), facts::nvidia(), facts::llvmpipe()] {
            for (slots, chunk) in [(1, 1), (1, 24), (4, 4), (8, 8)] {
                let options = PlanOptions { context: 64, chunk, slots, ..PlanOptions::default() };
                let plan =
                    compile(&graph, &device, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
                let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
                for choice in plan.kernels.into_iter().filter_map(|kernel| kernel.choice) {
                    let names = choice.alternatives.into_iter().map(|one| one.name).collect();
                    let same =
                        known.entry(choice.key.clone()).or_insert_with(|| Vec::clone(&names));
                    assert_eq!(*same, names, "{name} on {}: {}", device.name, choice.key);
                }
            }
        }
    }
}
