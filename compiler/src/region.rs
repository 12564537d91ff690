//! Regions: sets of graph values that one kernel computes.

use quarrel_ir::graph::{Graph, Op, Type, ValueId};
use quarrel_ir::plan::Place;
use quarrel_kernels::product::Order;
use std::collections::{BTreeMap, BTreeSet};

/// A set of values that one kernel computes, and why they are together.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// What the kernel is built around.
    pub anchor: Anchor,
    /// The values it computes and where in the kernel; anchors included.
    pub members: BTreeMap<ValueId, Place>,
    /// Members that are stored for others, in order. Appends store to their state.
    pub outputs: Vec<ValueId>,
    /// Why these ops are together.
    pub reasons: Vec<String>,
}

/// What a kernel is built around.
#[derive(Clone, Debug, PartialEq)]
pub enum Anchor {
    /// Matrix products of the same rows of x.
    Product(ProductAnchor),
    /// Attention over cached keys and values.
    Attention(ValueId),
    /// Rows computed element by element.
    Rows,
}

/// Products merged into one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductAnchor {
    /// The value that is multiplied.
    pub x: ValueId,
    /// Outputs by the units they share.
    pub groups: Vec<UnitGroup>,
}

/// Products whose sums at the same unit meet in the epilogue.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitGroup {
    /// The products, in order.
    pub linears: Vec<ValueId>,
    /// Rows of each product.
    pub units: u64,
    /// The order of units within tiles.
    pub order: Order,
    /// Epilogue members that belong to this group.
    pub members: BTreeSet<ValueId>,
}

impl ProductAnchor {
    /// All products, group after group.
    pub fn linears(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.groups.iter().flat_map(|group| group.linears.iter().copied())
    }

    /// The group that computes `value`, if it is a sum or an epilogue member.
    pub fn group_of(&self, value: ValueId) -> Option<usize> {
        self.groups
            .iter()
            .position(|group| group.linears.contains(&value) || group.members.contains(&value))
    }
}

impl Region {
    /// A region of row-by-row values that stores `output`.
    pub fn rows(output: ValueId, members: BTreeMap<ValueId, Place>, reason: String) -> Region {
        Region { anchor: Anchor::Rows, members, outputs: vec![output], reasons: vec![reason] }
    }
}

/// The value whose memory holds `value`: reshapes change nothing in memory.
pub fn storage(graph: &Graph, value: ValueId) -> ValueId {
    let mut value = value;
    while matches!(graph.op(value), Op::Reshape(_)) {
        value = graph.operands(value)[0];
    }
    value
}

/// Whether `value` exists before the step computes anything.
pub fn is_leaf(graph: &Graph, value: ValueId) -> bool {
    graph.op(value).is_leaf()
}

/// Whether `value` is a version of a state.
pub fn is_state(graph: &Graph, value: ValueId) -> bool {
    matches!(graph.node(value).ty, Type::State(_))
}

/// `%17 q`: how decisions and plans name a value.
pub fn label(graph: &Graph, value: ValueId) -> String {
    let node = graph.node(value);
    match &node.origin.name {
        Some(name) => format!("%{} {name}", value.0),
        None => format!("%{} {}", value.0, node.op.name()),
    }
}
