//! Hugging Face folders beside the GGUF files of the same models (`tests/tiny/README.md`): what a
//! folder presents, and what Llama computes from it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use half::{bf16, f16};
use quarrel_ir::plan::PlanOptions;
use quarrel_ir::weight::WeightSource;
use quarrel_models::arch::{self, Facts};
use quarrel_models::gguf::GgufFile;
use quarrel_models::hf::HfFolder;
use quarrel_tests::differ::{Runner, relative_l2};
use quarrel_tests::feed::{chunks, plan_for, plan_logits, reference_logits};
use quarrel_tests::folder::{self, Tensor};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Largest relative L2 distance of the logits, with a cache in F16.
const LOGITS_WITHIN: f64 = 2e-3;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny")
}

fn open(name: &str) -> (HfFolder, GgufFile) {
    let folder = HfFolder::open(&tiny().join("hf").join(name), &[]).unwrap();
    (folder, GgufFile::open(&tiny().join(format!("{name}.f16.gguf"))).unwrap())
}

fn values(source: &dyn WeightSource, name: &str) -> Vec<f32> {
    let info = source.info(name).unwrap_or_else(|| panic!("no tensor {name}"));
    let mut values = vec![0.0; info.elements() as usize];
    info.format.dequantize(&source.bytes(name).unwrap(), &mut values);
    values
}

/// The keys of the model itself, without those about the file and the tokenizer.
fn keys(facts: &dyn Facts) -> Vec<String> {
    let prefix = format!("{}.", facts.architecture().unwrap());
    let own = |key: &&str| key.starts_with(&prefix);
    let mut keys: Vec<String> =
        facts.meta_keys().into_iter().filter(own).map(String::from).collect();
    keys.sort();
    keys
}

fn check_twin(name: &str) {
    let (folder, file) = open(name);
    assert_eq!(folder.architecture(), Facts::architecture(&file));
    assert_eq!(keys(&folder), keys(&file), "{name}");
    for key in keys(&file) {
        assert_eq!(folder.meta(&key), file.meta(&key), "{key}");
    }
    let sorted = |facts: &dyn Facts| {
        let mut names: Vec<String> = facts.tensor_names().into_iter().map(String::from).collect();
        names.sort();
        names
    };
    assert_eq!(sorted(&folder), sorted(&file));
    assert_eq!(folder.unused(), &[] as &[String]);
    for info in file.tensors() {
        assert_eq!(folder.info(&info.name).unwrap().shape, info.shape, "{}", info.name);
        let (got, expected) = (values(&folder, &info.name), values(&file, &info.name));
        for (got, expected) in got.iter().zip(&expected) {
            // The file's matrices are F16; a sum of F32 values may be rounded once more.
            let rounding = (expected.abs() / 2048.0).max(6e-8);
            assert!((got - expected).abs() <= rounding, "{}: {got}, {expected}", info.name);
        }
        folder.release(&info.name);
    }
}

#[test]
fn llama_is_its_twin() {
    check_twin("llama");
}

#[test]
fn qwen3_is_its_twin() {
    check_twin("qwen3");
}

#[test]
fn gemma3_is_its_twin() {
    check_twin("gemma3");
}

/// Llama's logits for its prompt on the reference and on the device, beside transformers'.
fn check_logits(folder: &HfFolder, within: f64) {
    let text = std::fs::read_to_string(tiny().join("llama.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let list = |key: &str| expected[key].as_array().unwrap().clone();
    let prompt: Vec<u32> = list("prompt").iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let last: Vec<f32> =
        list("logits_last").iter().map(|logit| logit.as_f64().unwrap() as f32).collect();
    let graph = arch::select(folder, &[]).unwrap().build(folder).unwrap();
    let options = PlanOptions { context: 64, chunk: 32, out_rows: 32, ..PlanOptions::default() };
    let parts = chunks(prompt.len(), 32);
    let runner = Runner::of(&plan_for(&graph, &options, None), folder);
    let device = plan_logits(&runner, &prompt, 0, &parts);
    let reference = reference_logits(&graph, folder, &options, &prompt, 0, &parts);
    let apart = relative_l2(&device.concat(), &reference.concat());
    assert!(apart < LOGITS_WITHIN, "device and reference: {apart}");
    for (what, steps) in [("device", device), ("reference", reference)] {
        let rows = steps.concat();
        let error = relative_l2(&rows[rows.len() - last.len()..], &last);
        println!("{what}: {error:.1e}");
        assert!(error < within, "{what}: {error}");
    }
}

#[test]
fn llama_computes_what_transformers_does() {
    check_logits(&open("llama").0, LOGITS_WITHIN);
}

/// The folder's tensors in another type.
fn converted(config: &Path, dtype: &'static str) -> (Value, Vec<Tensor>) {
    let bytes = std::fs::read(config.with_file_name("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let convert = |(name, info): (&String, &Value)| {
        let at = |index: usize| 8 + length + info["data_offsets"][index].as_u64().unwrap() as usize;
        let values = bytes[at(0)..at(1)].chunks_exact(4);
        let values = values.map(|value| f32::from_le_bytes(value.try_into().unwrap()));
        let bytes = match dtype {
            "F16" => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
            _ => values.flat_map(|value| bf16::from_f32(value).to_le_bytes()).collect(),
        };
        let shape = serde_json::from_value(info["shape"].clone()).unwrap();
        Tensor { name: name.clone(), dtype, shape, bytes }
    };
    let tensors = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    let text = std::fs::read_to_string(config).unwrap();
    (serde_json::from_str(&text).unwrap(), tensors.map(convert).collect())
}

#[test]
fn sixteen_bit_types_and_shards_compute_the_same() {
    let config = tiny().join("hf/llama/config.json");
    // transformers had weights rounded to F16; rounded to BF16, eight times as coarse, they make
    // another model, whose logits are 1.4e-2 away.
    for (dtype, shards, within) in [("F16", 1, LOGITS_WITHIN), ("BF16", 3, 3e-2)] {
        let (config, tensors) = converted(&config, dtype);
        let place = tempfile::tempdir().unwrap();
        match shards {
            1 => folder::write(place.path(), &config, &tensors),
            _ => folder::write_shards(place.path(), &config, &tensors, shards),
        }
        let folder = HfFolder::open(place.path(), &[]).unwrap();
        assert_eq!(folder.weight_files().count(), shards);
        check_logits(&folder, within);
    }
}
