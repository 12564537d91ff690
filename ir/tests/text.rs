//! The IR text: what is printed reads back as the same graph, and errors say where they are.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod random_graph;

use proptest::prelude::*;
use quarrel_ir::graph::{BinaryOp, Graph, Op, UnaryOp};
use random_graph::random_graph;
use std::collections::HashSet;

/// A small graph by hand: one head of attention and a gate.
const SMALL: &str = r#"graph "small"
  weight w0 "token_embd" Q8_0[256, 32]
  weight w1 "norm" F32[32]
  state s0 "k.0" f16[2, 16] append
  state s1 "v.0" f32[2, 16] append
  %0 = input tokens : u32[N]
  %1 = input position : u32[N]
  %2 = input slot : u32[N]
  %3 = input out_rows : u32[R]
  %4 = weight w0 : f32[256, 32]
  %5 = embed %4, %0 : f32[N, 32] @ "h", line 3
  %6 = rms_normalize(eps=1e-5) %5 : f32[N, 32] @ layer 0, line 5
  %7 = weight w1 : f32[32]
  %8 = mul %6, %7 : f32[N, 32] @ "x", layer 0, line 5
  %9 = reshape(2, 16) %8 : f32[N, 2, 16]
  %10 = rope(base=10000.0, dims=16, interleaved) %9, %1 : f32[N, 2, 16] @ "q", layer 0, line 6
  %11 = rope(base=10000.0, scale=0.25, magnitude=1.5, dims=8, half) %9, %1 : f32[N, 2, 16]
  %12 = state s0 : s0
  %13 = append %12, %11, %2, %1 : s0
  %14 = state s1 : s1
  %15 = append %14, %9, %2, %1 : s1
  %16 = attention(scale=0.25, window=64, softcap=50.0) %10, %13, %15, %2, %1 : f32[N, 2, 16]
  %17 = slice(start=0, len=8) %16 : f32[N, 2, 8]
  %18 = silu %17 : f32[N, 2, 8]
  %19 = scalar 0.1 : f32[]
  %20 = mul %18, %19 : f32[N, 2, 8]
  %21 = gather_rows %5, %3 : f32[R, 32]
  %22 = linear %21, %4 : f32[R, 256] @ "logits", line 9
  output %22
"#;

#[test]
fn a_graph_prints_as_it_was_written() {
    let graph = Graph::from_text(SMALL).unwrap();
    graph.verify().unwrap();
    assert_eq!(graph.to_string(), SMALL);
}

#[test]
fn types_comments_and_layout_may_be_left_to_the_author() {
    let text = "graph\"g\" // a comment\n%0=input tokens%1\n= input position : u32 [ N ]//end";
    let graph = Graph::from_text(text).unwrap();
    assert_eq!(
        graph.to_string(),
        "graph \"g\"\n  %0 = input tokens : u32[N]\n  %1 = input position : u32[N]\n"
    );
}

#[test]
fn random_graphs_cover_every_op() {
    let mut seen = HashSet::new();
    for seed in 0..40u64 {
        let choices: Vec<u64> = (0..20).map(|i| seed * 1000 + i).collect();
        let graph = random_graph("all", &choices);
        graph.verify().unwrap();
        seen.extend(graph.values().map(|value| graph.op(value).name()));
    }
    let others = [
        "input",
        "weight",
        "scalar",
        "state",
        "embed",
        "gather_rows",
        "linear",
        "rms_normalize",
        "layer_normalize",
        "rope",
        "reshape",
        "slice",
        "append",
        "attention",
    ];
    let unary = UnaryOp::ALL.map(|op| Op::Unary(op).name());
    let binary = BinaryOp::ALL.map(|op| Op::Binary(op).name());
    for name in others.iter().chain(&unary).chain(&binary) {
        assert!(seen.contains(name), "{name} is never made");
    }
}

/// The error of reading a text in which one piece of [`SMALL`] is replaced.
fn error_after(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    Graph::from_text(&SMALL.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn errors_say_where_and_what_was_expected() {
    let cases = [
        ("graph", "grape", "line 1, column 1: expected `graph`, found `grape`"),
        (
            "\"small\"",
            "small",
            "line 1, column 7: expected the graph's name in quotes, found `small`",
        ),
        ("\"small\"", "\"small", "line 1, column 13: expected `\"`, found the end of the line"),
        (
            "\"small\"",
            "\"sm\\all\"",
            "line 1, column 10: expected `\\\"`, `\\\\` or an escape such as `\\u{a}`, found `\\`",
        ),
        ("w0", "w1", "line 2, column 10: expected `w0`, found `w1`"),
        ("Q8_0", "q8_0", "line 2, column 26: expected a format such as `F16`, found `q8_0`"),
        (
            "[256, 32]",
            "[256; 32]",
            "line 2, column 34: expected a word, a number or a mark, found ';'",
        ),
        ("[256, 32]", "[256, -2]", "line 2, column 36: expected an extent, found `-2`"),
        (
            "[256, 32]",
            "[4294967296, 4294967296]",
            "line 2, column 30: the extents [4294967296, 4294967296] have more elements than can be \
             counted",
        ),
        ("f16", "f64", "line 4, column 18: expected `f32` or `f16` or `q8_0`, found `f64`"),
        (
            " append\n",
            "\n",
            "line 5, column 3: expected `append`, `ring` or `replace`, found `state`",
        ),
        (
            "input tokens",
            "input token",
            "line 6, column 14: expected `tokens` or `position` or `slot` or `out_rows`, found `token`",
        ),
        (
            "%1 = input",
            "%2 = input",
            "line 7, column 3: expected `weight`, `state`, `%1 =` or `output`, found `%2 =`",
        ),
        (
            "weight w0 :",
            "weight w2 :",
            "line 10, column 15: expected `w` and a number below 2, found `w2`",
        ),
        (
            "embed %4, %0",
            "embed %4, %5",
            "line 11, column 18: expected a value that stands above, found `%5`",
        ),
        (
            "embed %4, %0",
            "embed %4",
            "line 11, column 3: embed takes 2 (table, ids) operands, not 1",
        ),
        ("embed %4, %0", "embody %4, %0", "line 11, column 8: expected an op, found `embody`"),
        (
            "f32[N, 32] @ \"h\"",
            "f32[N, 33] @ \"h\"",
            "line 11, column 23: the type is stated as f32[N, 33], but it is f32[N, 32]",
        ),
        (
            "@ \"h\"",
            "@ h",
            "line 11, column 36: expected a name in quotes, `layer` or `line`, found `h`",
        ),
        ("(eps=1e-5)", "", "line 12, column 22: expected `(`, found `%5`"),
        ("eps=1e-5", "eps", "line 12, column 22: expected `eps=` and a number, found `eps`"),
        ("eps=1e-5", "eps=tiny", "line 12, column 22: expected `eps=` and a number, found `eps`"),
        (
            "eps=1e-5",
            "eps=1, eps=2",
            "line 12, column 29: expected an attribute of this op, once, found `eps`",
        ),
        (
            ", interleaved",
            "",
            "line 16, column 13: expected `interleaved` or `half`, found none in the brackets",
        ),
        (
            "base=10000.0, dims=16",
            "dims=16",
            "line 16, column 13: expected `base=` and a number, found none in the brackets",
        ),
        (
            "state s0 : s0",
            "state s0 : s1",
            "line 18, column 20: the type is stated as s1, but it is s0",
        ),
        (
            "state s0 : s0",
            "state s0 : u64",
            "line 18, column 20: expected a type such as `f32[N, 64]` or `s0`, found `u64`",
        ),
        (
            "output %22",
            "output %23",
            "line 29, column 10: expected a value that stands above, found `%23`",
        ),
        ("output %22", "output %", "line 29, column 10: expected a value such as `%7`, found `%`"),
        (
            "output %22",
            "output %22 %0",
            "line 29, column 14: expected nothing after the output, found `%0`",
        ),
    ];
    for (from, to, message) in cases {
        assert_eq!(error_after(from, to), message, "{from} -> {to}");
    }
}

#[test]
fn sizes_that_overflow_are_refused() {
    let huge = u64::MAX;
    let text = |last: &str| {
        format!(
            "graph \"g\" weight w0 \"w\" F32[{huge}, 1] weight w1 \"t\" F32[1, 1]
             %0 = input tokens %1 = weight w1 %2 = embed %1, %0 %3 = weight w0
             %4 = linear %2, %3 {last}"
        )
    };
    Graph::from_text(&text(&format!("%5 = reshape(1, {huge}) %4"))).unwrap();
    Graph::from_text(&text(&format!("%5 = reshape({huge}, 2) %4"))).unwrap_err();
    let zero = format!("graph \"g\" state s0 \"s\" f32[0, {huge}, 2] append");
    Graph::from_text(&zero).unwrap_err();
}

/// Reads a text that may be anything; a graph that is found prints and reads back.
fn read_any(text: &str) {
    if let Ok(graph) = Graph::from_text(text) {
        let printed = graph.to_string();
        let again = Graph::from_text(&printed).expect("what is printed reads back");
        assert_eq!(again.to_string(), printed);
        let _ = graph.verify();
    }
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(
        name in any::<String>(),
        choices in prop::collection::vec(any::<u64>(), 0..24),
    ) {
        let graph = random_graph(&name, &choices);
        graph.verify().unwrap();
        let text = graph.to_string();
        let read = Graph::from_text(&text).map_err(|why| TestCaseError::fail(format!("{why}\n{text}")))?;
        prop_assert_eq!(&read, &graph, "{}", text);
        prop_assert_eq!(read.to_string(), text);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>()) {
        read_any(&text);
        read_any(&format!("graph \"g\" {text}"));
    }

    #[test]
    fn damaged_graphs_are_read_without_a_panic(
        choices in prop::collection::vec(any::<u64>(), 0..8),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3, 0..SMALL.len()), 1..6),
    ) {
        let mut text: Vec<char> = random_graph("g", &choices).to_string().chars().collect();
        for (at, kind, with) in edits {
            let at = at.index(text.len());
            let with = SMALL.as_bytes()[with] as char;
            match kind {
                0 => { text.remove(at); }
                1 => text.insert(at, with),
                _ => text[at] = with,
            }
        }
        read_any(&text.into_iter().collect::<String>());
    }
}
