//! The graph IR: typed values in an acyclic graph, with explicit state.
//!
//! Nodes are added in an order in which operands come first, and each yields one value. A value's
//! type is inferred when its node is added, so a graph that exists is well typed; what spans
//! several nodes (linear use of states, outputs) is checked by [`Graph::verify`].

mod infer;
mod lex;
mod op;
mod parse;
mod text;
mod types;
mod verify;

pub use infer::TypeError;
pub use lex::{TextError, TextProblem};
pub use op::{
    Attention, BinaryOp, Input, NormKind, Normalize, Op, Ramp, Rope, RopeStyle, UnaryOp,
    WeightRows, alibi_slope,
};
pub use types::{
    Addressing, DType, RunDim, StateDecl, StateFormat, StateId, TensorType, Type, ValueId, WeightId,
};
pub use verify::VerifyError;

use crate::weight::TensorInfo;
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One operation, its result's type and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// The type of the value it yields.
    pub ty: Type,
    /// Where it came from, for people: see [`Origin`].
    pub origin: Origin,
}

/// Where a value came from in the architecture file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The name the author gave the value, such as `q`.
    pub name: Option<String>,
    /// The layer, counted from 0; `None` outside `layers`.
    pub layer: Option<u32>,
    /// Line in the architecture file, counted from 1; 0 where there is none.
    pub line: u32,
}

/// A computation of one step, from tokens to logits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Graph {
    /// The architecture's name.
    pub name: String,
    /// Weights that the graph reads, indexed by [`WeightId`].
    pub weights: Vec<TensorInfo>,
    /// States, indexed by [`StateId`].
    pub states: Vec<StateDecl>,
    nodes: DiGraph<Node, u32>,
    /// The logits, `f32[R, vocabulary]`, once known.
    output: Option<ValueId>,
}

impl Graph {
    /// An empty graph for the architecture `name`.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph { name: name.into(), ..Graph::default() }
    }

    /// Adds a node and infers its type; an error says which rule of the op is broken.
    pub fn add(
        &mut self,
        op: Op,
        operands: &[ValueId],
        origin: Origin,
    ) -> Result<ValueId, TypeError> {
        let ty = infer::infer(self, &op, operands)?;
        let index = self.nodes.add_node(Node { op, ty, origin });
        for (position, operand) in operands.iter().enumerate() {
            self.nodes.add_edge(NodeIndex::new(operand.0 as usize), index, position as u32);
        }
        Ok(ValueId(index.index() as u32))
    }

    /// Declares a weight, or finds it where it is declared already.
    pub fn weight(&mut self, info: &TensorInfo) -> WeightId {
        let at = self.weights.iter().position(|known| known.name == info.name);
        WeightId(at.unwrap_or_else(|| {
            self.weights.push(info.clone());
            self.weights.len() - 1
        }) as u32)
    }

    /// Declares a state. Names are unique: the verifier checks it.
    pub fn state(&mut self, decl: StateDecl) -> StateId {
        self.states.push(decl);
        StateId(self.states.len() as u32 - 1)
    }

    /// Stores the keys and values of all attention in `format`, where their rows can be: see
    /// [`StateFormat::takes`]. Returns the names of the others, which stay as they are.
    pub fn store_caches_as(&mut self, format: StateFormat) -> Vec<String> {
        let caches = self.caches();
        let mut others = Vec::new();
        for (state, index) in self.states.iter_mut().zip(0..) {
            match format.takes(&state.row) {
                _ if !caches.contains(&StateId(index)) => {}
                true => state.format = format,
                false => others.push(state.name.clone()),
            }
        }
        others
    }

    /// The states that hold keys or values of attention.
    pub fn caches(&self) -> BTreeSet<StateId> {
        let attention = self.values().filter(|v| matches!(self.op(*v), Op::Attention(_)));
        let read = attention.flat_map(|value| self.operands(value));
        let state = |value| match self.node(value).ty {
            Type::State(state) => Some(state),
            Type::Tensor(_) => None,
        };
        read.filter_map(state).collect()
    }

    /// Says which value is the logits.
    pub fn set_output(&mut self, logits: ValueId) {
        self.output = Some(logits);
    }

    /// The logits, if they have been set.
    pub fn output(&self) -> Option<ValueId> {
        self.output
    }

    /// The node that yields `value`.
    ///
    /// # Panics
    /// If the id is of another graph.
    pub fn node(&self, value: ValueId) -> &Node {
        &self.nodes[NodeIndex::new(value.0 as usize)]
    }

    /// Changes where a value is said to come from.
    pub fn origin_mut(&mut self, value: ValueId) -> &mut Origin {
        &mut self.nodes[NodeIndex::new(value.0 as usize)].origin
    }

    /// The op that yields `value`.
    pub fn op(&self, value: ValueId) -> &Op {
        &self.node(value).op
    }

    /// The value's type if it is a tensor.
    pub fn tensor(&self, value: ValueId) -> Option<&TensorType> {
        match &self.node(value).ty {
            Type::Tensor(tensor) => Some(tensor),
            Type::State(_) => None,
        }
    }

    /// All values, operands before users.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = ValueId> + use<> {
        (0..self.nodes.node_count() as u32).map(ValueId)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.nodes.node_count()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The operands of `value`, in order.
    pub fn operands(&self, value: ValueId) -> Vec<ValueId> {
        let mut edges: Vec<(u32, ValueId)> = self
            .nodes
            .edges_directed(NodeIndex::new(value.0 as usize), Direction::Incoming)
            .map(|edge| (*edge.weight(), ValueId(edge.source().index() as u32)))
            .collect();
        edges.sort_unstable();
        edges.into_iter().map(|(_, operand)| operand).collect()
    }

    /// The values that have `value` as an operand, in order and without repetition.
    pub fn users(&self, value: ValueId) -> Vec<ValueId> {
        let mut users: Vec<ValueId> = self
            .nodes
            .neighbors_directed(NodeIndex::new(value.0 as usize), Direction::Outgoing)
            .map(|index| ValueId(index.index() as u32))
            .collect();
        users.sort_unstable();
        users.dedup();
        users
    }
}

impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        self.name == other.name
            && self.weights == other.weights
            && self.states == other.states
            && self.output == other.output
            && self.len() == other.len()
            && self.values().all(|value| {
                self.node(value) == other.node(value)
                    && self.operands(value) == other.operands(value)
            })
    }
}
