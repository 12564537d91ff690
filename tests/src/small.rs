//! A small model of every architecture: its graph, where no weights are needed.

use crate::tiny::Tiny;
use quarrel_ir::graph::Graph;
use quarrel_models::arch::{self, FactsTable};
use std::path::Path;

const LAYERS: u64 = 4;
const WIDTH: u64 = 64;
const HEADS: u64 = 4;
const KV_HEADS: u64 = 2;
const HEAD: u64 = WIDTH / HEADS;
const FFN: u64 = 96;
const EXPERTS: u64 = 4;
const VOCABULARY: u64 = 160;

/// Architectures of which there is no tiny model with weights, and the rows of each layer's query
/// and key norms, where they have them.
const WITHOUT_WEIGHTS: [(&str, Option<[&[u64]; 2]>); 12] = [
    ("bloom", None),
    ("command-r", Some([&[HEADS, HEAD], &[KV_HEADS, HEAD]])),
    ("dbrx", None),
    ("exaone4", Some([&[HEAD], &[HEAD]])),
    ("falcon", None),
    ("gptneox", None),
    ("nemotron", None),
    ("olmo", None),
    ("olmo2", Some([&[HEADS * HEAD], &[KV_HEADS * HEAD]])),
    ("smollm3", None),
    ("starcoder", None),
    ("starcoder2", None),
];

/// The graphs of one small model of each built-in architecture, and of some that only their files
/// describe, by name.
///
/// # Panics
/// If one does not build: the suite's own mistake.
pub fn small_models() -> Vec<(String, Graph)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("unseen");
    let unseen = ["cohere2", "falcon_groups", "glm4", "mpt", "phi2", "stablelm_norms"];
    let tiny = Tiny::ALL.into_iter().map(|name| (name.to_string(), Tiny::open(name).graph()));
    let unseen = unseen.map(|name| (name.to_string(), Tiny::open_in(&folder, name).graph()));
    let others = WITHOUT_WEIGHTS.map(|(name, norms)| {
        let facts = facts(name, norms);
        let built = arch::select(&facts, &[]).and_then(|arch| arch.build(&facts));
        (name.to_string(), built.unwrap_or_else(|error| panic!("{:?}", miette::Report::new(error))))
    });
    tiny.chain(unseen).chain(others).collect()
}

/// Metadata and tensors of a model that calls itself `name`: all that such models may have.
fn facts(name: &str, norms: Option<[&[u64]; 2]>) -> FactsTable {
    let ungrouped = ["bloom", "gptneox"].contains(&name);
    let kv_heads = if ungrouped { HEADS } else { KV_HEADS };
    let mut facts = metadata(name, kv_heads);
    let vectors =
        ["attn_norm", "ffn_norm", "attn_output_norm", "post_attention_norm", "post_ffw_norm"];
    let matrices = [
        ("attn_q", vec![WIDTH, WIDTH]),
        ("attn_k", vec![kv_heads * HEAD, WIDTH]),
        ("attn_v", vec![kv_heads * HEAD, WIDTH]),
        ("attn_qkv", vec![WIDTH + 2 * kv_heads * HEAD, WIDTH]),
        ("attn_output", vec![WIDTH, WIDTH]),
        ("ffn_gate", vec![FFN, WIDTH]),
        ("ffn_up", vec![FFN, WIDTH]),
        ("ffn_down", vec![WIDTH, FFN]),
        ("ffn_gate_inp", vec![EXPERTS, WIDTH]),
        ("ffn_gate_exps", vec![EXPERTS, FFN, WIDTH]),
        ("ffn_up_exps", vec![EXPERTS, FFN, WIDTH]),
        ("ffn_down_exps", vec![EXPERTS, WIDTH, FFN]),
    ];
    for layer in 0..LAYERS {
        // Its kind with a norm before the feed-forward is another, which no file describes.
        for part in vectors.into_iter().filter(|part| name != "falcon" || *part != "ffn_norm") {
            facts = norm(facts, &format!("blk.{layer}.{part}"));
        }
        for (part, shape) in &matrices {
            facts = facts.with_tensor(&format!("blk.{layer}.{part}.weight"), shape);
        }
        for (part, shape) in ["attn_q_norm", "attn_k_norm"].iter().zip(norms.into_iter().flatten())
        {
            facts = facts.with_tensor(&format!("blk.{layer}.{part}.weight"), shape);
        }
    }
    norm(norm(facts, "output_norm"), "token_embd_norm")
        .with_tensor("token_embd.weight", &[VOCABULARY, WIDTH])
        .with_tensor("position_embd.weight", &[512, WIDTH])
}

fn norm(facts: FactsTable, name: &str) -> FactsTable {
    facts
        .with_tensor(&format!("{name}.weight"), &[WIDTH])
        .with_tensor(&format!("{name}.bias"), &[WIDTH])
}

fn metadata(name: &str, kv_heads: u64) -> FactsTable {
    let numbers = [
        ("block_count", LAYERS),
        ("context_length", 512),
        ("embedding_length", WIDTH),
        ("feed_forward_length", FFN),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", kv_heads),
        ("expert_count", EXPERTS),
        ("expert_used_count", 2),
        ("vocab_size", VOCABULARY),
    ];
    let facts = FactsTable::new(name)
        .with_meta("general.architecture", name)
        .with_meta(&format!("{name}.attention.layer_norm_epsilon"), 1e-5)
        .with_meta(&format!("{name}.attention.layer_norm_rms_epsilon"), 1e-5);
    let facts = match name {
        "exaone4" => facts.with_meta("exaone4.attention.sliding_window", 8.0),
        "olmo" | "dbrx" => facts.with_meta(&format!("{name}.attention.clamp_kqv"), 8.0),
        _ => facts,
    };
    numbers.into_iter().fold(facts, |facts, (key, number)| {
        facts.with_meta(&format!("{name}.{key}"), number as f64)
    })
}
