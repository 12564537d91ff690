//! Regions: sets of graph values that one kernel computes.

use quarrel_ir::graph::{Graph, Op, Type, ValueId, WeightId, WeightRows};
use quarrel_ir::plan::{Place, mark};
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
    /// Outputs that its prologue computes anyway, and one of its workgroups stores.
    pub aside: BTreeSet<ValueId>,
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
    /// What attention over split positions leaves, made one; added when kernels are chosen.
    Combine(ValueId),
    /// The rows that have chosen each expert, listed by the ids; added when kernels are chosen.
    Group(ValueId),
    /// The choice of a row's largest elements.
    TopK(ValueId),
    /// A selective state space.
    Scan(ValueId),
    /// Rows computed element by element.
    Rows(Vec<RowPart>),
}

/// The rows of one value, computed by workgroups of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct RowPart {
    /// What is stored.
    pub output: ValueId,
    /// The values that are computed for it.
    pub members: BTreeMap<ValueId, Place>,
}

/// Products merged into one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductAnchor {
    /// The value that is multiplied.
    pub x: ValueId,
    /// Outputs by the units they share.
    pub groups: Vec<UnitGroup>,
    /// Where the matrices are those of chosen experts.
    pub experts: Option<ExpertAnchor>,
}

/// Which experts a product multiplies with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertAnchor {
    /// The ids, `u32[N, top]`.
    pub ids: ValueId,
    /// Ids of each token.
    pub top: u64,
    /// The sum over the experts, where this kernel takes it.
    pub sum: Option<ValueId>,
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
        Region {
            anchor: Anchor::Rows(vec![RowPart { output, members: members.clone() }]),
            members,
            outputs: vec![output],
            aside: BTreeSet::new(),
            reasons: vec![reason],
        }
    }

    /// The parts of a region of rows.
    pub fn parts(&self) -> impl Iterator<Item = &RowPart> {
        match &self.anchor {
            Anchor::Rows(parts) => parts.iter(),
            _ => [].iter(),
        }
    }
}

/// The ops that a dispatch of `region` lists, in order: its members but reshapes, which compute
/// nothing.
pub fn listed<'a>(
    graph: &'a Graph,
    region: &'a Region,
) -> impl Iterator<Item = (ValueId, Place)> + 'a {
    let members = region.members.iter().map(|(value, place)| (*value, *place));
    members.filter(|(value, _)| !matches!(graph.op(*value), Op::Reshape(_)))
}

/// What marks the lines of kernel text that compute each of the ops that a dispatch of `region`
/// lists.
pub fn marks(graph: &Graph, region: &Region) -> BTreeMap<ValueId, String> {
    let listed = listed(graph, region).enumerate();
    listed.map(|(index, (value, _))| (value, mark(index, graph.op(value).name()))).collect()
}

/// The value whose memory holds `value`: reshapes change nothing in memory.
pub fn storage(graph: &Graph, value: ValueId) -> ValueId {
    let mut value = value;
    while matches!(graph.op(value), Op::Reshape(_)) {
        value = graph.operands(value)[0];
    }
    value
}

/// Whether `value` exists before the step computes anything: an input, a weight or a part of one.
pub fn is_leaf(graph: &Graph, value: ValueId) -> bool {
    graph.op(value).is_leaf() || weight_behind(graph, value).is_some()
}

/// The weight that `value` is, or is a part or another shape of.
pub fn weight_behind(graph: &Graph, value: ValueId) -> Option<WeightId> {
    match graph.op(value) {
        Op::Weight(id) => Some(*id),
        Op::WeightRows(_) | Op::Slice { .. } | Op::Reshape(_) => {
            weight_behind(graph, *graph.operands(value).first()?)
        }
        _ => None,
    }
}

/// Whether the parts of weights behind `value` can be read four elements at a time.
pub fn starts_in_fours(graph: &Graph, value: ValueId) -> bool {
    match (graph.op(value), graph.operands(value).first()) {
        (Op::Slice { start, len }, Some(&whole)) if is_leaf(graph, value) => {
            let of = graph.tensor(whole).map_or(0, |t| t.last());
            [*start, *len, of].iter().all(|n| n.is_multiple_of(4)) && starts_in_fours(graph, whole)
        }
        (Op::Reshape(_), Some(&whole)) => starts_in_fours(graph, whole),
        _ => true,
    }
}

/// The operand of `op` that is read as a matrix, row by row.
pub fn matrix_operand(op: &Op) -> Option<usize> {
    match op {
        Op::Linear | Op::ExpertLinear => Some(1),
        Op::Embed => Some(0),
        _ => None,
    }
}

/// The matrix that the product `linear` multiplies by: a weight, and which of its rows.
pub fn multiplied(graph: &Graph, linear: ValueId) -> Option<(WeightId, Option<WeightRows>)> {
    let operand = *graph.operands(linear).get(1)?;
    let rows = match graph.op(operand) {
        Op::WeightRows(rows) => Some(*rows),
        _ => None,
    };
    weight_behind(graph, operand).map(|id| (id, rows))
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
