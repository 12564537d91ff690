//! Dispatches of each layer of the decode plans of all tiny models, on three devices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use quarrel_compiler::compile;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::{Phase, PlanOptions};
use quarrel_tests::facts;
use quarrel_tests::tiny::{CONTEXT, Tiny};
use std::fmt::Write as _;
use std::path::Path;

/// The number of dispatches of each layer.
fn of_layers(tiny: &Tiny, device: &DeviceFacts) -> String {
    let (context, chunk) = (CONTEXT as u32, CONTEXT as u32);
    let options = PlanOptions { context, chunk, ..PlanOptions::default() };
    let plan = compile(&tiny.graph(), device, &options).unwrap();
    let decode = plan.program(Phase::Decode).unwrap();
    let layers = decode.dispatches.iter().filter_map(|dispatch| dispatch.layer).max();
    let count = |layer| decode.dispatches.iter().filter(|d| d.layer == Some(layer)).count();
    (0..=layers.unwrap()).map(|layer| format!("{} ", count(layer))).collect()
}

#[test]
fn of_each_layer_of_every_tiny_model() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unseen = ["cohere2", "falcon_groups", "glm4", "mpt", "phi2", "stablelm_norms"];
    let models = Tiny::ALL.map(|name| (name, "tiny")).into_iter();
    let mut text = format!("{:<16}{:<17}{:<17}{}\n", "model", "apple", "nvidia", "llvmpipe");
    for (name, of) in models.chain(unseen.map(|name| (name, "unseen"))) {
        let tiny = Tiny::open_in(&folder.join(of), name);
        let [apple, nvidia, llvmpipe] =
            [facts::apple(), facts::nvidia(), facts::llvmpipe()].map(|d| of_layers(&tiny, &d));
        writeln!(text, "{name:<16}{apple:<17}{nvidia:<17}{llvmpipe}").unwrap();
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
