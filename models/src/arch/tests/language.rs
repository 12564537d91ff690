//! What the language's constructs mean, seen in the graphs that they build.

use super::{build, small, with_body};
use quarrel_ir::graph::{Attention, BinaryOp, Graph, Op, Origin, UnaryOp};

fn built(body: &str) -> Graph {
    build(&with_body(body), &small()).unwrap_or_else(|error| panic!("{error:?}"))
}

/// The constant that an expression of numbers comes to.
fn number(expression: &str) -> f32 {
    let graph = built(&format!("  h = h * ({expression})"));
    let mut scalars = graph.values().filter_map(|value| match graph.op(value) {
        Op::Scalar(number) => Some(*number),
        _ => None,
    });
    scalars.next_back().unwrap()
}

#[test]
fn arithmetic_on_numbers() {
    let cases = [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("-2 ^ 2", -4.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("64 ^ -0.5", 0.125),
        ("7 // 2 - 7 % 4", 0.0),
        ("-7 // 2", -4.0),
        ("-7 % 4", 1.0),
        ("10 - 4 - 3", 3.0),
        ("1e-3 * 2_0", f32::NAN),
        ("if 5 % 6 == 5 and not false then 2 else 3", 2.0),
        ("if 1 > 2 or 2 >= 2 and 1 != 1 then 2 else 3", 3.0),
        ("if \"a\" == \"a\" then 2 else 3", 2.0),
        ("if none == none then 2 else 3", 2.0),
        ("sqrt(16) + max(1, 2) + log(exp(2)) + floor(2.5)", 10.0),
        ("meta(\"attention.head_count\")", 2.0),
        ("meta(\"absent\", 5)", 5.0),
        ("meta(\"absent\", meta(\"block_count\") / 4)", 0.5),
        (
            "meta(\"kv\")[1] + at(meta(\"kv\"), 0) + at(meta(\"block_count\"), 7) + len(meta(\"kv\"))",
            7.0,
        ),
        ("if meta(\"pattern\")[0] then 1 else 2", 1.0),
        ("if meta(\"general.name\") == \"Small\" then 1 else 2", 1.0),
        (
            "if has_weight(\"up\") and has_weight(\"no\" or \"up.bias\") and not has_weight(\"no\") then 1 else 2",
            1.0,
        ),
        ("10\n - 4", 6.0),
    ];
    for (expression, expected) in cases {
        if expected.is_nan() {
            assert!(build(&with_body(&format!("  h = h * ({expression})")), &small()).is_err());
        } else {
            assert_eq!(number(expression), expected, "{expression}");
        }
    }
}

/// The operations of a graph, leaves left out.
fn ops(graph: &Graph) -> Vec<&'static str> {
    graph.values().map(|v| graph.op(v)).filter(|op| !op.is_leaf()).map(Op::name).collect()
}

#[test]
fn a_bias_is_used_where_there_is_one() {
    let graph = built("  h = linear(linear(h, \"up\"), \"down\")");
    assert_eq!(ops(&graph), ["embed", "linear", "add", "linear", "gather_rows", "linear"]);
}

#[test]
fn only_the_wanted_rows_reach_the_logits() {
    let text = with_body("").replace(
        "logits = linear(h, \"token_embd\")",
        "logits = softcap(linear(rms_norm(h, \"norm\", 1e-5) + h, \"token_embd\"), 30)",
    );
    let graph = build(&text, &small()).unwrap();
    let expected =
        ["embed", "gather_rows", "rms_normalize", "mul", "add", "linear", "div", "tanh", "mul"];
    assert_eq!(ops(&graph), expected);
}

#[test]
fn norms_with_and_without_weight() {
    let graph = built("  h = rms_norm(layer_norm(h, eps = 1e-5), \"norm\", 1e-6)");
    assert_eq!(ops(&graph)[1..4], ["layer_normalize", "rms_normalize", "mul"]);
}

#[test]
fn tensor_arithmetic() {
    let graph = built("  h = -relu(h) ^ 2 / 3 + (1 - h) * weight(\"norm\")");
    let expected =
        ["embed", "relu", "mul", "neg", "div", "sub", "mul", "add", "gather_rows", "linear"];
    assert_eq!(ops(&graph), expected);
    assert!(graph.values().any(|v| *graph.op(v) == Op::Unary(UnaryOp::Relu)));
    assert!(graph.values().any(|v| *graph.op(v) == Op::Binary(BinaryOp::Sub)));
}

#[test]
fn optional_weights() {
    let graph = built(
        "  x = heads(h, 2)\n  h = merge(rope(x, base = 1e4, dims = 4, style = half, \
         factors = optional \"no\"))",
    );
    assert!(ops(&graph).contains(&"rope"));
    let graph = built("  h = if weight(optional \"no\") == none then silu(h) else h");
    assert!(ops(&graph).contains(&"silu"));
}

#[test]
fn attentions_declare_their_states() {
    let body = "  a(x) = merge(attention(heads(x, 2), heads(x, 1), heads(x, 1), scale = 0.5))\n";
    let wrong = build(&with_body(&format!("{body}  h = a(h)")), &small());
    assert!(wrong.is_err(), "2 heads of 4 do not go with 1 of 8");
    let graph = built(
        "  b(x, i) = merge(attention(heads(x, 2), heads(x, 2), heads(x, 2), scale = 0.5,
            window = if meta(\"pattern\")[i] then 3 else none, softcap = 50))
  layers i in 0..2 {
    h = h + b(h, i) + b(-h, i)
  }
  h = b(h, 0)",
    );
    let names: Vec<&str> = graph.states.iter().map(|state| state.name.as_str()).collect();
    assert_eq!(names, ["k.0", "v.0", "k.0.1", "v.0.1", "k.1", "v.1", "k.1.1", "v.1.1", "k", "v"]);
    assert_eq!(graph.states[0].row, [2, 4]);
    let windows: Vec<_> = graph
        .values()
        .filter_map(|v| match graph.op(v) {
            Op::Attention(Attention { window, softcap, .. }) => Some((*window, *softcap)),
            _ => None,
        })
        .collect();
    assert_eq!(windows[0], (Some(3), Some(50.0)));
    assert_eq!(windows[2], (None, Some(50.0)));
}

#[test]
fn blocks_of_statements_are_chosen_by_conditions() {
    let graph = built(
        "  layers i in 0..2 {
    if meta(\"pattern\")[i] {
      x = silu(h)
      h = h + x
    } else if i == 1 {
      h = gelu(h)
    } else {
      require false else \"never\"
    }
  }",
    );
    assert_eq!(ops(&graph), ["embed", "silu", "add", "gelu", "gather_rows", "linear"]);
}

#[test]
fn functions_see_their_parameters_and_what_is_bound_when_called() {
    let graph = built(
        "  q(x) = linear(x, \"blk.{i}.q\")  # i is the layer of the caller
  layers i in 0..2 {
    h = h + q(silu(h))
  }",
    );
    let read: Vec<&str> = graph.weights.iter().map(|weight| weight.name.as_str()).collect();
    assert_eq!(read, ["token_embd.weight", "blk.0.q.weight", "blk.1.q.weight"]);
}

#[test]
fn origins_are_statements() {
    let graph =
        built("  twice(x) = silu(silu(x))\n  layers i in 0..2 {\n    h = twice(\n      h)\n  }");
    let origins: Vec<&Origin> = graph
        .values()
        .filter(|v| *graph.op(*v) == Op::Unary(UnaryOp::Silu))
        .map(|v| &graph.node(v).origin)
        .collect();
    assert_eq!(origins.len(), 4);
    let origin = |layer| Origin { name: Some("h".into()), layer: Some(layer), line: 5 };
    assert_eq!(*origins[0], origin(0));
    assert_eq!(*origins[3], origin(1));
}

#[test]
fn texts_take_values_and_braces() {
    let error = build(&with_body("  h = linear(h, \"{{a}}.{1 + 1}.{true}.{0.5}.{\n}\")"), &small());
    assert!(error.is_err());
    let error = build(&with_body("  h = linear(h, \"{{a}}.{1 + 1}.{true}.{0.5}\")"), &small());
    assert!(error.unwrap_err().to_string().contains("{a}.2.true.0.5.weight"));
}
