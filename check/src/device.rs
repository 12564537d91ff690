//! Running steps and dispatches, reading and writing what they bind.

use crate::CheckError;
use crate::bound::{Bound, bindings, known, partials};
use crate::script::Step;
use crate::states::Rows;
use crate::words;
use quarrel_ir::graph::{DType, Graph, RunDim, StateId, ValueId};
use quarrel_ir::plan::{Access, BufferId, Content, Dispatch, Plan};
use quarrel_reference::Elements;
use quarrel_runtime::Engine;

/// A loaded plan with the graph that it was made from.
pub(crate) struct Device<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) graph: Graph,
}

/// What a dispatch has written through one binding.
#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// A value, what partials combine to, or the ids that rows are listed by.
    Value(ValueId, Elements),
    /// Rows of a state, from the first on.
    State(StateId, Vec<u32>),
}

impl<'a> Device<'a> {
    pub(crate) fn new(engine: &'a Engine, graph: &Graph) -> Device<'a> {
        Device { engine, graph: graph.clone() }
    }

    pub(crate) fn plan(&self) -> &'a Plan {
        self.engine.plan()
    }

    /// Rows of a value in a step.
    pub(crate) fn rows(&self, step: &Step, value: ValueId) -> usize {
        match self.graph.tensor(value).and_then(|tensor| tensor.rows) {
            Some(RunDim::OutRows) => step.dims.out_rows as usize,
            Some(RunDim::Tokens) => step.dims.tokens as usize,
            Some(RunDim::Slots) => step.dims.slots as usize,
            None => 1,
        }
    }

    /// How a state lies in its buffer.
    pub(crate) fn state(&self, state: u32) -> Result<Rows, CheckError> {
        if state as usize >= self.graph.states.len() {
            return Err(CheckError::Plan(format!("it has no state {state}")));
        }
        Ok(Rows::of(&self.graph, &self.plan().options, StateId(state)))
    }

    /// Writes the step's inputs.
    pub(crate) fn write_inputs(&self, step: &Step) {
        let (io, inputs) = (&self.plan().io, &step.inputs);
        self.engine.write(io.tokens, &inputs.tokens);
        self.engine.write(io.positions, &inputs.position);
        self.engine.write(io.slots, &inputs.slot);
        if !inputs.out_rows.is_empty() {
            self.engine.write(io.out_rows, &inputs.out_rows);
        }
        self.engine.write(io.step, &[step.dims.tokens, step.dims.out_rows, 0, 0]);
        self.engine.write(io.live, &[1]);
    }

    /// Writes words through a binding; those of a state's rows plane by plane.
    pub(crate) fn put(&self, bound: &Bound, words: &[u32]) -> Result<(), CheckError> {
        let (buffer, offset) = (bound.range.buffer, bound.range.offset);
        let Content::State(state) = bound.content else {
            self.engine.write_at(buffer, offset, words);
            return Ok(());
        };
        let rows = self.state(state)?;
        let mut before = 0;
        for plane in rows.planes() {
            let of_row = |row: &[u32]| row[before..before + plane.words].to_vec();
            // A row's words are those of all planes.
            let own: Vec<u32> = words.chunks(rows.row_words()).flat_map(of_row).collect();
            self.engine.write_at(buffer, offset + 4 * plane.first as u64, &own);
            before += plane.words;
        }
        Ok(())
    }

    /// Reads the words of a state's first rows.
    fn get_rows(&self, bound: &Bound, rows: Rows, count: usize) -> Result<Vec<u32>, CheckError> {
        let mut planes = Vec::new();
        for plane in rows.planes() {
            let offset = bound.range.offset + 4 * plane.first as u64;
            let words = self.get(bound.range.buffer, offset, count * plane.words)?;
            planes.push((words, plane.words));
        }
        let row = |at: usize| {
            let of_plane =
                move |(words, each): &(Vec<u32>, usize)| words[at * each..(at + 1) * each].to_vec();
            planes.iter().flat_map(of_plane).collect::<Vec<u32>>()
        };
        Ok((0..count).flat_map(row).collect())
    }

    /// Runs one dispatch of a step.
    pub(crate) fn run(&self, step: &Step, index: usize) -> Result<(), CheckError> {
        Ok(self.engine.run_one(step.phase, step.dims, index)?)
    }

    /// Reads words of a buffer.
    pub(crate) fn get(
        &self,
        buffer: BufferId,
        offset: u64,
        words: usize,
    ) -> Result<Vec<u32>, CheckError> {
        Ok(self.engine.read(buffer, offset, words)?)
    }

    /// Words of one share of a product's value: rows of the largest step.
    pub(crate) fn share_words(&self, value: u32) -> Result<usize, CheckError> {
        let value = known(&self.graph, value)?;
        let width = self.graph.tensor(value).map_or(0, |tensor| tensor.width());
        Ok(self.plan().options.step_tokens() as usize * width as usize)
    }

    /// Elements of a value in a step.
    fn elements(&self, step: &Step, value: u32) -> Result<usize, CheckError> {
        let value = known(&self.graph, value)?;
        let width = self.graph.tensor(value).map_or(0, |tensor| tensor.width());
        Ok(self.rows(step, value) * width as usize)
    }

    /// Words that a value, partials of it, a list by it, or the rows of a state up to the step's end take.
    pub(crate) fn words(&self, step: &Step, content: Content) -> Result<usize, CheckError> {
        Ok(match content {
            Content::Value(value) => self.elements(step, value)?,
            Content::Halves(value) => self.elements(step, value)?.div_ceil(2),
            Content::Partials { value, splits } => {
                let (partials, heads) = partials(&self.graph, value, splits)?;
                partials.words(heads * self.rows(step, ValueId(value)))
            }
            Content::Shares { value, shares } => self.share_words(value)? * shares as usize,
            Content::Groups { groups, .. } => groups.words() as usize,
            Content::State(state) => {
                let rows = self.state(state)?;
                rows.row_words() * rows.shown(step.end()) as usize
            }
            Content::Weights | Content::Io => 0,
        })
    }

    /// What a dispatch has written, of values and states.
    pub(crate) fn written(
        &self,
        step: &Step,
        dispatch: &Dispatch,
    ) -> Result<Vec<Written>, CheckError> {
        let mut all = Vec::new();
        for bound in bindings(self.plan(), dispatch) {
            let count = self.words(step, bound.content)?;
            if bound.access != Access::Write || count == 0 {
                continue;
            }
            let words = match bound.content {
                Content::State(state) => {
                    let rows = self.state(state)?;
                    self.get_rows(&bound, rows, count / rows.row_words())?
                }
                _ => self.get(bound.range.buffer, bound.range.offset, count)?,
            };
            all.push(match bound.content {
                Content::Value(value) => {
                    let value = known(&self.graph, value)?;
                    Written::Value(value, words::elements(&words, &self.kind(value)))
                }
                Content::Halves(value) => {
                    let elements = self.elements(step, value)?;
                    let halves = words::halves(&words).into_iter().take(elements).collect();
                    Written::Value(known(&self.graph, value)?, Elements::Floats(halves))
                }
                Content::Shares { value, .. } => {
                    let (elements, share) = (self.elements(step, value)?, self.share_words(value)?);
                    let sums = words::sum_of_shares(&words, elements, share);
                    Written::Value(known(&self.graph, value)?, Elements::Floats(sums))
                }
                Content::Partials { value, splits } => {
                    let (partials, _) = partials(&self.graph, value, splits)?;
                    Written::Value(ValueId(value), Elements::Floats(partials.combine(&words)))
                }
                Content::Groups { value, groups } => {
                    let value = known(&self.graph, value)?;
                    let rows = self.elements(step, value.0)? as u32;
                    Written::Value(value, Elements::Ids(groups.ids(&words, rows)))
                }
                Content::State(state) => Written::State(StateId(state), words),
                Content::Weights | Content::Io => continue,
            });
        }
        Ok(all)
    }

    /// No elements of a value's kind.
    fn kind(&self, value: ValueId) -> Elements {
        match self.graph.tensor(value).map(|tensor| tensor.dtype) {
            Some(DType::U32) => Elements::Ids(vec![]),
            _ => Elements::Floats(vec![]),
        }
    }
}
