//! Each rule of the ops' types and of whole graphs, broken once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use quarrel_ir::graph::{Graph, Op, Origin, StateId, TextProblem, TypeError, ValueId, WeightId};

/// What the broken lines use.
const HEAD: &str = r#"graph "g"
  weight w0 "table" F16[100, 32]
  weight w1 "gain" F32[32]
  weight w2 "factors" F32[4]
  state s0 "k" f16[2, 8] append
  state s1 "v" f16[2, 8] append
  state s2 "flat" f16[16] append
  state s3 "odd" f16[3, 8] append
  %0 = input tokens
  %1 = input position
  %2 = input slot
  %3 = input out_rows
  %4 = weight w0
  %5 = weight w1
  %6 = weight w2
  %7 = embed %4, %0               // f32[N, 32]
  %8 = reshape(4, 8) %7           // f32[N, 4, 8]
  %9 = state s0
  %10 = state s1
  %11 = state s2
  %12 = state s3
  %13 = scalar 2.0
  %14 = slice(start=0, len=16) %7
  %15 = reshape(2, 8) %14         // f32[N, 2, 8]
"#;

fn type_error(line: &str) -> TypeError {
    Graph::from_text(HEAD).unwrap();
    match Graph::from_text(&format!("{HEAD} %16 = {line}")).unwrap_err().problem {
        TextProblem::Type(error) => error,
        other => panic!("{line}: {other}"),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn each_op_checks_its_operands() {
    let cases = [
        ("input tokens %0", "input takes no operands, not 1"),
        ("weight w0 %0", "weight takes no operands, not 1"),
        ("scalar 1.0 %0", "scalar takes no operands, not 1"),
        ("state s0 %0", "state takes no operands, not 1"),
        ("embed %4", "embed takes 2 (table, ids) operands, not 1"),
        (
            "embed %7, %0",
            "embed: operand 0 should be a weight [vocabulary, width], but it is f32[N, 32]",
        ),
        (
            "embed %5, %0",
            "embed: operand 0 should be a weight [vocabulary, width], but it is f32[32]",
        ),
        ("embed %4, %3", "embed: operand 1 should be u32[N], but it is u32[R]"),
        ("gather_rows %7", "gather_rows takes 2 (x, rows) operands, not 1"),
        (
            "gather_rows %5, %3",
            "gather_rows: operand 0 should be a value with a row for each token, but it is f32[32]",
        ),
        ("gather_rows %7, %0", "gather_rows: operand 1 should be u32[R], but it is u32[N]"),
        ("linear %7", "linear takes 2 (x, weight) operands, not 1"),
        (
            "linear %8, %4",
            "linear: operand 0 should be rows of vectors, such as f32[N, 576], but it is f32[N, 4, 8]",
        ),
        (
            "linear %5, %4",
            "linear: operand 0 should be rows of vectors, such as f32[N, 576], but it is f32[32]",
        ),
        (
            "linear %7, %5",
            "linear: operand 1 should be a weight [rows, columns], but it is f32[32]",
        ),
        (
            "linear %14, %4",
            "linear: x is f32[N, 16], so the weight should have 16 columns, but it is f32[100, 32]",
        ),
        ("silu %7, %7", "silu takes 1 operands, not 2"),
        ("silu %0", "silu: operand 0 should be an f32 tensor, but it is u32[N]"),
        ("silu %9", "silu: operand 0 should be an f32 tensor, but it is the state k"),
        ("rms_normalize(eps=0)", "rms_normalize takes 1 operands, not 0"),
        (
            "layer_normalize(eps=0) %2",
            "layer_normalize: operand 0 should be an f32 tensor, but it is u32[N]",
        ),
        ("add %7", "add takes 2 operands, not 1"),
        ("add %7, %8", "add: f32[N, 32] and f32[N, 4, 8] do not go together element by element"),
        ("add %6, %7", "add: f32[4] and f32[N, 32] do not go together element by element"),
        ("add %4, %7", "add: f32[100, 32] and f32[N, 32] do not go together element by element"),
        (
            "rope(base=1, dims=8, half) %8",
            "rope takes 2 or 3 (x, position, factors) operands, not 1",
        ),
        (
            "rope(base=1, dims=8, half) %7, %1",
            "rope: operand 0 should be heads, such as f32[N, 9, 64], but it is f32[N, 32]",
        ),
        ("rope(base=1, dims=8, half) %8, %3", "rope: operand 1 should be u32[N], but it is u32[R]"),
        (
            "rope(base=1, dims=7, half) %8, %1",
            "rope: dims must be even and at most the head size 8, but it is 7",
        ),
        (
            "rope(base=1, dims=10, half) %8, %1",
            "rope: dims must be even and at most the head size 8, but it is 10",
        ),
        (
            "rope(base=1, dims=0, half) %8, %1",
            "rope: dims must be even and at most the head size 8, but it is 0",
        ),
        (
            "rope(base=1, dims=6, half) %8, %1, %6",
            "rope: operand 2 should be f32[3], but it is f32[4]",
        ),
        ("reshape(4, 9) %7", "reshape: f32[N, 32] has no shape [4, 9] with as many elements"),
        (
            "reshape(4294967296, 4294967296) %7",
            "reshape: f32[N, 32] has no shape [4294967296, 4294967296] with as many elements",
        ),
        ("slice(start=30, len=3) %7", "slice: 30..30+3 is not within f32[N, 32]"),
        ("slice(start=0, len=0) %7", "slice: 0..0+0 is not within f32[N, 32]"),
        (
            "slice(start=18446744073709551615, len=1) %7",
            "slice: 18446744073709551615..18446744073709551615+1 is not within f32[N, 32]",
        ),
        ("slice(start=0, len=1) %13", "slice: 0..0+1 is not within f32[]"),
        ("append %9, %15, %2", "append takes 4 (state, x, slot, position) operands, not 3"),
        ("append %7, %15, %2, %1", "append: operand 0 should be a state, but it is f32[N, 32]"),
        ("append %9, %7, %2, %1", "append: operand 1 should be f32[N, 2, 8], but it is f32[N, 32]"),
        ("append %9, %15, %3, %1", "append: operand 2 should be u32[N], but it is u32[R]"),
        ("append %9, %15, %2, %7", "append: operand 3 should be u32[N], but it is f32[N, 32]"),
        (
            "attention(scale=1) %8, %9, %10, %2",
            "attention takes 5 (q, keys, values, slot, position) operands, not 4",
        ),
        (
            "attention(scale=1) %4, %9, %10, %2, %1",
            "attention: operand 0 should be a value with a row for each token, but it is f32[100, 32]",
        ),
        (
            "attention(scale=1) %8, %7, %10, %2, %1",
            "attention: operand 1 should be a state, but it is f32[N, 32]",
        ),
        (
            "attention(scale=1) %8, %9, %10, %3, %1",
            "attention: operand 3 should be u32[N], but it is u32[R]",
        ),
        (
            "attention(scale=1) %8, %9, %10, %2, %3",
            "attention: operand 4 should be u32[N], but it is u32[R]",
        ),
        (
            "attention(scale=1) %8, %9, %11, %2, %1",
            "attention: queries f32[N, 4, 8], keys [2, 8] and values [16] should each be [heads, size]",
        ),
        (
            "attention(scale=1) %8, %9, %12, %2, %1",
            "attention: queries f32[N, 4, 8] do not go with keys [2, 8] and values [3, 8]: sizes must match and the query heads be a multiple of the key heads",
        ),
        (
            "attention(scale=1) %8, %12, %12, %2, %1",
            "attention: queries f32[N, 4, 8] do not go with keys [3, 8] and values [3, 8]: sizes must match and the query heads be a multiple of the key heads",
        ),
        (
            "attention(scale=1, window=0) %8, %9, %10, %2, %1",
            "attention: a window holds at least the row itself, so it is not 0",
        ),
    ];
    for (line, message) in cases {
        assert_eq!(type_error(line).to_string(), message, "{line}");
    }
}

#[test]
fn attention_sees_no_more_than_its_states_keep() {
    let said = |window: &str, keys: &str, values: &str| {
        let states =
            format!("state s4 \"near\" f16[2, 8] {keys} state s5 \"far\" f16[2, 8] {values}");
        let attention = format!("attention(scale=1{window}) %8, %16, %17, %2, %1");
        let text = format!("{HEAD} {states} %16 = state s4 %17 = state s5 %18 = {attention}");
        match Graph::from_text(&text).map_err(|error| error.problem) {
            Ok(_) => String::new(),
            Err(TextProblem::Type(error)) => error.to_string(),
            Err(other) => panic!("{text}: {other}"),
        }
    };
    let ring = "ring(window=4)";
    for window in [", window=1", ", window=4"] {
        assert_eq!(said(window, ring, ring), "");
        assert_eq!(said(window, "append", "append"), "");
    }
    let wrong = |what: &str| format!("attention: {what}");
    let more = wrong("5 rows of states that keep ring(window=4)");
    assert_eq!(said(", window=5", ring, ring), more);
    assert_eq!(said("", ring, ring), wrong("all rows of states that keep ring(window=4)"));
    assert_eq!(said("", "replace", "replace"), wrong("all rows of states that keep replace"));
    let other = wrong("keys and values should keep the same rows");
    assert_eq!(said(", window=4", ring, "append"), other);
}

#[test]
fn a_state_is_whole_blocks_of_its_format() {
    verify(&format!("{LOGITS} state s4 \"near\" q8_0[2, 64] append output %17"), Ok(()));
    verify(
        &format!("{LOGITS} state s4 \"near\" q8_0[64, 2] append output %17"),
        Err("the state \"near\" of rows [64, 2] cannot be stored in q8_0"),
    );
}

#[test]
fn ids_of_other_graphs_are_refused() {
    let mut graph = Graph::from_text(HEAD).unwrap();
    let mut error = |op, operands: &[u32]| {
        let operands: Vec<ValueId> = operands.iter().copied().map(ValueId).collect();
        graph.add(op, &operands, Origin::default()).unwrap_err()
    };
    assert_eq!(error(Op::Linear, &[7, 99]), TypeError::NoSuchValue { op: "linear", operand: 1 });
    assert_eq!(error(Op::Weight(WeightId(3)), &[]).to_string(), "weight: no weight 3");
    assert_eq!(error(Op::State(StateId(4)), &[]).to_string(), "state: no state 4");
}

#[test]
fn the_shorter_operand_may_be_on_either_side() {
    for (line, ty) in [
        ("add %7, %5", "f32[N, 32]"),
        ("sub %5, %7", "f32[N, 32]"),
        ("mul %13, %8", "f32[N, 4, 8]"),
        ("div %4, %5", "f32[100, 32]"),
        ("max %13, %13", "f32[]"),
    ] {
        Graph::from_text(&format!("{HEAD} %16 = {line} : {ty}")).unwrap();
    }
}

/// Checks what the verifier says of the head with these lines after it; values count from 16.
#[track_caller]
fn verify(lines: &str, expected: Result<(), &str>) {
    let graph = Graph::from_text(&format!("{HEAD}\n{lines}")).unwrap();
    let said = graph.verify().map_err(|error| error.to_string());
    assert_eq!(said, expected.map_err(String::from));
}

const LOGITS: &str = "%16 = gather_rows %7, %3 %17 = linear %16, %4";

#[test]
fn the_output_is_logits() {
    verify(&format!("{LOGITS} output %17"), Ok(()));
    verify(LOGITS, Err("the graph \"g\" has no output"));
    let wrong = |ty: &str| format!("the output should be f32[R, vocabulary], but it is {ty}");
    verify("output %7", Err(&wrong("f32[N, 32]")));
    verify("output %3", Err(&wrong("u32[R]")));
    verify("output %9", Err(&wrong("a state")));
    verify("%16 = gather_rows %8, %3 output %16", Err(&wrong("f32[R, 4, 8]")));
}

#[test]
fn names_are_unique() {
    let verify = |lines: &str| {
        let text = format!("{HEAD} {lines} {LOGITS} output %17");
        Graph::from_text(&text).unwrap().verify().unwrap_err().to_string()
    };
    assert_eq!(verify("state s4 \"k\" f32[1] append"), "two states are named \"k\"");
    assert_eq!(verify("weight w3 \"gain\" F16[1]"), "two weights are named \"gain\"");
}

#[test]
fn a_state_is_one_chain_of_versions_and_only_the_last_is_read() {
    let verify = |lines: &str, expected: Result<(), &str>| {
        verify(&format!("{LOGITS} {lines} output %17"), expected);
    };
    let append = |at: u32, state: u32| format!("%{at} = append %{state}, %15, %2, %1 ");
    let read = |at: u32, keys: u32| format!("%{at} = attention(scale=1) %8, %{keys}, %10, %2, %1 ");
    verify(&(append(18, 9) + &append(19, 18) + &read(20, 19) + &read(21, 19)), Ok(()));
    verify(&read(18, 9), Ok(()));
    let forked = "the state \"k\" is used twice: each version may be changed once, by one op";
    verify(&(append(18, 9) + &append(19, 9)), Err(forked));
    verify("%18 = state s0", Err(forked));
    let stale = |value| format!("%{value}: reads an outdated version of the state \"k\"");
    verify(&(append(18, 9) + &read(19, 9)), Err(&stale(19)));
    verify(&(read(18, 9) + &append(19, 9)), Err(&stale(18)));
}
