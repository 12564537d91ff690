//! Drafts: of the tiny models, of models that no file serves, of models with odd names.

use super::small;
use crate::arch::{ArchFile, FactsTable, draft};
use crate::gguf::GgufFile;
use std::path::Path;

/// The tiny models, and how many assumptions a draft of each makes.
fn tiny() -> Vec<(String, GgufFile)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/tiny");
    let mut models = vec![];
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            models.push((name, GgufFile::open(&path).unwrap()));
        }
    }
    models.sort_by(|a, b| a.0.cmp(&b.0));
    models
}

#[test]
fn drafts_of_tiny_models_describe_them() {
    let models = tiny();
    assert_eq!(models.len(), 16);
    for (name, model) in models {
        let draft = draft(&model);
        let file = ArchFile::parse("draft.arch", &draft.text).unwrap();
        let report = file.check(Some(&model));
        assert!(report.findings.is_empty(), "{name}: {:?}\n{}", report.findings, draft.text);
        assert!(draft.problem.is_none() && file.serves(&model).unwrap(), "{name}");
    }
}

#[test]
fn drafts_by_family() {
    let wanted = ["gemma3", "gpt2", "granitehybrid", "llama", "mamba2", "qwen3moe"];
    for (name, model) in tiny() {
        let name = name.split('.').next().unwrap();
        if wanted.contains(&name) {
            insta::assert_snapshot!(format!("draft_of_{name}"), draft(&model).text);
        }
    }
}

/// A model that no file serves: one norm for attention and feed-forward, biases, a gate and up in
/// one tensor, a tensor that nobody knows.
fn parrot() -> FactsTable {
    let mut facts = FactsTable::new("parrot-2")
        .with_meta("parrot-2.block_count", 2.0)
        .with_meta("parrot-2.embedding_length", 8.0)
        .with_meta("parrot-2.attention.head_count", 2.0)
        .with_meta("parrot-2.attention.layer_norm_epsilon", 1e-5)
        .with_meta("parrot-2.attention.sliding_window", 16.0)
        .with_meta("parrot-2.logit_scale", 0.0625)
        .with_tensor("token_embd.weight", &[10, 8])
        .with_tensor("output_norm.weight", &[8]);
    for layer in 0..2 {
        let named = |part: &str| format!("blk.{layer}.{part}");
        facts = facts
            .with_tensor(&named("attn_norm.weight"), &[8])
            .with_tensor(&named("attn_norm.bias"), &[8])
            .with_tensor(&named("attn_qkv.weight"), &[24, 8])
            .with_tensor(&named("attn_qkv.bias"), &[24])
            .with_tensor(&named("attn_output.weight"), &[8, 8])
            .with_tensor(&named("ffn_up.weight"), &[24, 8])
            .with_tensor(&named("ffn_down.weight"), &[8, 12])
            .with_tensor(&named("attn_sinks.weight"), &[2]);
    }
    facts
}

#[test]
fn a_draft_of_what_no_file_serves() {
    let facts = parrot();
    let draft = draft(&facts);
    assert_eq!(draft.problem, None, "{}", draft.text);
    insta::assert_snapshot!(draft.text);
}

#[test]
fn a_draft_says_what_is_wrong_with_it() {
    let facts = parrot().without("blk.1.attn_output.weight");
    let draft = draft(&facts);
    assert!(draft.problem.as_deref().unwrap().contains("blk.1.attn_output.weight"));
    assert!(draft.text.contains("# It does not describe the model yet:"));
    assert!(ArchFile::parse("draft.arch", &draft.text).is_ok());
}

#[test]
fn odd_models_have_drafts_that_parse() {
    let odd = [
        FactsTable::default(),
        FactsTable::new(""),
        FactsTable::new("if"),
        FactsTable::new("9 lives\"{\n}"),
        FactsTable::new("é"),
        small(),
        FactsTable::new("x")
            .with_tensor("a\n}\u{85} {\"", &[3])
            .with_tensor("blk.18446744073709551615.b\nc", &[1]),
        FactsTable::new("x")
            .with_tensor("blk.0.attn_q.weight", &[])
            .with_tensor("blk.0.ffn_down.weight", &[]),
        FactsTable::new("x").with_tensor("blk.0.ffn_down_exps.weight", &[1, u64::MAX, u64::MAX]),
        parrot().with_meta("parrot-2.attention.head_count", 0.0),
        parrot().with_meta("parrot-2.attention.head_count", f64::NAN),
        parrot().with_meta("parrot-2.attention.head_count_kv", f64::INFINITY),
        parrot().with_meta("parrot-2.rope.scaling.type", "}\n{"),
    ];
    for facts in odd {
        let text = draft(&facts).text;
        if let Err(error) = ArchFile::parse("draft.arch", &text) {
            panic!("{error:?}\n{text}");
        }
    }
}

/// A draft reads how positions are stretched, so that it serves no model that stretches them otherwise.
#[test]
fn drafts_read_rope_scaling() {
    for kind in ["linear", "yarn"] {
        let facts = FactsTable::smollm2_135m()
            .with_meta("llama.rope.scaling.type", kind)
            .with_meta("llama.rope.scaling.factor", 4.0)
            .with_meta("llama.rope.scaling.original_context_length", 2048.0)
            .with_meta("llama.rope.scaling.yarn_beta_fast", 16.0);
        let facts = match kind {
            "linear" => facts.without("llama.rope.scaling.yarn_beta_fast"),
            _ => facts,
        };
        let draft = draft(&facts);
        assert_eq!(draft.problem, None, "{}", draft.text);
        let file = ArchFile::parse("draft.arch", &draft.text).unwrap();
        let other = facts.with_meta("llama.rope.scaling.type", "ntk");
        file.build(&other).unwrap_err();
    }
}
