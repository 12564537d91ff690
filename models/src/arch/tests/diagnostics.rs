//! What is said about each kind of mistake, as a terminal shows it.

use super::{build, render, small, with_body};
use crate::arch::{ArchFile, ErrorKind, FactsTable, select};

/// Snapshots what is said about a body, built for the small model.
macro_rules! says {
    ($name:ident, $body:expr) => {
        #[test]
        fn $name() {
            let error = build(&with_body($body), &small()).unwrap_err();
            insta::assert_snapshot!(render(&error));
        }
    };
}

says!(misspelled_op, "  h = rms_nrom(h, \"norm\", 1e-5)");
says!(unknown_value, "  hidden = silu(h)\n  h = hiden + h");
says!(wrong_shape, "  x = silu(h)\n  h = linear(x, \"down\")");
says!(
    wrong_shape_in_a_layer,
    "  layers i in 0..2 {\n    y = linear(h, \"up\")\n    h = h + y\n  }"
);
says!(wrong_shape_in_a_function, "  ffn(x) = linear(x, \"down\")\n  h = ffn(h)");
says!(wrong_norm, "  h = rms_norm(h, \"up\", 1e-5)");
says!(wrong_rank, "  h = linear(attention(h, h, h, scale = 1), \"down\")");
says!(missing_weight, "  layers i in 0..3 {\n    h = linear(h, \"blk.{i}.q\")\n  }");
says!(missing_alternatives, "  h = rms_norm(h, \"nrm\" or \"final_norm\", 1e-5)");
says!(missing_metadata, "  n = meta(\"attention.head_cuont\")\n  h = heads(h, n)");
says!(index_past_the_end, "  h = heads(h, meta(\"kv\")[2])");
says!(no_list, "  h = heads(h, meta(\"block_count\")[0])");
says!(arity, "  h = softcap(h)");
says!(too_many_arguments, "  h = silu(h, h)");
says!(unknown_named_argument, "  h = h + linear(h, wieght = \"up\")");
says!(given_twice, "  h = softcap(h, 30, cap = 20)");
says!(named_only, "  h = attention(h, h, h, 0.5)");
says!(user_arity, "  turn(x, n) = heads(x, n)\n  h = turn(h)");
says!(tensor_for_number, "  n = silu(h)\n  h = heads(h, n)");
says!(tensor_in_condition, "  h = if h then h else h");
says!(tensor_in_text, "  h = linear(h, \"blk.{h}.q\")");
says!(number_for_tensor, "  h = linear(3, \"up\")");
says!(fraction_for_whole, "  h = heads(h, 5 / 2)");
says!(text_for_tensor, "  h = h * \"norm\"");
says!(word_for_word, "  h = rope(heads(h, 2), base = 1e4, dims = 4, style = \"half\")");
says!(wrong_operator, "  h = h // 2");
says!(wrong_power, "  h = h ^ 3");
says!(division_by_zero, "  n = 1 / (meta(\"block_count\") - 2)\n  h = h * n");
says!(recursion, "  f(x) = g(x) + x\n  g(x) = silu(f(x))\n  h = f(h)");
says!(self_recursion, "  f(x) = silu(f(x))\n  h = f(h)");
says!(used_before_bound, "  h = h + later\n  later = silu(h)");
says!(function_as_value, "  h = h + silu");
says!(value_as_function, "  x = silu(h)\n  h = x(h)");
says!(builtin_redefined, "  silu(x) = x\n  h = silu(h)");
says!(reserved, "  tokens = 3\n  h = h + tokens");
says!(required, "  require meta(\"block_count\") > 9 else \"too small\"");
says!(ids_for_a_tensor, "  h = linear(top_k(h, 2), \"up\")");
says!(ids_in_arithmetic, "  h = h + position");
says!(tensor_for_ids, "  h = embed(h, \"token_embd\")");
says!(tensor_for_chosen, "  p = softmax(h)\n  h = h * take(p, p)");
says!(experts_of_one_matrix, "  e = top_k(h, 2)\n  h = expert_linear(h, \"up\", e)");
says!(too_many_chosen, "  e = top_k(h, 9)\n  h = take(h, e)");
says!(sum_of_two_widths, "  x = slice(h, 0, 4)\n  h = h + x");
says!(slice_past_the_end, "  h = slice(h, 4, 8)");
says!(heads_that_do_not_divide, "  h = heads(h, 3)");
says!(
    heads_of_two_widths,
    "  q = heads(h, 2)\n  k = heads(h, 1)\n  h = merge(attention(q, k, k, scale = 1))"
);
says!(turned_too_far, "  h = merge(rope(heads(h, 2), base = 1e4, dims = 6, style = half))");
says!(convolution_of_heads, "  h = short_conv(heads(h, 2), \"up\")");
says!(convolution_of_other_channels, "  h = short_conv(h, \"up\")");
says!(convolution_without_taps, "  h = short_conv(h, \"norm\")");
says!(scan_of_rows, "  h = scan(h, h, \"up\", h, h)");
says!(scan_of_other_steps, "  x = heads(h, 2)\n  h = merge(scan(x, h, \"up\", x, x))");
says!(function_in_layers, "  layers i in 0..2 {\n    f(x) = silu(x)\n    h = f(h)\n  }");
says!(syntax_lone_closing_brace, "  h = linear(h, \"blk.i}.q\")");
says!(states_have_no_names, "  h = append(k, h)");
says!(layers_backwards, "  layers i in 3..1 { h = silu(h) }");
says!(logits_of_no_row, "  h = weight(\"norm\")");

says!(syntax_missing_value, "  x = h +\n  y = silu(x)");
says!(syntax_two_statements, "  x = silu(h) y = x");
says!(syntax_unclosed_call, "  x = silu(h\n  h = x");
says!(syntax_unclosed_text, "  h = linear(h, \"up)");
says!(syntax_unclosed_brace, "  h = linear(h, \"blk.{i.q\")");
says!(syntax_single_quotes, "  h = linear(h, 'up')");
says!(syntax_unused_call, "  silu(h)");
says!(syntax_if_without_else, "  h = if true then h\n  h = h");
says!(syntax_nested_layers, "  layers i in 0..1 { layers j in 0..1 { h = h } }");
says!(syntax_range, "  layers i in 2 { h = h }");
says!(syntax_number, "  h = h * 2d");
says!(syntax_chained_comparison, "  x = if 1 < 2 < 3 then 1 else 2");
says!(syntax_name_after_position, "  h = softcap(cap = 3, h)");
says!(syntax_keyword_as_name, "  then = h");

#[test]
fn syntax_at_the_ends_of_a_file() {
    let cases = [
        "",
        "arhc llama {}",
        "arch a serves small {}",
        "arch a serves \"b\" {\n  h = 1\n",
        "arch a serves \"b\" { logits = 1 }\n}",
    ];
    let said: Vec<String> = cases
        .iter()
        .map(|text| render(&ArchFile::parse("small.arch", text).unwrap_err()))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn all_static_errors_are_reported() {
    let text = with_body("  n = 3\n  a = unknown\n  b = rleu(a)\n  h = softcap(b)");
    let report = ArchFile::parse("small.arch", &text).unwrap().check(None);
    let said: Vec<String> = report.findings.iter().map(|finding| render(finding)).collect();
    insta::assert_snapshot!(said.join("\n"));
}

/// What changes numbers is read, or refused; at the value that changes nothing it may be there.
#[test]
fn unread_metadata() {
    let file = ArchFile::parse("small.arch", &with_body("")).unwrap();
    let harmless = small()
        .with_meta("small.rope.scaling.type", "none")
        .with_meta("small.rope.scaling.factor", 1.0)
        .with_meta("small.attention.causal", true)
        .with_meta("small.attention.sliding_window", 4096.0)
        .with_meta("small.rope.dimension_sections", vec![0.0, 0.0]);
    file.build_for(&harmless, 4096).unwrap();
    file.build_for(&harmless, 4097).unwrap_err();
    let scaled = small().with_meta("small.rope.scaling.type", "yarn");
    let wide = small().with_meta("small.logit_scale", 0.25);
    let sections = small().with_meta("small.rope.dimension_sections", vec![0.0, 8.0]);
    let said: Vec<String> = [&scaled, &wide, &sections]
        .into_iter()
        .map(|facts| file.build(facts).unwrap_err())
        .inspect(|error| assert_eq!(error.kind(), ErrorKind::Unsupported))
        .map(|error| render(&error))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
    let read = with_body("  logit = meta(\"logit_scale\", 1)");
    build(&read, &wide).unwrap();
}

#[test]
fn unread_part_of_a_weight() {
    let facts = small().with_tensor("down.scale", &[1]);
    let error = build(&with_body("  h = h + linear(linear(h, \"up\"), \"down\")"), &facts);
    insta::assert_snapshot!(render(&error.unwrap_err()));
}

#[test]
fn unused_tensors_are_a_warning() {
    let file = ArchFile::parse("small.arch", &with_body("")).unwrap();
    let report = file.check(Some(&small()));
    assert!(report.is_ok() && report.graph.is_some());
    insta::assert_snapshot!(render(&report.findings[0]));
}

#[test]
fn no_architecture_serves() {
    let unknown = FactsTable::new("frobnicator");
    let experts = FactsTable::smollm2_135m().with_meta("llama.expert_count", -1.0);
    let nameless = FactsTable::default();
    let said: Vec<String> = [&unknown, &experts, &nameless]
        .into_iter()
        .map(|facts| select(facts, &[]).unwrap_err())
        .inspect(|error| assert_eq!(error.kind(), ErrorKind::Selection))
        .map(|error| render(&error))
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn ambiguous_architecture() {
    let text = "arch mine serves \"llama\" { logits = 1 }";
    let extra = [ArchFile::parse("mine.arch", text).unwrap()];
    let error = select(&FactsTable::smollm2_135m(), &extra).unwrap_err();
    insta::assert_snapshot!(render(&error));
}

#[test]
fn an_extra_file_replaces_the_builtin_of_its_name() {
    let text = "arch llama serves \"llama\" { logits = 1 }";
    let extra = [ArchFile::parse("mine.arch", text).unwrap()];
    let chosen = select(&FactsTable::smollm2_135m(), &extra).unwrap();
    assert_eq!(chosen.file_name(), "mine.arch");
}

#[test]
fn llama_with_a_wrong_tensor() {
    let facts = FactsTable::smollm2_135m().with_tensor("blk.3.ffn_up.weight", &[1536, 512]);
    let error = select(&facts, &[]).unwrap().build(&facts).unwrap_err();
    assert_eq!((error.kind(), error.layer()), (ErrorKind::Shape, Some(3)));
    insta::assert_snapshot!(render(&error));
}

#[test]
fn llama_with_unknown_rope_scaling() {
    let facts = FactsTable::smollm2_135m().with_meta("llama.rope.scaling.type", "dynamic");
    let error = select(&facts, &[]).unwrap().build(&facts).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    insta::assert_snapshot!(render(&error));
}

#[test]
fn a_location_is_file_line_and_column() {
    let error = build(&with_body("  x = \"ä\"\n  h = heads(h, x)"), &small()).unwrap_err();
    assert_eq!(error.location(), Some(("small.arch", 4, 16)));
}
