//! Commands on a Hugging Face folder in place of a GGUF file.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use std::path::{Path, PathBuf};
use support::{Bench, has};

/// A two-layer Llama without a tokenizer (`tests/tiny/README.md`).
fn llama() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tiny/hf/llama")
}

fn name(path: &Path) -> String {
    path.to_str().unwrap().to_string()
}

/// A copy of the folder with another configuration.
fn changed(key: &str, value: serde_json::Value) -> (tempfile::TempDir, String) {
    let place = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(llama().join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
    config[key] = value;
    std::fs::write(place.path().join("config.json"), config.to_string()).unwrap();
    let weights = "model.safetensors";
    std::fs::copy(llama().join(weights), place.path().join(weights)).unwrap();
    let path = name(place.path());
    (place, path)
}

#[test]
fn a_folder_runs_by_token_ids() {
    let (bench, folder) = (Bench::new(), name(&llama()));
    let arguments = ["--prompt-tokens", "1,17,93", "--json"];
    let run = bench.run(&[&["run", &folder, "-n", "4"], &arguments[..]].concat()).json();
    assert_eq!(run["prompt_tokens"], json!([1, 17, 93]));
    assert_eq!(run["tokens"].as_array().unwrap().len(), 4);
    let logits = bench.run(&[&["logits", &folder], &arguments[..]].concat()).json();
    assert_eq!(logits["top"][0][0], run["tokens"][0]);
    bench.run(&["run", &folder, "Hello"]).refused(&["no tokenizer.json", "--prompt-tokens"]);
    bench.run(&["tokenize", &folder, "Hello"]).refused(&["no tokenizer.json"]);
}

#[test]
fn plan_and_bench_take_a_folder() {
    let (bench, folder) = (Bench::new(), name(&llama()));
    let plan = bench.run(&["plan", &folder, "--format", "json", "--ctx", "64"]).json();
    has(&plan, &["buffers", "programs"]);
    let sizes = ["--prompt-len", "8", "--gen-len", "2"];
    let report = bench.run(&[&["bench", &folder, "--json"], &sizes[..]].concat()).json();
    has(&report, &["tests"]);
}

#[test]
fn inspect_shows_what_a_folder_presents() {
    let (bench, folder) = (Bench::new(), name(&llama()));
    let shown = bench.run(&["inspect", &folder, "--json"]).json();
    assert_eq!(shown["architecture"], "llama");
    assert_eq!(shown["folder"]["class"], "LlamaForCausalLM");
    assert_eq!(shown["folder"]["mapping"], "llama.map");
    assert_eq!(shown["folder"]["unused"], json!([]));
    assert_eq!(shown["metadata"]["llama.attention.head_count_kv"], 2);
    let text = bench.run(&["inspect", &folder]).out;
    assert!(text.contains("LlamaForCausalLM in one safetensors file, through llama.map"), "{text}");
}

#[test]
fn an_unknown_class_is_served_by_a_mapping_file() {
    let (_place, folder) = changed("architectures", json!(["NewForCausalLM"]));
    let bench = Bench::new();
    let ids = ["--prompt-tokens", "1,17,93", "-n", "1", "--json"];
    let run = [&["run", &folder], &ids[..]].concat();
    bench.run(&run).refused(&["\"NewForCausalLM\"", "LlamaForCausalLM", "--mapping"]);
    let mapping = bench.file("new.map", b"class NewForCausalLM\ninclude llama\n");
    let found = bench.run(&[&run[..], &["--mapping", &mapping]].concat()).json();
    assert_eq!(found["tokens"].as_array().unwrap().len(), 1);
    let wrong = bench.file("wrong.map", b"class NewForCausalLM\nmeta x\n");
    bench.run(&[&run[..], &["--mapping", &wrong]].concat()).refused(&["wrong.map, line 2"]);
}

#[test]
fn a_folder_that_does_not_fit_is_refused() {
    let (_place, folder) = changed("hidden_act", json!("relu"));
    let bench = Bench::new();
    bench.run(&["plan", &folder]).refused(&["hidden_act", "decoder.map"]);
    let (_place, folder) = changed("num_attention_heads", json!(7));
    bench.run(&["plan", &folder]).refused(&["q_proj", "7 heads"]);
    let (_place, folder) = changed("num_hidden_layers", json!(3));
    bench.run(&["plan", &folder]).refused(&["model.layers.2.", "blk.2."]);
    bench.run(&["plan", "/"]).refused(&["no config.json"]);
}

#[test]
fn a_broken_tokenizer_leaves_token_ids() {
    let (place, folder) = changed("eos_token_id", json!([2, 3]));
    std::fs::write(place.path().join("tokenizer.json"), "{}").unwrap();
    let bench = Bench::new();
    bench.run(&["run", &folder, "Hello"]).refused(&["tokenizer.json"]);
    let ids = ["--prompt-tokens", "1,17,93", "-n", "2", "--json"];
    assert_eq!(bench.run(&[&["run", &folder], &ids[..]].concat()).code, 0);
}
