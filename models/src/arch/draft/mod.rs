//! A first draft of an architecture file, from the names of a model's tensors and its metadata.
//!
//! | file | what it does |
//! |---|---|
//! | `survey.rs` | what the model has: which parts on which layers, their shapes, its metadata |
//! | `page.rs` | the text: statements, the values they need, what is left for the author |
//! | `attention.rs`, `feed_forward.rs`, `recurrent.rs` | one part of a layer each |
//! | `known.rs` | conventions that only an architecture's name tells |
//!
//! Names are those of GGUF; a Hugging Face folder presents itself under them. What neither names
//! nor metadata say is assumed, and the draft lists each assumption with where to look. A draft is
//! built against its model before it is handed out, and says what is still wrong or unused.

mod attention;
mod feed_forward;
mod known;
mod page;
mod recurrent;
mod survey;

use super::{ArchFile, Facts, builtin, select};
use page::Page;
use std::collections::HashSet;
use survey::Survey;

/// A first draft of an architecture file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The file's text. It always parses.
    pub text: String,
    /// What was assumed, and where to look for the truth; also in the text, as comments.
    pub assumptions: Vec<String>,
    /// What keeps the text from describing the model, where something does.
    pub problem: Option<String>,
}

/// Drafts an architecture file for a model, whether or not any file serves it.
pub fn draft(facts: &dyn Facts) -> Draft {
    let survey = Survey::new(facts);
    let mut page = Page::default();
    embedding(&survey, &mut page);
    page.line("layers i in 0..n_layer {");
    page.indent += 1;
    recurrent::write(&survey, &mut page);
    let merged = feed_forward::beside_attention(&survey);
    attention::write(&survey, &mut page, merged);
    feed_forward::write(&survey, &mut page, merged);
    page.indent -= 1;
    page.line("}");
    logits(&survey, &mut page);
    values(&survey, &mut page);
    let head = heading(&survey);
    let text = page.text(&head, &[]);
    let (problem, unused) = verdict(&text, facts);
    let mut remarks = unused;
    remarks.extend(problem.iter().map(|why| format!("It does not describe the model yet: {why}")));
    Draft { text: page.text(&head, &remarks), assumptions: page.assumptions, problem }
}

/// `arch NAME serves "…" when …`
fn heading(survey: &Survey<'_>) -> String {
    let serves = survey.architecture();
    // The name of the file that serves it, which the draft then replaces.
    let serving = select(survey.facts, &[]).ok().map(|file| file.name().to_string());
    let mut name =
        serving.unwrap_or_else(|| serves.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || super::syntax::is_keyword(&name) {
        name = format!("model_{name}");
    }
    let others = builtin()
        .iter()
        .filter(|file| file.name() != name && file.architectures().contains(&serves));
    let when = match (others.count(), survey.number("expert_count") > Some(0.0)) {
        (0, _) => "",
        (_, true) => " when meta(\"expert_count\", 0) > 0",
        (_, false) => " when meta(\"expert_count\", 0) == 0",
    };
    format!("arch {name} serves \"{serves}\"{when}")
}

fn embedding(survey: &Survey<'_>, page: &mut Page) {
    let mut h = "embed(tokens, \"token_embd\")".to_string();
    if survey.has_tensor("position_embd") {
        h += " + embed(position, \"position_embd\")";
    }
    let scales = ["embedding_scale", "residual_scale", "logit_scale"];
    if survey.has_meta("embedding_scale") {
        h += " * meta(\"embedding_scale\")";
    } else if !scales.iter().any(|key| survey.has_meta(key)) {
        page.assume(
            "nothing is multiplied: neither embeddings nor residuals nor logits",
            "config.json: *_multiplier, *_scale; the modelling code: `embeds * normalizer`",
        );
    }
    page.line(format!("h = {h}"));
    if survey.has_tensor("token_embd_norm") {
        let norm = survey.norm("h", "token_embd_norm");
        page.line(format!("h = {norm}"));
    }
}

fn logits(survey: &Survey<'_>, page: &mut Page) {
    let h = match survey.has_tensor("output_norm") {
        true => survey.norm("h", "output_norm"),
        false => "h".into(),
    };
    let mut logits = format!("linear({h}, \"output\" or \"token_embd\")");
    if let Some(scale) = survey.number("logit_scale") {
        let by = if scale > 1.0 { '/' } else { '*' };
        logits = format!("{logits} {by} meta(\"logit_scale\")");
        page.assume(
            format!("logits {by} logit_scale, so that they shrink"),
            "the modelling code, where logits are made",
        );
    }
    if survey.number("final_logit_softcapping") > Some(0.0) {
        logits = format!("softcap({logits}, meta(\"final_logit_softcapping\"))");
    }
    page.line(format!("logits = {logits}"));
}

/// The values that statements read, each with what it depends on before it.
fn values(survey: &Survey<'_>, page: &mut Page) {
    let layers = match survey.has_meta("block_count") {
        true => "meta(\"block_count\")".into(),
        false => survey.layers().to_string(),
    };
    page.value("n_layer", layers);
    let width = match survey.has_meta("embedding_length") {
        true => "meta(\"embedding_length\")".into(),
        false => survey.width("token_embd").to_string(),
    };
    page.value("n_embd", width);
    attention::values(survey, page);
    feed_forward::values(survey, page);
    recurrent::values(page);
    let eps = match survey.eps_key() {
        Some(key) => format!("meta(\"{key}\")"),
        None => {
            let place = "config.json: rms_norm_eps, layer_norm_eps, norm_eps";
            page.assume("eps is 1e-5", place);
            "1e-5".into()
        }
    };
    page.value("eps", eps);
    page.value("part", "meta(\"residual_scale\")");
    attention::functions(survey, page);
}

/// What keeps the text from describing the model, and what of the model it leaves unused.
fn verdict(text: &str, facts: &dyn Facts) -> (Option<String>, Vec<String>) {
    let graph = match ArchFile::parse("draft", text).and_then(|file| file.build(facts)) {
        Ok(graph) => graph,
        Err(error) => return (Some(survey::plain(&error.to_string())), vec![]),
    };
    let used: HashSet<&str> = graph.weights.iter().map(|info| info.name.as_str()).collect();
    let mut unused: Vec<String> = vec![];
    for name in facts.tensor_names() {
        let stem = survey::stem(name);
        if !used.contains(name) && !text.contains(&format!("\"{stem}\"")) && !unused.contains(&stem)
        {
            unused.push(stem);
        }
    }
    let remarks = unused.chunks(4).map(|names| format!("Not used: {}", names.join(", ")));
    (None, remarks.collect())
}
