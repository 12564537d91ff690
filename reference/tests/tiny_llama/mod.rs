//! A two-layer model in the manner of Llama with pseudo-random weights in several formats, built
//! with the graph's own builder.

use quarrel_ir::format::Format;
use quarrel_ir::graph::{
    Addressing, Attention, BinaryOp, Graph, Input, NormKind, Normalize, Op, Origin, Rope,
    RopeStyle, StateDecl, StateFormat, UnaryOp, ValueId,
};
use quarrel_ir::weight::{TensorInfo, WeightError, WeightSource};
use std::borrow::Cow;
use std::collections::HashMap;

pub(crate) const VOCABULARY: u64 = 40;
const WIDTH: u64 = 32;
const FEED_FORWARD: u64 = 64;
const HEADS: u64 = 4;
const KV_HEADS: u64 = 2;
const SIZE: u64 = 8;

/// Tensors in memory.
#[derive(Default)]
pub(crate) struct Weights(pub(crate) HashMap<String, (TensorInfo, Vec<u8>)>);

impl WeightSource for Weights {
    fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.0.get(name).map(|(info, _)| info)
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>, WeightError> {
        let missing = || WeightError::Missing(name.into());
        self.0.get(name).map(|(_, bytes)| Cow::Borrowed(&bytes[..])).ok_or_else(missing)
    }
}

struct Builder {
    graph: Graph,
    weights: Weights,
    seed: u64,
}

impl Builder {
    fn add(&mut self, op: Op, operands: &[ValueId]) -> ValueId {
        self.graph.add(op, operands, Origin::default()).unwrap()
    }

    /// Uniform in -1..1 (Knuth's multiplier; the upper bits).
    fn random(&mut self) -> f32 {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn weight(&mut self, name: &str, format: Format, shape: &[u64]) -> ValueId {
        let info = TensorInfo { name: name.into(), format, shape: shape.into() };
        let mut bytes = Vec::new();
        for _ in 0..info.elements() as usize / format.block_len() {
            let scale = half::f16::from_f32(0.004 * (1.0 + self.random() * 0.5));
            match format {
                Format::F32 => bytes.extend(self.random().to_le_bytes()),
                Format::F16 => bytes.extend(half::f16::from_f32(self.random() * 0.3).to_le_bytes()),
                Format::Q8_0 => {
                    bytes.extend(scale.to_le_bytes());
                    bytes.extend((0..32).map(|_| (self.random() * 127.0) as i8 as u8));
                }
                _ => panic!("not used here"),
            }
        }
        self.weights.0.insert(name.into(), (info.clone(), bytes));
        let id = self.graph.weight(&info);
        self.add(Op::Weight(id), &[])
    }

    fn norm(&mut self, x: ValueId, name: &str) -> ValueId {
        let spec = Normalize { kind: NormKind::Rms, eps: 1e-5 };
        let x = self.add(Op::Normalize(spec), &[x]);
        let gain = self.weight(name, Format::F32, &[WIDTH]);
        self.add(Op::Binary(BinaryOp::Mul), &[gain, x])
    }

    fn linear(&mut self, x: ValueId, name: &str, format: Format, m: u64, k: u64) -> ValueId {
        let w = self.weight(name, format, &[m, k]);
        self.add(Op::Linear, &[x, w])
    }

    fn cached(&mut self, name: String, x: ValueId, places: [ValueId; 2]) -> ValueId {
        let id = self.graph.state(StateDecl {
            name,
            format: StateFormat::F16,
            row: vec![KV_HEADS, SIZE],
            addressing: Addressing::Append,
        });
        let state = self.add(Op::State(id), &[]);
        self.add(Op::Append, &[state, x, places[0], places[1]])
    }

    fn attention(&mut self, layer: u32, x: ValueId, [slot, position]: [ValueId; 2]) -> ValueId {
        let spec = Rope {
            base: 10000.0,
            scale: 1.0,
            magnitude: 1.0,
            dims: SIZE as u32,
            style: RopeStyle::Interleaved,
            ramp: None,
        };
        let mut heads = |role: &str, format, count: u64| {
            let flat = self.linear(x, &format!("{role}.{layer}"), format, count * SIZE, WIDTH);
            let heads = self.add(Op::Reshape(vec![count, SIZE]), &[flat]);
            if role == "v" { heads } else { self.add(Op::Rope(spec), &[heads, position]) }
        };
        let q = heads("q", Format::Q8_0, HEADS);
        let k = heads("k", Format::F16, KV_HEADS);
        let v = heads("v", Format::Q8_0, KV_HEADS);
        let keys = self.cached(format!("k.{layer}"), k, [slot, position]);
        let values = self.cached(format!("v.{layer}"), v, [slot, position]);
        let odd = layer % 2 == 1;
        let spec = Attention {
            scale: (SIZE as f32).powf(-0.5),
            window: odd.then_some(3),
            softcap: odd.then_some(5.0),
            alibi: None,
        };
        let y = self.add(Op::Attention(spec), &[q, keys, values, slot, position]);
        let y = self.add(Op::Reshape(vec![HEADS * SIZE]), &[y]);
        self.linear(y, &format!("o.{layer}"), Format::F16, WIDTH, HEADS * SIZE)
    }

    fn feed_forward(&mut self, layer: u32, x: ValueId) -> ValueId {
        let gate = self.linear(x, &format!("gate.{layer}"), Format::Q8_0, FEED_FORWARD, WIDTH);
        let up = self.linear(x, &format!("up.{layer}"), Format::Q8_0, FEED_FORWARD, WIDTH);
        let gate = self.add(Op::Unary(UnaryOp::Silu), &[gate]);
        let x = self.add(Op::Binary(BinaryOp::Mul), &[gate, up]);
        self.linear(x, &format!("down.{layer}"), Format::Q8_0, WIDTH, FEED_FORWARD)
    }
}

/// The model, and the value that is the embedded tokens.
pub(crate) fn tiny_llama() -> (Graph, Weights, ValueId) {
    let mut b = Builder { graph: Graph::new("tiny"), weights: Weights::default(), seed: 0x5eed };
    let tokens = b.add(Op::Input(Input::Tokens), &[]);
    let position = b.add(Op::Input(Input::Position), &[]);
    let slot = b.add(Op::Input(Input::Slot), &[]);
    let out_rows = b.add(Op::Input(Input::OutRows), &[]);
    let table = b.weight("embedding", Format::F16, &[VOCABULARY, WIDTH]);
    let embedded = b.add(Op::Embed, &[table, tokens]);
    let mut h = embedded;
    for layer in 0..2 {
        let x = b.norm(h, &format!("attention_norm.{layer}"));
        let x = b.attention(layer, x, [slot, position]);
        h = b.add(Op::Binary(BinaryOp::Add), &[h, x]);
        let x = b.norm(h, &format!("ffn_norm.{layer}"));
        let x = b.feed_forward(layer, x);
        h = b.add(Op::Binary(BinaryOp::Add), &[h, x]);
    }
    let h = b.add(Op::GatherRows, &[h, out_rows]);
    let x = b.norm(h, "norm");
    let logits = b.add(Op::Linear, &[x, table]);
    b.graph.set_output(logits);
    (b.graph, b.weights, embedded)
}
