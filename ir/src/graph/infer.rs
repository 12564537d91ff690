//! Type inference: the result type of an op on its operands, or the rule that is broken.

use super::{
    Addressing, DType, Graph, Input, Op, Rope, RunDim, TensorType, Type, ValueId, WeightRows,
};

/// An op was given operands that it does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// Wrong number of operands.
    #[error("{op} takes {expected} operands, not {got}")]
    Arity {
        /// The op's name.
        op: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it was given.
        got: usize,
    },
    /// An operand does not exist in this graph.
    #[error("{op}: operand {operand} is not a value of this graph")]
    NoSuchValue {
        /// The op's name.
        op: &'static str,
        /// The operand's position, from 0.
        operand: usize,
    },
    /// An operand has a type that the op does not take.
    #[error("{op}: operand {operand} should be {expected}, but it is {got}")]
    Operand {
        /// The op's name.
        op: &'static str,
        /// The operand's position, from 0.
        operand: usize,
        /// What is expected.
        expected: String,
        /// The operand's type.
        got: String,
    },
    /// Operands do not go together.
    #[error("{op}: {why}")]
    Mismatch {
        /// The op's name.
        op: &'static str,
        /// Which rule is broken, with both shapes.
        why: String,
    },
}

/// Result of `op` on `operands`.
pub(super) fn infer(graph: &Graph, op: &Op, operands: &[ValueId]) -> Result<Type, TypeError> {
    let name = op.name();
    for (operand, value) in operands.iter().enumerate() {
        if value.0 as usize >= graph.len() {
            return Err(TypeError::NoSuchValue { op: name, operand });
        }
    }
    let check = Check { graph, op: name, operands };
    match op {
        Op::Input(input) => check.arity(0, "no").map(|()| {
            Type::Tensor(TensorType::ids(match input {
                Input::Tokens | Input::Position | Input::Slot => RunDim::Tokens,
                Input::OutRows => RunDim::OutRows,
            }))
        }),
        Op::Weight(id) => {
            check.arity(0, "no")?;
            let info = graph.weights.get(id.0 as usize);
            let info = info.ok_or_else(|| check.mismatch(format!("no weight {}", id.0)))?;
            Ok(Type::Tensor(TensorType::f32(None, info.shape.clone())))
        }
        Op::Scalar(_) => {
            check.arity(0, "no")?;
            Ok(Type::Tensor(TensorType::f32(None, [])))
        }
        Op::State(id) => {
            check.arity(0, "no")?;
            let known = (id.0 as usize) < graph.states.len();
            known
                .then_some(Type::State(*id))
                .ok_or_else(|| check.mismatch(format!("no state {}", id.0)))
        }
        Op::Embed => check.embed(),
        Op::GatherRows => check.gather_rows(),
        Op::WeightRows(rows) => check.weight_rows(rows),
        Op::Linear => check.linear(),
        Op::ExpertLinear => check.expert_linear(),
        Op::ExpertSum => check.expert_sum(),
        Op::TopK(k) => check.top_k(*k),
        Op::Take => check.take(),
        Op::Unary(_) | Op::Normalize(_) => {
            check.arity(1, "1")?;
            Ok(Type::Tensor(check.float(0)?.clone()))
        }
        Op::Binary(_) => check.binary(),
        Op::Rope(rope) => check.rope(rope),
        Op::Reshape(dims) => check.reshape(dims),
        Op::Slice { start, len } => check.slice(*start, *len),
        Op::Append => check.append(),
        Op::Attention(spec) => check.attention(spec.window),
        Op::ShortConv => check.short_conv(),
        Op::Scan => check.scan(),
    }
}

/// The operands of one op under inference.
struct Check<'a> {
    graph: &'a Graph,
    op: &'static str,
    operands: &'a [ValueId],
}

impl Check<'_> {
    fn arity(&self, count: usize, expected: &'static str) -> Result<(), TypeError> {
        let got = self.operands.len();
        if got == count { Ok(()) } else { Err(TypeError::Arity { op: self.op, expected, got }) }
    }

    fn mismatch(&self, why: String) -> TypeError {
        TypeError::Mismatch { op: self.op, why }
    }

    fn expected(&self, operand: usize, expected: impl Into<String>) -> TypeError {
        let got = match &self.graph.node(self.operands[operand]).ty {
            Type::Tensor(tensor) => tensor.to_string(),
            Type::State(id) => format!("the state {}", self.graph.states[id.0 as usize].name),
        };
        TypeError::Operand { op: self.op, operand, expected: expected.into(), got }
    }

    fn float(&self, operand: usize) -> Result<&TensorType, TypeError> {
        match self.graph.tensor(self.operands[operand]) {
            Some(tensor) if tensor.dtype == DType::F32 => Ok(tensor),
            _ => Err(self.expected(operand, "an f32 tensor")),
        }
    }

    fn ids(&self, operand: usize, rows: RunDim) -> Result<(), TypeError> {
        let wanted = TensorType::ids(rows);
        match self.graph.tensor(self.operands[operand]) {
            Some(tensor) if *tensor == wanted => Ok(()),
            _ => Err(self.expected(operand, wanted.to_string())),
        }
    }

    fn state(&self, operand: usize) -> Result<super::StateId, TypeError> {
        match self.graph.node(self.operands[operand]).ty {
            Type::State(id) => Ok(id),
            Type::Tensor(_) => Err(self.expected(operand, "a state")),
        }
    }

    fn embed(&self) -> Result<Type, TypeError> {
        self.arity(2, "2 (table, ids)")?;
        let table = self.float(0)?;
        if table.rows.is_some() || table.dims.len() != 2 {
            return Err(self.expected(0, "a weight [vocabulary, width]"));
        }
        self.ids(1, RunDim::Tokens)?;
        Ok(Type::Tensor(TensorType::f32(Some(RunDim::Tokens), [table.dims[1]])))
    }

    fn gather_rows(&self) -> Result<Type, TypeError> {
        self.arity(2, "2 (x, rows)")?;
        let x = self.float(0)?;
        if x.rows != Some(RunDim::Tokens) {
            return Err(self.expected(0, "a value with a row for each token"));
        }
        self.ids(1, RunDim::OutRows)?;
        Ok(Type::Tensor(TensorType { rows: Some(RunDim::OutRows), ..x.clone() }))
    }

    fn linear(&self) -> Result<Type, TypeError> {
        self.arity(2, "2 (x, weight)")?;
        let (x, w) = (self.float(0)?, self.float(1)?);
        if x.rows.is_none() || x.dims.len() != 1 {
            return Err(self.expected(0, "rows of vectors, such as f32[N, 576]"));
        }
        if w.rows.is_some() || w.dims.len() != 2 {
            return Err(self.expected(1, "a weight [rows, columns]"));
        }
        if x.dims[0] != w.dims[1] {
            return Err(self.mismatch(format!(
                "x is {x}, so the weight should have {} columns, but it is {w}",
                x.dims[0]
            )));
        }
        Ok(Type::Tensor(TensorType::f32(x.rows, [w.dims[0]])))
    }

    fn binary(&self) -> Result<Type, TypeError> {
        self.arity(2, "2")?;
        let (a, b) = (self.float(0)?, self.float(1)?);
        if b.repeats_to(a) {
            Ok(Type::Tensor(a.clone()))
        } else if a.repeats_to(b) {
            Ok(Type::Tensor(b.clone()))
        } else {
            Err(self.mismatch(format!("{a} and {b} do not go together element by element")))
        }
    }

    fn weight_rows(&self, rows: &WeightRows) -> Result<Type, TypeError> {
        self.arity(1, "1")?;
        let w = self.float(0)?;
        let WeightRows { start, len, every } = *rows;
        let &[m, k] = &w.dims[..] else {
            return Err(self.expected(0, "a weight [rows, columns]"));
        };
        if w.rows.is_some() {
            return Err(self.expected(0, "a weight [rows, columns]"));
        }
        let end = start.checked_add(len);
        let within = len > 0 && end.is_some_and(|end| end <= every) && every <= m;
        if !within || !m.is_multiple_of(every) {
            return Err(self.mismatch(format!(
                "{start}..{start}+{len} of every {every} rows is not within {w}"
            )));
        }
        Ok(Type::Tensor(TensorType::f32(None, [m / every * len, k])))
    }

    fn expert_linear(&self) -> Result<Type, TypeError> {
        self.arity(3, "3 (x, weight, ids)")?;
        let (x, w) = (self.float(0)?, self.float(1)?);
        let top = self.chosen(2)?;
        let &[_, m, k] = &w.dims[..] else {
            return Err(self.expected(1, "a weight [experts, rows, columns]"));
        };
        if w.rows.is_some() {
            return Err(self.expected(1, "a weight [experts, rows, columns]"));
        }
        let fits = x.dims[..] == [k] || x.dims[..] == [top, k];
        if x.rows != Some(RunDim::Tokens) || !fits {
            return Err(self.expected(0, format!("f32[N, {k}] or f32[N, {top}, {k}]")));
        }
        Ok(Type::Tensor(TensorType::f32(x.rows, [top, m])))
    }

    /// The number of ids a row of an operand that is u32[N, k].
    fn chosen(&self, operand: usize) -> Result<u64, TypeError> {
        match self.graph.tensor(self.operands[operand]) {
            Some(TensorType { dtype: DType::U32, rows: Some(RunDim::Tokens), dims })
                if dims.len() == 1 =>
            {
                Ok(dims[0])
            }
            _ => Err(self.expected(operand, "ids that top_k yields, u32[N, k]")),
        }
    }

    fn expert_sum(&self) -> Result<Type, TypeError> {
        self.arity(2, "2 (y, weights)")?;
        let (y, weights) = (self.float(0)?, self.float(1)?);
        let &[top, m] = &y.dims[..] else {
            return Err(self.expected(0, "results of experts, f32[N, k, width]"));
        };
        if y.rows != Some(RunDim::Tokens) {
            return Err(self.expected(0, "results of experts, f32[N, k, width]"));
        }
        if *weights != TensorType::f32(y.rows, [top]) {
            return Err(self.expected(1, format!("f32[N, {top}]")));
        }
        Ok(Type::Tensor(TensorType::f32(y.rows, [m])))
    }

    fn top_k(&self, k: u32) -> Result<Type, TypeError> {
        self.arity(1, "1")?;
        let x = self.float(0)?;
        if x.rows != Some(RunDim::Tokens) || x.dims.len() != 1 {
            return Err(self.expected(0, "rows of scores, such as f32[N, 64]"));
        }
        if k == 0 || u64::from(k) > x.dims[0] {
            return Err(self.mismatch(format!("{k} of the scores {x} cannot be chosen")));
        }
        Ok(Type::Tensor(TensorType { dtype: DType::U32, rows: x.rows, dims: vec![k.into()] }))
    }

    fn take(&self) -> Result<Type, TypeError> {
        self.arity(2, "2 (x, ids)")?;
        let x = self.float(0)?;
        let top = self.chosen(1)?;
        if x.rows != Some(RunDim::Tokens) || x.dims.len() != 1 {
            return Err(self.expected(0, "rows of vectors, such as f32[N, 64]"));
        }
        Ok(Type::Tensor(TensorType::f32(x.rows, [top])))
    }

    fn short_conv(&self) -> Result<Type, TypeError> {
        self.arity(4, "4 (state, weight, slot, position)")?;
        let decl = &self.graph.states[self.state(0)?.0 as usize];
        let &[channels] = &decl.row[..] else {
            return Err(self.expected(0, "a state of rows of channels"));
        };
        let w = self.float(1)?;
        let taps = match w.dims[..] {
            [c, taps] if c == channels && w.rows.is_none() && taps > 0 => taps,
            _ => return Err(self.expected(1, format!("a weight [{channels}, taps]"))),
        };
        if let Addressing::Ring { window } = decl.addressing
            && u64::from(window) < taps
        {
            return Err(self.mismatch(format!("{taps} taps of a ring of {window} rows")));
        }
        self.ids(2, RunDim::Tokens)?;
        self.ids(3, RunDim::Tokens)?;
        Ok(Type::Tensor(TensorType::f32(Some(RunDim::Tokens), [channels])))
    }

    fn scan(&self) -> Result<Type, TypeError> {
        self.arity(8, "8 (state, x, step, decay, b, c, slot, position)")?;
        let decl = &self.graph.states[self.state(0)?.0 as usize];
        let &[heads, size, width] = &decl.row[..] else {
            return Err(self.expected(0, "a state of rows [heads, size, width]"));
        };
        if decl.addressing != Addressing::Replace {
            return Err(self.expected(0, "a state with one row, which is replaced"));
        }
        let rows = Some(RunDim::Tokens);
        for (operand, dims) in [(1, vec![heads, size]), (2, vec![heads])] {
            let wanted = TensorType::f32(rows, dims);
            if *self.float(operand)? != wanted {
                return Err(self.expected(operand, wanted.to_string()));
            }
        }
        let decay = self.float(3)?;
        if decay.rows.is_some() || (decay.dims != [heads, width] && decay.dims != [heads, 1]) {
            return Err(self.expected(3, format!("a weight [{heads}, {width}] or [{heads}, 1]")));
        }
        let b = self.float(4)?.clone();
        let grouped = match b.dims[..] {
            [groups, w] => {
                b.rows == rows && w == width && groups > 0 && heads.is_multiple_of(groups)
            }
            _ => false,
        };
        if !grouped {
            let expected = format!("f32[N, groups, {width}] with groups that divide {heads} heads");
            return Err(self.expected(4, expected));
        }
        if *self.float(5)? != b {
            return Err(self.expected(5, b.to_string()));
        }
        self.ids(6, RunDim::Tokens)?;
        self.ids(7, RunDim::Tokens)?;
        Ok(Type::Tensor(TensorType::f32(rows, [heads, size])))
    }

    fn rope(&self, rope: &Rope) -> Result<Type, TypeError> {
        if self.operands.len() != 3 {
            self.arity(2, "2 or 3 (x, position, factors)")?;
        }
        let x = self.float(0)?;
        if x.rows != Some(RunDim::Tokens) || x.dims.len() != 2 {
            return Err(self.expected(0, "heads, such as f32[N, 9, 64]"));
        }
        self.ids(1, RunDim::Tokens)?;
        let dims = u64::from(rope.dims);
        if dims == 0 || !dims.is_multiple_of(2) || dims > x.dims[1] {
            return Err(self.mismatch(format!(
                "dims must be even and at most the head size {}, but it is {dims}",
                x.dims[1]
            )));
        }
        if self.operands.len() == 3 && *self.float(2)? != TensorType::f32(None, [dims / 2]) {
            return Err(self.expected(2, format!("f32[{}]", dims / 2)));
        }
        Ok(Type::Tensor(x.clone()))
    }

    fn reshape(&self, dims: &[u64]) -> Result<Type, TypeError> {
        self.arity(1, "1")?;
        let x = self.float(0)?;
        let product = dims.iter().try_fold(1u64, |a, &b| a.checked_mul(b));
        if product != Some(x.width()) {
            return Err(self.mismatch(format!("{x} has no shape {dims:?} with as many elements")));
        }
        Ok(Type::Tensor(TensorType::f32(x.rows, dims)))
    }

    fn slice(&self, start: u64, len: u64) -> Result<Type, TypeError> {
        self.arity(1, "1")?;
        let x = self.float(0)?;
        let end = start.checked_add(len);
        if x.dims.is_empty() || len == 0 || end.is_none_or(|end| end > x.last()) {
            return Err(self.mismatch(format!("{start}..{start}+{len} is not within {x}")));
        }
        let mut dims = x.dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = len;
        }
        Ok(Type::Tensor(TensorType::f32(x.rows, dims)))
    }

    fn append(&self) -> Result<Type, TypeError> {
        self.arity(4, "4 (state, x, slot, position)")?;
        let id = self.state(0)?;
        let row = TensorType::f32(Some(RunDim::Tokens), &*self.graph.states[id.0 as usize].row);
        if *self.float(1)? != row {
            return Err(self.expected(1, row.to_string()));
        }
        self.ids(2, RunDim::Tokens)?;
        self.ids(3, RunDim::Tokens)?;
        Ok(Type::State(id))
    }

    fn attention(&self, window: Option<u32>) -> Result<Type, TypeError> {
        self.arity(5, "5 (q, keys, values, slot, position)")?;
        let q = self.float(0)?;
        if q.rows != Some(RunDim::Tokens) {
            return Err(self.expected(0, "a value with a row for each token"));
        }
        if window == Some(0) {
            return Err(
                self.mismatch("a window holds at least the row itself, so it is not 0".into())
            );
        }
        let decl = |operand| Ok(&self.graph.states[self.state(operand)?.0 as usize]);
        let (keys, values) = (decl(1)?, decl(2)?);
        if keys.addressing != values.addressing {
            return Err(self.mismatch("keys and values should keep the same rows".into()));
        }
        match keys.addressing {
            Addressing::Append => {}
            Addressing::Ring { window: kept } if window.is_some_and(|window| window <= kept) => {}
            kept => {
                let window = window.map_or("all rows".into(), |window| format!("{window} rows"));
                return Err(self.mismatch(format!("{window} of states that keep {kept}")));
            }
        }
        let (keys, values) = (&keys.row, &values.row);
        self.ids(3, RunDim::Tokens)?;
        self.ids(4, RunDim::Tokens)?;
        let ([heads, size], [kv, key_size], [v_heads, v_size]) =
            (&q.dims[..], &keys[..], &values[..])
        else {
            return Err(self.mismatch(format!(
                "queries {q}, keys {keys:?} and values {values:?} should each be [heads, size]"
            )));
        };
        if size != key_size || kv != v_heads || *kv == 0 || !heads.is_multiple_of(*kv) {
            return Err(self.mismatch(format!(
                "queries {q} do not go with keys {keys:?} and values {values:?}: sizes must match \
                 and the query heads be a multiple of the key heads"
            )));
        }
        Ok(Type::Tensor(TensorType::f32(q.rows, [*heads, *v_size])))
    }
}
