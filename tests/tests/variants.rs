//! Every variant that a plan could take, beside the reference: of the present device, and with the
//! shapes of a discrete GPU.

use quarrel_compiler::compile;
use quarrel_ir::format::Format;
use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::{Choice, ChosenBy, Phase, Plan, PlanOptions, Precision};
use quarrel_tests::architectures::draw;
use quarrel_tests::differ::{Runner, gpu};
use quarrel_tests::facts;
use quarrel_tests::feed::{Part, numbered, plan_for, plan_logits, reference_logits, tokens, worst};
use quarrel_tests::little::{self, Block, Little, Mixture, VOCABULARY};
use quarrel_tests::small::small_models;
use std::collections::{BTreeMap, BTreeSet};

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

/// Runs each variant of each kernel of a block.
fn check(block: &Block, discrete: Option<u32>) {
    let parts: [Part; 4] =
        [(Phase::Prefill, 24), (Phase::Decode, 1), (Phase::Prefill, 7), (Phase::Decode, 1)];
    let names = check_all(&block.little(), discrete, &options(), &parts, WITHIN);
    assert!(!names.is_empty());
}

/// Runs each variant of each kernel, those of all kernels with the same number at once; the names of
/// all variants.
fn check_all(
    little: &Little,
    discrete: Option<u32>,
    options: &PlanOptions,
    parts: &[Part],
    within: f64,
) -> BTreeSet<String> {
    let (graph, weights) = (little.graph(), little.weights(3));
    let tokens = tokens(VOCABULARY, parts.iter().map(|part| part.1).sum());
    let wanted = reference_logits(&graph, &weights, options, &tokens, 0, parts);
    let choices = choices(&plan_for(&graph, options, discrete));
    let most = choices.values().map(|choice| choice.alternatives.len()).max().unwrap_or(0);
    assert!(most > 2, "{choices:?}");
    for number in 0..most {
        let choices = numbered(choices.values(), number);
        let options = PlanOptions { choices, ..options.clone() };
        let plan = plan_for(&graph, &options, discrete);
        for choice in plan.kernels.iter().filter_map(|kernel| kernel.choice.as_ref()) {
            assert_eq!(choice.by, ChosenBy::User);
            assert_eq!(choice.chosen, options.choices[&choice.key]);
        }
        let found = worst(&plan_logits(&Runner::of(&plan, &weights), &tokens, 0, parts), &wanted);
        println!("{found:.1e}: {:?}", options.choices);
        assert!(found < within, "{found}: {:?}: {little:?}", options.choices);
    }
    let all = choices.into_values().flat_map(|choice| choice.alternatives);
    all.map(|alternative| alternative.name).collect()
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

/// Heads of which each subgroup has a part, as registers do not hold them whole, where the device has
/// matrices.
#[test]
fn of_large_heads() {
    for head in [192, 256] {
        let formats = [Format::F16; 3];
        let drawn = draw(&little::block(), 1, 51)[0].clone();
        let block = Block { head, rope_dims: head, kv_heads: 1, share: 4, formats, ..drawn };
        let options = PlanOptions {
            precision: Precision::Auto,
            state: Some(StateFormat::F16),
            chunk: 70,
            out_rows: 70,
            ..options()
        };
        let parts = [(Phase::Prefill, 70), (Phase::Prefill, 40), (Phase::Decode, 1)];
        let lanes = Some(gpu().facts().subgroup_size);
        let names = check_all(&block.little(), lanes, &options, &parts, 1e-3);
        let of_parts = names.iter().any(|name| name.ends_with("-parts2"));
        assert_eq!(of_parts, !gpu().facts().matrix_shapes.is_empty(), "{names:?}");
    }
}

/// Products of weights that are bytes with x in integers, whose rounding is 2e-5 of a row.
#[test]
fn of_products_in_integers() {
    let options = PlanOptions { precision: Precision::Auto, chunk: 2, out_rows: 2, ..options() };
    for (first, second) in [(Format::Q4_K, Format::Q6_K), (Format::Q4_0, Format::Q8_0)] {
        let little = Little::new(Format::F32, 2048)
            .line("x = rms_norm(h, \"norm\", 0.00001)")
            .line("logits = linear(x, \"a\") + linear(x, \"b\") + linear(h, \"a\")")
            .tensor("norm.weight", Format::F32, &[2048])
            .matrix("a", first, 44, 2048)
            .matrix("b", second, 44, 2048);
        let parts = [(Phase::Prefill, 2), (Phase::Decode, 1)];
        let lanes = Some(gpu().facts().subgroup_size);
        let names = check_all(&little, lanes, &options, &parts, 1e-4);
        let integers = names.iter().filter(|name| name.ends_with("-integers")).count();
        assert!(integers >= 6, "{names:?}");
    }
}

/// Products of prompts by cooperative matrices of every tile, which round to F16, where the device has
/// them.
#[test]
fn of_products_by_matrices() {
    let options =
        PlanOptions { precision: Precision::Auto, chunk: 150, out_rows: 150, ..options() };
    let little = Little::new(Format::F32, 256)
        .line("x = silu(linear(h, \"a\")) * linear(h, \"b\")")
        .line("logits = linear(x, \"c\")")
        .matrix("a", Format::F16, 256, 256)
        .matrix("b", Format::Q4_K, 256, 256)
        .matrix("c", Format::Q8_0, 140, 256);
    let parts = [(Phase::Prefill, 150), (Phase::Prefill, 70), (Phase::Prefill, 20)];
    let lanes = Some(gpu().facts().subgroup_size);
    let names = check_all(&little, lanes, &options, &parts, 1e-3);
    let matrices = names.iter().filter(|name| name.starts_with("matrices-")).count();
    assert_eq!(matrices > 3, !gpu().facts().matrix_shapes.is_empty(), "{names:?}");
}

/// Products of prompts whose columns several workgroups share, with an epilogue and without one: where the
/// device has matrices, and workgroup memory for tiles that are shared.
#[test]
fn of_products_whose_columns_are_shared() {
    let little = little::shared_columns(1024);
    let facts = gpu().facts();
    let options =
        PlanOptions { precision: Precision::Auto, chunk: 140, out_rows: 140, ..options() };
    let parts = [(Phase::Prefill, 140), (Phase::Prefill, 40), (Phase::Decode, 1)];
    let names = check_all(&little, Some(facts.subgroup_size), &options, &parts, 1e-3);
    let shared = names.iter().any(|name| name.ends_with("-shares2"));
    let fits = !facts.matrix_shapes.is_empty() && facts.max_workgroup_bytes >= 44 << 10;
    assert_eq!(shared, fits, "{names:?}");
}

/// Products of prompts that take the rows of each expert together, by every tile: in F32, and by
/// matrices, which round to F16, where the device has them.
#[test]
fn of_products_with_experts() {
    let formats = [Format::F16, Format::Q4_K, Format::Q8_0];
    let mixture = Mixture { experts: 4, top: 2, width: 256, inner: 128, formats }
        .little("softmax(slice(h, 0, 4))", "sum_norm(take(p, e))");
    let matrices = !gpu().facts().matrix_shapes.is_empty();
    let lanes = Some(gpu().facts().subgroup_size);
    let parts = [(Phase::Prefill, 90), (Phase::Prefill, 20), (Phase::Decode, 1)];
    for (discrete, precision, within) in [
        (None, Precision::F32, WITHIN),
        (lanes, Precision::F32, WITHIN),
        (lanes, Precision::Auto, if matrices { 1e-3 } else { WITHIN }),
    ] {
        let options = PlanOptions { precision, chunk: 90, out_rows: 90, ..options() };
        let names = check_all(&mixture, discrete, &options, &parts, within);
        let by_matrices = names.iter().filter(|name| name.starts_with("matrices-")).count();
        assert_eq!(by_matrices > 3, matrices && precision == Precision::Auto, "{names:?}");
    }
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
