//! Tiny models with random weights, one an architecture, and what Hugging Face transformers computed
//! for them (`tests/tiny/README.md`).

use quarrel_ir::graph::Graph;
use quarrel_models::arch;
use quarrel_models::gguf::GgufFile;
use std::path::Path;

/// Largest relative L2 distance of the logits with a cache in F16, as the graphs have it.
pub const LOGITS_WITHIN: f64 = 2e-3;
/// A choice may differ where its margin is under this share of the logits' standard deviation.
const MARGIN: f64 = 0.005;
/// Positions of a sequence.
pub const CONTEXT: usize = 64;

/// A model and what it should compute.
pub struct Tiny {
    /// The model.
    pub file: GgufFile,
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

    /// Opens the model `name`.
    ///
    /// # Panics
    /// If its files are not there.
    pub fn open(name: &str) -> Tiny {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiny");
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let file = GgufFile::open(&folder.join(format!("{name}.f16.gguf"))).unwrap();
        Tiny { file, expected: serde_json::from_str(&text).unwrap() }
    }

    /// Its graph.
    ///
    /// # Panics
    /// If no built-in architecture serves it.
    pub fn graph(&self) -> Graph {
        let arch = arch::select(&self.file, &[]).unwrap();
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
