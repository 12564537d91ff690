//! The draft's attention: queries, keys and values, positions, norms around it.

use super::known;
use super::page::Page;
use super::survey::Survey;

const HEADS: &str = "attention.head_count";
const KV_HEADS: &str = "attention.head_count_kv";
const WINDOW: &str = "attention.sliding_window";
const PATTERN: &str = "attention.sliding_window_pattern";

/// Where the norm before a part comes from.
pub(super) fn input_norm<'p>(survey: &Survey<'_>, parts: &[&'p str]) -> Option<&'p str> {
    parts.iter().copied().find(|part| survey.has(part))
}

/// Writes the attention of a layer: `y`, and its residual unless the feed-forward is `merged`
/// into the same sum.
pub(super) fn write(survey: &Survey<'_>, page: &mut Page, merged: bool) {
    let marker = if survey.has("attn_qkv") { "attn_qkv" } else { "attn_q" };
    if !survey.has(marker) {
        return;
    }
    let everywhere = survey.everywhere(marker);
    page.open(everywhere, marker);
    if survey.is_list(HEADS) {
        page.line(format!("n_head = at(meta(\"{HEADS}\"), i)"));
    }
    if survey.is_list(KV_HEADS) {
        page.line(format!("n_kv = at(meta(\"{KV_HEADS}\"), i)"));
    }
    let x = input(survey, page);
    heads(survey, page, x);
    let call = format!("attention(q, k, v, scale = scale{})", options(survey, page));
    page.line(format!("y = linear({call}, \"blk.{{i}}.attn_output\")"));
    if survey.has("attn_norm") || !survey.has("post_attention_norm") {
        after(survey, page);
    } else {
        page.line(format!("y = {}", survey.layer_norm("y", "post_attention_norm")));
    }
    if !merged {
        page.line(survey.residual("y"));
    }
    page.close(everywhere);
}

/// The norm before the attention; the value that queries are made from.
fn input(survey: &Survey<'_>, page: &mut Page) -> &'static str {
    // Falcon's larger models have a second norm, for the attention.
    match input_norm(survey, &["attn_norm_2", "attn_norm"]) {
        Some(part) => page.line(format!("x = {}", survey.layer_norm("h", part))),
        None if survey.has("post_attention_norm") => return "h",
        None => page.line(format!("x = {}", survey.norm("h", ""))),
    }
    "x"
}

/// A norm after the attention, where there is one that is not the feed-forward's.
fn after(survey: &Survey<'_>, page: &mut Page) {
    let own = survey.has("ffn_norm") || survey.has("post_ffw_norm");
    if own && survey.has("post_attention_norm") {
        page.line(format!("y = {}", survey.layer_norm("y", "post_attention_norm")));
    }
}

/// `q`, `k` and `v`.
fn heads(survey: &Survey<'_>, page: &mut Page, x: &str) {
    let turned = rotates(survey);
    let fused = survey.has("attn_qkv");
    if fused {
        page.line(format!("x = linear({x}, \"blk.{{i}}.attn_qkv\")"));
        page.assume(
            "attn_qkv holds all queries, then all keys, then all values",
            "the modelling code; a file may hold [q k v] of each head side by side instead",
        );
    }
    let parts = [
        ("q", "n_head", "0", "n_head * d_head"),
        ("k", "n_kv", "n_head * d_head", "n_kv * d_head"),
        ("v", "n_kv", "(n_head + n_kv) * d_head", "n_kv * d_head"),
    ];
    for (name, count, start, len) in parts {
        let mut value = match fused {
            true => format!("slice(x, {start}, {len})"),
            false => format!("linear({x}, \"blk.{{i}}.attn_{name}\")"),
        };
        let norm = format!("attn_{name}_norm");
        let whole = survey.shape(&norm).len() == 1
            && survey.shape(&norm).last() != head_width(survey).as_ref();
        if survey.has(&norm) && whole {
            value = survey.layer_norm(&value, &norm);
        }
        value = format!("heads({value}, {count})");
        if survey.has(&norm) && !whole {
            value = survey.layer_norm(&value, &norm);
        }
        if turned && name != "v" {
            value = format!("turn({value})");
        }
        page.line(format!("{name} = {value}"));
    }
}

/// The arguments of `attention` that only some models have.
fn options(survey: &Survey<'_>, page: &mut Page) -> String {
    let mut options = String::new();
    if survey.number(WINDOW) > Some(0.0) {
        let window = match (survey.is_list(PATTERN), survey.number(PATTERN)) {
            (true, _) => format!("if at(meta(\"{PATTERN}\"), i) then window else none"),
            (false, Some(_)) => {
                let period = format!("meta(\"{PATTERN}\")");
                format!("if i % {period} < {period} - 1 then window else none")
            }
            (false, None) => {
                page.assume(
                    "every layer has the window",
                    "config.json: layer_types, sliding_window_pattern; often every second or sixth \
                     layer sees all, and may have another rope base",
                );
                "window".into()
            }
        };
        options += &format!(", window = {window}");
    }
    if survey.number("attn_logit_softcapping") > Some(0.0) {
        options += ", softcap = meta(\"attn_logit_softcapping\")";
    }
    if survey.number("attention.max_alibi_bias") > Some(0.0) {
        options += ", alibi = meta(\"attention.max_alibi_bias\")";
    }
    if survey.number("attention.clamp_kqv") > Some(0.0) {
        page.assume(
            "queries, keys and values are not clamped, though attention.clamp_kqv is set",
            "config.json: clip_qkv; max(min(x, c), -c) does it",
        );
    }
    options
}

/// Whether queries and keys are turned by their position.
fn rotates(survey: &Survey<'_>) -> bool {
    let alibi = survey.number("attention.max_alibi_bias") > Some(0.0);
    !alibi && !survey.has_tensor("position_embd")
}

/// Heads of the queries.
fn head_count(survey: &Survey<'_>) -> Option<u64> {
    survey.number(HEADS).map(|count| count as u64).filter(|count| *count > 0)
}

/// The width of a query head, from the tensors' shapes.
fn head_width(survey: &Survey<'_>) -> Option<u64> {
    let heads = head_count(survey)?;
    let kv = survey.number(KV_HEADS).map_or(heads, |count| count as u64);
    let (rows, of) = match survey.rows("attn_qkv") {
        Some(rows) => (rows, kv.checked_mul(2)?.checked_add(heads)?),
        None => (survey.rows("attn_q")?, heads),
    };
    (rows % of == 0).then(|| rows / of)
}

/// The values that attention reads.
pub(super) fn values(survey: &Survey<'_>, page: &mut Page) {
    if !survey.has("attn_q") && !survey.has("attn_qkv") {
        return;
    }
    match head_count(survey) {
        Some(_) if survey.is_list(HEADS) => {}
        Some(_) => page.value("n_head", format!("meta(\"{HEADS}\")")),
        None => {
            let width = survey.shape("attn_q_norm").last().copied().unwrap_or(64).max(1);
            let count = (survey.rows("attn_q").unwrap_or(width) / width).max(1);
            page.value("n_head", count.to_string());
            page.assume(
                format!("there are {count} heads: {HEADS} is missing"),
                "config.json: num_attention_heads",
            );
        }
    }
    if !survey.is_list(KV_HEADS) {
        page.value("n_kv", format!("meta(\"{KV_HEADS}\", n_head)"));
    }
    page.value("d_head", width_of_head(survey));
    let scale = match survey.has_meta("attention.scale") {
        true => "meta(\"attention.scale\")",
        false => "d_head ^ -0.5",
    };
    page.value("scale", scale);
    page.value("window", format!("meta(\"{WINDOW}\")"));
}

fn width_of_head(survey: &Survey<'_>) -> String {
    let told = survey.number("attention.key_length").map(|length| length as u64);
    let usual = head_count(survey).map(|heads| survey.width("token_embd") / heads);
    match head_width(survey) {
        // The metadata do not say it.
        Some(width) if told.or(usual) != Some(width) => width.to_string(),
        _ if told.is_some() => "meta(\"attention.key_length\")".into(),
        _ if survey.is_list(HEADS) => {
            survey.number("rope.dimension_count").unwrap_or(64.0).to_string()
        }
        _ => "meta(\"attention.key_length\", n_embd / n_head)".into(),
    }
}

/// `turn(x)`, and what it reads.
pub(super) fn functions(survey: &Survey<'_>, page: &mut Page) {
    if !rotates(survey) || !(survey.has("attn_q") || survey.has("attn_qkv")) {
        return;
    }
    let style = known::rope_style(&survey.architecture()).unwrap_or_else(|| {
        page.assume(
            "rope turns elements i and i + dims / 2 of a head (half)",
            "the modelling code: `rotate_half` is half, `x[..., ::2]` is interleaved (but files \
             converted from Llama's are reordered: interleaved)",
        );
        "half"
    });
    if !survey.has_meta("rope.freq_base") {
        page.assume("rope's base is 10000", "config.json: rope_theta");
    }
    for key in ["rope.freq_base_swa", "rope.dimension_sections", "rope.scaling.finetuned"] {
        if survey.has_meta(key) {
            page.assume(
                format!("all layers turn alike, though {key} is set"),
                "the modelling code",
            );
        }
    }
    let base =
        "base = meta(\"rope.freq_base\", 10000), dims = meta(\"rope.dimension_count\", d_head)";
    let scaling = scaling(survey, page);
    page.value("turn(x)", format!("rope(x, {base}, style = {style}{scaling})"));
}

/// The arguments of `rope` that stretch positions.
fn scaling(survey: &Survey<'_>, page: &mut Page) -> String {
    let kind = survey.text("rope.scaling.type");
    if let Some(kind @ ("linear" | "yarn")) = kind.as_deref() {
        page.value("scaled", format!("meta(\"rope.scaling.type\", \"none\") == \"{kind}\""));
        page.value("stretch", "if scaled then meta(\"rope.scaling.factor\", 1) else 1");
    }
    let mut scaling = match kind.as_deref() {
        Some("linear") => ",\n                 scale = 1 / stretch".to_string(),
        Some("yarn") => {
            page.value("gain", "meta(\"rope.scaling.attn_factor\", 1) * (1 + 0.1 * log(stretch))");
            let mut arguments =
                ",\n                 scale = 1 / stretch, magnitude = gain, yarn = \
                                 meta(\"rope.scaling.original_context_length\")"
                    .to_string();
            for bound in ["beta_fast", "beta_slow"] {
                let key = format!("rope.scaling.yarn_{bound}");
                if survey.has_meta(&key) {
                    arguments += &format!(", {bound} = meta(\"{key}\")");
                }
            }
            arguments
        }
        None | Some("none" | "longrope") => String::new(),
        Some(other) => {
            let what = format!("rope scaling `{}` is left out", super::survey::plain(other));
            page.assume(what, "config.json: rope_scaling");
            String::new()
        }
    };
    if survey.has_tensor("rope_factors_long") {
        page.value(
            "trained",
            "meta(\"rope.scaling.original_context_length\", meta(\"context_length\"))",
        );
        page.value(
            "factors",
            "if meta(\"rope.scaling.type\", \"longrope\") != \"longrope\" then none\n           \
             else if context > trained then optional \"rope_factors_long\" else optional \
             \"rope_factors_short\"",
        );
        scaling += ",\n                 factors = factors, magnitude = meta(\"rope.scaling.attn_factor\", 1)";
    } else if survey.has_tensor("rope_freqs") {
        scaling += ",\n                 factors = optional \"rope_freqs\"";
    }
    scaling
}
