//! Small models of the Llama kind with their parts swapped, as architecture files.

use quarrel_ir::format::Format;
use quarrel_ir::graph::Graph;
use quarrel_ir::weight::TensorInfo;
use quarrel_models::arch::{ArchFile, FactsTable};

/// How a block's halves join the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// Attention, then feed-forward on its result.
    Serial,
    /// Both from the same normalised rows.
    Parallel,
    /// Serial, each result scaled.
    Scaled,
}

/// A model's parts and sizes.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are the parts' own names")]
pub struct Variant {
    pub layers: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head: u64,
    pub width: u64,
    pub ffn: u64,
    pub vocabulary: u64,
    /// `silu`, `gelu`, `gelu_erf` or `relu`.
    pub activation: &'static str,
    pub layer_norm: bool,
    pub residual: Residual,
    pub bias: bool,
    pub score_cap: Option<f32>,
    pub logit_cap: Option<f32>,
    pub half_rope: bool,
    /// Elements of a head that turn.
    pub rope_dims: u64,
    pub window: Option<u64>,
    /// Format of matrices; `odd` that of values and gates.
    pub format: Format,
    pub odd: Format,
}

impl Default for Variant {
    fn default() -> Variant {
        Variant {
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head: 16,
            width: 64,
            ffn: 96,
            vocabulary: 160,
            activation: "silu",
            layer_norm: false,
            residual: Residual::Serial,
            bias: false,
            score_cap: None,
            logit_cap: None,
            half_rope: false,
            rope_dims: 16,
            window: None,
            format: Format::F16,
            odd: Format::F16,
        }
    }
}

impl Variant {
    /// The architecture file.
    pub fn text(&self) -> String {
        let norm = if self.layer_norm { "layer_norm" } else { "rms_norm" };
        let style = if self.half_rope { "half" } else { "interleaved" };
        let cap = self.score_cap.map_or(String::new(), |c| format!(", softcap = {c}"));
        let window = self.window.map_or(String::new(), |w| format!(", window = {w}"));
        let (scale, parallel) = match self.residual {
            Residual::Serial => ("", false),
            Residual::Parallel => ("", true),
            Residual::Scaled => (" * 0.22", false),
        };
        let second = if parallel {
            String::new()
        } else {
            format!("    x = {norm}(h, \"blk.{{i}}.ffn_norm\", 0.00001)\n")
        };
        let logits = "linear(NORM(h, \"output_norm\", 0.00001), \"output\")".replace("NORM", norm);
        let logits = self.logit_cap.map_or(logits.clone(), |c| format!("softcap({logits}, {c})"));
        format!(
            "arch synthetic serves \"synthetic\" {{\n  \
             turn(x) = rope(x, base = 10000, dims = {dims}, style = {style})\n  \
             h = embed(tokens, \"token_embd\")\n  \
             layers i in 0..{layers} {{\n    \
             x = {norm}(h, \"blk.{{i}}.attn_norm\", 0.00001)\n    \
             q = turn(heads(linear(x, \"blk.{{i}}.attn_q\"), {heads}))\n    \
             k = turn(heads(linear(x, \"blk.{{i}}.attn_k\"), {kv}))\n    \
             v = heads(linear(x, \"blk.{{i}}.attn_v\"), {kv})\n    \
             h = h + linear(attention(q, k, v, scale = {head} ^ -0.5{cap}{window}), \"blk.{{i}}.attn_output\"){scale}\n\
             {second}    \
             h = h + linear({activation}(linear(x, \"blk.{{i}}.ffn_gate\")) * linear(x, \"blk.{{i}}.ffn_up\"), \"blk.{{i}}.ffn_down\"){scale}\n  \
             }}\n  logits = {logits}\n}}\n",
            dims = self.rope_dims,
            layers = self.layers,
            heads = self.heads,
            kv = self.kv_heads,
            head = self.head,
            activation = self.activation,
        )
    }

    /// The model's tensors.
    pub fn tensors(&self) -> Vec<TensorInfo> {
        let mut tensors = Vec::new();
        let mut add = |name: String, format: Format, shape: &[u64]| {
            tensors.push(TensorInfo { name, format, shape: shape.to_vec() });
        };
        let (width, inner) = (self.width, self.heads * self.head);
        let kv = self.kv_heads * self.head;
        add("token_embd.weight".into(), self.format, &[self.vocabulary, width]);
        add("output.weight".into(), self.format, &[self.vocabulary, width]);
        let mut norms = vec!["output_norm".to_string()];
        for i in 0..self.layers {
            let matrices = [
                ("attn_q", self.format, inner, width),
                ("attn_k", self.format, kv, width),
                ("attn_v", self.odd, kv, width),
                ("attn_output", self.format, width, inner),
                ("ffn_gate", self.odd, self.ffn, width),
                ("ffn_up", self.format, self.ffn, width),
                ("ffn_down", self.format, width, self.ffn),
            ];
            for (name, format, rows, columns) in matrices {
                add(format!("blk.{i}.{name}.weight"), format, &[rows, columns]);
                if self.bias {
                    add(format!("blk.{i}.{name}.bias"), Format::F32, &[rows]);
                }
            }
            norms.extend([format!("blk.{i}.attn_norm"), format!("blk.{i}.ffn_norm")]);
        }
        for norm in norms {
            add(format!("{norm}.weight"), Format::F32, &[width]);
            if self.layer_norm {
                add(format!("{norm}.bias"), Format::F32, &[width]);
            }
        }
        tensors
    }

    /// The model's graph, through the architecture language.
    ///
    /// # Panics
    /// If the text does not build: the suite's own mistake.
    pub fn graph(&self) -> Graph {
        let mut facts = FactsTable::new("synthetic").with_meta("synthetic.context_length", 512.0);
        for info in self.tensors() {
            facts = facts.with_info(info);
        }
        let built = ArchFile::parse("synthetic.arch", &self.text()).and_then(|a| a.build(&facts));
        built.unwrap_or_else(|error| panic!("{:?}\n{}", miette::Report::new(error), self.text()))
    }
}
