//! Hugging Face folders of the classes that have no GGUF twin of their own: what they compute, beside
//! what transformers did (`tests/folders/make.py`). Sizes are no multiples of anything.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use quarrel_ir::graph::StateFormat;
use quarrel_ir::plan::PlanOptions;
use quarrel_models::arch;
use quarrel_models::hf::HfFolder;
use quarrel_tests::differ::{Runner, relative_l2};
use quarrel_tests::feed::{chunks, plan_for, plan_logits, reference_logits};
use serde_json::Value;
use std::path::Path;

/// Relative L2 distance of logits in F32; 2e-6 was measured.
const WITHIN: f64 = 1e-5;

fn check(name: &str, device: bool) {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("folders");
    let text = std::fs::read_to_string(place.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let tokens: Vec<u32> = serde_json::from_value(expected["tokens"].clone()).unwrap();
    let rows: Vec<Vec<f32>> = serde_json::from_value(expected["logits"][name].clone()).unwrap();
    let folder = HfFolder::open(&place.join(name), &[]).unwrap();
    assert_eq!(folder.unused(), &[] as &[String]);
    let options = PlanOptions {
        context: 48,
        chunk: 16,
        out_rows: 16,
        state: Some(StateFormat::F32),
        ..PlanOptions::default()
    };
    let graph = arch::select(&folder, &[]).unwrap();
    let graph = graph.build_for(&folder, u64::from(options.context)).unwrap();
    let parts = chunks(tokens.len(), 16);
    let logits = match device {
        false => reference_logits(&graph, &folder, &options, &tokens, 0, &parts),
        true => {
            let runner = Runner::of(&plan_for(&graph, &options, None), &folder);
            plan_logits(&runner, &tokens, 0, &parts)
        }
    };
    let (logits, rows) = (logits.concat(), rows.concat());
    let apart = relative_l2(&logits[logits.len() - rows.len()..], &rows);
    println!("{name}: {apart:.1e}");
    assert!(apart < WITHIN, "{name}: {apart}");
}

#[test]
fn folders_compute_what_transformers_does() {
    for name in ["llama", "mistral", "mixtral", "qwen2", "qwen3moe", "gemma2", "phi3", "granite"] {
        check(name, false);
    }
}

#[test]
fn folders_compute_the_same_on_the_device() {
    for name in ["mixtral", "gemma2"] {
        check(name, true);
    }
}
