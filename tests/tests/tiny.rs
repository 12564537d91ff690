//! Tiny models from file to logits: what Quarrel's reference computes against what Hugging Face
//! transformers computed (`tests/tiny/README.md`).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use quarrel_ir::graph::{Graph, StateFormat};
use quarrel_reference::{Interpreter, StepInputs};
use quarrel_tests::tiny::{CONTEXT, LOGITS_WITHIN, Tiny, distance, standard_deviation};

/// Largest relative L2 distance with a cache in F32, as transformers has it, besides what the
/// file's rounding makes.
const LOGITS_WITHIN_F32: f64 = 1e-5;
/// Largest root mean square of errors from rounding to five decimals.
const DECIMALS: f64 = 3e-6;

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

fn check(name: &str) {
    let tiny = Tiny::open(name);
    for chunk in [CONTEXT, 7, 1] {
        check_prompt(&tiny, StateFormat::F16, chunk, LOGITS_WITHIN);
        check_prompt(&tiny, StateFormat::F32, chunk, LOGITS_WITHIN_F32);
    }
    let mut interpreter = interpreter(&tiny, StateFormat::F16);
    let logits = prompt_logits(&tiny, &mut interpreter, CONTEXT).pop().unwrap();
    tiny.check_greedy(logits, |position, token| {
        interpreter.step(&StepInputs::sequence(0, position, &[token])).unwrap()
    });
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
