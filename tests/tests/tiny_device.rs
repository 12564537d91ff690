//! Tiny models on the test device, fused and unfused, prompts whole, in parts and token by token:
//! against what Hugging Face transformers computed (`tests/tiny/README.md`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use quarrel_ir::plan::{Phase, PlanOptions};
use quarrel_reference::StepInputs;
use quarrel_tests::differ::Runner;
use quarrel_tests::feed::{Part, chunks};
use quarrel_tests::tiny::{CONTEXT, LOGITS_WITHIN, Tiny, distance};

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

fn check(name: &str) {
    let tiny = Tiny::open(name);
    let graph = tiny.graph();
    let (prompt, expected) = (tiny.ids("prompt"), tiny.floats("logits_last"));
    for fuse in [true, false] {
        let options = PlanOptions {
            context: CONTEXT as u32,
            chunk: CONTEXT as u32,
            fuse,
            ..PlanOptions::default()
        };
        let runner = Runner::new(&graph, &tiny.file, &options);
        let alone = vec![(Phase::Decode, 1); prompt.len()];
        for parts in [chunks(prompt.len(), CONTEXT), chunks(prompt.len(), 7), alone] {
            let logits = last_logits(&runner, &prompt, &parts);
            let error = distance(&logits, &expected);
            println!("fused {fuse}, {} steps: within {error:.2e}", parts.len());
            assert!(error < LOGITS_WITHIN, "fused {fuse}, {} steps: {error}", parts.len());
            tiny.check_greedy(logits, |position, token| {
                runner.step(Phase::Decode, &StepInputs::sequence(0, position, &[token]))
            });
        }
    }
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
