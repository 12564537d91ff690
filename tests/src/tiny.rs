//! Tiny models with random weights, one an architecture, and what Hugging Face transformers computed
//! for them (`tests/tiny/README.md`).

use crate::differ::Runner;
use crate::feed::{Part, chunks};
use quarrel_ir::graph::{Graph, StateFormat};
use quarrel_ir::plan::{Phase, PlanOptions};
use quarrel_models::arch::{self, ArchFile};
use quarrel_models::gguf::GgufFile;
use quarrel_reference::{Interpreter, StepInputs};
use std::path::Path;

/// Largest relative L2 distance of the logits with a cache in F16, as the graphs have it.
pub const LOGITS_WITHIN: f64 = 2e-3;
/// Largest relative L2 distance with a cache in F32, as transformers has it, besides what the
/// file's rounding makes.
const LOGITS_WITHIN_F32: f64 = 1e-5;
/// Largest root mean square of errors from rounding to five decimals.
const DECIMALS: f64 = 3e-6;
/// A choice may differ where its margin is under this share of the logits' standard deviation.
const MARGIN: f64 = 0.005;
/// Positions of a sequence.
pub const CONTEXT: usize = 64;

/// A model and what it should compute.
pub struct Tiny {
    /// The model.
    pub file: GgufFile,
    /// An architecture file beside the model.
    arch: Option<ArchFile>,
    expected: serde_json::Value,
}

impl Tiny {
    /// Every model.
    pub const ALL: [&str; 16] = [
        "llama",
        "mistral",
        "mixtral",
        "qwen2",
        "qwen3",
        "qwen3moe",
        "gemma2",
        "gemma3",
        "phi3",
        "granite",
        "granitemoe",
        "granitehybrid",
        "olmoe",
        "gpt2",
        "mamba",
        "mamba2",
    ];

    /// Opens the model `name` of `tests/tiny`.
    ///
    /// # Panics
    /// If its files are not there.
    pub fn open(name: &str) -> Tiny {
        Tiny::open_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny"), name)
    }

    /// Opens the model `name` of `folder`: `NAME.f16.gguf`, `NAME.json` and, where there is one,
    /// `NAME.arch`.
    ///
    /// # Panics
    /// If its files are not there, or the architecture file has an error.
    pub fn open_in(folder: &Path, name: &str) -> Tiny {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let file = GgufFile::open(&folder.join(format!("{name}.f16.gguf"))).unwrap();
        let arch = std::fs::read_to_string(folder.join(format!("{name}.arch"))).ok();
        let arch = arch.map(|text| ArchFile::parse(name, &text).unwrap());
        Tiny { file, arch, expected: serde_json::from_str(&text).unwrap() }
    }

    /// Its graph, for a context of [`CONTEXT`].
    ///
    /// # Panics
    /// If no architecture serves it.
    pub fn graph(&self) -> Graph {
        let arch = arch::select(&self.file, self.arch.as_slice()).unwrap();
        arch.build_for(&self.file, CONTEXT as u64).unwrap()
    }

    /// A list of ids of what it should compute.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn ids(&self, field: &str) -> Vec<u32> {
        let ids = self.expected[field].as_array().unwrap();
        ids.iter().map(|id| id.as_u64().unwrap() as u32).collect()
    }

    /// A list of numbers of what it should compute.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn floats(&self, field: &str) -> Vec<f64> {
        let floats = self.expected[field].as_array().unwrap();
        floats.iter().map(|float| float.as_f64().unwrap()).collect()
    }

    /// Compares greedy tokens after the prompt, up to the first whose margin is too small;
    /// `logits` are those after the prompt, `step` yields those after one more token at a position.
    ///
    /// # Panics
    /// If a token differs, or fewer than four could be compared.
    pub fn check_greedy(&self, mut logits: Vec<f32>, mut step: impl FnMut(u32, u32) -> Vec<f32>) {
        let prompt_len = self.ids("prompt").len();
        let least = MARGIN * standard_deviation(&self.floats("logits_last"));
        let mut compared: usize = 0;
        for (expected, margin) in self.ids("greedy").into_iter().zip(self.floats("top1_gap")) {
            let token = largest(&logits);
            if margin < least && token != expected {
                break;
            }
            assert_eq!(token, expected, "token {compared} after the prompt, margin {margin}");
            logits = step((prompt_len + compared) as u32, token);
            compared += 1;
        }
        assert!(compared >= 4, "only {compared} tokens could be compared");
    }
}

/// `|got - expected| / |expected|`
pub fn distance(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let pairs = got.iter().zip(expected);
    let error = square(&mut pairs.map(|(&got, expected)| f64::from(got) - expected));
    let ratio = (error / square(&mut expected.iter().copied())).sqrt();
    if ratio.is_nan() { f64::INFINITY } else { ratio }
}

/// The population's standard deviation.
pub fn standard_deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    (variance / values.len() as f64).sqrt()
}

fn largest(logits: &[f32]) -> u32 {
    let at = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    at.expect("a vocabulary is not empty") as u32
}

fn interpreter(tiny: &Tiny, cache: StateFormat) -> Interpreter {
    let mut graph = tiny.graph();
    graph.states.iter_mut().for_each(|state| state.format = cache);
    Interpreter::new(graph, &tiny.file, 1, CONTEXT).unwrap()
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
    let rows = prompt_logits(tiny, &mut interpreter(tiny, cache), chunk);
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

/// What the reference computes, with prompts whole, in parts and token by token.
///
/// # Panics
/// If it is too far from what was expected.
pub fn check_reference(tiny: &Tiny) {
    for chunk in [CONTEXT, 7, 1] {
        check_prompt(tiny, StateFormat::F16, chunk, LOGITS_WITHIN);
        check_prompt(tiny, StateFormat::F32, chunk, LOGITS_WITHIN_F32);
    }
    let mut interpreter = interpreter(tiny, StateFormat::F16);
    let logits = prompt_logits(tiny, &mut interpreter, CONTEXT).pop().unwrap();
    tiny.check_greedy(logits, |position, token| {
        interpreter.step(&StepInputs::sequence(0, position, &[token])).unwrap()
    });
    let graph = tiny.graph();
    let read = Graph::from_text(&graph.to_string()).unwrap();
    assert_eq!(read, graph, "the graph's text reads back");
}

/// The last row's logits after `tokens`, which are fed as `parts` say.
fn last_logits(runner: &Runner, tokens: &[u32], parts: &[Part]) -> Vec<f32> {
    let mut logits = Vec::new();
    let mut at = 0;
    for &(phase, len) in parts {
        let inputs = StepInputs::sequence(0, at as u32, &tokens[at..at + len]);
        logits = runner.step(phase, &inputs);
        at += len;
    }
    logits
}

/// What the test device computes, fused and unfused, with prompts whole, in parts and token by
/// token.
///
/// # Panics
/// If it is too far from what was expected.
pub fn check_device(tiny: &Tiny) {
    let graph = tiny.graph();
    let (prompt, expected) = (tiny.ids("prompt"), tiny.floats("logits_last"));
    let (whole, parts) = (vec![chunks(prompt.len(), CONTEXT)], chunks(prompt.len(), 7));
    let parts = vec![parts, vec![(Phase::Decode, 1); prompt.len()]];
    for fuse in [true, false] {
        // Plans for short chunks keep only what short chunks need of a window.
        for (chunk, ways) in [(CONTEXT, &whole), (7, &parts)] {
            let (context, chunk) = (CONTEXT as u32, chunk as u32);
            let options = PlanOptions { context, chunk, fuse, ..PlanOptions::default() };
            let runner = Runner::new(&graph, &tiny.file, &options);
            for parts in ways {
                let logits = last_logits(&runner, &prompt, parts);
                let error = distance(&logits, &expected);
                println!("fused {fuse}, {} steps: within {error:.2e}", parts.len());
                assert!(error < LOGITS_WITHIN, "fused {fuse}, {} steps: {error}", parts.len());
                tiny.check_greedy(logits, |position, token| {
                    runner.step(Phase::Decode, &StepInputs::sequence(0, position, &[token]))
                });
            }
        }
    }
}
