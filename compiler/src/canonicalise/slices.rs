//! Slices of products: only the rows that are used are computed, each where it is used.
//!
//! Where every use of a product is a slice, perhaps after a bias or another function of its
//! elements, each slice becomes a product with those rows of the weight. So fused weights, such as
//! queries, keys and values in one tensor, are as good as separate ones.

use quarrel_ir::graph::{Graph, Op, TypeError, ValueId, WeightRows};
use std::collections::BTreeSet;

/// Rewrites the slices of products. What nothing uses any more is left behind.
pub fn sink(graph: &Graph) -> Result<Graph, TypeError> {
    let only = only_sliced(graph);
    super::rebuild(graph, graph.values(), |new, value, operands| {
        let node = graph.node(value);
        if let Op::Slice { start, len } = node.op
            && let whole = graph.operands(value)[0]
            && only.contains(&whole)
        {
            let every = graph.tensor(whole).map_or(0, |t| t.last());
            let rows = WeightRows { start, len, every };
            if let Some(flat) = (Sink { new, rows, like: node }).part(operands[0])? {
                let dims = graph.tensor(value).map_or(vec![], |t| t.dims.clone());
                return new.add(Op::Reshape(dims), &[flat], node.origin.clone());
            }
        }
        new.add(node.op.clone(), operands, node.origin.clone())
    })
}

/// Products and functions of their elements of which nothing but slices is used.
fn only_sliced(graph: &Graph) -> BTreeSet<ValueId> {
    let mut only = BTreeSet::new();
    for value in graph.values().rev() {
        let carries =
            matches!(graph.op(value), Op::Linear | Op::Unary(_) | Op::Binary(_) | Op::Reshape(_));
        let users = graph.users(value);
        let sliced = |user: &ValueId| {
            matches!(graph.op(*user), Op::Slice { .. })
                || (only.contains(user) && !matches!(graph.op(*user), Op::Linear))
        };
        let used = Some(value) == graph.output();
        if carries && !used && !users.is_empty() && users.iter().all(sliced) {
            only.insert(value);
        }
    }
    only
}

/// Makes part of a value again from the same part of what it is computed from.
struct Sink<'a> {
    new: &'a mut Graph,
    /// Which elements of a row, counted along all its axes.
    rows: WeightRows,
    /// The slice, for names.
    like: &'a quarrel_ir::graph::Node,
}

impl Sink<'_> {
    fn add(&mut self, op: Op, operands: &[ValueId]) -> Result<ValueId, TypeError> {
        self.new.add(op, operands, self.like.origin.clone())
    }

    /// The elements of `x` (of the new graph), as one axis; `None` where it is no product, or no
    /// function of one.
    fn part(&mut self, x: ValueId) -> Result<Option<ValueId>, TypeError> {
        let operands = self.new.operands(x);
        let WeightRows { start, len, every } = self.rows;
        Ok(match self.new.op(x).clone() {
            Op::Linear => {
                let rows = self.add(Op::WeightRows(self.rows), &[operands[1]])?;
                Some(self.add(Op::Linear, &[operands[0], rows])?)
            }
            Op::Reshape(_) => self.part(operands[0])?,
            Op::Unary(op) => match self.part(operands[0])? {
                Some(part) => Some(self.add(Op::Unary(op), &[part])?),
                None => None,
            },
            Op::Binary(op) => {
                let width = self.new.tensor(x).map_or(0, |t| t.width());
                let mut parts = Vec::new();
                for operand in operands {
                    let own = self.new.tensor(operand).map_or(0, |t| t.width());
                    let part = if own == 1 { Some(operand) } else { None };
                    let part = match part {
                        None if own == width => self.part(operand)?,
                        part => part,
                    };
                    parts.extend(part);
                }
                match parts[..] {
                    [_, _] => Some(self.add(Op::Binary(op), &parts)?),
                    _ => None,
                }
            }
            Op::Weight(_) => {
                let elements = self.new.tensor(x).map_or(0, |t| t.width());
                let groups = self.add(Op::Reshape(vec![elements / every, every]), &[x])?;
                let sliced = self.add(Op::Slice { start, len }, &[groups])?;
                Some(self.add(Op::Reshape(vec![elements / every * len]), &[sliced])?)
            }
            _ => None,
        })
    }
}
