//! Valid graphs made from numbers, over every op.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use quarrel_ir::format::Format;
use quarrel_ir::graph::{
    Addressing, Attention, BinaryOp, Graph, Input, NormKind, Normalize, Op, Origin, Ramp, Rope,
    RopeStyle, RunDim, StateDecl, StateFormat, TensorType, UnaryOp, ValueId, WeightRows,
};
use quarrel_ir::weight::TensorInfo;

/// Names that are awkward to write down.
const NAMES: [&str; 8] = [
    "q",
    "blk.0.attn_q.weight",
    "a \"quoted\" name",
    "back\\slash",
    "two\nlines",
    "✓ é",
    "",
    "\t\0\u{7f}",
];

/// A graph that [`Graph::verify`] accepts; each number adds one op and what it needs.
pub(crate) fn random_graph(name: &str, choices: &[u64]) -> Graph {
    let mut maker = Maker { graph: Graph::new(name), seed: 1 };
    let [tokens, position, slot, out_rows] =
        Input::ALL.map(|input| maker.add(Op::Input(input), &[]));
    let table = maker.weight(&[50, 16]);
    let mut x = maker.add(Op::Embed, &[table, tokens]);
    for &choice in choices {
        maker.seed = choice;
        x = maker.step(x, [slot, position]);
    }
    let x = maker.add(Op::GatherRows, &[x, out_rows]);
    let width = maker.tensor(x).width();
    let x = maker.add(Op::Reshape(vec![width]), &[x]);
    let w = maker.weight(&[50, width]);
    let logits = maker.add(Op::Linear, &[x, w]);
    maker.graph.set_output(logits);
    maker.graph
}

struct Maker {
    graph: Graph,
    seed: u64,
}

impl Maker {
    /// The next number of this choice (Knuth's multiplier; the upper bits).
    fn next(&mut self) -> u32 {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.seed >> 32) as u32
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next() as usize % all.len()]
    }

    /// Any float but NaN, which is not equal to itself.
    fn float(&mut self) -> f32 {
        let any = f32::from_bits(self.next());
        let usual = [1.0, 0.1, 10000.0, -0.0, f32::INFINITY, f32::MIN_POSITIVE, 1e-45, f32::MAX];
        if any.is_nan() || self.next().is_multiple_of(2) { self.one_of(&usual) } else { any }
    }

    fn origin(&mut self) -> Origin {
        let some = self.next();
        Origin {
            name: (some & 1 != 0).then(|| self.one_of(&NAMES).into()),
            layer: (some & 2 != 0).then(|| self.next()),
            line: if some & 4 != 0 { self.next() } else { 0 },
        }
    }

    fn add(&mut self, op: Op, operands: &[ValueId]) -> ValueId {
        let origin = self.origin();
        self.graph.add(op, operands, origin).unwrap()
    }

    fn tensor(&self, value: ValueId) -> TensorType {
        self.graph.tensor(value).unwrap().clone()
    }

    fn weight(&mut self, shape: &[u64]) -> ValueId {
        let name = format!("{}{}", self.one_of(&NAMES), self.graph.weights.len());
        let format = self.one_of(&Format::ALL);
        let id = self.graph.weight(&TensorInfo { name, format, shape: shape.into() });
        self.add(Op::Weight(id), &[])
    }

    fn state(&mut self, row: &[u64]) -> ValueId {
        let all = [Addressing::Append, Addressing::Ring { window: 7 }];
        let addressing = self.one_of(&all);
        self.kept(row, addressing)
    }

    fn kept(&mut self, row: &[u64], addressing: Addressing) -> ValueId {
        let name = format!("{}{}", self.one_of(&NAMES), self.graph.states.len());
        let takes = |format: &StateFormat| format.takes(row);
        let formats: Vec<StateFormat> = StateFormat::ALL.into_iter().filter(takes).collect();
        let format = self.one_of(&formats);
        self.state_of(format, row, addressing, name)
    }

    fn state_of(
        &mut self,
        format: StateFormat,
        row: &[u64],
        addressing: Addressing,
        name: String,
    ) -> ValueId {
        let id = self.graph.state(StateDecl { name, format, row: row.into(), addressing });
        self.add(Op::State(id), &[])
    }

    /// One op on `x`, which has a row for each token, as the result has.
    fn step(&mut self, x: ValueId, places: [ValueId; 2]) -> ValueId {
        let ty = self.tensor(x);
        assert_eq!(ty.rows, Some(RunDim::Tokens));
        match self.next() % 11 {
            0 => self.linear(x),
            1 => {
                let op = self.one_of(&UnaryOp::ALL);
                self.add(Op::Unary(op), &[x])
            }
            2 => self.binary(x),
            3 => {
                let kind = self.one_of(&NormKind::ALL);
                let eps = self.float();
                self.add(Op::Normalize(Normalize { kind, eps }), &[x])
            }
            4 => self.rope(x, places[1]),
            5 => {
                let shapes = [vec![ty.width()], vec![1, ty.width()], vec![ty.width(), 1, 1]];
                let shape = shapes[self.next() as usize % 3].clone();
                self.add(Op::Reshape(shape), &[x])
            }
            6 => {
                let start = u64::from(self.next()) % ty.last();
                let len = 1 + u64::from(self.next()) % (ty.last() - start);
                self.add(Op::Slice { start, len }, &[x])
            }
            7 => self.experts(x),
            8 => self.short_conv(x, places),
            9 => self.scan(x, places),
            _ => self.attention(x, places),
        }
    }

    fn experts(&mut self, x: ValueId) -> ValueId {
        let x = self.linear(x);
        let (top, experts) = (1 + self.next() % 4, 24);
        let ids = self.add(Op::TopK(top), &[x]);
        let shares = self.add(Op::Take, &[x, ids]);
        let w = self.weight(&[experts, 8, 24]);
        let inner = self.add(Op::ExpertLinear, &[x, w, ids]);
        let w = self.weight(&[experts, 16, 8]);
        let y = self.add(Op::ExpertLinear, &[inner, w, ids]);
        self.add(Op::ExpertSum, &[y, shares])
    }

    fn short_conv(&mut self, x: ValueId, [slot, position]: [ValueId; 2]) -> ValueId {
        let k = self.tensor(x).width();
        let x = self.add(Op::Reshape(vec![k]), &[x]);
        let state = self.state(&[k]);
        let rows = self.add(Op::Append, &[state, x, slot, position]);
        let w = self.weight(&[k, 4]);
        self.add(Op::ShortConv, &[rows, w, slot, position])
    }

    fn scan(&mut self, x: ValueId, [slot, position]: [ValueId; 2]) -> ValueId {
        let (x, size) = self.heads(x);
        let heads = 24 / size;
        let w = self.weight(&[3 * heads, 24]);
        let start = u64::from(self.next()) % 2 * heads;
        let w = self.add(Op::WeightRows(WeightRows { start, len: heads, every: 3 * heads }), &[w]);
        let flat = self.add(Op::Reshape(vec![24]), &[x]);
        let steps = self.add(Op::Linear, &[flat, w]);
        let b = self.add(Op::Reshape(vec![1, 24]), &[x]);
        let decay = self.weight(&[heads, 1]);
        let name = format!("scan{}", self.graph.states.len());
        let row = [heads, size, 24];
        let state = self.state_of(StateFormat::F32, &row, Addressing::Replace, name);
        self.add(Op::Scan, &[state, x, steps, decay, b, b, slot, position])
    }

    fn linear(&mut self, x: ValueId) -> ValueId {
        let k = self.tensor(x).width();
        let x = self.add(Op::Reshape(vec![k]), &[x]);
        let w = self.weight(&[24, k]);
        self.add(Op::Linear, &[x, w])
    }

    fn binary(&mut self, x: ValueId) -> ValueId {
        let ty = self.tensor(x);
        let other = match self.next() % 3 {
            0 => x,
            1 => {
                let scalar = self.float();
                self.add(Op::Scalar(scalar), &[])
            }
            _ => self.weight(&[ty.last()]),
        };
        let op = self.one_of(&BinaryOp::ALL);
        let operands = if self.next().is_multiple_of(2) { [x, other] } else { [other, x] };
        self.add(Op::Binary(op), &operands)
    }

    fn heads(&mut self, x: ValueId) -> (ValueId, u64) {
        let x = self.linear(x);
        let (heads, size) = self.one_of(&[(3, 8), (6, 4), (12, 2)]);
        (self.add(Op::Reshape(vec![heads, size]), &[x]), size)
    }

    fn rope(&mut self, x: ValueId, position: ValueId) -> ValueId {
        let (x, size) = self.heads(x);
        let dims = self.one_of(&[2, size]);
        let spec = Rope {
            base: self.float(),
            scale: self.float(),
            magnitude: self.float(),
            dims: dims as u32,
            style: self.one_of(&RopeStyle::ALL),
            ramp: self.next().is_multiple_of(2).then_some(Ramp { low: 1.5, high: 3.0 }),
        };
        if self.next().is_multiple_of(2) {
            let factors = self.weight(&[dims / 2]);
            self.add(Op::Rope(spec), &[x, position, factors])
        } else {
            self.add(Op::Rope(spec), &[x, position])
        }
    }

    fn attention(&mut self, x: ValueId, [slot, position]: [ValueId; 2]) -> ValueId {
        let (q, _) = self.heads(x);
        let row = self.tensor(q).dims;
        let scale = self.float();
        let window = self.next().is_multiple_of(2).then(|| self.next().max(1));
        let of_window = window.map_or(Addressing::Append, |window| Addressing::Ring { window });
        let addressing = self.one_of(&[Addressing::Append, of_window]);
        let cached = [0, 1].map(|_| {
            let state = self.kept(&row, addressing);
            self.add(Op::Append, &[state, q, slot, position])
        });
        let softcap = self.next().is_multiple_of(2).then(|| self.float());
        let alibi = self.next().is_multiple_of(2).then(|| self.float());
        let spec = Attention { scale, window, softcap, alibi };
        self.add(Op::Attention(spec), &[q, cached[0], cached[1], slot, position])
    }
}
