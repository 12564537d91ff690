//! Canonicalisation: removes what computes nothing.
//!
//! Before: a verified graph. After: a verified graph of the same meaning in which every value is
//! needed, constants are computed, and no op returns its operand unchanged.
//!
//! Rewrites: an op on scalars becomes a scalar; `x + 0`, `x − 0`, `x · 1`, `x / 1` become `x`; a
//! reshape to the same extents becomes its operand, one of a reshape becomes one. A product of which
//! only slices are used becomes products with some of its rows ([`slices`]).

use quarrel_ir::graph::{BinaryOp, Graph, Op, TypeError, ValueId};
use std::collections::BTreeMap;

mod slices;

/// The canonical form of `graph`.
///
/// # Errors
/// If a rewrite does not type: a bug of this pass.
pub fn canonicalise(graph: &Graph) -> Result<Graph, TypeError> {
    simplify(&slices::sink(&simplify(graph)?)?)
}

fn simplify(graph: &Graph) -> Result<Graph, TypeError> {
    rebuild(graph, needed(graph), |new, value, operands| {
        match rewrite(graph, new, value, operands) {
            Rewrite::Same(operand) => Ok(operand),
            Rewrite::Op(op, operands) => new.add(op, &operands, graph.node(value).origin.clone()),
        }
    })
}

/// A graph of the same weights and states in which each of `values`, in their order, is what
/// `make` adds to it. `make` is given the value and its operands in the new graph.
fn rebuild(
    graph: &Graph,
    values: impl IntoIterator<Item = ValueId>,
    mut make: impl FnMut(&mut Graph, ValueId, &[ValueId]) -> Result<ValueId, TypeError>,
) -> Result<Graph, TypeError> {
    let mut new = Graph::new(graph.name.clone());
    new.weights.clone_from(&graph.weights);
    new.states.clone_from(&graph.states);
    let mut renamed: BTreeMap<ValueId, ValueId> = BTreeMap::new();
    for value in values {
        // `values` holds operands before their users, and every operand of a value that it holds.
        let operands: Vec<ValueId> = graph.operands(value).iter().map(|o| renamed[o]).collect();
        renamed.insert(value, make(&mut new, value, &operands)?);
    }
    if let Some(output) = graph.output() {
        new.set_output(renamed[&output]);
    }
    Ok(new)
}

/// What becomes of a value.
enum Rewrite {
    /// It is another value of the new graph.
    Same(ValueId),
    /// It is this op.
    Op(Op, Vec<ValueId>),
}

/// Values that the output or a state needs, in order.
fn needed(graph: &Graph) -> Vec<ValueId> {
    let mut wanted = vec![false; graph.len()];
    for value in graph.values().rev() {
        let root =
            Some(value) == graph.output() || matches!(graph.op(value), Op::Append | Op::Scan);
        if root || wanted[value.0 as usize] {
            wanted[value.0 as usize] = true;
            for operand in graph.operands(value) {
                wanted[operand.0 as usize] = true;
            }
        }
    }
    graph.values().filter(|value| wanted[value.0 as usize]).collect()
}

fn rewrite(old: &Graph, new: &Graph, value: ValueId, operands: &[ValueId]) -> Rewrite {
    let scalar = |at: usize| match operands.get(at).map(|o| new.op(*o)) {
        Some(Op::Scalar(x)) => Some(*x),
        _ => None,
    };
    let same_type = |at: usize| new.node(operands[at]).ty == old.node(value).ty;
    match old.op(value) {
        Op::Binary(op) => match (op, scalar(0), scalar(1)) {
            (_, Some(a), Some(b)) => Rewrite::Op(Op::Scalar(fold(*op, a, b)), vec![]),
            (BinaryOp::Add | BinaryOp::Sub, _, Some(0.0)) if same_type(0) => {
                Rewrite::Same(operands[0])
            }
            (BinaryOp::Mul | BinaryOp::Div, _, Some(1.0)) if same_type(0) => {
                Rewrite::Same(operands[0])
            }
            (BinaryOp::Add, Some(0.0), _) | (BinaryOp::Mul, Some(1.0), _) if same_type(1) => {
                Rewrite::Same(operands[1])
            }
            _ => Rewrite::Op(old.op(value).clone(), operands.to_vec()),
        },
        Op::Reshape(_) if same_type(0) => Rewrite::Same(operands[0]),
        Op::Reshape(dims) => match new.op(operands[0]) {
            Op::Reshape(_) => Rewrite::Op(Op::Reshape(dims.clone()), new.operands(operands[0])),
            _ => Rewrite::Op(Op::Reshape(dims.clone()), operands.to_vec()),
        },
        op => Rewrite::Op(op.clone(), operands.to_vec()),
    }
}

fn fold(op: BinaryOp, a: f32, b: f32) -> f32 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Max => a.max(b),
        BinaryOp::Min => a.min(b),
    }
}
