//! Part of a step: some values, from others that are given.

use crate::evaluate::{Value, evaluate};
use crate::interpreter::Step;
use crate::{Interpreter, ReferenceError, StepInputs};
use quarrel_ir::graph::{DType, Graph, Op, Type, ValueId};
use std::collections::{BTreeMap, BTreeSet};

/// The elements of a value, row after row.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Of an F32 tensor.
    Floats(Vec<f32>),
    /// Of a U32 tensor.
    Ids(Vec<u32>),
}

/// The values that have to be computed for `wanted` where `given` are known, with those of which
/// nothing has to be computed.
pub fn needed(
    graph: &Graph,
    given: &BTreeSet<ValueId>,
    wanted: impl IntoIterator<Item = ValueId>,
) -> BTreeSet<ValueId> {
    let mut needed = BTreeSet::new();
    let mut open: Vec<ValueId> = wanted.into_iter().collect();
    while let Some(value) = open.pop() {
        if !given.contains(&value) && needed.insert(value) {
            open.extend(graph.operands(value));
        }
    }
    needed
}

impl Interpreter {
    /// Runs the part of a step that `wanted` needs, where `given` are taken as they are. Versions of
    /// states may be wanted, so that they are made; of the others the elements are returned.
    ///
    /// Values behind those given must not change states that the part reads.
    ///
    /// # Errors
    /// Where an input is not valid, or a given value has not the elements of its type; the states are
    /// then as they were. Weights that the interpreter was not made for count as zeros.
    pub fn step_part(
        &mut self,
        inputs: &StepInputs,
        mut given: BTreeMap<ValueId, Elements>,
        wanted: &BTreeSet<ValueId>,
    ) -> Result<BTreeMap<ValueId, Elements>, ReferenceError> {
        self.limits.check(inputs)?;
        given
            .iter()
            .try_for_each(|(value, elements)| self.check_given(inputs, *value, elements))?;
        let known: BTreeSet<ValueId> = given.keys().copied().collect();
        let needed = needed(&self.graph, &known, wanted.iter().copied());
        let last = self.last_uses(&needed);
        let mut values: Vec<Option<Value>> = vec![None; self.graph.len()];
        let mut found = BTreeMap::new();
        for value in self.graph.values() {
            let result = match given.remove(&value) {
                Some(Elements::Floats(floats)) => Value::Floats(floats),
                Some(Elements::Ids(ids)) => Value::Ids(ids),
                None if needed.contains(&value) => {
                    let (graph, weights) = (&self.graph, &self.weights[..]);
                    let node = Step { graph, weights, inputs, values: &values, value };
                    evaluate(&node, &mut self.states)
                }
                None => continue,
            };
            if wanted.contains(&value) {
                match &result {
                    Value::Floats(floats) => {
                        found.insert(value, Elements::Floats(floats.clone()));
                    }
                    Value::Ids(ids) => {
                        found.insert(value, Elements::Ids(ids.clone()));
                    }
                    Value::Weight(_) | Value::State(_) => {}
                }
            }
            // `values` has a place for each value of the graph.
            values[value.0 as usize] = Some(result);
            for dead in last.get(&value).into_iter().flatten() {
                values[dead.0 as usize] = None;
            }
        }
        Ok(found)
    }

    /// By value, what nothing reads after it. States and weights cost nothing to keep.
    fn last_uses(&self, needed: &BTreeSet<ValueId>) -> BTreeMap<ValueId, Vec<ValueId>> {
        let mut last: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        for &value in needed {
            last.insert(value, value);
            last.extend(self.graph.operands(value).into_iter().map(|operand| (operand, value)));
        }
        let mut ends: BTreeMap<ValueId, Vec<ValueId>> = BTreeMap::new();
        for (value, end) in last {
            let kept = matches!(self.graph.node(value).ty, Type::State(_))
                || matches!(self.graph.op(value), Op::Weight(_));
            if !kept {
                ends.entry(end).or_default().push(value);
            }
        }
        ends
    }

    /// Checks that a given value has the elements of its type.
    fn check_given(
        &self,
        inputs: &StepInputs,
        value: ValueId,
        elements: &Elements,
    ) -> Result<(), ReferenceError> {
        let known = (value.0 as usize) < self.graph.len();
        let tensor = known.then(|| self.graph.tensor(value)).flatten();
        let tensor = tensor.ok_or(ReferenceError::NotATensor(value.0))?;
        let rows = match tensor.rows {
            Some(quarrel_ir::graph::RunDim::OutRows) => inputs.out_rows.len(),
            Some(_) => inputs.tokens.len(),
            None => 1,
        };
        let expected = rows * tensor.width() as usize;
        let (dtype, got) = match elements {
            Elements::Floats(floats) => (DType::F32, floats.len()),
            Elements::Ids(ids) => (DType::U32, ids.len()),
        };
        match dtype == tensor.dtype && got == expected {
            true => Ok(()),
            false => Err(ReferenceError::Given { value: value.0, expected, got }),
        }
    }
}
