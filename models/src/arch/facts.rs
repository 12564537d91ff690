//! What an architecture file may ask about a model, and a table of such facts for tests.

use crate::gguf;
use quarrel_ir::format::Format;
use quarrel_ir::weight::{TensorInfo, WeightSource};
use std::collections::BTreeMap;

/// What an architecture file may ask about a model.
pub trait Facts {
    /// The value of `general.architecture`, such as `llama`.
    fn architecture(&self) -> Option<&str>;
    /// The metadata value of this full key, such as `llama.block_count`.
    fn meta(&self, key: &str) -> Option<MetaValue>;
    /// The tensor of this full name, such as `blk.0.attn_q.weight`.
    fn tensor(&self, name: &str) -> Option<&TensorInfo>;
    /// Every metadata key, for suggestions.
    fn meta_keys(&self) -> Vec<&str>;
    /// Every tensor name, for suggestions and to find unused ones.
    fn tensor_names(&self) -> Vec<&str>;
}

/// A metadata value, as an architecture file sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum MetaValue {
    /// A number of any type.
    Number(f64),
    /// A boolean.
    Bool(bool),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<MetaValue>),
}

impl From<f64> for MetaValue {
    fn from(value: f64) -> Self {
        MetaValue::Number(value)
    }
}

impl From<bool> for MetaValue {
    fn from(value: bool) -> Self {
        MetaValue::Bool(value)
    }
}

impl From<&str> for MetaValue {
    fn from(value: &str) -> Self {
        MetaValue::Text(value.into())
    }
}

impl<T: Into<MetaValue>> From<Vec<T>> for MetaValue {
    fn from(values: Vec<T>) -> Self {
        MetaValue::List(values.into_iter().map(Into::into).collect())
    }
}

impl From<&gguf::Value> for MetaValue {
    fn from(value: &gguf::Value) -> Self {
        match value {
            gguf::Value::Bool(value) => MetaValue::Bool(*value),
            gguf::Value::String(text) => MetaValue::Text(text.clone()),
            gguf::Value::Array(array) => {
                MetaValue::List(array.iter().map(|element| MetaValue::from(&element)).collect())
            }
            // Everything else is a number.
            number => MetaValue::Number(number.as_f64().unwrap_or(f64::NAN)),
        }
    }
}

impl Facts for gguf::GgufFile {
    fn architecture(&self) -> Option<&str> {
        gguf::GgufFile::architecture(self)
    }

    fn meta(&self, key: &str) -> Option<MetaValue> {
        self.metadata().get(key).map(MetaValue::from)
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.info(name)
    }

    fn meta_keys(&self) -> Vec<&str> {
        self.metadata().iter().map(|(key, _)| key).collect()
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.tensors().map(|info| info.name.as_str()).collect()
    }
}

/// Facts in memory: a model without its weights, for tests and for the documentation's examples.
#[derive(Clone, Debug, Default)]
pub struct FactsTable {
    architecture: Option<String>,
    meta: BTreeMap<String, MetaValue>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl FactsTable {
    /// A model that calls itself `architecture`, without metadata or tensors.
    pub fn new(architecture: &str) -> FactsTable {
        FactsTable { architecture: Some(architecture.into()), ..FactsTable::default() }
    }

    /// Adds metadata under its full key.
    pub fn with_meta(mut self, key: &str, value: impl Into<MetaValue>) -> FactsTable {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Adds an F16 tensor under its full name.
    pub fn with_tensor(mut self, name: &str, shape: &[u64]) -> FactsTable {
        let info = TensorInfo { name: name.into(), format: Format::F16, shape: shape.into() };
        self.tensors.insert(name.into(), info);
        self
    }

    /// Adds a tensor.
    pub fn with_info(mut self, info: TensorInfo) -> FactsTable {
        self.tensors.insert(info.name.clone(), info);
        self
    }

    /// Removes a tensor or metadata of this full name.
    pub fn without(mut self, name: &str) -> FactsTable {
        self.meta.remove(name);
        self.tensors.remove(name);
        self
    }

    /// A Llama of this shape with tied embeddings, as a GGUF file describes it.
    pub fn llama(shape: &LlamaShape) -> FactsTable {
        let LlamaShape { layers, width, heads, kv_heads, ffn, vocabulary } = *shape;
        let head = width / heads.max(1);
        let number = |value: u64| value as f64;
        let mut facts = FactsTable::new("llama")
            .with_meta("general.architecture", "llama")
            .with_meta("llama.block_count", number(layers))
            .with_meta("llama.context_length", 8192.0)
            .with_meta("llama.embedding_length", number(width))
            .with_meta("llama.feed_forward_length", number(ffn))
            .with_meta("llama.attention.head_count", number(heads))
            .with_meta("llama.attention.head_count_kv", number(kv_heads))
            .with_meta("llama.attention.layer_norm_rms_epsilon", 1e-5)
            .with_meta("llama.rope.freq_base", 100_000.0)
            .with_meta("llama.rope.dimension_count", number(head))
            .with_meta("llama.vocab_size", number(vocabulary))
            .with_tensor("token_embd.weight", &[vocabulary, width])
            .with_tensor("output_norm.weight", &[width]);
        for layer in 0..layers {
            let named = |part: &str| format!("blk.{layer}.{part}.weight");
            facts = facts
                .with_tensor(&named("attn_norm"), &[width])
                .with_tensor(&named("attn_q"), &[heads * head, width])
                .with_tensor(&named("attn_k"), &[kv_heads * head, width])
                .with_tensor(&named("attn_v"), &[kv_heads * head, width])
                .with_tensor(&named("attn_output"), &[width, heads * head])
                .with_tensor(&named("ffn_norm"), &[width])
                .with_tensor(&named("ffn_gate"), &[ffn, width])
                .with_tensor(&named("ffn_up"), &[ffn, width])
                .with_tensor(&named("ffn_down"), &[width, ffn]);
        }
        facts
    }

    /// A Llama of the shape of SmolLM2-135M.
    pub fn smollm2_135m() -> FactsTable {
        FactsTable::llama(&LlamaShape {
            layers: 30,
            width: 576,
            heads: 9,
            kv_heads: 3,
            ffn: 1536,
            vocabulary: 49152,
        })
    }
}

/// The extents of a Llama.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields are the extents' own names")]
pub struct LlamaShape {
    pub layers: u64,
    pub width: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub ffn: u64,
    pub vocabulary: u64,
}

impl Facts for FactsTable {
    fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    fn meta(&self, key: &str) -> Option<MetaValue> {
        self.meta.get(key).cloned()
    }

    fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    fn meta_keys(&self) -> Vec<&str> {
        self.meta.keys().map(String::as_str).collect()
    }

    fn tensor_names(&self) -> Vec<&str> {
        self.tensors.keys().map(String::as_str).collect()
    }
}
