//! The draft's state space: Mamba and Mamba 2.

use super::page::Page;
use super::survey::Survey;

/// Writes the state space of a layer and its residual.
pub(super) fn write(survey: &Survey<'_>, page: &mut Page) {
    if !survey.has("ssm_in") || !survey.has("ssm_out") {
        return;
    }
    let everywhere = survey.everywhere("ssm_in");
    page.open(everywhere, "ssm_in");
    let x = match survey.has("attn_norm") {
        true => survey.layer_norm("h", "attn_norm"),
        false => "h".into(),
    };
    page.line(format!("all = linear({x}, \"blk.{{i}}.ssm_in\")"));
    match survey.has("ssm_x") {
        true => first(page),
        false => second(survey, page),
    }
    page.line(survey.residual("y"));
    page.close(everywhere);
}

/// Mamba: a head for each channel (Gu & Dao 2023).
fn first(page: &mut Page) {
    let lines = [
        "x = silu(short_conv(slice(all, 0, inner), \"blk.{i}.ssm_conv1d\"))",
        "p = linear(x, \"blk.{i}.ssm_x\")",
        "t = softplus(linear(slice(p, 0, n_step), \"blk.{i}.ssm_dt\"))",
        "b = heads(slice(p, n_step, n_state), 1)",
        "c = heads(slice(p, n_step + n_state, n_state), 1)",
        "y = merge(scan(heads(x, inner), t, \"blk.{i}.ssm_a\", b, c)) + x * weight(\"blk.{i}.ssm_d\")",
        "y = linear(y * silu(slice(all, inner, inner)), \"blk.{i}.ssm_out\")",
    ];
    lines.into_iter().for_each(|line| page.line(line));
}

/// Mamba 2: heads of many channels (Dao & Gu 2024).
fn second(survey: &Survey<'_>, page: &mut Page) {
    let lines = [
        "# Side by side: gate, what is convolved (x, b and c), steps.",
        "m = silu(short_conv(slice(all, inner, inner + 2 * n_group * n_state), \"blk.{i}.ssm_conv1d\"))",
        "x = heads(slice(m, 0, inner), n_step)",
        "b = heads(slice(m, inner, n_group * n_state), n_group)",
        "c = heads(slice(m, inner + n_group * n_state, n_group * n_state), n_group)",
        "t = softplus(slice(all, 2 * inner + 2 * n_group * n_state, n_step) + weight(\"blk.{i}.ssm_dt.bias\"))",
        "y = merge(scan(x, t, \"blk.{i}.ssm_a\", b, c) + x * weight(\"blk.{i}.ssm_d\"))",
        "y = y * silu(slice(all, 0, inner))",
    ];
    lines.into_iter().for_each(|line| page.line(line));
    if survey.has("ssm_norm") {
        page.line(format!("y = {}", survey.layer_norm("heads(y, n_group)", "ssm_norm")));
    }
    page.line("y = linear(y, \"blk.{i}.ssm_out\")");
}

/// The values that the state space reads.
pub(super) fn values(page: &mut Page) {
    page.value("inner", "meta(\"ssm.inner_size\")");
    page.value("n_state", "meta(\"ssm.state_size\")");
    page.value("n_group", "meta(\"ssm.group_count\", 1)");
    page.value("n_step", "meta(\"ssm.time_step_rank\")");
}
