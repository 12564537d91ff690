//! Whole graphs over several steps: states, chunks, slots, and the errors of bad inputs.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod tiny_llama;

use quarrel_ir::graph::{Op, ValueId};
use quarrel_ir::weight::WeightError;
use quarrel_reference::{Interpreter, ReferenceError, StepInputs};
use tiny_llama::{VOCABULARY, tiny_llama};

const PROMPT: [u32; 9] = [3, 17, 39, 0, 17, 8, 22, 31, 5];

fn interpreter(slots: usize) -> Interpreter {
    let (graph, weights, _) = tiny_llama();
    Interpreter::new(graph, &weights, slots, 16).unwrap()
}

/// Logits of every token of a sequence, in steps of at most `chunk` tokens.
fn run(interpreter: &mut Interpreter, slot: u32, tokens: &[u32], chunk: usize) -> Vec<f32> {
    let mut logits = Vec::new();
    for (index, tokens) in tokens.chunks(chunk).enumerate() {
        let first = (index * chunk) as u32;
        let inputs = StepInputs::sequence(slot, first, tokens).with_all_rows();
        logits.extend(interpreter.step(&inputs).unwrap());
    }
    logits
}

#[test]
fn a_prompt_at_once_or_in_chunks_gives_the_same_logits() {
    let whole = run(&mut interpreter(1), 0, &PROMPT, PROMPT.len());
    assert_eq!(whole.len(), PROMPT.len() * VOCABULARY as usize);
    assert!(whole.iter().all(|logit| logit.is_finite()));
    for chunk in [1, 2, 4] {
        // Every row is computed on its own, in the same order: equal to the bit.
        assert_eq!(run(&mut interpreter(1), 0, &PROMPT, chunk), whole, "chunks of {chunk}");
    }
}

#[test]
fn logits_depend_on_the_order_of_earlier_tokens() {
    let mut swapped = PROMPT;
    swapped.swap(6, 7);
    let last = |tokens: &[u32]| {
        let logits = run(&mut interpreter(1), 0, tokens, tokens.len());
        logits[logits.len() - VOCABULARY as usize..].to_vec()
    };
    assert_ne!(last(&PROMPT), last(&swapped));
}

#[test]
fn slots_do_not_see_each_other() {
    let other = [9, 9, 1, 30, 2];
    let apart = run(&mut interpreter(1), 0, &PROMPT[..5], 1);
    let other_apart = run(&mut interpreter(1), 0, &other, 5);
    let mut together = interpreter(3);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for at in 0..5 {
        let inputs = StepInputs {
            tokens: vec![other[at], PROMPT[at]],
            position: vec![at as u32; 2],
            slot: vec![0, 2],
            out_rows: vec![1, 0],
        };
        let logits = together.step(&inputs).unwrap();
        let (of_slot_2, of_slot_0) = logits.split_at(VOCABULARY as usize);
        first.extend_from_slice(of_slot_2);
        second.extend_from_slice(of_slot_0);
    }
    assert_eq!(first, apart);
    assert_eq!(second, other_apart);
}

#[test]
fn a_reset_slot_starts_anew_and_others_go_on() {
    let mut two = interpreter(2);
    let first = run(&mut two, 0, &PROMPT, 3);
    let kept = run(&mut two, 1, &PROMPT[..4], 4);
    two.reset(0).unwrap();
    assert!(two.states().iter().all(|state| {
        let (reset, kept) = state.rows().split_at(state.rows().len() / 2);
        reset.iter().all(|&x| x == 0.0) && kept.iter().any(|&x| x != 0.0)
    }));
    assert_eq!(run(&mut two, 0, &PROMPT, 3), first);
    assert_eq!(kept[..], first[..kept.len()]);
    assert!(matches!(two.reset(2), Err(ReferenceError::NoSuchSlot { slot: 2, slots: 2 })));
}

#[test]
fn states_hold_f16_values() {
    let mut one = interpreter(1);
    run(&mut one, 0, &PROMPT, 4);
    for row in one.states().iter().flat_map(|state| state.rows()) {
        assert_eq!(half::f16::from_f32(*row).to_f32(), *row);
    }
}

#[test]
fn intermediate_values_can_be_read() {
    let (graph, weights, embedded) = tiny_llama();
    let output = graph.output().unwrap();
    let table = graph.operands(embedded)[0];
    let tokens = graph.operands(embedded)[1];
    let appended = graph.values().find(|&value| *graph.op(value) == Op::Append).unwrap();
    let mut interpreter = Interpreter::new(graph, &weights, 1, 16).unwrap();
    let inputs = StepInputs::sequence(0, 0, &[7, 2]);
    let wanted = [output, embedded, table, embedded];
    let values = interpreter.step_values(&inputs, &wanted).unwrap();
    assert_eq!(values[0].len(), VOCABULARY as usize);
    let width = values[2].len() / VOCABULARY as usize;
    let row = |id: usize| &values[2][id * width..][..width];
    assert_eq!(values[1], [row(7), row(2)].concat());
    assert_eq!(values[1], values[3]);
    for bad in [tokens, appended, ValueId(100_000)] {
        let error = interpreter.step_values(&inputs, &[bad]).unwrap_err();
        assert!(matches!(error, ReferenceError::NotATensor(id) if id == bad.0));
    }
}

#[test]
fn a_step_of_no_tokens_yields_no_logits() {
    assert!(interpreter(1).step(&StepInputs::default()).unwrap().is_empty());
}

#[test]
fn bad_inputs_are_refused_and_change_nothing() {
    let mut tried = interpreter(2);
    run(&mut tried, 0, &PROMPT[..3], 3);
    let good = StepInputs {
        tokens: vec![4, 5],
        position: vec![3, 0],
        slot: vec![0, 1],
        out_rows: vec![0],
    };
    let with = |change: &dyn Fn(&mut StepInputs)| {
        let mut inputs = good.clone();
        change(&mut inputs);
        inputs
    };
    let cases = [
        (
            with(&|i| i.tokens[1] = 40),
            "tokens[1] is 40, but it should be below 40 (the vocabulary)",
        ),
        (
            with(&|i| i.position[0] = 16),
            "position[0] is 16, but it should be below 16 (the context)",
        ),
        (with(&|i| i.slot[1] = 2), "slot[1] is 2, but it should be below 2 (the number of slots)"),
        (
            with(&|i| i.out_rows[0] = 2),
            "out_rows[0] is 2, but it should be below 2 (the tokens of the step)",
        ),
        (with(&|i| i.slot.truncate(1)), "the step has 2 tokens, but slot has 1 elements"),
        (with(&|i| i.position.push(0)), "the step has 2 tokens, but position has 3 elements"),
        (
            with(&|i| {
                i.slot[1] = 0;
                i.position[1] = 3;
            }),
            "tokens 0 and 1 are both at position 3 of slot 0",
        ),
    ];
    for (inputs, message) in cases {
        assert_eq!(tried.step(&inputs).unwrap_err().to_string(), message);
    }
    let mut untried = interpreter(2);
    run(&mut untried, 0, &PROMPT[..3], 3);
    assert_eq!(tried.step(&good).unwrap(), untried.step(&good).unwrap());
}

#[test]
fn weights_must_be_what_the_graph_declares() {
    let (graph, mut weights, _) = tiny_llama();
    weights.0.get_mut("norm").unwrap().0.shape = vec![16];
    let error = Interpreter::new(graph, &weights, 1, 16).unwrap_err();
    assert!(matches!(error, ReferenceError::WeightDiffers { .. }), "{error}");

    let (graph, mut weights, _) = tiny_llama();
    weights.0.get_mut("norm").unwrap().1.pop();
    let error = Interpreter::new(graph, &weights, 1, 16).unwrap_err();
    assert_eq!(error.to_string(), "the weight \"norm\" should have 128 bytes, but it has 127");

    let (graph, mut weights, _) = tiny_llama();
    weights.0.remove("q.1");
    let error = Interpreter::new(graph, &weights, 1, 16).unwrap_err();
    assert!(matches!(error, ReferenceError::Weight(WeightError::Missing(_))), "{error}");
}

#[test]
fn graphs_that_cannot_run_are_refused() {
    let (graph, weights, embedded) = tiny_llama();
    let mut no_logits = graph.clone();
    no_logits.set_output(embedded);
    let error = Interpreter::new(no_logits, &weights, 1, 16).unwrap_err();
    assert!(matches!(error, ReferenceError::Graph(_)), "{error}");
    let error = Interpreter::new(graph, &weights, usize::MAX, 16).unwrap_err();
    assert!(matches!(error, ReferenceError::StateTooLarge { .. }), "{error}");
}
