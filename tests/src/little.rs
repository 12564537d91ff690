//! Little graphs around one kernel family each, as architecture files.

use crate::weights::RandomWeights;
use proptest::prelude::*;
use proptest::sample::select;
use quarrel_ir::format::Format;
use quarrel_ir::graph::Graph;
use quarrel_ir::weight::TensorInfo;
use quarrel_models::arch::{ArchFile, FactsTable};

/// Token ids of every little graph.
pub const VOCABULARY: u64 = 40;

/// Statements of an architecture file and the tensors they name.
#[derive(Clone, Debug, PartialEq)]
pub struct Little {
    /// The statements.
    pub body: String,
    /// The tensors, those with a bias included.
    pub tensors: Vec<TensorInfo>,
}

impl Little {
    /// Rows of tokens from a table in `format`, under the name `h`.
    pub fn new(format: Format, width: u64) -> Little {
        let body = "  h = embed(tokens, \"embd\")\n".to_string();
        Little { body, tensors: vec![] }.tensor("embd.weight", format, &[VOCABULARY, width])
    }

    /// Adds a statement.
    pub fn line(mut self, line: &str) -> Little {
        self.body += &format!("  {line}\n");
        self
    }

    /// Adds a tensor.
    pub fn tensor(mut self, name: &str, format: Format, shape: &[u64]) -> Little {
        self.tensors.push(TensorInfo { name: name.into(), format, shape: shape.to_vec() });
        self
    }

    /// Adds a matrix.
    pub fn matrix(self, name: &str, format: Format, rows: u64, columns: u64) -> Little {
        self.tensor(&format!("{name}.weight"), format, &[rows, columns])
    }

    /// The graph.
    ///
    /// # Panics
    /// If the text does not build: the suite's own mistake.
    pub fn graph(&self) -> Graph {
        let text = format!("arch little serves \"little\" {{\n{}}}\n", self.body);
        let mut facts = FactsTable::new("little").with_meta("little.context_length", 512.0);
        for info in &self.tensors {
            facts = facts.with_info(info.clone());
        }
        let built = ArchFile::parse("little.arch", &text).and_then(|arch| arch.build(&facts));
        built.unwrap_or_else(|error| panic!("{:?}\n{text}", miette::Report::new(error)))
    }

    /// Random weights.
    pub fn weights(&self, seed: u64) -> RandomWeights {
        RandomWeights::new(seed, self.tensors.clone())
    }
}

/// Products of `width` columns and rows, whose columns workgroups may share in prompts, on devices with
/// matrices and tiles of 128 and in software: one with an epilogue, and one that a norm reads.
pub fn shared_columns(width: u64) -> Little {
    Little::new(Format::F32, width)
        .line("h = h + linear(h, \"a\")")
        .line("h = rms_norm(linear(h, \"b\"), \"norm\", 0.00001)")
        .line("logits = linear(h, \"c\")")
        .tensor("norm.weight", Format::F32, &[width])
        .matrix("a", Format::F16, width, width)
        .matrix("b", Format::Q8_0, width, width)
        .matrix("c", Format::F16, 36, width)
}

/// A feed-forward network of which each row takes some of several experts.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the fields are the parts' own names")]
pub struct Mixture {
    pub experts: u64,
    /// Experts of a row.
    pub top: u64,
    pub width: u64,
    /// Rows of each expert's first two matrices, and columns of its last.
    pub inner: u64,
    /// Of gate, up and down.
    pub formats: [Format; 3],
}

impl Mixture {
    /// The network, whose experts are chosen by `scores` and weighed by `share`: statements of
    /// `p`, from the row `h`, and from `p` and the ids `e`.
    pub fn little(&self, scores: &str, share: &str) -> Little {
        let Mixture { experts, top, width, inner, formats: [gate, up, down] } = *self;
        // Rows of the inner width are whole blocks of their format.
        let down = if down.row_bytes(inner).is_some() { down } else { Format::F32 };
        Little::new(Format::F32, width)
            .line(&format!("p = {scores}"))
            .line(&format!("e = top_k(p, {top})"))
            .line("a = silu(expert_linear(h, \"gate\", e)) * expert_linear(h, \"up\", e)")
            .line(&format!("h = h + expert_sum(expert_linear(a, \"down\", e), {share})"))
            .line("logits = linear(h, \"o\")")
            .matrix("router", Format::F32, experts, width)
            .tensor("gate.weight", gate, &[experts, inner, width])
            .tensor("up.weight", up, &[experts, inner, width])
            .tensor("down.weight", down, &[experts, width, inner])
            .matrix("o", Format::F32, 24, width)
    }
}

/// Elements of a row that is whole blocks in every format.
const WHOLE: u64 = 256;

/// A product by a matrix in `format` of up to 9 chunks of columns, plain or after a norm; longer
/// blocks make it fewer.
pub fn product(format: Format) -> impl Strategy<Value = Little> {
    let norms = vec!["h", "rms_norm(h, \"norm\", 0.00001)", "layer_norm(h, \"norm\", 0.00001)"];
    (1u64..=9, 1u64..=150, select(norms), any::<bool>()).prop_map(move |(chunks, rows, x, bias)| {
        let least = format.block_len().max(format.packing().chunk) as u64;
        let columns = least * if least < WHOLE { chunks } else { chunks.div_ceil(4) };
        let little = Little::new(Format::F32, columns)
            .line(&format!("logits = linear({x}, \"w\")"))
            .tensor("norm.weight", Format::F32, &[columns])
            .matrix("w", format, rows, columns);
        match bias {
            true => little.tensor("w.bias", Format::F32, &[rows]),
            false => little,
        }
    })
}

/// A feed-forward network and its parts in rows of any width: an embedding, a norm, products that
/// meet, and a part of a weight that begins anywhere.
pub fn odd_rows() -> impl Strategy<Value = Little> {
    let formats = prop::array::uniform3(select(vec![Format::F32, Format::F16, Format::BF16]));
    let sizes = (1u64..=140, 1u64..=140, 1u64..=70);
    let norms = vec!["h", "rms_norm(h, \"norm\", 0.00001)", "layer_norm(h, \"norm\", 0.00001)"];
    (sizes, formats, select(norms), 0u64..=5).prop_map(
        |((width, inner, rows), formats, x, start)| {
            let part = format!("slice(weight(\"long\"), {start}, {width})");
            Little::new(formats[0], width)
                .line(&format!("x = {x}"))
                .line("y = linear(silu(linear(x, \"a\")) * linear(x, \"b\"), \"c\")")
                .line(&format!("logits = linear((h + y) * {part}, \"w\")"))
                .tensor("norm.weight", Format::F32, &[width])
                .tensor("long.weight", Format::F32, &[width + 5])
                .tensor("a.bias", Format::F32, &[inner])
                .matrix("a", formats[1], inner, width)
                .matrix("b", formats[2], inner, width)
                .matrix("c", formats[2], width, inner)
                .matrix("w", formats[1], rows, width)
        },
    )
}

/// Two or three products of the same rows that meet in an epilogue, and one that does not, each in
/// its own format.
pub fn group() -> impl Strategy<Value = Little> {
    let meets = vec![
        "silu(linear(h, \"a\")) * linear(h, \"b\") + linear(h, \"c\")",
        "gelu(linear(h, \"a\")) * linear(h, \"b\")",
        "linear(h, \"a\") * linear(h, \"b\") - softcap(linear(h, \"c\"), 2)",
        "relu(linear(h, \"a\")) + linear(h, \"a\")",
    ];
    let formats = prop::collection::vec(select(Format::ALL.to_vec()), 3);
    (select(meets), formats, 1u64..=3, 1u64..=70).prop_map(|(meet, formats, blocks, units)| {
        let least = formats.iter().map(|format| format.block_len() as u64).max();
        let columns = blocks * least.unwrap_or(WHOLE).max(32);
        let mut little = Little::new(Format::F32, columns).line(&format!("logits = {meet}"));
        for (name, format) in ["a", "b", "c"].into_iter().zip(formats) {
            if meet.contains(&format!("\"{name}\"")) {
                little = little.matrix(name, format, units, columns);
            }
        }
        little
    })
}

/// An attention block: merged products in formats of their own, rotations, cache and attention.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are the parts' own names")]
pub struct Block {
    pub kv_heads: u64,
    /// Query heads to a key head.
    pub share: u64,
    pub head: u64,
    pub rope_dims: u64,
    pub half_rope: bool,
    pub window: Option<u64>,
    pub softcap: Option<f32>,
    /// Largest exponent of linear position biases.
    pub alibi: Option<f32>,
    /// Context that rotations were trained for, stretched four times beyond it.
    pub yarn: Option<u32>,
    /// Normalises each query and key head.
    pub head_norms: bool,
    /// Formats of query, key and value products.
    pub formats: [Format; 3],
}

impl Block {
    /// Its graph's text and tensors.
    pub fn little(&self) -> Little {
        let Block { kv_heads, share, head, rope_dims, .. } = *self;
        let least = self.formats.iter().map(|format| format.block_len() as u64).max();
        let (heads, width) = (kv_heads * share, least.unwrap_or(WHOLE).max(64));
        let style = if self.half_rope { "half" } else { "interleaved" };
        let window = self.window.map_or(String::new(), |w| format!(", window = {w}"));
        let cap = self.softcap.map_or(String::new(), |c| format!(", softcap = {c}"));
        let bias = self.alibi.map_or(String::new(), |b| format!(", alibi = {b}"));
        let stretch = self.yarn.map_or(String::new(), |context| {
            format!(", scale = 0.25, yarn = {context}, magnitude = 1.1")
        });
        let turned = |name: &str, n: u64| {
            let split = format!("heads(linear(h, \"{name}\"), {n})");
            let split = match self.head_norms {
                true => format!("rms_norm({split}, \"{name}_norm\", 0.00001)"),
                false => split,
            };
            format!(
                "{name} = rope({split}, base = 10000, dims = {rope_dims}, style = {style}{stretch})"
            )
        };
        let norm = |name: &str, little: Little| match self.head_norms {
            true => little.tensor(&format!("{name}_norm.weight"), Format::F32, &[head]),
            false => little,
        };
        let little = Little::new(Format::F32, width)
            .line(&turned("q", heads))
            .line(&turned("k", kv_heads))
            .line(&format!("v = heads(linear(h, \"v\"), {kv_heads})"))
            .line(&format!("h = attention(q, k, v, scale = {head} ^ -0.5{cap}{window}{bias})"))
            .line("logits = linear(h, \"o\")")
            .matrix("q", self.formats[0], heads * head, width)
            .matrix("k", self.formats[1], kv_heads * head, width)
            .matrix("v", self.formats[2], kv_heads * head, width)
            .matrix("o", Format::F32, 24, heads * head);
        norm("k", norm("q", little))
    }
}

/// Blocks whose heads are no multiples of eight elements.
pub fn odd_block() -> impl Strategy<Value = Block> {
    (block(), 2u64..=130, 1u64..=32).prop_map(|(block, head, turned)| {
        let head = if head.is_multiple_of(8) { head + 1 } else { head };
        let kv_heads = if block.share * head > 256 { 1 } else { block.kv_heads };
        Block { head, kv_heads, rope_dims: (2 * turned).min(head / 2 * 2), ..block }
    })
}

/// Blocks of all sizes.
pub fn block() -> impl Strategy<Value = Block> {
    let heads = (1u64..=3, 1u64..=8, 1u64..=16);
    let turns = (1u64..=32, any::<bool>());
    let reach = (
        prop::option::of(select(vec![1u64, 7, 64, 100])),
        prop::option::of(select(vec![2.0f32, 30.0])),
        prop::option::of(Just(8.0f32)),
        prop::option::of(select(vec![64u32, 4096])),
    );
    let formats = prop::array::uniform3(select(Format::ALL.to_vec()));
    (heads, turns, reach, any::<bool>(), formats).prop_map(
        |(
            (kv_heads, share, eights),
            (fours, half_rope),
            (window, softcap, alibi, yarn),
            head_norms,
            formats,
        )| {
            let head = 8 * eights;
            Block {
                // The reference takes its time over large blocks.
                kv_heads: if share * head > 256 { 1 } else { kv_heads },
                share,
                head,
                rope_dims: (4 * fours).min(head),
                half_rope,
                window,
                softcap,
                alibi,
                yarn,
                head_norms,
                formats,
            }
        },
    )
}
