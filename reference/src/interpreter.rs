//! A graph with its weights and states, run step by step.

use crate::evaluate::{Value, evaluate};
use crate::inputs::Limits;
use crate::states::StateRows;
use crate::{ReferenceError, StepInputs};
use quarrel_ir::graph::{DType, Graph, Op, Type, ValueId};
use quarrel_ir::weight::{TensorInfo, WeightSource};
use std::collections::BTreeSet;

/// A graph that can be run: the oracle for everything that computes the same.
#[derive(Debug)]
pub struct Interpreter {
    pub(crate) graph: Graph,
    /// Each weight's bytes as the source stores them, by [`quarrel_ir::graph::WeightId`]; a row is
    /// expanded when it is read. Their lengths match formats and shapes: `new` has checked it.
    pub(crate) weights: Vec<Vec<u8>>,
    /// By [`quarrel_ir::graph::StateId`].
    pub(crate) states: Vec<StateRows>,
    slots: usize,
    pub(crate) limits: Limits,
    /// For each value, the values that no later value reads.
    last_reads: Vec<Vec<ValueId>>,
}

impl Interpreter {
    /// Checks the graph, reads its weights, and makes states of zeros: `slots` sequences of up to
    /// `context` positions each.
    ///
    /// # Errors
    /// Any [`ReferenceError`] that is not about a step's inputs.
    pub fn new(
        graph: Graph,
        weights: &dyn WeightSource,
        slots: usize,
        context: usize,
    ) -> Result<Interpreter, ReferenceError> {
        let all = graph.values().collect();
        Interpreter::of_part(graph, weights, slots, context, &all)
    }

    /// As [`new`](Interpreter::new), to compute nothing but `part`: only the weights among these
    /// values are read.
    ///
    /// # Errors
    /// As [`new`](Interpreter::new).
    pub fn of_part(
        graph: Graph,
        weights: &dyn WeightSource,
        slots: usize,
        context: usize,
        part: &BTreeSet<ValueId>,
    ) -> Result<Interpreter, ReferenceError> {
        graph.verify()?;
        for value in graph.values() {
            if let Some(tensor) = graph.tensor(value)
                && elements(&tensor.dims).is_none()
            {
                let what = format!("%{}", value.0);
                return Err(ReferenceError::Extents { what, dims: tensor.dims.clone() });
            }
        }
        let wanted: BTreeSet<u32> = part
            .iter()
            .filter_map(|value| match graph.op(*value) {
                Op::Weight(id) => Some(id.0),
                _ => None,
            })
            .collect();
        let bytes = |(id, info): (u32, &TensorInfo)| match wanted.contains(&id) {
            true => read(info, weights),
            false => Ok(Vec::new()),
        };
        let weights = (0u32..).zip(&graph.weights).map(bytes).collect::<Result<_, _>>()?;
        let states = graph.states.iter().map(|decl| StateRows::new(decl, slots, context));
        let states = states.collect::<Result<_, _>>()?;
        let limits = Limits::new(&graph, slots, context);
        let last_reads = last_reads(&graph);
        Ok(Interpreter { graph, weights, states, slots, limits, last_reads })
    }

    /// The graph that is run.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The states' rows after the last step, by [`quarrel_ir::graph::StateId`].
    pub fn states(&self) -> &[StateRows] {
        &self.states
    }

    /// Runs one step: the logits of the wanted rows, `[R, vocabulary]`.
    ///
    /// # Errors
    /// Where an input is not valid; the states are then as they were.
    pub fn step(&mut self, inputs: &StepInputs) -> Result<Vec<f32>, ReferenceError> {
        // `new` verified the graph, so it has an output; without one there is nothing to yield.
        let output = self.graph.output();
        let values = self.step_values(inputs, output.as_slice())?;
        Ok(values.into_iter().next().unwrap_or_default())
    }

    /// Runs one step and yields these values, each `[rows, …]` row after row.
    ///
    /// # Errors
    /// Where an input is not valid or a value is no F32 tensor; the states are then as they were.
    pub fn step_values(
        &mut self,
        inputs: &StepInputs,
        wanted: &[ValueId],
    ) -> Result<Vec<Vec<f32>>, ReferenceError> {
        self.limits.check(inputs)?;
        for &value in wanted {
            let known = (value.0 as usize) < self.graph.len();
            let tensor = known.then(|| self.graph.tensor(value)).flatten();
            if tensor.is_none_or(|tensor| tensor.dtype != DType::F32) {
                return Err(ReferenceError::NotATensor(value.0));
            }
        }
        let mut found = vec![Vec::new(); wanted.len()];
        let mut values: Vec<Option<Value>> = Vec::with_capacity(self.graph.len());
        for value in self.graph.values() {
            let node =
                Step { graph: &self.graph, weights: &self.weights, inputs, values: &values, value };
            let result = evaluate(&node, &mut self.states);
            for (found, _) in found.iter_mut().zip(wanted).filter(|(_, wanted)| **wanted == value) {
                *found = node.expand(&result).into_owned();
            }
            values.push(Some(result));
            for &dead in &self.last_reads[value.0 as usize] {
                values[dead.0 as usize] = None;
            }
        }
        Ok(found)
    }

    /// Makes a slot's states zeros again, for a new sequence.
    ///
    /// # Errors
    /// [`ReferenceError::NoSuchSlot`].
    pub fn reset(&mut self, slot: usize) -> Result<(), ReferenceError> {
        if slot >= self.slots {
            return Err(ReferenceError::NoSuchSlot { slot, slots: self.slots });
        }
        self.states.iter_mut().for_each(|state| state.reset(slot));
        Ok(())
    }
}

/// What one node may read while a step runs.
pub(crate) struct Step<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) weights: &'a [Vec<u8>],
    pub(crate) inputs: &'a StepInputs,
    /// The values before this node; `None` where no later node reads one.
    pub(crate) values: &'a [Option<Value>],
    /// This node.
    pub(crate) value: ValueId,
}

/// The product of static extents, if it is at least 1 and addressable.
pub(crate) fn elements(dims: &[u64]) -> Option<usize> {
    let product = dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim))?;
    usize::try_from(product).ok().filter(|&product| product > 0)
}

/// A weight's bytes, after checking that they are what the graph declares.
fn read(wanted: &TensorInfo, weights: &dyn WeightSource) -> Result<Vec<u8>, ReferenceError> {
    if let Some(found) = weights.info(&wanted.name)
        && found != wanted
    {
        return Err(ReferenceError::WeightDiffers {
            wanted: Box::new(wanted.clone()),
            found: Box::new(found.clone()),
        });
    }
    let bytes = weights.bytes(&wanted.name)?.into_owned();
    weights.release(&wanted.name);
    let outer = wanted.shape.split_last().map_or(&[][..], |(_, outer)| outer);
    let expected = outer
        .iter()
        .try_fold(1u64, |rows, &dim| rows.checked_mul(dim))
        .and_then(|rows| wanted.format.row_bytes(wanted.row_len())?.checked_mul(rows))
        .ok_or_else(|| ReferenceError::WeightShape {
            name: wanted.name.clone(),
            format: wanted.format,
            shape: wanted.shape.clone(),
        })?;
    if expected != bytes.len() as u64 {
        let (name, got) = (wanted.name.clone(), bytes.len());
        return Err(ReferenceError::WeightSize { name, expected, got });
    }
    Ok(bytes)
}

/// For each value, the values whose last reader it is; a value that nothing reads is its own.
/// States cost nothing to keep.
fn last_reads(graph: &Graph) -> Vec<Vec<ValueId>> {
    let mut last_reads = vec![Vec::new(); graph.len()];
    for value in graph.values() {
        if matches!(graph.node(value).ty, Type::Tensor(_)) {
            // Users are in order, and operands come before users.
            let last = graph.users(value).last().copied().unwrap_or(value);
            last_reads[last.0 as usize].push(value);
        }
    }
    last_reads
}
