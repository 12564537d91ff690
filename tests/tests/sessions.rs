//! Sessions on models whose states can go back and on models whose states cannot: how many tokens
//! are processed again, and that the logits are those of the text from its start, as the reference
//! computes them.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use quarrel_compiler::compile;
use quarrel_ir::format::Format;
use quarrel_ir::graph::Graph;
use quarrel_ir::plan::{PlanOptions, Rewind};
use quarrel_ir::weight::WeightSource;
use quarrel_reference::{Interpreter, StepInputs};
use quarrel_runtime::{
    Engine, GenerateOptions, LoadOptions, RuntimeError, SamplingParams, Session, StopReason,
};
use quarrel_tests::differ::{gpu, relative_l2};
use quarrel_tests::little::Little;
use quarrel_tests::tiny::{CONTEXT, LOGITS_WITHIN, Tiny};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

const CHUNK: u32 = 8;

/// A model in a session and on the reference.
struct Both<'a> {
    graph: Graph,
    weights: &'a dyn WeightSource,
    session: Session,
}

impl<'a> Both<'a> {
    fn new(graph: Graph, weights: &'a dyn WeightSource, slots: u32) -> Both<'a> {
        let options = PlanOptions {
            context: CONTEXT as u32,
            chunk: CHUNK,
            slots,
            out_rows: CHUNK,
            ..PlanOptions::default()
        };
        let plan = compile(&graph, &gpu().facts(), &options).unwrap();
        let load = LoadOptions::default();
        let engine = Engine::load(gpu(), &plan, weights, load, &|_, _| ()).unwrap();
        Both { graph, weights, session: Session::new(engine) }
    }

    /// The logits after each of `tokens`, from their start.
    fn expected(&self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let graph = self.graph.clone();
        let mut oracle = Interpreter::new(graph, self.weights, 1, CONTEXT).unwrap();
        let rows = oracle.step(&StepInputs::sequence(0, 0, tokens).with_all_rows()).unwrap();
        rows.chunks(rows.len() / tokens.len()).map(<[f32]>::to_vec).collect()
    }

    /// Checks the logits after `tokens`; how many of them were processed.
    fn check(&mut self, tokens: &[u32]) -> u64 {
        let before = self.session.processed_tokens();
        let logits = self.session.logits(tokens).unwrap();
        let error = relative_l2(&logits, self.expected(tokens).last().unwrap());
        assert!(error < LOGITS_WITHIN, "{error} after {tokens:?}");
        assert_eq!(self.session.tokens(), tokens);
        self.session.processed_tokens() - before
    }

    /// Checks that each of `tokens` has the largest logit after what precedes it, or nearly.
    fn check_greedy(&self, prompt: &[u32], tokens: &[u32]) {
        let whole = [prompt, tokens].concat();
        let rows = self.expected(&whole);
        for (logits, &token) in rows[prompt.len() - 1..].iter().zip(tokens) {
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let span = largest - logits.iter().copied().fold(f32::MAX, f32::min);
            assert!(largest - logits[token as usize] < 1e-3 * span, "{token} in {tokens:?}");
        }
    }

    fn generate(
        &mut self,
        prompt: &[u32],
        max_tokens: usize,
        stop: &[u32],
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> (Vec<u32>, StopReason) {
        let options = GenerateOptions { sampling: SamplingParams::default(), max_tokens, stop };
        let result = self.session.generate(prompt, options, on_token).unwrap();
        self.check_greedy(prompt, &result.tokens);
        (result.tokens, result.stop_reason)
    }
}

fn go_on(_: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Whether each of the model's states has a row for each position, as the plan should say.
fn goes_back(both: &Both<'_>) -> bool {
    both.session.engine().plan().rewind == Rewind::All
}

/// What is processed of a text of which `common` tokens are held, if the states can go back.
fn again(both: &Both<'_>, text: &[u32], common: usize) -> u64 {
    (if goes_back(both) { text.len() - common } else { text.len() }) as u64
}

fn a_conversation(name: &str, all: bool) {
    let tiny = Tiny::open(name);
    let mut both = Both::new(tiny.graph(), &tiny.file, 1);
    assert_eq!(goes_back(&both), all);
    let prompt = tiny.ids("prompt");
    let (tokens, reason) = both.generate(&prompt, 8, &[], &mut go_on);
    assert_eq!((tokens.len(), reason), (8, StopReason::MaxTokens));
    assert_eq!(both.session.tokens(), [&prompt[..], &tokens[..7]].concat());
    // The last token was only drawn.
    let mut text = [&prompt[..], &tokens, &[5, 6]].concat();
    assert_eq!(both.check(&text), 3, "going on");
    assert_eq!(both.check(&text), again(&both, &text, text.len() - 1), "the same text");
    let end = text.len();
    text[end - 2] = 9;
    assert_eq!(both.check(&text), again(&both, &text, end - 2), "another last turn");
    text.truncate(end - 6);
    assert_eq!(both.check(&text), again(&both, &text, end - 7), "a beginning of it");
    text.push(200);
    assert_eq!(both.check(&text), 1, "going on from there");
}

fn ends(name: &str) {
    let tiny = Tiny::open(name);
    let mut both = Both::new(tiny.graph(), &tiny.file, 1);
    let prompt = tiny.ids("prompt");
    let (tokens, _) = both.generate(&prompt, 16, &[], &mut go_on);
    let at = tokens.iter().position(|token| token != &tokens[0]).unwrap();
    // A stop token.
    let (stopped, reason) = both.generate(&prompt, 16, &[tokens[at]], &mut go_on);
    assert_eq!((&stopped[..], reason), (&tokens[..=at], StopReason::StopToken));
    assert_eq!(both.session.tokens(), [&prompt[..], &tokens[..at]].concat());
    assert_eq!(both.check(&[&prompt[..], &stopped, &[9]].concat()), 2, "after a stop token");
    // The caller wants no more: steps that were submitted ahead have drawn some.
    let mut left = 3;
    let mut cancel = |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let (cancelled, reason) = both.generate(&prompt, 16, &[], &mut cancel);
    assert_eq!((&cancelled[..], reason), (&tokens[..3], StopReason::Cancelled));
    let held = both.session.tokens().to_vec();
    assert!(held.len() > prompt.len() + 3, "no step was submitted ahead");
    assert!([&prompt[..], &tokens].concat().starts_with(&held));
    assert_eq!(both.check(&[&held[..], &[1]].concat()), 1, "after all that was drawn");
    let mut left = 3;
    let mut cancel = |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    both.generate(&prompt, 16, &[], &mut cancel);
    let text = [&prompt[..], &cancelled, &[1]].concat();
    assert_eq!(both.check(&text), again(&both, &text, text.len() - 1), "after what was wanted");
    // A caller that panics.
    let panics = catch_unwind(AssertUnwindSafe(|| {
        both.generate(&prompt, 16, &[], &mut |_| panic!("on purpose"))
    }));
    assert!(panics.is_err());
    both.check(&text);
}

fn every_position(name: &str) {
    let tiny = Tiny::open(name);
    let mut both = Both::new(tiny.graph(), &tiny.file, 1);
    let text = tiny.ids("prompt");
    both.check(&text);
    let (expected, vocabulary) = (both.expected(&text), tiny.floats("logits_last").len());
    let mut rows = 0;
    let each = |first: usize, logits: &[f32]| {
        assert_eq!(first, rows);
        for row in logits.chunks(vocabulary) {
            assert!(relative_l2(row, &expected[rows]) < LOGITS_WITHIN, "row {rows}");
            rows += 1;
        }
        Ok::<(), RuntimeError>(())
    };
    both.session.all_logits(&text, each).unwrap();
    assert_eq!(rows, text.len());
    assert_eq!(both.check(&[&text[..], &[8]].concat()), 1);
    // A caller that fails half-way.
    both.session.all_logits(&text, |_, _| Err(RuntimeError::EmptyPrompt)).unwrap_err();
    assert_eq!(both.session.tokens(), &text[..CHUNK as usize]);
    assert_eq!(both.check(&text), text.len() as u64 - u64::from(CHUNK));
}

fn several_slots(name: &str) {
    let tiny = Tiny::open(name);
    let mut both = Both::new(tiny.graph(), &tiny.file, 3);
    let long = tiny.ids("prompt");
    let prompts: [&[u32]; 3] = [&long, &[44], &[20, 21, 22, 23, 24, 25, 26, 27, 28]];
    let mut alone = Both::new(tiny.graph(), &tiny.file, 1);
    let (other, _) = alone.generate(prompts[1], 10, &[], &mut go_on);
    let stop = [other[2]];
    // In other slots the second time, and with a slot left over the third.
    for order in [&[0, 1, 2][..], &[2, 0, 1], &[1, 0]] {
        let together: Vec<&[u32]> = order.iter().map(|&index| prompts[index]).collect();
        let sampling = SamplingParams::default();
        let options = GenerateOptions { sampling, max_tokens: 10, stop: &stop };
        let results = both
            .session
            .generate_batch(&together, options, &mut |_, _| ControlFlow::Continue(()))
            .unwrap();
        for (prompt, result) in together.iter().zip(results) {
            both.check_greedy(prompt, &result.tokens);
            let end = result.tokens.iter().position(|token| stop.contains(token));
            assert_eq!(result.tokens.len(), end.map_or(10, |end| end + 1));
        }
    }
    // Slot 0 has what it should after all that.
    let held = both.session.tokens().to_vec();
    assert_eq!(both.check(&[&held[..], &[3]].concat()), 1);
}

macro_rules! on_each {
    ($check:ident: $($test:ident($($argument:expr),*)),*) => {
        $(#[test]
        fn $test() {
            $check($($argument),*);
        })*
    };
}

on_each!(a_conversation:
    a_conversation_with_llama("llama", true),
    a_conversation_with_mamba("mamba", false),
    a_conversation_with_granitehybrid("granitehybrid", false));
on_each!(ends:
    ends_of_llama("llama"),
    ends_of_mamba("mamba"),
    ends_of_granitehybrid("granitehybrid"));
on_each!(every_position:
    every_position_of_llama("llama"),
    every_position_of_mamba("mamba"),
    every_position_of_granitehybrid("granitehybrid"));
on_each!(several_slots:
    several_slots_of_mixtral("mixtral"),
    several_slots_of_mamba("mamba"),
    several_slots_of_granitehybrid("granitehybrid"));

/// Rows kept in a ring: what was overwritten stays lost, even after the session has gone back.
#[test]
fn a_ring_goes_back_while_its_rows_are_there() {
    let little = Little::new(Format::F32, 32)
        .line("h = h + short_conv(h, \"conv\")")
        .line("logits = linear(h, \"w\")")
        .matrix("conv", Format::F32, 32, 4)
        .matrix("w", Format::F32, 40, 32);
    let weights = little.weights(3);
    let mut both = Both::new(little.graph(), &weights, 1);
    assert_eq!(both.session.engine().plan().rewind, Rewind::AtMost(CHUNK));
    let text: Vec<u32> = (0..40).map(|i| (i * i + 3 * i) % 37).collect();
    let beginning = |len: usize| [&text[..len], &[38]].concat();
    assert_eq!(both.check(&text), 40);
    assert_eq!(both.check(&beginning(33)), 1, "seven back");
    assert_eq!(both.check(&beginning(32)), 1, "eight back");
    assert_eq!(both.check(&beginning(31)), 32, "nine back");
    assert_eq!(both.check(&beginning(27)), 1, "five back, from what was processed again");
    assert_eq!(both.check(&beginning(20)), 21, "too far");
}
