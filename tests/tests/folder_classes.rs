//! What folders of the other classes present: metadata keys and values, tensor names and shapes, as
//! in GGUF files that llama.cpp's converter wrote (`tests/tiny/hf/twins.json`). The folders are made
//! here, with the names and shapes that transformers gives each class.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use quarrel_ir::weight::WeightSource;
use quarrel_models::arch::{Facts, MetaValue};
use quarrel_models::hf::HfFolder;
use quarrel_tests::folder::{self, Tensor};
use serde_json::{Value, json};

/// The shape that all tiny models have.
const LAYERS: u64 = 2;
const WIDTH: u64 = 64;
const FFN: u64 = 128;
const VOCABULARY: u64 = 256;
const KV: u64 = 32;

/// Tensors as they are named: the first value of each is its place in the list, counted from 1.
#[derive(Default)]
struct Made(Vec<Tensor>);

impl Made {
    fn add(&mut self, name: &str, shape: &[u64]) {
        let first = (self.0.len() + 1) as f32;
        let mut values = vec![0.0; shape.iter().product::<u64>() as usize];
        values[0] = first;
        self.0.push(Tensor::f32(name, shape, &values));
    }

    /// A tensor of each layer, after `model.layers.{i}.`.
    fn each(&mut self, parts: &[(&str, &[u64])]) {
        for layer in 0..LAYERS {
            for (part, shape) in parts {
                self.add(&format!("model.layers.{layer}.{part}"), shape);
            }
        }
    }

    fn ends(&mut self, tied: bool) {
        self.add("model.embed_tokens.weight", &[VOCABULARY, WIDTH]);
        self.add("model.norm.weight", &[WIDTH]);
        if !tied {
            self.add("lm_head.weight", &[VOCABULARY, WIDTH]);
        }
        self.each(&[
            ("input_layernorm.weight", &[WIDTH]),
            ("post_attention_layernorm.weight", &[WIDTH]),
        ]);
    }

    /// Separate q, k, v and output matrices, of `q` and `kv` rows.
    fn attention(&mut self, q: u64, kv: u64) {
        self.each(&[
            ("self_attn.q_proj.weight", &[q, WIDTH]),
            ("self_attn.k_proj.weight", &[kv, WIDTH]),
            ("self_attn.v_proj.weight", &[kv, WIDTH]),
            ("self_attn.o_proj.weight", &[WIDTH, q]),
        ]);
    }

    fn feed_forward(&mut self) {
        self.each(&[
            ("mlp.gate_proj.weight", &[FFN, WIDTH]),
            ("mlp.up_proj.weight", &[FFN, WIDTH]),
            ("mlp.down_proj.weight", &[WIDTH, FFN]),
        ]);
    }
}

/// The configuration of a class: what all have, then its own.
fn config(class: &str, own: Value) -> Value {
    let mut config = json!({
        "architectures": [class], "vocab_size": VOCABULARY, "hidden_size": WIDTH,
        "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 0, "rms_norm_eps": 1e-6, "tie_word_embeddings": false,
        "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    });
    for (key, value) in own.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

/// The folder, kept with its files.
fn opened(config: &Value, made: &Made) -> (tempfile::TempDir, HfFolder) {
    let place = tempfile::tempdir().unwrap();
    folder::write(place.path(), config, &made.0);
    let folder = HfFolder::open(place.path(), &[]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(folder.unused(), &[] as &[String]);
    (place, folder)
}

/// Compares with the file of that name; `more` are keys that the folder has beyond it.
fn check(name: &str, more: &[&str], config: &Value, made: &Made) -> (tempfile::TempDir, HfFolder) {
    let twins: Value = serde_json::from_str(include_str!("../tiny/hf/twins.json")).unwrap();
    let (place, folder) = opened(config, made);
    let twin = &twins[name];
    let arch = twin["architecture"].as_str().unwrap();
    assert_eq!(folder.architecture(), Some(arch));
    let metadata = twin["metadata"].as_object().unwrap();
    for (key, value) in metadata {
        let wanted = MetaValue::Number(value.as_f64().unwrap());
        assert_eq!(folder.meta(key), Some(wanted), "{name}: {key}");
    }
    for key in folder.meta_keys().into_iter().filter(|key| key.starts_with(&format!("{arch}."))) {
        let known = metadata.contains_key(key) || more.iter().any(|more| key.ends_with(more));
        assert!(known, "{name}: {key} is not in the file");
    }
    let tensors = twin["tensors"].as_object().unwrap();
    for (tensor, shape) in tensors {
        let info = folder.info(tensor).unwrap_or_else(|| panic!("{name}: no tensor {tensor}"));
        assert_eq!(json!(info.shape), *shape, "{name}: {tensor}");
        let bytes = folder.bytes(tensor).unwrap();
        assert_eq!(bytes.len() as u64, info.elements() * 4, "{name}: {tensor}");
    }
    assert_eq!(folder.tensors().len(), tensors.len(), "{name}");
    (place, folder)
}

/// The first value of part `part` of `parts` of a tensor.
fn first(folder: &HfFolder, tensor: &str, part: usize, parts: usize) -> f32 {
    let bytes = folder.bytes(tensor).unwrap();
    f32::from_le_bytes(*bytes[bytes.len() / parts * part..].first_chunk().unwrap())
}

/// The first value that `made` gave to a tensor.
fn place(made: &Made, name: &str) -> f32 {
    let at = made.0.iter().position(|tensor| tensor.name == name);
    (at.unwrap_or_else(|| panic!("no tensor {name}")) + 1) as f32
}

#[test]
fn mistral() {
    let mut made = Made::default();
    made.ends(false);
    made.attention(WIDTH, KV);
    made.feed_forward();
    let own = json!({"head_dim": null, "sliding_window": null, "hidden_act": "silu"});
    check("mistral", &[], &config("MistralForCausalLM", own), &made);
    // Versions before transformers 5 wrote the base alone.
    let own = json!({"rope_parameters": null, "rope_theta": 1e6, "sliding_window": 4096});
    let (_place, folder) = opened(&config("MistralForCausalLM", own), &made);
    assert_eq!(folder.meta("llama.rope.freq_base"), Some(1e6.into()));
    assert_eq!(folder.meta("llama.attention.sliding_window"), Some(4096.0.into()));
}

#[test]
fn mixtral() {
    let own = json!({
        "num_local_experts": 4, "num_experts_per_tok": 2, "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 1_000_000.0, "rope_type": "default"}, "head_dim": null,
    });
    let config = config("MixtralForCausalLM", own);
    let mut made = Made::default();
    made.ends(false);
    made.attention(WIDTH, KV);
    made.each(&[("block_sparse_moe.gate.weight", &[4, WIDTH])]);
    for expert in 0..4 {
        for (part, shape) in [("w1", [FFN, WIDTH]), ("w2", [WIDTH, FFN]), ("w3", [FFN, WIDTH])] {
            let name = format!("block_sparse_moe.experts.{expert}.{part}.weight");
            made.each(&[(&name, &shape)]);
        }
    }
    let (_place, folder) = check("mixtral", &[], &config, &made);
    for (tensor, part) in [("gate", "w1"), ("down", "w2"), ("up", "w3")] {
        for expert in 0..4 {
            let source = format!("model.layers.1.block_sparse_moe.experts.{expert}.{part}.weight");
            let got = first(&folder, &format!("blk.1.ffn_{tensor}_exps.weight"), expert, 4);
            assert_eq!(got, place(&made, &source), "{source}");
        }
    }
    let mut made = Made::default();
    made.ends(false);
    made.attention(WIDTH, KV);
    made.each(&[
        ("mlp.gate.weight", &[4, WIDTH]),
        ("mlp.experts.gate_up_proj", &[4, 2 * FFN, WIDTH]),
        ("mlp.experts.down_proj", &[4, WIDTH, FFN]),
    ]);
    check("mixtral", &[], &config, &made);
}

#[test]
fn qwen2() {
    let mut made = Made::default();
    made.ends(false);
    made.attention(WIDTH, KV);
    made.feed_forward();
    made.each(&[
        ("self_attn.q_proj.bias", &[WIDTH]),
        ("self_attn.k_proj.bias", &[KV]),
        ("self_attn.v_proj.bias", &[KV]),
    ]);
    let own = json!({"use_sliding_window": false, "sliding_window": null});
    check("qwen2", &[], &config("Qwen2ForCausalLM", own), &made);
    // Long contexts, as Qwen 2.5 is told to.
    let yarn = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128});
    let own = json!({"rope_parameters": null, "rope_theta": 1e6, "rope_scaling": yarn});
    let (_place, folder) = opened(&config("Qwen2ForCausalLM", own), &made);
    assert_eq!(folder.meta("qwen2.rope.scaling.type"), Some("yarn".into()));
    assert_eq!(folder.meta("qwen2.rope.scaling.factor"), Some(4.0.into()));
    assert_eq!(folder.meta("qwen2.rope.scaling.original_context_length"), Some(128.0.into()));
}

#[test]
fn qwen3moe() {
    let mut made = Made::default();
    made.ends(false);
    made.attention(128, 64);
    made.each(&[
        ("self_attn.q_norm.weight", &[32]),
        ("self_attn.k_norm.weight", &[32]),
        ("mlp.gate.weight", &[8, WIDTH]),
    ]);
    for expert in 0..8 {
        for part in ["gate_proj", "up_proj", "down_proj"] {
            made.each(&[(&format!("mlp.experts.{expert}.{part}.weight"), &[64, WIDTH])]);
        }
    }
    let own = json!({
        "head_dim": 32, "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
        "norm_topk_prob": true, "use_sliding_window": false,
    });
    check("qwen3moe", &[], &config("Qwen3MoeForCausalLM", own), &made);
}

#[test]
fn gemma2() {
    let mut made = Made::default();
    made.ends(true);
    made.attention(WIDTH, KV);
    made.feed_forward();
    made.each(&[
        ("pre_feedforward_layernorm.weight", &[WIDTH]),
        ("post_feedforward_layernorm.weight", &[WIDTH]),
    ]);
    let own = json!({
        "head_dim": 16, "sliding_window": 8, "query_pre_attn_scalar": 16,
        "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
        "layer_types": ["sliding_attention", "full_attention"],
    });
    let config = config("Gemma2ForCausalLM", own);
    // The converter leaves the base to its default.
    let (_place, folder) = check("gemma2", &["rope.freq_base"], &config, &made);
    for (tensor, source) in [
        ("blk.1.attn_norm", "input_layernorm"),
        ("blk.1.post_attention_norm", "post_attention_layernorm"),
        ("blk.1.ffn_norm", "pre_feedforward_layernorm"),
        ("blk.1.post_ffw_norm", "post_feedforward_layernorm"),
    ] {
        let expected = place(&made, &format!("model.layers.1.{source}.weight")) + 1.0;
        assert_eq!(first(&folder, &format!("{tensor}.weight"), 0, 1), expected, "{tensor}");
    }
}

#[test]
fn phi3() {
    let mut made = Made::default();
    made.ends(false);
    made.each(&[
        ("self_attn.qkv_proj.weight", &[WIDTH + 2 * KV, WIDTH]),
        ("self_attn.o_proj.weight", &[WIDTH, WIDTH]),
        ("mlp.gate_up_proj.weight", &[2 * FFN, WIDTH]),
        ("mlp.down_proj.weight", &[WIDTH, FFN]),
    ]);
    let own = json!({
        "original_max_position_embeddings": 512, "rms_norm_eps": 1e-5, "sliding_window": null,
    });
    check("phi3", &[], &config("Phi3ForCausalLM", own), &made);
    let factors = json!([1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]);
    let own = json!({
        "original_max_position_embeddings": 128, "rope_parameters": null, "rope_theta": 10000.0,
        "rope_scaling": {"type": "longrope", "long_factor": factors, "short_factor": [1, 1, 1, 1, 1, 1, 1, 1]},
    });
    let (_place, folder) = opened(&config("Phi3ForCausalLM", own), &made);
    // √(1 + ln(512 / 128) / ln(128))
    let factor = (1.0 + 4f64.ln() / 128f64.ln()).sqrt() as f32;
    assert_eq!(folder.meta("phi3.rope.scaling.attn_factor"), Some(f64::from(factor).into()));
    assert_eq!(folder.info("rope_factors_long.weight").unwrap().shape, [8]);
    assert_eq!(first(&folder, "rope_factors_long.weight", 1, 8), 1.5);
    assert_eq!(first(&folder, "rope_factors_short.weight", 1, 8), 1.0);
}

#[test]
fn granite() {
    let mut made = Made::default();
    made.ends(false);
    made.attention(WIDTH, KV);
    made.feed_forward();
    let own = json!({
        "attention_multiplier": 0.0625, "embedding_multiplier": 12.0, "residual_multiplier": 0.22,
        "logits_scaling": 8.0,
    });
    check("granite", &[], &config("GraniteForCausalLM", own), &made);
}
