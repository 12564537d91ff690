//! Prompts of models with experts: rows listed expert by expert, and products that take them so, in the
//! shapes of the present device and of a discrete GPU.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use quarrel_compiler::compile;
use quarrel_ir::facts::DeviceKind;
use quarrel_ir::format::Format;
use quarrel_ir::plan::{
    Access, BufferRange, Content, Dispatch, Groups, Phase, Plan, PlanOptions, Precision, StepDims,
};
use quarrel_kernels::check;
use quarrel_tests::differ::{Runner, gpu};
use quarrel_tests::facts;
use quarrel_tests::feed::{
    Part, chunks, numbered, plan_for, plan_logits, reference_logits, tokens, worst,
};
use quarrel_tests::little::{Little, Mixture, VOCABULARY};
use std::collections::{BTreeMap, BTreeSet};

/// Relative L2 distance of what is computed in F32, as in the suite of kernels.
const WITHIN: f64 = 1e-5;
/// The same where prompts are multiplied by matrices, which round to F16 twice, one product after the
/// other.
const WITHIN_F16: f64 = 1e-3;

const DECODE: Part = (Phase::Decode, 1);

/// The network, with scores that no product rounds, where there can be such: what is chosen is the same
/// then.
fn little(mixture: Mixture) -> Little {
    let Mixture { experts, width, .. } = mixture;
    let scores = match experts <= width {
        true => format!("slice(h, 0, {experts})"),
        false => "linear(h, \"router\")".to_string(),
    };
    mixture.little(&format!("softmax({scores})"), "sum_norm(take(p, e))")
}

fn options(chunk: u32) -> PlanOptions {
    PlanOptions { context: 2 * chunk + 8, chunk, out_rows: chunk, ..PlanOptions::default() }
}

/// The dispatches of prompts.
fn prompts(plan: &Plan) -> &[Dispatch] {
    &plan.program(Phase::Prefill).unwrap().dispatches
}

/// The dispatch that lists rows, with its ids and its list.
fn list_of(plan: &Plan) -> Option<(usize, BufferRange, BufferRange, Groups)> {
    prompts(plan).iter().enumerate().find_map(|(index, dispatch)| {
        let bound = dispatch.bindings.iter().zip(&dispatch.contents);
        let bound: Vec<_> = bound.zip(&plan.kernel(dispatch.kernel).bindings).collect();
        let find = |access| bound.iter().find(|(_, declared)| declared.access == access);
        let ((list, content), _) = find(Access::Write)?;
        let ((ids, _), _) = find(Access::Read)?;
        match content {
            Content::Groups { groups, .. } => Some((index, **ids, **list, *groups)),
            _ => None,
        }
    })
}

/// How products of prompts with experts are computed.
fn variants(plan: &Plan) -> Vec<String> {
    let with_experts = prompts(plan)
        .iter()
        .filter(|dispatch| dispatch.ops.iter().any(|op| op.op == "expert_linear"));
    with_experts.map(|dispatch| plan.kernel(dispatch.kernel).variant.clone()).collect()
}

/// Ids of each token, from words: spread out evenly, all the same, a few of them, or as they come.
fn ids(kind: u32, words: &[u32], experts: u32) -> Vec<u32> {
    let id = |(row, word): (usize, &u32)| match kind {
        0 => row as u32 % experts,
        1 => words[0] % experts,
        2 => words[*word as usize % words.len().min(3)] % experts,
        // The smaller ones more often.
        3 => (word % experts).min(word / 7 % experts),
        _ => word % experts,
    };
    words.iter().enumerate().map(id).collect()
}

/// Any ids are listed, each row in one tile of its expert in each table.
#[test]
fn rows_are_listed_by_expert() {
    for (experts, top, chunk) in [(32u32, 8u32, 40u32), (128, 8, 100), (5, 3, 33), (1, 1, 4)] {
        let mixture = Mixture {
            experts: experts.into(),
            top: top.into(),
            width: 16,
            inner: 8,
            formats: [Format::F32; 3],
        };
        let little = little(mixture);
        for discrete in [None, Some(gpu().facts().subgroup_size)] {
            let plan = plan_for(&little.graph(), &options(chunk), discrete);
            let runner = Runner::of(&plan, &little.weights(3));
            let (index, chosen, list, groups) = list_of(&plan).unwrap();
            assert_eq!(groups, Groups { rows: chunk * top, experts });
            let words = prop::collection::vec(any::<u32>(), (chunk * top) as usize);
            let strategy = (1..=chunk, 0u32..=4, words);
            let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
            let check = |(tokens, kind, words): (u32, u32, Vec<u32>)| {
                let rows = tokens * top;
                let ids = ids(kind, &words[..rows as usize], experts);
                let engine = runner.engine();
                let garbage = vec![0x7fc0_dead; groups.words() as usize];
                engine.write_at(list.buffer, list.offset, &garbage);
                engine.write_at(chosen.buffer, chosen.offset, &ids);
                engine.write(plan.io.step, &[tokens, tokens, 0, 0]);
                let dims = StepDims { tokens, out_rows: tokens, slots: 1 };
                engine.run_one(Phase::Prefill, dims, index).unwrap();
                let found = engine.read(list.buffer, list.offset, groups.words() as usize).unwrap();
                prop_assert_eq!(groups.ids(&found, rows), ids);
                let listed: BTreeSet<u32> = found[..rows as usize].iter().copied().collect();
                prop_assert_eq!(listed, (0..rows).collect::<BTreeSet<u32>>());
                Ok(())
            };
            TestRunner::new(config).run(&strategy, check).unwrap();
        }
    }
}

/// Feeds `parts` to the plan of one device's shapes and to the reference.
fn distance(little: &Little, options: &PlanOptions, discrete: Option<u32>, parts: &[Part]) -> f64 {
    let (graph, weights) = (little.graph(), little.weights(3));
    let tokens = tokens(VOCABULARY, parts.iter().map(|part| part.1).sum());
    let wanted = reference_logits(&graph, &weights, options, &tokens, 0, parts);
    let plan = plan_for(&graph, options, discrete);
    assert!(list_of(&plan).is_some(), "nothing is grouped: {little:?}");
    let runner = Runner::of(&plan, &weights);
    let found = worst(&plan_logits(&runner, &tokens, 0, parts), &wanted);
    println!("{:?}: {found:.1e}", variants(&plan));
    found
}

const MIXTURES: [Mixture; 6] = [
    Mixture { experts: 8, top: 2, width: 64, inner: 40, formats: [Format::F16; 3] },
    Mixture { experts: 5, top: 3, width: 32, inner: 96, formats: [Format::Q8_0; 3] },
    Mixture { experts: 32, top: 8, width: 256, inner: 32, formats: [Format::Q4_K; 3] },
    Mixture { experts: 6, top: 2, width: 30, inner: 21, formats: [Format::F16; 3] },
    Mixture { experts: 1, top: 1, width: 64, inner: 64, formats: [Format::Q4_0; 3] },
    Mixture { experts: 128, top: 8, width: 32, inner: 32, formats: [Format::Q5_1; 3] },
];

/// Full steps and shorter ones, of one token too: some experts have no row.
#[test]
fn prompts_of_experts() {
    for mixture in MIXTURES {
        for chunk in [70u32, 33] {
            if u64::from(chunk) * mixture.top < 4 * mixture.experts {
                continue;
            }
            let parts = [chunks(chunk as usize + 9, chunk as usize), vec![(Phase::Prefill, 1)]];
            let parts = [parts.concat(), vec![DECODE; 2]].concat();
            for discrete in [None, Some(gpu().facts().subgroup_size)] {
                for fuse in [true, false] {
                    let options = PlanOptions { fuse, ..options(chunk) };
                    let found = distance(&little(mixture), &options, discrete, &parts);
                    assert!(found < WITHIN, "{found}: {mixture:?}, chunks of {chunk}");
                }
            }
        }
    }
}

/// The same by cooperative matrices, where the device has them.
#[test]
fn prompts_of_experts_by_matrices() {
    let matrices = !gpu().facts().matrix_shapes.is_empty();
    let software = gpu().facts().kind == DeviceKind::Cpu;
    let sizes = [
        (Mixture { experts: 4, top: 2, width: 256, inner: 128, formats: [Format::F16; 3] }, 150),
        (Mixture { experts: 16, top: 4, width: 128, inner: 256, formats: [Format::Q4_0; 3] }, 150),
        (Mixture { experts: 3, top: 1, width: 256, inner: 256, formats: [Format::Q6_K; 3] }, 700),
    ];
    for (mixture, chunk) in sizes.into_iter().take(if matrices && software { 2 } else { 3 }) {
        let options = PlanOptions { precision: Precision::Auto, ..options(chunk) };
        let parts = chunks(chunk as usize + 40, chunk as usize);
        let lanes = Some(gpu().facts().subgroup_size);
        let found = distance(&little(mixture), &options, lanes, &parts);
        let plan = plan_for(&little(mixture).graph(), &options, lanes);
        for variant in variants(&plan) {
            assert_eq!(variant.starts_with("F16 matrices"), matrices, "{variant}");
        }
        assert!(found < if matrices { WITHIN_F16 } else { WITHIN }, "{found}: {mixture:?}");
    }
}

/// Rows of a token's experts share weights only where a step has several for each expert.
#[test]
fn few_rows_are_taken_one_by_one() {
    let mixture = Mixture { experts: 32, top: 8, width: 64, inner: 32, formats: [Format::F16; 3] };
    for device in [facts::nvidia(), facts::apple(), facts::llvmpipe()] {
        for (chunk, groups) in [(7, false), (15, false), (16, true), (512, true)] {
            let options = PlanOptions { chunk, context: 512, ..PlanOptions::default() };
            let plan = compile(&little(mixture).graph(), &device, &options).unwrap();
            let lists = |phase| {
                let dispatches = plan.program(phase).unwrap().dispatches.iter();
                dispatches.filter(|d| plan.kernel(d.kernel).family == "groups").count()
            };
            assert_eq!((lists(Phase::Decode), lists(Phase::Prefill)), (0, usize::from(groups)));
            let said = prompts(&plan).iter().filter(|dispatch| match groups {
                true => dispatch.reason.contains("rows of one expert"),
                false => dispatch.reason.contains("each workgroup takes one row with its expert"),
            });
            assert_eq!(said.count(), 2, "chunks of {chunk} on {}", device.name);
        }
    }
}

/// The texts of all tiles, for devices that need not be present.
#[test]
fn texts_of_every_tile_are_valid() {
    let mixture =
        Mixture { experts: 8, top: 2, width: 256, inner: 256, formats: [Format::Q4_K; 3] };
    let graph = little(mixture).graph();
    for device in [facts::nvidia(), facts::apple(), facts::llvmpipe()] {
        let precision = Precision::Auto;
        let options = PlanOptions { precision, ..options(512) };
        let plan = compile(&graph, &device, &options).unwrap();
        let choices = plan.kernels.iter().filter_map(|kernel| kernel.choice.as_ref());
        let grouped = choices.filter(|choice| choice.key.ends_with("/8experts"));
        let grouped: BTreeMap<_, _> = grouped.map(|choice| (choice.key.clone(), choice)).collect();
        assert_eq!(grouped.len(), 2, "{:?} on {}", grouped.keys(), device.name);
        let most = grouped.values().map(|choice| choice.alternatives.len()).max().unwrap();
        assert!(most > 2, "{grouped:?}");
        for number in 0..most {
            let choices = numbered(grouped.values().copied(), number);
            let options = PlanOptions { choices, ..options.clone() };
            let plan = compile(&graph, &device, &options).unwrap();
            for kernel in &plan.kernels {
                let at = format!("{} ({}) on {}", kernel.name, kernel.variant, device.name);
                check::metal(&kernel.wgsl).unwrap_or_else(|error| panic!("{at}: {error}"));
                check::spirv(&kernel.wgsl).unwrap_or_else(|error| panic!("{at}: {error}"));
            }
        }
    }
}
