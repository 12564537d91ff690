//! One node: its operands' values, its op's arithmetic, its value.
//!
//! Invariant: the graph is well typed and the step's inputs are checked, so every operand exists,
//! has the kind and size that its op takes, and every id, slot, position and row is in range.

use crate::interpreter::Step;
use crate::ops::{self, AttentionShape, Cache, Matrix, ScanShape, ScanToken};
use crate::states::StateRows;
use quarrel_ir::graph::{
    Attention, Op, Rope, RunDim, StateId, TensorType, Type, ValueId, WeightId, WeightRows,
};
use std::borrow::Cow;

/// What a node has yielded.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// An F32 tensor, row after row.
    Floats(Vec<f32>),
    /// A U32 vector.
    Ids(Vec<u32>),
    /// A weight, still in its own format.
    Weight(WeightId),
    /// A version of a state. Only the last is read, so the rows are kept once, outside of values.
    State(StateId),
}

/// Computes the node's value; an append changes its state.
pub(crate) fn evaluate(step: &Step<'_>, states: &mut [StateRows]) -> Value {
    Value::Floats(match step.graph.op(step.value) {
        Op::Input(input) => return Value::Ids(step.inputs.get(*input).to_vec()),
        Op::Weight(id) => return Value::Weight(*id),
        Op::State(id) => return Value::State(*id),
        Op::Append => {
            let id = step.state(0);
            states[id.0 as usize].append(&step.floats(1), step.ids(2), step.ids(3));
            return Value::State(id);
        }
        Op::Scalar(scalar) => vec![*scalar],
        Op::Embed => ops::embed(step.matrix(0), last(step.ty(0)), step.ids(1)),
        Op::GatherRows => ops::gather_rows(&step.floats(0), width(step.ty(0)), step.ids(1)),
        Op::Linear => {
            let (m, k) = (step.ty(1).dims[0] as usize, last(step.ty(1)));
            ops::linear(&step.floats(0), step.matrix(1), m, k)
        }
        Op::WeightRows(rows) => step.weight_rows(rows),
        Op::ExpertLinear => step.expert_linear(),
        Op::ExpertSum => {
            let (top, m) = (step.ty(0).dims[0] as usize, last(step.ty(0)));
            ops::expert_sum(&step.floats(0), &step.floats(1), m, top)
        }
        Op::TopK(k) => {
            return Value::Ids(ops::top_k(&step.floats(0), last(step.ty(0)), *k as usize));
        }
        Op::Take => {
            let (e, k) = (last(step.ty(0)), last(step.ty(1)));
            ops::take(&step.floats(0), e, step.ids(1), k)
        }
        Op::Unary(op) => ops::unary(*op, &step.floats(0)),
        Op::Binary(op) => ops::binary(*op, &step.repeated(0), &step.repeated(1)),
        Op::Normalize(spec) => ops::normalize(&step.floats(0), last(step.ty(0)), spec),
        Op::Rope(spec) => step.rope(spec),
        Op::Reshape(_) => step.floats(0).into_owned(),
        Op::Slice { start, len } => {
            ops::slice(&step.floats(0), last(step.ty(0)), *start as usize, *len as usize)
        }
        Op::Attention(spec) => step.attention(spec, states),
        Op::ShortConv => {
            let state = &states[step.state(0).0 as usize];
            let (channels, w) = (step.ty(1).dims[0] as usize, step.floats(1));
            let (slot, position) = (step.ids(2), step.ids(3));
            ops::short_conv(state.rows(), state.context(), &w, channels, slot, position)
        }
        Op::Scan => step.scan(&mut states[step.state(0).0 as usize]),
    })
}

impl Step<'_> {
    fn operand(&self, operand: usize) -> ValueId {
        self.graph.operands(self.value)[operand]
    }

    /// The value of an operand. It is there: values are dropped after their last reader.
    fn get(&self, operand: usize) -> &Value {
        match &self.values[self.operand(operand).0 as usize] {
            Some(value) => value,
            None => unreachable!("an operand was dropped before its last reader"),
        }
    }

    /// The type of an operand that is a tensor.
    fn ty(&self, operand: usize) -> &TensorType {
        match &self.graph.node(self.operand(operand)).ty {
            Type::Tensor(tensor) => tensor,
            Type::State(_) => unreachable!("types say that this operand is a tensor"),
        }
    }

    /// A value's elements, expanded if it is a weight.
    pub(crate) fn expand<'v>(&self, value: &'v Value) -> Cow<'v, [f32]> {
        match value {
            Value::Floats(floats) => Cow::Borrowed(floats),
            Value::Weight(id) => {
                let info = &self.graph.weights[id.0 as usize];
                let mut floats = vec![0.0; info.elements() as usize];
                info.format.dequantize(&self.weights[id.0 as usize], &mut floats);
                Cow::Owned(floats)
            }
            Value::Ids(_) | Value::State(_) => unreachable!("types say that this value is floats"),
        }
    }

    fn floats(&self, operand: usize) -> Cow<'_, [f32]> {
        self.expand(self.get(operand))
    }

    /// A matrix operand, not expanded.
    fn matrix(&self, operand: usize) -> Matrix<'_> {
        match self.get(operand) {
            Value::Weight(id) => {
                let format = self.graph.weights[id.0 as usize].format;
                Matrix::Packed(format, &self.weights[id.0 as usize])
            }
            Value::Floats(floats) => Matrix::Plain(floats),
            Value::Ids(_) | Value::State(_) => unreachable!("types say that this is a matrix"),
        }
    }

    fn ids(&self, operand: usize) -> &[u32] {
        match self.get(operand) {
            Value::Ids(ids) => ids,
            _ => unreachable!("types say that this operand is ids"),
        }
    }

    fn state(&self, operand: usize) -> StateId {
        match self.get(operand) {
            Value::State(id) => *id,
            _ => unreachable!("types say that this operand is a state"),
        }
    }

    /// Rows of this node's value in this step.
    fn result_rows(&self) -> usize {
        match self.graph.tensor(self.value).and_then(|tensor| tensor.rows) {
            None => 1,
            Some(RunDim::Tokens) => self.inputs.tokens.len(),
            Some(RunDim::OutRows) => self.inputs.out_rows.len(),
            // One row a slot: no op yields such a value yet.
            Some(RunDim::Slots) => unreachable!("no op yields rows of slots"),
        }
    }

    /// An operand repeated to the type of this node's value.
    fn repeated(&self, operand: usize) -> Cow<'_, [f32]> {
        let (ty, whole) = (self.ty(operand), self.graph.tensor(self.value));
        match whole {
            Some(whole) if whole != ty => {
                let (rows, count) = (ty.rows.is_some(), self.result_rows());
                ops::repeated(&self.floats(operand), rows, &ty.dims, count, &whole.dims).into()
            }
            _ => self.floats(operand),
        }
    }

    fn weight_rows(&self, rows: &WeightRows) -> Vec<f32> {
        let columns = last(self.ty(0));
        let weight = self.floats(0);
        let taken = |row: &usize| {
            let at = *row as u64 % rows.every;
            (rows.start..rows.start + rows.len).contains(&at)
        };
        let all = (0..self.ty(0).dims[0] as usize).filter(taken);
        all.flat_map(|row| &weight[row * columns..(row + 1) * columns]).copied().collect()
    }

    fn expert_linear(&self) -> Vec<f32> {
        let (m, columns) = (self.ty(1).dims[1] as usize, last(self.ty(1)));
        let top = last(self.ty(2));
        ops::expert_linear(&self.floats(0), self.matrix(1), (m, columns), self.ids(2), top)
    }

    fn scan(&self, state: &mut StateRows) -> Vec<f32> {
        let (heads, size) = (self.ty(1).dims[0] as usize, last(self.ty(1)));
        let (groups, width) = (self.ty(4).dims[0] as usize, last(self.ty(4)));
        let shape = ScanShape { heads, size, width, groups };
        let (x, step, decay) = (self.floats(1), self.floats(2), self.floats(3));
        let (b, c) = (self.floats(4), self.floats(5));
        let mut y = Vec::with_capacity(x.len());
        for (n, (&slot, &position)) in self.ids(6).iter().zip(self.ids(7)).enumerate() {
            let row = state.only_row(slot);
            if position == 0 {
                row.fill(0.0);
            }
            let token = ScanToken {
                x: &x[n * heads * size..][..heads * size],
                step: &step[n * heads..][..heads],
                b: &b[n * groups * width..][..groups * width],
                c: &c[n * groups * width..][..groups * width],
            };
            y.extend(ops::scan_token(row, shape, &decay, token));
        }
        y
    }

    fn rope(&self, spec: &Rope) -> Vec<f32> {
        let ty = self.ty(0);
        let factors = (self.graph.operands(self.value).len() == 3).then(|| self.floats(2));
        let (heads, size) = (ty.dims[0] as usize, last(ty));
        ops::rope(&self.floats(0), heads, size, self.ids(1), factors.as_deref(), spec)
    }

    fn attention(&self, spec: &Attention, states: &[StateRows]) -> Vec<f32> {
        let (keys, values) = (self.state(1).0 as usize, self.state(2).0 as usize);
        // Rows of keys and values are [heads, size].
        let (key_row, value_row) = (&self.graph.states[keys].row, &self.graph.states[values].row);
        let shape = AttentionShape {
            heads: self.ty(0).dims[0] as usize,
            kv_heads: key_row[0] as usize,
            size: key_row[1] as usize,
            value_size: value_row[1] as usize,
        };
        let cache = Cache {
            keys: states[keys].rows(),
            values: states[values].rows(),
            context: states[keys].context(),
        };
        ops::attention(&self.floats(0), shape, cache, self.ids(3), self.ids(4), spec)
    }
}

/// Elements of a row; `Interpreter::new` has checked that they can be counted.
fn width(tensor: &TensorType) -> usize {
    tensor.width() as usize
}

/// The innermost extent.
fn last(tensor: &TensorType) -> usize {
    tensor.last() as usize
}
