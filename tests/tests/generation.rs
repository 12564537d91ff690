//! Sessions and the token loop, on a model small enough to predict by hand.
//!
//! The model's state is the tokens themselves: after a token at position p its largest logit is
//! `(5 · Σ states[0..=p] + 3 · p + 1) mod vocabulary`. A token processed twice, left out, or
//! written by a sequence that has ended changes every later token.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../runtime/tests/support/mod.rs"]
mod support;

use quarrel_ir::graph::RunDim;
use quarrel_ir::plan::*;
use quarrel_ir::sampling::RECORDS;
use quarrel_kernels::sampling::Stage;
use quarrel_runtime::{
    BenchStep, Engine, GenerateOptions, KernelClock, LoadOptions, RuntimeError, SamplingParams,
    Session, StepsAtOnce, StopReason,
};
use std::ops::ControlFlow;
use support::{Builder, ONE, Weights, gpu, per};

const VOCABULARY: u32 = 61;
const CONTEXT: u32 = 40;

fn next(tokens: &[u32]) -> u32 {
    let sum: u32 = tokens.iter().sum();
    (5 * sum + 3 * (tokens.len() as u32 - 1) + 1) % VOCABULARY
}

/// The `count` tokens that follow `prompt`.
fn continuation(prompt: &[u32], count: usize) -> Vec<u32> {
    let mut all = prompt.to_vec();
    (0..count).for_each(|_| all.push(next(&all)));
    all.split_off(prompt.len())
}

#[expect(clippy::too_many_lines, reason = "mostly the text of three kernels")]
fn plan(slots: u32, out_rows: u32) -> Plan {
    let options =
        PlanOptions { context: CONTEXT, chunk: 4, slots, out_rows, ..PlanOptions::default() };
    let mut builder = Builder::new(VOCABULARY, options);
    let states = builder.buffer("states", u64::from(4 * slots * CONTEXT), BufferRole::State);
    let value = builder.buffer("value", 4 * 64, BufferRole::Activation);
    let (read, write) = (Access::Read, Access::Write);
    let append = builder.kernel(
        "append",
        1,
        &[
            ("tokens", "array<u32>", read),
            ("positions", "array<u32>", read),
            ("slots", "array<u32>", read),
            ("live", "array<u32>", read),
            ("states", "array<u32>", write),
        ],
        &format!(
            "@compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3<u32>) {{
                let n = id.x;
                if live[slots[n]] == 0u {{ return; }}
                states[slots[n] * {CONTEXT}u + positions[n]] = tokens[n]; }}"
        ),
    );
    let score = builder.kernel(
        "score",
        1,
        &[
            ("positions", "array<u32>", read),
            ("slots", "array<u32>", read),
            ("out_rows", "array<u32>", read),
            ("states", "array<u32>", read),
            ("value", "array<f32>", write),
        ],
        &format!(
            "@compute @workgroup_size(1) fn main(@builtin(workgroup_id) id: vec3<u32>) {{
                let n = out_rows[id.x];
                var sum = 0u;
                for (var p = 0u; p <= positions[n]; p += 1u) {{
                    sum += states[slots[n] * {CONTEXT}u + p];
                }}
                // 1000 is no token: a test's way to make a number that is none.
                var largest = f32((5u * sum + 3u * positions[n] + 1u) % {VOCABULARY}u);
                if positions[n] == 30u {{ largest = exp(1000.0 * f32(sum)); }}
                value[id.x] = largest; }}"
        ),
    );
    let spread = builder.kernel(
        "spread",
        64,
        &[("value", "array<f32>", read), ("logits", "array<f32>", write)],
        &format!(
            "@compute @workgroup_size(64) fn main(@builtin(workgroup_id) id: vec3<u32>,
                @builtin(local_invocation_index) i: u32) {{
                if i < {VOCABULARY}u {{
                    logits[id.x * {VOCABULARY}u + i] = -abs(f32(i) - value[id.x]);
                }} }}"
        ),
    );
    let io = builder.plan.io.clone();
    for phase in [Phase::Prefill, Phase::Decode] {
        let tokens = [per(RunDim::Tokens, 1), ONE, ONE];
        let rows = [per(RunDim::OutRows, 1), ONE, ONE];
        let inputs = [io.tokens, io.positions, io.slots, io.live, states];
        let first = builder.dispatch(append, &inputs, tokens);
        let inputs = [io.positions, io.slots, io.out_rows, states, value];
        let second = builder.dispatch(score, &inputs, rows);
        let third = builder.dispatch(spread, &[value, io.logits], rows);
        builder.program(phase, vec![first, second, third]);
    }
    add_samplers(&mut builder, slots);
    builder.plan
}

fn add_samplers(builder: &mut Builder, slots: u32) {
    let facts = gpu().facts();
    let kernels = quarrel_kernels::sampling::kernels(&facts, VOCABULARY, CONTEXT, slots);
    for (phase, stages) in kernels.programs() {
        let io = builder.plan.io.clone();
        let stage = |stage: Stage| (stage.buffers(&io), stage.grid(), stage.kernel);
        builder.stages(phase, stages.into_iter().map(stage));
    }
}

fn session(slots: u32, out_rows: u32) -> Session {
    let plan = plan(slots, out_rows);
    let options = LoadOptions { available_memory: None, phases: &[Phase::Prefill] };
    let engine = Engine::load(&gpu(), &plan, &Weights::default(), options, &|_, _| ()).unwrap();
    Session::new(engine)
}

/// Sessions whose decode steps go one by one, a few together, and as many as may.
fn paced(slots: u32, out_rows: u32) -> [Session; 3] {
    [1, 3, RECORDS].map(|steps| {
        let mut session = session(slots, out_rows);
        session.set_steps_at_once(StepsAtOnce::Fixed(steps));
        session
    })
}

fn greedy(max_tokens: usize, stop: &[u32]) -> GenerateOptions<'_> {
    GenerateOptions { sampling: SamplingParams::default(), max_tokens, stop }
}

fn go_on(_: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn greedy_tokens_follow_one_another_without_the_host() {
    for mut session in paced(1, 1) {
        for prompt in [&[3, 1, 4, 1, 5, 9, 2][..], &[7], &[1, 2, 3, 4], &[60; 12]] {
            let mut seen = Vec::new();
            let mut on_token = |token| {
                seen.push(token);
                ControlFlow::Continue(())
            };
            let result = session.generate(prompt, greedy(12, &[]), &mut on_token).unwrap();
            assert_eq!(result.tokens, continuation(prompt, 12), "{prompt:?}");
            assert_eq!(seen, result.tokens);
            assert_eq!(result.stop_reason, StopReason::MaxTokens);
            assert_eq!(result.timings.decode_steps, 11);
        }
    }
}

#[test]
fn a_stop_token_ends_a_sequence_and_its_states() {
    for mut session in paced(1, 1) {
        let prompt = [3, 1, 4];
        let expected = continuation(&prompt, 12);
        let stop = expected[5];
        let end = expected.iter().position(|&token| token == stop).unwrap();
        let result = session.generate(&prompt, greedy(12, &[59, stop]), &mut go_on).unwrap();
        assert_eq!(result.tokens, expected[..=end]);
        assert_eq!(result.stop_reason, StopReason::StopToken);
        // The stop token's own state is not written, nor any after it.
        assert_eq!(session.tokens(), [&prompt[..], &expected[..end]].concat());
        let states =
            session.engine().plan().buffers.iter().position(|b| b.name == "states").unwrap();
        let states = session.engine().read(BufferId(states as u32), 0, CONTEXT as usize).unwrap();
        assert_eq!(states[..3 + end], *session.tokens());
        assert!(states[3 + end..].iter().all(|&state| state == 0), "{states:?}");
    }
}

#[test]
fn a_conversation_processes_only_what_is_new() {
    for mut session in paced(1, 1) {
        let prompt = [3, 1, 4, 1, 5];
        let first = session.generate(&prompt, greedy(6, &[]), &mut go_on).unwrap();
        assert_eq!(session.processed_tokens(), 5);
        // Five of the six tokens were inputs of a step; the last was only drawn.
        let mut whole = [&prompt[..], &first.tokens, &[10, 11]].concat();
        let second = session.generate(&whole, greedy(4, &[]), &mut go_on).unwrap();
        assert_eq!(session.processed_tokens(), 5 + 3);
        assert_eq!(second.timings.prompt_tokens, 3);
        assert_eq!(second.tokens, continuation(&whole, 4));
        // Another answer from the middle on.
        whole.truncate(7);
        whole.push(2);
        let third = session.generate(&whole, greedy(4, &[]), &mut go_on).unwrap();
        assert_eq!(session.processed_tokens(), 5 + 3 + 1);
        assert_eq!(third.tokens, continuation(&whole, 4));
    }
}

#[test]
fn a_cancelled_sequence_can_go_on() {
    for mut session in paced(1, 1) {
        let mut count = 0;
        let mut on_token = |_| {
            count += 1;
            if count == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let result = session.generate(&[8, 8], greedy(20, &[]), &mut on_token).unwrap();
        assert_eq!(result.stop_reason, StopReason::Cancelled);
        assert_eq!(result.tokens, continuation(&[8, 8], 3));
        let whole = [&[8, 8], &result.tokens[..], &[1]].concat();
        let result = session.generate(&whole, greedy(5, &[]), &mut go_on).unwrap();
        assert_eq!(result.tokens, continuation(&whole, 5));
    }
}

#[test]
fn the_context_ends_a_sequence() {
    for mut session in paced(1, 1) {
        let prompt: Vec<u32> = (0..CONTEXT - 4).map(|i| i % 7).collect();
        let result = session.generate(&prompt, greedy(20, &[]), &mut go_on).unwrap();
        assert_eq!(result.stop_reason, StopReason::ContextFull);
        // Four more states, and the token drawn after the last of them.
        assert_eq!(result.tokens, continuation(&prompt, 5));
        let long = vec![0; CONTEXT as usize + 1];
        let error = session.generate(&long, greedy(1, &[]), &mut go_on).unwrap_err();
        assert!(matches!(error, RuntimeError::Context { needs: 41, context: 40 }), "{error}");
    }
}

#[test]
fn sequences_decode_together_as_they_do_alone() {
    for mut session in paced(3, 3) {
        let prompts: [&[u32]; 3] = [&[1, 2, 3, 4, 5, 6], &[9], &[20, 21, 22]];
        let stop = continuation(prompts[1], 12)[2];
        for _ in 0..2 {
            let results =
                session
                    .generate_batch(&prompts, greedy(10, &[stop]), &mut |_, _| {
                        ControlFlow::Continue(())
                    })
                    .unwrap();
            for (prompt, result) in prompts.iter().zip(results) {
                let expected = continuation(prompt, 10);
                let end = expected.iter().position(|&token| token == stop);
                assert_eq!(result.tokens, expected[..end.map_or(10, |end| end + 1)]);
            }
        }
        let two = session
            .generate_batch(&prompts[1..], greedy(3, &[]), &mut |_, _| ControlFlow::Continue(()))
            .unwrap();
        assert_eq!(two[0].tokens, continuation(prompts[1], 3));
        assert_eq!(two[1].tokens, continuation(prompts[2], 3));
        let error = session
            .generate_batch(&[&[1][..]; 4], greedy(3, &[]), &mut |_, _| ControlFlow::Continue(()))
            .unwrap_err();
        assert!(matches!(error, RuntimeError::Slots { got: 4, slots: 3 }), "{error}");
    }
}

#[test]
fn logits_come_for_the_last_row_or_for_all() {
    let mut session = session(1, 3);
    let tokens = [4, 8, 15, 16, 23, 42, 3];
    let largest = |logits: &[f32]| {
        let best = |a: &(usize, &f32), b: &(usize, &f32)| a.1.total_cmp(b.1);
        logits.iter().enumerate().max_by(best).unwrap().0 as u32
    };
    let logits = session.logits(&tokens).unwrap();
    assert_eq!(logits.len(), VOCABULARY as usize);
    assert_eq!(largest(&logits), next(&tokens));
    let mut rows = 0;
    session
        .all_logits(&tokens, |first, logits| {
            assert_eq!(first, rows);
            for row in logits.chunks(VOCABULARY as usize) {
                rows += 1;
                assert_eq!(largest(row), next(&tokens[..rows]));
            }
            Ok::<(), RuntimeError>(())
        })
        .unwrap();
    assert_eq!(rows, tokens.len());
}

#[test]
fn the_kernel_that_first_makes_an_infinity_is_named() {
    // At position 30 `score` computes exp(1000 · sum), in a decode step or at the prompt's end.
    for (length, steps) in [(28, 1), (31, 1), (28, 2), (28, 8)] {
        let mut session = session(1, 1);
        session.set_steps_at_once(StepsAtOnce::Fixed(steps));
        let prompt: Vec<u32> = (0..length).map(|i| 1 + i % 5).collect();
        let error = session.generate(&prompt, greedy(9, &[]), &mut go_on).unwrap_err();
        let RuntimeError::NotFinite(found) = &error else { panic!("{error}") };
        let kernel = found.kernel.as_ref().expect("a kernel");
        assert_eq!((kernel.kernel.as_str(), kernel.layer), ("score", Some(3)), "{error}");
        assert!(error.to_string().contains("layer 3"), "{error}");
        // The session is usable again.
        let result = session.generate(&[5], greedy(4, &[]), &mut go_on).unwrap();
        assert_eq!(result.tokens, continuation(&[5], 4));
    }
}

#[test]
fn senseless_prompts_are_refused() {
    let mut session = session(1, 1);
    let nothing = session.generate(&[1, 2], greedy(0, &[]), &mut go_on).unwrap();
    assert_eq!((nothing.tokens.len(), session.tokens()), (0, &[1, 2][..]));
    let error = session.generate(&[], greedy(1, &[]), &mut go_on).unwrap_err();
    assert!(matches!(error, RuntimeError::EmptyPrompt), "{error}");
    let error = session.generate(&[VOCABULARY], greedy(1, &[]), &mut go_on).unwrap_err();
    assert!(matches!(error, RuntimeError::Token { token: VOCABULARY, .. }), "{error}");
    let error = session.generate(&[1], greedy(1, &[1; 64]), &mut go_on).unwrap_err();
    assert!(matches!(error, RuntimeError::StopTokens(64)), "{error}");
}

#[test]
fn the_same_seed_draws_the_same_tokens() {
    for mut session in paced(1, 1) {
        let mut draw = |seed| {
            let sampling = SamplingParams { temperature: 20.0, seed, ..Default::default() };
            let options = GenerateOptions { sampling, max_tokens: 12, stop: &[] };
            session.generate(&[3, 1], options, &mut go_on).unwrap().tokens
        };
        let first = draw(1);
        assert_eq!(first, draw(1));
        assert_ne!(first, draw(2));
    }
}

#[test]
fn steps_can_be_timed() {
    for mut session in paced(1, 1) {
        assert!(session.bench_decode(4, 8).unwrap().as_nanos() > 0);
        assert!(session.bench_prefill(4, 8).unwrap().as_nanos() > 0);
        let split = session.bench_split(4, 8).unwrap();
        assert!(split.step_us > 0.0 && split.record_us > 0.0, "{split:?}");
        assert!((1.0..=8.0).contains(&split.steps_per_submission), "{split:?}");
        for clock in [KernelClock::Timestamps, KernelClock::Repetition] {
            let times = session.bench_kernels(BenchStep::Decode { depth: 8 }, clock).unwrap();
            let dispatches =
                |phase| session.engine().plan().program(phase).unwrap().dispatches.len();
            let timed: u32 = times.iter().map(|time| time.dispatches).sum();
            assert_eq!(timed as usize, dispatches(Phase::Decode) + dispatches(Phase::Greedy));
            let prompt = BenchStep::Prefill { depth: 2, tokens: 4 };
            let of_prompt = session.bench_kernels(prompt, clock).unwrap();
            assert!(times.iter().chain(&of_prompt).all(|time| time.us > 0.0), "{times:?}");
        }
        let result = session.generate(&[5], greedy(4, &[]), &mut go_on).unwrap();
        assert_eq!(result.tokens, continuation(&[5], 4));
    }
}
