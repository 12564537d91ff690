//! The shapes that can be asked for by name: metadata and tensors of real models, as their GGUF
//! files have them.

use crate::arch::FactsTable;

/// The extents of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) family: Family,
    pub(super) layers: u64,
    pub(super) width: u64,
    pub(super) heads: u64,
    pub(super) kv_heads: u64,
    /// Elements of a head.
    pub(super) head: u64,
    /// Inner width of the feed-forward, or of each expert.
    pub(super) ffn: u64,
    pub(super) vocabulary: u64,
    pub(super) context: u64,
    pub(super) rope_base: f64,
    /// Whether the embedding serves as the output matrix too.
    pub(super) tied: bool,
}

/// What differs besides extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Llama.
    Llama,
    /// Qwen 3: norms of query and key heads.
    Qwen3,
    /// Gemma 3: the same, and norms after attention and feed-forward.
    Gemma3,
    /// Granite with a mixture of experts.
    GraniteMoe {
        /// Experts a layer.
        experts: u64,
        /// Experts a token.
        used: u64,
    },
}

const LLAMA: Shape = Shape {
    name: "",
    family: Family::Llama,
    layers: 0,
    width: 0,
    heads: 32,
    kv_heads: 8,
    head: 64,
    ffn: 0,
    vocabulary: 128_256,
    context: 131_072,
    rope_base: 500_000.0,
    tied: true,
};

/// By name: SmolLM2 135M, Llama 3.2 1B and 3B, Llama 3 8B, Qwen 3 0.6B and 1.7B, Gemma 3 270M, Granite
/// 3.0 1B-A400M.
pub(super) const SHAPES: [Shape; 8] = [
    Shape {
        name: "smollm2-135m",
        layers: 30,
        width: 576,
        heads: 9,
        kv_heads: 3,
        ffn: 1536,
        vocabulary: 49_152,
        context: 8192,
        rope_base: 100_000.0,
        ..LLAMA
    },
    Shape { name: "llama-1b", layers: 16, width: 2048, ffn: 8192, ..LLAMA },
    Shape { name: "llama-3b", layers: 28, width: 3072, heads: 24, head: 128, ffn: 8192, ..LLAMA },
    Shape {
        name: "llama-8b",
        layers: 32,
        width: 4096,
        head: 128,
        ffn: 14_336,
        context: 8192,
        tied: false,
        ..LLAMA
    },
    Shape {
        name: "qwen3-0.6b",
        family: Family::Qwen3,
        layers: 28,
        width: 1024,
        heads: 16,
        head: 128,
        ffn: 3072,
        vocabulary: 151_936,
        context: 40_960,
        rope_base: 1_000_000.0,
        ..LLAMA
    },
    Shape {
        name: "qwen3-1.7b",
        family: Family::Qwen3,
        layers: 28,
        width: 2048,
        heads: 16,
        head: 128,
        ffn: 6144,
        vocabulary: 151_936,
        context: 40_960,
        rope_base: 1_000_000.0,
        ..LLAMA
    },
    Shape {
        name: "gemma3-270m",
        family: Family::Gemma3,
        layers: 18,
        width: 640,
        heads: 4,
        kv_heads: 1,
        head: 256,
        ffn: 2048,
        vocabulary: 262_144,
        context: 32_768,
        rope_base: 1_000_000.0,
        ..LLAMA
    },
    Shape {
        name: "granite-1b-a400m",
        family: Family::GraniteMoe { experts: 32, used: 8 },
        layers: 24,
        width: 1024,
        heads: 16,
        ffn: 512,
        vocabulary: 49_155,
        context: 4096,
        rope_base: 10_000.0,
        ..LLAMA
    },
];

impl Shape {
    /// Metadata and tensors; the tensors' formats are still to be chosen.
    pub(super) fn facts(&self) -> FactsTable {
        let Shape { width, heads, kv_heads, head, vocabulary, .. } = *self;
        let mut facts = self
            .metadata()
            .with_tensor("token_embd.weight", &[vocabulary, width])
            .with_tensor("output_norm.weight", &[width]);
        if !self.tied {
            facts = facts.with_tensor("output.weight", &[vocabulary, width]);
        }
        for layer in 0..self.layers {
            let mut add = |part: &str, shape: &[u64]| {
                let table = std::mem::take(&mut facts);
                facts = table.with_tensor(&format!("blk.{layer}.{part}.weight"), shape);
            };
            add("attn_norm", &[width]);
            add("attn_q", &[heads * head, width]);
            add("attn_k", &[kv_heads * head, width]);
            add("attn_v", &[kv_heads * head, width]);
            add("attn_output", &[width, heads * head]);
            add("ffn_norm", &[width]);
            if matches!(self.family, Family::Qwen3 | Family::Gemma3) {
                add("attn_q_norm", &[head]);
                add("attn_k_norm", &[head]);
            }
            if self.family == Family::Gemma3 {
                add("post_attention_norm", &[width]);
                add("post_ffw_norm", &[width]);
            }
            self.feed_forward(&mut add);
        }
        facts
    }

    fn feed_forward(&self, add: &mut dyn FnMut(&str, &[u64])) {
        let Shape { width, ffn, .. } = *self;
        match self.family {
            Family::Llama | Family::Qwen3 | Family::Gemma3 => {
                add("ffn_gate", &[ffn, width]);
                add("ffn_up", &[ffn, width]);
                add("ffn_down", &[width, ffn]);
            }
            Family::GraniteMoe { experts, .. } => {
                add("ffn_gate_inp", &[experts, width]);
                add("ffn_gate_exps", &[experts, ffn, width]);
                add("ffn_up_exps", &[experts, ffn, width]);
                add("ffn_down_exps", &[experts, width, ffn]);
            }
        }
    }

    fn metadata(&self) -> FactsTable {
        let name = match self.family {
            Family::Llama => "llama",
            Family::Qwen3 => "qwen3",
            Family::Gemma3 => "gemma3",
            Family::GraniteMoe { .. } => "granitemoe",
        };
        let eps = if self.family == Family::Llama { 1e-5 } else { 1e-6 };
        let count = |value: u64| value as f64;
        let mut facts = FactsTable::new(name).with_meta("general.architecture", name);
        let mut set = |key: &str, value: f64| {
            let table = std::mem::take(&mut facts);
            facts = table.with_meta(&format!("{name}.{key}"), value);
        };
        set("block_count", count(self.layers));
        set("context_length", count(self.context));
        set("embedding_length", count(self.width));
        set("feed_forward_length", count(self.ffn));
        set("attention.head_count", count(self.heads));
        set("attention.head_count_kv", count(self.kv_heads));
        set("attention.key_length", count(self.head));
        set("attention.value_length", count(self.head));
        set("attention.layer_norm_rms_epsilon", eps);
        set("rope.freq_base", self.rope_base);
        set("vocab_size", count(self.vocabulary));
        match self.family {
            Family::Llama | Family::Qwen3 => {}
            Family::Gemma3 => set("attention.sliding_window", 512.0),
            Family::GraniteMoe { experts, used } => {
                set("expert_count", count(experts));
                set("expert_used_count", count(used));
                set("embedding_scale", 12.0);
                set("residual_scale", 0.22);
                set("attention.scale", 0.015_625);
                set("logit_scale", 6.0);
            }
        }
        facts
    }
}
