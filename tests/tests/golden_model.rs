//! The real SmolLM2 file, compiled and run on the test device, against llama.cpp's results.
//!
//! The model is found through `QUARREL_TEST_MODEL`; without it these tests fail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use quarrel_ir::plan::{Phase, PlanOptions};
use quarrel_models::arch;
use quarrel_models::gguf::GgufFile;
use quarrel_models::tokenizer::{Tokenizer, TokenizerSpec};
use quarrel_runtime::{
    Engine, GenerateOptions, LoadOptions, RuntimeError, SamplingParams, Session, StopReason,
};
use quarrel_tests::differ::gpu;
use quarrel_tests::feed::{plan_for, tokens};
use quarrel_tests::smollm2;
use quarrel_tests::synthetic::Variant;
use quarrel_tests::weights::RandomWeights;
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A choice may differ where its margin is under this: plans have an F16 cache, llama.cpp had F32.
const MARGIN: f64 = 0.02;
/// How far a logit may be from llama.cpp's. Measured on llvmpipe: 0.0061 at most, of logits from
/// 12 to 30.
const LOGITS_WITHIN: f64 = 0.02;
/// How far the perplexity may be from llama.cpp's, as a share of it. Measured on llvmpipe: 0.00008.
const PERPLEXITY_WITHIN: f64 = 0.003;

fn model() -> &'static GgufFile {
    static MODEL: OnceLock<GgufFile> = OnceLock::new();
    MODEL.get_or_init(|| {
        let path = std::env::var_os("QUARREL_TEST_MODEL").map(PathBuf::from).unwrap_or_else(|| {
            panic!("set QUARREL_TEST_MODEL to the path of SmolLM2-135M-Instruct.Q4_1.gguf")
        });
        GgufFile::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    })
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_spec(TokenizerSpec::from_metadata(model().metadata()).unwrap()).unwrap()
}

fn session(fuse: bool) -> Session {
    let graph = arch::select(model(), &[]).unwrap().build(model()).unwrap();
    let options =
        PlanOptions { context: 1024, chunk: 64, out_rows: 64, fuse, ..PlanOptions::default() };
    let plan = plan_for(&graph, &options, false);
    let load = LoadOptions { phases: &[Phase::Prefill, Phase::Decode], ..LoadOptions::default() };
    let engine = Engine::load(gpu(), &plan, model(), load, &|_, _| ());
    Session::new(engine.unwrap_or_else(|error| panic!("{error}")))
}

/// The fused session that tests share, in turns.
fn shared() -> MutexGuard<'static, Session> {
    static SESSION: OnceLock<Mutex<Session>> = OnceLock::new();
    let session = SESSION.get_or_init(|| Mutex::new(session(true)));
    let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
    session.reset();
    session
}

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/smollm2.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// Prompt to text, as a user has it, against the golden ids.
fn check_greedy(session: &mut Session, tokenizer: &Tokenizer, case: &Value) {
    let prompt = tokenizer.encode_prompt(case["prompt"].as_str().unwrap()).unwrap();
    assert_eq!(prompt, ids(&case["tokens"]), "{}", case["prompt"]);
    let (expected, margins) = (ids(&case["greedy"]), floats(&case["top1_gap"]));
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
    let mut compared = 0;
    for ((&token, &wanted), &margin) in generated.tokens.iter().zip(&expected).zip(&margins) {
        if token != wanted {
            let at = format!("token {compared} after {}", case["prompt"]);
            assert!(margin < MARGIN, "{at}: {token}, not {wanted}, at a margin of {margin}");
            break;
        }
        compared += 1;
    }
    // A beginning without close choices is compared whole.
    let close = margins.iter().position(|&margin| margin < MARGIN).unwrap_or(expected.len());
    assert!(compared >= close, "only {compared} of {close} tokens after {}", case["prompt"]);
    if compared == expected.len() {
        let stopped = stop.contains(expected.last().unwrap());
        let reason = if stopped { StopReason::StopToken } else { StopReason::MaxTokens };
        assert_eq!(generated.stop_reason, reason);
    }
    println!("{} of {} tokens after {}", compared, expected.len(), case["prompt"]);
}

#[test]
fn greedy_tokens_of_the_fused_plan() {
    let (tokenizer, mut session) = (tokenizer(), shared());
    for case in golden()["cases"].as_array().unwrap() {
        check_greedy(&mut session, &tokenizer, case);
    }
}

#[test]
fn greedy_tokens_of_the_unfused_plan() {
    let (tokenizer, mut session) = (tokenizer(), session(false));
    for case in &golden()["cases"].as_array().unwrap()[..2] {
        check_greedy(&mut session, &tokenizer, case);
    }
}

#[test]
fn the_ten_largest_logits_of_each_prompt() {
    let mut session = shared();
    let mut largest: f64 = 0.0;
    for case in golden()["cases"].as_array().unwrap() {
        let logits = session.logits(&ids(&case["tokens"])).unwrap();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        for (rank, pair) in case["top"].as_array().unwrap().iter().enumerate() {
            let (id, wanted) = (pair[0].as_u64().unwrap() as usize, pair[1].as_f64().unwrap());
            let error = (f64::from(logits[id]) - wanted).abs();
            assert!(error < LOGITS_WITHIN, "{id}: {}, not {wanted}", logits[id]);
            // Who is at this rank here is as good, within what two logits may be off.
            let here = f64::from(logits[order[rank]]);
            assert!((here - wanted).abs() < LOGITS_WITHIN, "rank {rank}: {here}, not {wanted}");
            largest = largest.max(error);
        }
    }
    println!("logits are within {largest:.4}");
}

#[test]
fn perplexity_of_a_text() {
    let golden = &golden()["perplexity"];
    let tokens = ids(&golden["tokens"]);
    let (mut sum, mut scored) = (0.0, 0);
    let rows = |first: usize, rows: &[f32]| -> Result<(), RuntimeError> {
        for (at, logits) in (first..).zip(rows.chunks(49_152)) {
            let Some(&next) = tokens.get(at + 1) else { continue };
            let highest = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
            let total: f64 = logits.iter().map(|&x| (f64::from(x) - highest).exp()).sum();
            sum += total.ln() + highest - f64::from(logits[next as usize]);
            scored += 1;
        }
        Ok(())
    };
    shared().all_logits(&tokens, rows).unwrap();
    assert_eq!(scored, golden["n_scored"].as_u64().unwrap());
    let (found, wanted) = ((sum / scored as f64).exp(), golden["perplexity"].as_f64().unwrap());
    let error = (found / wanted - 1.0).abs();
    println!("perplexity {found:.5}, not {wanted}: {error:.1e}");
    assert!(error < PERPLEXITY_WITHIN, "{found}, not {wanted}");
}

/// Tests of plans for absent devices use a description of this file; it describes it.
#[test]
fn the_model_is_as_described() {
    let graph = arch::select(model(), &[]).unwrap().build(model()).unwrap();
    assert_eq!(graph.to_string(), smollm2::graph().to_string());
    assert_eq!(graph.weights, smollm2::graph().weights);
}

/// A conversation never processes a token twice: each turn adds what is new.
#[test]
fn a_conversation_processes_each_token_once() {
    let variant = Variant { layers: 1, ..Variant::default() };
    let weights = RandomWeights::new(9, variant.tensors());
    let options = PlanOptions { context: 128, chunk: 8, ..PlanOptions::default() };
    let plan = plan_for(&variant.graph(), &options, false);
    let load = || Engine::load(gpu(), &plan, &weights, LoadOptions::default(), &|_, _| ()).unwrap();
    let mut session = Session::new(load());
    let generate = |session: &mut Session, prompt: &[u32]| {
        let sampling = SamplingParams::default();
        let options = GenerateOptions { sampling, max_tokens: 6, stop: &[] };
        session.generate(prompt, options, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let turns = tokens(variant.vocabulary, 30);
    let mut conversation: Vec<u32> = Vec::new();
    for (turn, said) in turns.chunks(10).enumerate() {
        let before = session.processed_tokens();
        conversation.extend(said);
        let generated = generate(&mut session, &conversation);
        let processed = session.processed_tokens() - before;
        // The turn, and the last token drawn before it, whose state no step has written.
        let new = said.len() as u64 + u64::from(turn > 0);
        assert_eq!((processed, generated.timings.prompt_tokens as u64), (new, new), "turn {turn}");
        // What a session without a past says to the same.
        let fresh = generate(&mut Session::new(load()), &conversation);
        assert_eq!(generated.tokens, fresh.tokens, "turn {turn}");
        conversation.extend(&generated.tokens);
    }
    // Another beginning: only what they have in common is kept.
    let before = session.processed_tokens();
    let other = [&conversation[..7], &[1, 2, 3]].concat();
    generate(&mut session, &other);
    let common = conversation.iter().zip(&other).take_while(|(a, b)| a == b).count();
    assert_eq!(session.processed_tokens() - before, (other.len() - common) as u64);
}
