//! The draft's feed-forward: gated or plain, or a mixture of experts.

use super::attention::input_norm;
use super::known;
use super::page::Page;
use super::survey::Survey;

/// Whether attention and feed-forward read the same `h`, and add to it together.
pub(super) fn beside_attention(survey: &Survey<'_>) -> bool {
    let attention = survey.everywhere("attn_q") || survey.everywhere("attn_qkv");
    let dense = survey.everywhere("ffn_up") && survey.everywhere("ffn_down");
    let norms = ["ffn_norm", "post_attention_norm", "post_ffw_norm"];
    let alone = survey.has("attn_norm") && !norms.iter().any(|part| survey.has(part));
    attention && dense && (alone || survey.is_true("use_parallel_residual"))
}

/// Writes the feed-forward of a layer and its residual.
pub(super) fn write(survey: &Survey<'_>, page: &mut Page, merged: bool) {
    if survey.has("ffn_down_exps") {
        block(survey, page, "ffn_down_exps", merged);
    }
    if survey.has("ffn_down") {
        block(survey, page, "ffn_down", merged);
    }
}

fn block(survey: &Survey<'_>, page: &mut Page, marker: &str, merged: bool) {
    let everywhere = survey.everywhere(marker);
    page.open(everywhere, marker);
    let x = input(survey, page, merged);
    let result = if merged { "z" } else { "y" };
    match marker {
        "ffn_down" => dense(survey, page, x, result),
        _ => experts(survey, page, x),
    }
    if survey.has("post_ffw_norm") {
        page.line(format!("{result} = {}", survey.layer_norm(result, "post_ffw_norm")));
    }
    page.line(survey.residual(if merged { "y + z" } else { "y" }));
    page.close(everywhere);
}

/// The norm before the feed-forward; the value that it reads.
fn input(survey: &Survey<'_>, page: &mut Page, merged: bool) -> &'static str {
    let after_attention = !survey.has("post_ffw_norm") && survey.has("attn_norm");
    let norm = match input_norm(survey, &["ffn_norm"]) {
        None if after_attention => input_norm(survey, &["post_attention_norm"]),
        found => found,
    };
    match norm {
        Some("post_attention_norm") => {
            page.assume("post_attention_norm is the feed-forward's norm", "the modelling code");
            page.line(format!("x = {}", survey.layer_norm("h", "post_attention_norm")));
        }
        Some(part) => page.line(format!("x = {}", survey.layer_norm("h", part))),
        // One norm for both, unless a second one is the attention's. A fused product has taken `x`.
        None if merged && (survey.has("attn_qkv") || survey.has("attn_norm_2")) => {
            page.line(format!("x = {}", survey.layer_norm("h", "attn_norm")));
        }
        None if merged => {}
        None if survey.has("post_ffw_norm") => return "h",
        None => page.line(format!("x = {}", survey.norm("h", ""))),
    }
    "x"
}

/// The activation's name.
fn activation(survey: &Survey<'_>, page: &mut Page, gated: bool) -> &'static str {
    let usual = if gated { "silu" } else { "gelu" };
    known::activation(&survey.architecture()).unwrap_or_else(|| {
        page.assume(
            format!("the activation is {usual}"),
            "config.json: hidden_act, activation_function (gelu here is the tanh form, gelu_new or \
             gelu_pytorch_tanh there; plain gelu there is gelu_erf here)",
        );
        usual
    })
}

fn dense(survey: &Survey<'_>, page: &mut Page, x: &str, result: &str) {
    let width = survey.shape("ffn_down").last().copied();
    let up = survey.rows("ffn_up");
    let both = up.is_some() && up == width.and_then(|width| width.checked_mul(2));
    let gate = survey.has("ffn_gate");
    let act = activation(survey, page, gate || both);
    let linear = |part: &str| format!("linear({x}, \"blk.{{i}}.{part}\")");
    let inner = if gate {
        format!("{act}({}) * {}", linear("ffn_gate"), linear("ffn_up"))
    } else if both {
        page.assume("ffn_up holds the gate, then up", "the modelling code: `chunk(2)`");
        page.line(format!("u = {}", linear("ffn_up")));
        format!("{act}(slice(u, 0, d_ffn)) * slice(u, d_ffn, d_ffn)")
    } else {
        format!("{act}({})", linear("ffn_up"))
    };
    page.line(format!("{result} = linear({inner}, \"blk.{{i}}.ffn_down\")"));
}

fn experts(survey: &Survey<'_>, page: &mut Page, x: &str) {
    let scores = match survey.number("expert_gating_func") {
        Some(2.0) => "sigmoid",
        _ => "softmax",
    };
    page.line(format!("p = {scores}(linear({x}, \"blk.{{i}}.ffn_gate_inp\"))"));
    let chosen_by = match survey.has("exp_probs_b.bias") {
        true => "p + weight(\"blk.{i}.exp_probs_b.bias\")",
        false => "p",
    };
    page.line(format!("e = top_k({chosen_by}, n_used)"));
    let weights = expert_weights(survey, page);
    page.line(format!("w = {weights}"));
    let act = activation(survey, page, true);
    let of = |part: &str| format!("expert_linear({x}, \"blk.{{i}}.{part}\", e)");
    if survey.has("ffn_gate_up_exps") {
        page.line(format!("u = {}", of("ffn_gate_up_exps")));
        page.line(format!("a = {act}(slice(u, 0, d_expert)) * slice(u, d_expert, d_expert)"));
    } else if survey.has("ffn_gate_exps") {
        page.line(format!("a = {act}({}) * {}", of("ffn_gate_exps"), of("ffn_up_exps")));
    } else {
        page.line(format!("a = {act}({})", of("ffn_up_exps")));
    }
    page.line("y = expert_sum(expert_linear(a, \"blk.{i}.ffn_down_exps\", e), w)");
    if survey.has("ffn_down_shexp") {
        shared(survey, page, x, act);
    }
}

/// What the experts chosen for a token weigh.
fn expert_weights(survey: &Survey<'_>, page: &mut Page) -> String {
    let normalised = match survey.has_meta("expert_weights_norm") {
        true => survey.is_true("expert_weights_norm"),
        false => {
            page.assume(
                "the weights of the chosen experts are made to add up to 1",
                "config.json: norm_topk_prob; without it: w = take(p, e)",
            );
            true
        }
    };
    let taken = if normalised { "sum_norm(take(p, e))" } else { "take(p, e)" };
    match survey.number("expert_weights_scale") {
        Some(scale) if scale != 0.0 => format!("{taken} * meta(\"expert_weights_scale\")"),
        _ => taken.into(),
    }
}

/// Adds the expert that every token has.
fn shared(survey: &Survey<'_>, page: &mut Page, x: &str, act: &str) {
    let linear = |part: &str| format!("linear({x}, \"blk.{{i}}.{part}\")");
    let inner = format!("{act}({}) * {}", linear("ffn_gate_shexp"), linear("ffn_up_shexp"));
    let everywhere = survey.everywhere("ffn_down_shexp");
    page.open(everywhere, "ffn_down_shexp");
    page.line(format!("s = linear({inner}, \"blk.{{i}}.ffn_down_shexp\")"));
    match survey.shape("ffn_gate_inp_shexp").len() {
        0 => page.line("y = y + s"),
        1 => {
            page.assume(
                "the shared expert counts in full: ffn_gate_inp_shexp, one score a token, is left out",
                "the tensor's shape; stored as [1, width] it works with linear",
            );
            page.line("y = y + s");
        }
        // One score a token, repeated over the row.
        _ => page.line(format!("y = y + sigmoid({}) * s", linear("ffn_gate_inp_shexp"))),
    }
    page.close(everywhere);
}

/// The values that the feed-forward reads.
pub(super) fn values(survey: &Survey<'_>, page: &mut Page) {
    page.value("n_used", "meta(\"expert_used_count\")");
    for (name, part) in [("d_ffn", "ffn_down"), ("d_expert", "ffn_down_exps")] {
        let width = survey.shape(part).last().copied().unwrap_or(0);
        let same = survey.number("feed_forward_length") == Some(width as f64)
            && !survey.is_list("feed_forward_length");
        let value = match same {
            true => "meta(\"feed_forward_length\")".to_string(),
            false => width.to_string(),
        };
        page.value(name, value);
    }
}
