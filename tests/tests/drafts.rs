//! Drafts of architecture files: what they compute for the tiny models, on the reference, against
//! what Hugging Face transformers computed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use quarrel_models::arch::{ArchFile, draft};
use quarrel_reference::{Interpreter, StepInputs};
use quarrel_tests::tiny::{CONTEXT, LOGITS_WITHIN, Tiny, distance};

/// Models that need something that neither names nor metadata say, and a word of the assumption
/// that is wrong for them.
const UNKNOWN: [(&str, &str); 4] = [
    ("gemma2", "nothing is multiplied"),
    ("gemma3", "nothing is multiplied"),
    ("granitehybrid", "rope.scaling.finetuned"),
    ("olmoe", "add up to 1"),
];

/// How far the draft's logits are from those that are expected.
fn error(tiny: &Tiny, text: &str) -> f64 {
    let graph = ArchFile::parse("draft", text).unwrap().build_for(&tiny.file, CONTEXT as u64);
    let mut interpreter = Interpreter::new(graph.unwrap(), &tiny.file, 1, CONTEXT).unwrap();
    let logits = interpreter.step(&StepInputs::sequence(0, 0, &tiny.ids("prompt"))).unwrap();
    distance(&logits, &tiny.floats("logits_last"))
}

#[test]
fn drafts_compute_what_their_models_do() {
    for name in Tiny::ALL {
        let tiny = Tiny::open(name);
        let draft = draft(&tiny.file);
        let error = error(&tiny, &draft.text);
        println!("{name}: {error:.1e}");
        match UNKNOWN.iter().find(|(unknown, _)| *unknown == name) {
            None => assert!(error < LOGITS_WITHIN, "{name}: {error}\n{}", draft.text),
            Some((_, word)) => {
                assert!(error > LOGITS_WITHIN, "{name}: the draft is right after all");
                let told = draft.assumptions.iter().any(|assumption| assumption.contains(word));
                assert!(told, "{name}: {:?}", draft.assumptions);
            }
        }
    }
}
