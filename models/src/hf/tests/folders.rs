//! Folders that are wrong.

use crate::hf::{HfError, HfFolder, Mapping};
use proptest::prelude::*;
use quarrel_ir::weight::WeightSource;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// A mapping file for a class of one matrix and one vector a layer.
pub(super) const MAPPING: &str = "class Little\narch little\nlayers n\n\
    meta width = width // 2\nmeta eps ?= eps\nrequire kind != \"odd\" else \"odd is not described\"\n\
    tensor m.weight = permute(matrix, 2)\ntensor blk.{i}.v ?= add(layers.{i}.v, 1)\n\
    ignore buffer\n";

pub(super) fn mapping() -> Vec<Mapping> {
    vec![Mapping::parse("little.map", MAPPING).unwrap()]
}

pub(super) fn config() -> Value {
    json!({"architectures": ["Little"], "n": 2, "width": 8, "eps": 0.1})
}

/// A safetensors file of a header and data.
pub(super) fn file(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// `matrix` of 4 × 1 in F32 (1, 2, 3, 4), `layers.1.v` of two values in BF16 (0.5, 2).
pub(super) fn weights() -> Vec<u8> {
    let header = json!({
        "__metadata__": {"format": "pt"},
        "matrix": {"dtype": "F32", "shape": [4, 1], "data_offsets": [0, 16]},
        "layers.1.v": {"dtype": "BF16", "shape": [2], "data_offsets": [16, 20]},
    });
    let matrix = [1f32, 2.0, 3.0, 4.0].into_iter().flat_map(f32::to_le_bytes);
    let vector = [0x00, 0x3f, 0x00, 0x40];
    file(&header, &matrix.chain(vector).collect::<Vec<u8>>())
}

pub(super) fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

pub(super) fn open(path: &Path) -> Result<HfFolder, HfError> {
    HfFolder::open(path, &mapping())
}

fn refused(files: &[(&str, &[u8])], words: &[&str]) {
    let folder = folder(files);
    let error = open(folder.path()).expect_err(words[0]).to_string();
    for word in words {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
}

/// The refusal of the good weights with this configuration.
fn config_refused(config: &Value, words: &[&str]) {
    let config = config.to_string();
    refused(&[("config.json", config.as_bytes()), ("model.safetensors", &weights())], words);
}

/// The refusal of the good configuration with these weights.
fn weights_refused(weights: &[u8], words: &[&str]) {
    let config = config().to_string();
    refused(&[("config.json", config.as_bytes()), ("model.safetensors", weights)], words);
}

#[test]
fn a_good_folder_presents_what_its_mapping_says() {
    let place = folder(&[
        ("config.json", config().to_string().as_bytes()),
        ("model.safetensors", &weights()),
        ("generation_config.json", br#"{"eos_token_id": [7, 3]}"#),
    ]);
    let folder = open(place.path()).unwrap();
    assert_eq!((folder.class(), folder.mapping()), ("Little", "little.map"));
    assert_eq!(folder.metadata().u64("little.width"), Some(4));
    assert_eq!(folder.metadata().f64("little.eps"), Some(f64::from(0.1f32)));
    let floats = |name: &str| -> Vec<f32> {
        let bytes = folder.bytes(name).unwrap();
        bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
    };
    assert_eq!(floats("m.weight"), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(floats("blk.1.v"), [1.5, 3.0]);
    assert!(folder.info("blk.0.v").is_none());
    assert_eq!(folder.stop_ids(), [3, 7]);
    folder.release("m.weight");
    assert_eq!(floats("m.weight").len(), 4);
    assert!(folder.bytes("other").is_err());
}

#[test]
fn missing_files_are_named() {
    refused(&[], &["no config.json", ".gguf"]);
    let config = config().to_string();
    let config = ("config.json", config.as_bytes());
    refused(&[config], &["neither model.safetensors nor model.safetensors.index.json"]);
    refused(&[config, ("pytorch_model.bin", b"")], &["PyTorch checkpoint"]);
    let index = br#"{"weight_map": {"matrix": "a.safetensors", "x": "b.safetensors"}}"#;
    let index = ("model.safetensors.index.json", &index[..]);
    refused(&[config, index, ("a.safetensors", &weights())], &["fetch b.safetensors"]);
    refused(
        &[config, index, ("a.safetensors", &weights()), ("b.safetensors", &weights())],
        &["\"x\" is in this file, but it is not", "b.safetensors"],
    );
}

#[test]
fn shards_lie_in_the_folder() {
    let config = config().to_string();
    for name in
        ["../a.safetensors", "/etc/a.safetensors", "a\\b.safetensors", "a.bin", ".safetensors"]
    {
        let index = json!({"weight_map": {"matrix": name}}).to_string();
        refused(
            &[
                ("config.json", config.as_bytes()),
                ("model.safetensors.index.json", index.as_bytes()),
            ],
            &["\"matrix\"", "no name of a .safetensors file in this folder"],
        );
    }
    for index in
        ["[]", "{}", r#"{"weight_map": 3}"#, r#"{"weight_map": {}}"#, r#"{"weight_map": {"a": 1}}"#]
    {
        refused(
            &[
                ("config.json", config.as_bytes()),
                ("model.safetensors.index.json", index.as_bytes()),
            ],
            &["model.safetensors.index.json: "],
        );
    }
}

#[test]
fn configurations_that_do_not_fit_are_refused() {
    let with = |key: &str, value: Value| {
        let mut config = config();
        config[key] = value;
        config
    };
    config_refused(&json!([]), &["no JSON object"]);
    config_refused(&with("architectures", json!([])), &["which class"]);
    config_refused(&with("architectures", json!("Little")), &["which class"]);
    config_refused(
        &with("architectures", json!(["Big"])),
        &["\"Big\"", "Little", "LlamaForCausalLM", "--mapping"],
    );
    config_refused(&with("width", Value::Null), &["no `width`", "little.map, line 4"]);
    config_refused(&with("width", json!("8")), &["`width` is \"8\", no number"]);
    config_refused(&with("kind", json!("odd")), &["odd is not described", "line 6"]);
    config_refused(&with("n", json!(-1)), &["`n` is -1", "whole number"]);
    config_refused(&with("n", json!(1.5)), &["`n` is 1.5"]);
    config_refused(&with("n", json!(1e15)), &["more than the 10000"]);
    config_refused(&with("quantization_config", json!({"quant_method": "gptq"})), &["gptq"]);
    let deep = format!("{{\"architectures\": {}", "[".repeat(100_000));
    refused(&[("config.json", deep.as_bytes())], &["config.json", "no JSON"]);
    refused(&[("config.json", &vec![b' '; 2 << 20])], &["more than 1048576 bytes"]);
}

#[test]
fn damaged_weights_are_refused_by_name() {
    let entry = |dtype: &str, shape: Value, from: u64, to: u64| {
        file(
            &json!({"matrix": {"dtype": dtype, "shape": shape, "data_offsets": [from, to]}}),
            &[0; 16],
        )
    };
    weights_refused(b"", &["0 bytes", "fetch it again"]);
    weights_refused(&u64::MAX.to_le_bytes(), &["the header claims 18446744073709551615 bytes"]);
    weights_refused(b"version https://git-lfs.github.com/spec/v1\n", &["Git LFS pointer"]);
    weights_refused(&weights()[..60], &["the header claims"]);
    weights_refused(&weights()[..weights().len() - 1], &["cannot lie in bytes"]);
    weights_refused(&[&weights()[..], &[0]].concat(), &["1 bytes at the end"]);
    weights_refused(
        &entry("I8", json!([16, 1]), 0, 16),
        &["\"matrix\" has dtype I8", "F32, F16 and BF16"],
    );
    weights_refused(&entry("Q7", json!([16, 1]), 0, 16), &["header", "Q7"]);
    weights_refused(&entry("F32", json!([4, 1]), 0, 32), &["header"]);
    weights_refused(&entry("F32", json!([u64::MAX / 2, 8]), 0, 16), &["header"]);
    weights_refused(&entry("F32", json!([-4]), 0, 16), &["header"]);
    weights_refused(&entry("F32", json!([1, 1, 1, 2, 2]), 0, 16), &["5 dimensions"]);
    weights_refused(&entry("F32", json!([3, 1]), 0, 12), &["4 bytes at the end"]);
    let odd =
        file(&json!({"matrix": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}), &[0; 12]);
    weights_refused(&odd, &["\"matrix\"", "3 rows are not 2 heads"]);
    let empty =
        file(&json!({"matrix": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}), &[]);
    weights_refused(&empty, &["no elements"]);
    let other =
        file(&json!({"other": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}), &[0; 4]);
    weights_refused(&other, &["no tensor \"matrix\"", "\"m.weight\""]);
}

#[test]
fn offsets_that_overflow_are_refused() {
    // Eight tensors that together reach the end of the address space.
    let each = u64::MAX / 8 / 4 * 4;
    let entries: serde_json::Map<String, Value> = (0..8)
        .map(|i| {
            let range = [i * each, (i + 1) * each];
            (format!("t{i}"), json!({"dtype": "F32", "shape": [each / 4], "data_offsets": range}))
        })
        .collect();
    weights_refused(&file(&Value::Object(entries), &[0; 16]), &["again"]);
}

#[test]
fn tensors_that_nothing_takes_are_listed() {
    let header = json!({
        "matrix": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]},
        "buffer": {"dtype": "I64", "shape": [1], "data_offsets": [8, 16]},
        "extra": {"dtype": "U8", "shape": [1], "data_offsets": [16, 17]},
    });
    let place = folder(&[
        ("config.json", config().to_string().as_bytes()),
        ("model.safetensors", &file(&header, &[0; 17])),
    ]);
    assert_eq!(open(place.path()).unwrap().unused(), ["extra"]);
}

proptest! {
    #[test]
    fn damaged_weights_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = weights();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        let place =
            folder(&[("config.json", config().to_string().as_bytes()), ("model.safetensors", &bytes)]);
        if let Ok(folder) = open(place.path()) {
            for info in folder.tensors() {
                let read = folder.bytes(&info.name).unwrap();
                prop_assert_eq!(read.len() as u64, info.elements() * info.format.block_bytes() as u64);
            }
        }
    }

    #[test]
    fn damaged_configurations_never_panic(at in any::<prop::sample::Index>(), byte: u8) {
        let mut text = config().to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let place = folder(&[("config.json", &text), ("model.safetensors", &weights())]);
        let _ = open(place.path());
    }
}
