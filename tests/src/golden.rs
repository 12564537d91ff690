//! Real models and what llama.cpp computes for them (`tests/golden/README.md`).

use crate::differ::gpu;
use crate::feed::plan_for;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::{Phase, PlanOptions, Precision};
use quarrel_models::arch;
use quarrel_models::gguf::GgufFile;
use quarrel_models::tokenizer::{Tokenizer, TokenizerSpec};
use quarrel_runtime::{
    Engine, GenerateOptions, LoadOptions, RuntimeError, SamplingParams, Session, StopReason,
};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A choice may differ where its margin is under this: plans have an F16 cache, llama.cpp had F32;
/// and where the device multiplies matrices in F16, prompts are rounded.
pub fn close() -> f64 {
    if gpu().facts().matrix_shapes.is_empty() { 0.02 } else { 0.05 }
}

/// A real model and what should come of it.
pub struct Golden {
    /// The model.
    pub file: GgufFile,
    /// What llama.cpp computed.
    pub expected: Value,
}

impl Golden {
    /// The model that the environment variable `variable` names, and `tests/golden/<results>`.
    ///
    /// # Panics
    /// If the variable is not set or either file cannot be read: a suite that cannot run has failed.
    pub fn open(variable: &str, results: &str) -> Golden {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        let expected: Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join(results)).unwrap()).unwrap();
        let path = std::env::var_os(variable).map(PathBuf::from);
        let path = path
            .unwrap_or_else(|| panic!("set {variable} to the path of {}", expected["model_file"]));
        let file = GgufFile::open(&path);
        let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Golden { file, expected }
    }

    /// The prompts.
    ///
    /// # Panics
    /// If the results have none.
    pub fn cases(&self) -> &[Value] {
        self.expected["cases"].as_array().unwrap()
    }

    /// The file's tokenizer.
    ///
    /// # Panics
    /// If it has none.
    pub fn tokenizer(&self) -> Tokenizer {
        Tokenizer::from_spec(TokenizerSpec::from_metadata(self.file.metadata()).unwrap()).unwrap()
    }

    /// The file's graph.
    ///
    /// # Panics
    /// If no built-in architecture serves it.
    pub fn graph(&self) -> Graph {
        arch::select(&self.file, &[]).unwrap().build(&self.file).unwrap()
    }

    /// The model on the test device, for 1,024 positions, as the command line runs it.
    ///
    /// # Panics
    /// If it cannot be compiled or loaded.
    pub fn session(&self, fuse: bool) -> Session {
        self.session_with(PlanOptions { fuse, ..PlanOptions::default() })
    }

    /// The same with these options, as far as they are not of lengths and precision.
    ///
    /// # Panics
    /// If it cannot be compiled or loaded.
    pub fn session_with(&self, options: PlanOptions) -> Session {
        let precision = Precision::Auto;
        let options = PlanOptions { context: 1024, chunk: 64, out_rows: 64, precision, ..options };
        let plan = plan_for(&self.graph(), &options, None);
        let load =
            LoadOptions { phases: &[Phase::Prefill, Phase::Decode], ..LoadOptions::default() };
        let engine = Engine::load(gpu(), &plan, &self.file, load, &|_, _| ());
        Session::new(engine.unwrap_or_else(|error| panic!("{error}")))
    }

    /// The perplexity of the golden text, as found and as it should be.
    ///
    /// # Panics
    /// If the device fails, or another number of tokens is scored.
    pub fn perplexity(&self, session: &mut Session) -> (f64, f64) {
        let golden = &self.expected["perplexity"];
        let tokens = ids(&golden["tokens"]);
        let vocabulary = session.engine().plan().model.vocabulary as usize;
        let (mut sum, mut scored) = (0.0, 0);
        let rows = |first: usize, rows: &[f32]| -> Result<(), RuntimeError> {
            for (at, logits) in (first..).zip(rows.chunks(vocabulary)) {
                let Some(&next) = tokens.get(at + 1) else { continue };
                let highest = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
                let total: f64 = logits.iter().map(|&x| (f64::from(x) - highest).exp()).sum();
                sum += total.ln() + highest - f64::from(logits[next as usize]);
                scored += 1;
            }
            Ok(())
        };
        session.all_logits(&tokens, rows).unwrap();
        assert_eq!(scored, golden["n_scored"].as_u64().unwrap());
        ((sum / scored as f64).exp(), golden["perplexity"].as_f64().unwrap())
    }
}

/// A list of ids.
///
/// # Panics
/// If it is none.
pub fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// Prompt to text, as a user has it, against the golden ids, of which at most `most` are asked for.
///
/// # Panics
/// If a token differs whose margin is not close.
pub fn check_greedy(session: &mut Session, tokenizer: &Tokenizer, case: &Value, most: usize) {
    let prompt = tokenizer.encode_prompt(case["prompt"].as_str().unwrap()).unwrap();
    assert_eq!(prompt, ids(&case["tokens"]), "{}", case["prompt"]);
    let (mut expected, mut margins) = (ids(&case["greedy"]), floats(&case["top1_gap"]));
    expected.truncate(most);
    margins.truncate(most);
    let stop: Vec<u32> = tokenizer.stop_tokens().iter().map(|stop| stop.id).collect();
    let options = GenerateOptions {
        sampling: SamplingParams::default(),
        max_tokens: expected.len(),
        stop: &stop,
    };
    let mut streamed = Vec::new();
    let generated = session
        .generate(&prompt, options, &mut |token| {
            streamed.push(token);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(streamed, generated.tokens);
    let (mut compared, close) = (0, close());
    for ((&token, &wanted), &margin) in generated.tokens.iter().zip(&expected).zip(&margins) {
        if token != wanted {
            let at = format!("token {compared} after {}", case["prompt"]);
            assert!(margin < close, "{at}: {token}, not {wanted}, at a margin of {margin}");
            break;
        }
        compared += 1;
    }
    // A beginning without close choices is compared whole.
    let sure = margins.iter().position(|&margin| margin < close).unwrap_or(expected.len());
    assert!(compared >= sure, "only {compared} of {sure} tokens after {}", case["prompt"]);
    if compared == expected.len() {
        let stopped = stop.contains(expected.last().unwrap());
        let reason = if stopped { StopReason::StopToken } else { StopReason::MaxTokens };
        assert_eq!(generated.stop_reason, reason);
    }
    println!("{} of {} tokens after {}", compared, expected.len(), case["prompt"]);
}
