//! The reference's values of each step.

use crate::CheckError;
use crate::as_loaded::AsLoaded;
use crate::bound::Surface;
use crate::script::{Layers, Script, Step};
use quarrel_ir::graph::{Addressing, Graph, StateId, ValueId};
use quarrel_ir::plan::Plan;
use quarrel_reference::{Elements, Interpreter, needed};
use std::collections::{BTreeMap, BTreeSet};

/// The interpreter, at some place of a script.
pub(crate) struct Oracle {
    interpreter: Interpreter,
    layers: Layers,
}

/// A step as the reference computed it.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) step: Step,
    /// Values that dispatches bind, those that were given included.
    pub(crate) values: BTreeMap<ValueId, Elements>,
    /// Rows of states that each token replaces, before and after.
    pub(crate) replaced: BTreeMap<StateId, [Vec<f32>; 2]>,
}

/// All steps, and the rows of states after the last.
pub(crate) struct Steps {
    pub(crate) all: Vec<Done>,
    interpreter: Interpreter,
}

impl Steps {
    /// The rows of all positions of a state that has one for each.
    pub(crate) fn rows(&self, state: StateId) -> &[f32] {
        // States of the plan were looked up in the graph.
        self.interpreter.states()[state.0 as usize].rows()
    }
}

impl Oracle {
    /// An interpreter of what the script's steps compare.
    pub(crate) fn new(
        graph: &Graph,
        plan: &Plan,
        weights: &AsLoaded<'_>,
        script: &Script,
    ) -> Result<Oracle, CheckError> {
        let mut steps = script.prompt_steps(plan);
        if script.decode > 0 {
            steps.push(Script::decode_step(script.prompt.len() as u32, 0));
        }
        let mut part = BTreeSet::new();
        for step in &steps {
            let surface = Surface::of(plan, graph, step, &script.layers)?;
            let given = given(&surface, &script.layers);
            part.extend(needed(graph, &given, surface.wanted()));
        }
        let context = script.prompt.len() + script.decode;
        let interpreter = Interpreter::of_part(graph.clone(), weights, 1, context, &part)?;
        Ok(Oracle { interpreter, layers: script.layers.clone() })
    }

    /// Computes a step from what the device computed before the compared layers, if not all are.
    pub(crate) fn step(
        &mut self,
        plan: &Plan,
        step: Step,
        given: BTreeMap<ValueId, Elements>,
    ) -> Result<Done, CheckError> {
        let graph = self.interpreter.graph().clone();
        let surface = Surface::of(plan, &graph, &step, &self.layers)?;
        let before = self.replaced();
        let mut values =
            self.interpreter.step_part(&step.inputs, given.clone(), &surface.wanted())?;
        values.extend(given);
        let after = self.replaced();
        let replaced = before.into_iter().zip(after.into_values());
        let replaced = replaced.map(|((state, before), after)| (state, [before, after]));
        Ok(Done { step, values, replaced: replaced.collect() })
    }

    /// Ends the script.
    pub(crate) fn finish(self, all: Vec<Done>) -> Steps {
        Steps { all, interpreter: self.interpreter }
    }

    /// The rows of states that have one.
    fn replaced(&self) -> BTreeMap<StateId, Vec<f32>> {
        let states = self.interpreter.graph().states.iter().zip(self.interpreter.states());
        let one = |(index, (state, rows)): (u32, (&quarrel_ir::graph::StateDecl, _))| {
            let rows: &quarrel_reference::StateRows = rows;
            let only = state.addressing == Addressing::Replace;
            only.then(|| (StateId(index), rows.rows().to_vec()))
        };
        (0u32..).zip(states).filter_map(one).collect()
    }
}

/// What the reference takes from the device.
pub(crate) fn given(surface: &Surface, layers: &Layers) -> BTreeSet<ValueId> {
    match layers {
        Layers::All => BTreeSet::new(),
        Layers::Some(_) => surface.given.clone(),
    }
}
