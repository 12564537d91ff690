//! Tiny models from file to logits: what Quarrel's reference computes against what Hugging Face
//! transformers computed (`tests/tiny/README.md`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use quarrel_ir::graph::{Graph, StateFormat};
use quarrel_models::arch;
use quarrel_models::gguf::GgufFile;
use quarrel_reference::{Interpreter, StepInputs};
use std::path::Path;

/// Largest relative L2 distance of the logits with a cache in F16, as the graphs have it.
const LOGITS_WITHIN: f64 = 2e-3;
/// The same with a cache in F32, as transformers has it, besides what the file's rounding makes.
const LOGITS_WITHIN_F32: f64 = 1e-5;
/// Largest root mean square of errors from rounding to five decimals.
const DECIMALS: f64 = 3e-6;
/// A choice may differ where its margin is under this share of the logits' standard deviation.
const MARGIN: f64 = 0.005;
const CONTEXT: usize = 64;

/// A model and what it should compute.
struct Tiny {
    file: GgufFile,
    expected: serde_json::Value,
}

impl Tiny {
    fn open(name: &str) -> Tiny {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny");
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let file = GgufFile::open(&folder.join(format!("{name}.f16.gguf"))).unwrap();
        Tiny { file, expected: serde_json::from_str(&text).unwrap() }
    }

    fn graph(&self) -> Graph {
        arch::select(&self.file, &[]).unwrap().build(&self.file).unwrap()
    }

    fn interpreter(&self, cache: StateFormat) -> Interpreter {
        let mut graph = self.graph();
        graph.states.iter_mut().for_each(|state| state.format = cache);
        Interpreter::new(graph, &self.file, 1, CONTEXT).unwrap()
    }

    fn ids(&self, field: &str) -> Vec<u32> {
        let ids = self.expected[field].as_array().unwrap();
        ids.iter().map(|id| id.as_u64().unwrap() as u32).collect()
    }

    fn floats(&self, field: &str) -> Vec<f64> {
        let floats = self.expected[field].as_array().unwrap();
        floats.iter().map(|float| float.as_f64().unwrap()).collect()
    }
}

/// `|got - expected| / |expected|`
fn distance(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let pairs = got.iter().zip(expected);
    let error = square(&mut pairs.map(|(&got, expected)| f64::from(got) - expected));
    (error / square(&mut expected.iter().copied())).sqrt()
}

fn standard_deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    (variance / values.len() as f64).sqrt()
}

fn largest(logits: &[f32]) -> u32 {
    let at = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    at.expect("a vocabulary is not empty") as u32
}

/// Every row's logits for the prompt, in steps of at most `chunk` tokens.
fn prompt_logits(tiny: &Tiny, interpreter: &mut Interpreter, chunk: usize) -> Vec<Vec<f32>> {
    let prompt = tiny.ids("prompt");
    let mut rows = Vec::new();
    for (index, tokens) in prompt.chunks(chunk).enumerate() {
        let inputs = StepInputs::sequence(0, (index * chunk) as u32, tokens).with_all_rows();
        let logits = interpreter.step(&inputs).unwrap();
        rows.extend(logits.chunks(logits.len() / tokens.len()).map(<[f32]>::to_vec));
    }
    rows
}

fn check_prompt(tiny: &Tiny, cache: StateFormat, chunk: usize, within: f64) {
    let rows = prompt_logits(tiny, &mut tiny.interpreter(cache), chunk);
    let expected = tiny.floats("logits_last");
    let error = distance(rows.last().unwrap(), &expected);
    println!("{cache:?}, chunks of {chunk}: the last row is within {error:.2e}");
    let square: f64 = expected.iter().map(|x| x * x).sum();
    let rounding = DECIMALS / (square / expected.len() as f64).sqrt();
    assert!(error < within + rounding, "{cache:?}, chunks of {chunk}: {error}");
    // A sum of v logits errs as √v of them do, if they err independently; the file's sums have four
    // decimals.
    let scale = standard_deviation(&expected) * (expected.len() as f64).sqrt();
    for (row, (logits, sum)) in rows.iter().zip(tiny.floats("logits_rows_sum")).enumerate() {
        let got: f64 = logits.iter().map(|&logit| f64::from(logit)).sum();
        let far = (got - sum).abs() > 3.0 * within * scale + 1e-4;
        assert!(!far, "{cache:?}, row {row}: the logits add up to {got}, not {sum}");
    }
}

/// Greedy tokens after the prompt, up to the first whose margin is too small to compare.
fn check_greedy(tiny: &Tiny) {
    let mut interpreter = tiny.interpreter(StateFormat::F16);
    let mut logits = prompt_logits(tiny, &mut interpreter, CONTEXT).pop().unwrap();
    let prompt_len = tiny.ids("prompt").len();
    let least = MARGIN * standard_deviation(&tiny.floats("logits_last"));
    let mut compared: usize = 0;
    for (expected, margin) in tiny.ids("greedy").into_iter().zip(tiny.floats("top1_gap")) {
        let token = largest(&logits);
        if margin < least && token != expected {
            break;
        }
        assert_eq!(token, expected, "token {compared} after the prompt, margin {margin}");
        let position = (prompt_len + compared) as u32;
        logits = interpreter.step(&StepInputs::sequence(0, position, &[token])).unwrap();
        compared += 1;
    }
    assert!(compared >= 4, "only {compared} tokens could be compared");
}

fn check(name: &str) {
    let tiny = Tiny::open(name);
    for chunk in [CONTEXT, 7, 1] {
        check_prompt(&tiny, StateFormat::F16, chunk, LOGITS_WITHIN);
        check_prompt(&tiny, StateFormat::F32, chunk, LOGITS_WITHIN_F32);
    }
    check_greedy(&tiny);
    let graph = tiny.graph();
    let read = Graph::from_text(&graph.to_string()).unwrap();
    assert_eq!(read, graph, "the graph's text reads back");
}

macro_rules! check_each {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*
    };
}

check_each!(
    llama,
    mistral,
    mixtral,
    qwen2,
    qwen3,
    qwen3moe,
    gemma2,
    gemma3,
    phi3,
    granite,
    granitemoe,
    granitehybrid,
    olmoe,
    gpt2,
    mamba,
    mamba2
);
