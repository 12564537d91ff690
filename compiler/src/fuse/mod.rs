//! Fusion: which values are computed by the same kernel.
//!
//! Before: a verified graph. After: regions, each a kernel to be; every value that anything needs
//! is computed by a region, and the regions' dependencies are acyclic.
//!
//! Regions grow around anchors by legality and cost, never by a model's shape or names:
//! 1. products of the same value are merged;
//! 2. an op joins the epilogue of the product that yields its operand when each of its elements
//!    needs only sums of the same unit, and its other operands do not wait for that product;
//! 3. what computes a product's operand row by row joins its prologue, and is computed again by
//!    every workgroup, unless somebody else needs it in memory, or the step is a prompt and it takes
//!    statistics: there the many workgroups of each row would do more than one dispatch costs;
//! 4. a value that several kernels would compute again and again, such as a residual stream after a
//!    norm, is stored by the first product that computes it anyway, or by a row kernel;
//! 5. what is left is computed by row kernels, as much in each as reads the same rows; row kernels
//!    that wait for the same kernels are one.

mod epilogue;
mod prologue;
mod rows;

use crate::region::{
    Anchor, ExpertAnchor, ProductAnchor, Region, UnitGroup, is_leaf, label, storage,
};
use quarrel_ir::graph::{Graph, Op, ValueId};
use quarrel_ir::plan::{Decision, Phase, Place, PlanOptions};
use quarrel_kernels::product::Order;
use std::collections::{BTreeMap, BTreeSet};

/// Regions in no particular order, and what was decided.
#[derive(Clone, Debug, Default)]
pub struct Fused {
    /// The regions.
    pub regions: Vec<Region>,
    /// Decisions, taken and declined.
    pub decisions: Vec<Decision>,
}

/// State of fusion over one graph.
struct Fusion<'g> {
    graph: &'g Graph,
    phase: Phase,
    /// Whether a prompt step yields one row of logits at most.
    one_out_row: bool,
    /// Sequences of a decode step.
    slots: u32,
    regions: Vec<Region>,
    /// The anchored region that computes each value.
    home: BTreeMap<ValueId, usize>,
    /// Values that must be in memory.
    needed: BTreeSet<ValueId>,
    /// Those of them that several kernels would otherwise compute again and again.
    shared: BTreeSet<ValueId>,
    decisions: Vec<Decision>,
}

/// Fuses `graph` for steps of `phase`; with fusion off, every op is its own region.
pub fn fuse(graph: &Graph, phase: Phase, options: &PlanOptions) -> Fused {
    let fuse = options.fuse;
    let mut fusion = Fusion {
        graph,
        phase,
        one_out_row: options.out_rows == 1,
        slots: options.slots,
        regions: Vec::new(),
        home: BTreeMap::new(),
        needed: BTreeSet::new(),
        shared: BTreeSet::new(),
        decisions: Vec::new(),
    };
    fusion.make_anchors(fuse);
    if fuse {
        fusion.grow_epilogues();
    }
    fusion.find_needed(fuse);
    if fuse {
        fusion.keep_shared();
        fusion.grow_prologues();
    }
    fusion.make_rows(fuse);
    fusion.set_outputs();
    if fuse {
        fusion.merge_rows();
    }
    Fused { regions: fusion.regions, decisions: fusion.decisions }
}

impl Fusion<'_> {
    fn decide(&mut self, at: ValueId, rule: &str, taken: bool, reason: String) {
        let layer = self.graph.node(at).origin.layer;
        if layer.unwrap_or(0) > 0 {
            return;
        }
        let phase = match self.phase {
            Phase::Prefill => "prefill",
            _ => "decode",
        };
        let at = format!("{}, {phase}", label(self.graph, at));
        self.decisions.push(Decision { at, layer, rule: rule.into(), taken, reason });
    }

    /// One region for each attention and for the products of each value.
    fn make_anchors(&mut self, merge: bool) {
        let mut by_operand: BTreeMap<(ValueId, Option<ValueId>), usize> = BTreeMap::new();
        let graph = self.graph;
        for value in graph.values() {
            let operands = graph.operands(value);
            let experts = match graph.op(value) {
                Op::Linear => None,
                Op::ExpertLinear => Some(ExpertAnchor {
                    ids: operands[2],
                    top: graph.tensor(value).map_or(1, |t| t.dims[0]),
                    sum: None,
                }),
                Op::Attention(_) => {
                    self.add_anchor(Anchor::Attention(value), value);
                    continue;
                }
                Op::TopK(_) => {
                    self.add_anchor(Anchor::TopK(value), value);
                    continue;
                }
                Op::Scan => {
                    self.add_anchor(Anchor::Scan(value), value);
                    continue;
                }
                _ => continue,
            };
            let x = operands[0];
            let group = UnitGroup {
                linears: vec![value],
                units: graph.tensor(value).map_or(0, |t| t.last()),
                order: Order::Plain,
                members: BTreeSet::new(),
            };
            let key = (x, experts.map(|experts| experts.ids));
            if merge && let Some(&index) = by_operand.get(&key) {
                self.merge_product(index, value, group);
                continue;
            }
            by_operand.insert(key, self.regions.len());
            let anchor = Anchor::Product(ProductAnchor { x, groups: vec![group], experts });
            self.add_anchor(anchor, value);
        }
    }

    fn add_anchor(&mut self, anchor: Anchor, value: ValueId) {
        self.home.insert(value, self.regions.len());
        let members = [(value, Place::Anchor)].into();
        let reasons = match anchor {
            Anchor::Attention(_) => {
                vec![
                    "reads cache rows that other workgroups store: it starts when they are done"
                        .into(),
                ]
            }
            Anchor::TopK(_) => vec!["compares the elements of a whole row".into()],
            Anchor::Scan(_) => vec!["takes tokens one after another".into()],
            _ => vec![],
        };
        let aside = BTreeSet::new();
        self.regions.push(Region { anchor, members, outputs: vec![], aside, reasons });
    }

    fn merge_product(&mut self, index: usize, value: ValueId, group: UnitGroup) {
        let Anchor::Product(product) = &mut self.regions[index].anchor else { return };
        let first = product.groups[0].linears[0];
        product.groups.push(group);
        self.regions[index].members.insert(value, Place::Anchor);
        self.home.insert(value, index);
        let reason = format!(
            "multiplies the same rows as {}: one kernel reads them once",
            label(self.graph, first)
        );
        self.decide(value, "merge-products", true, reason);
    }

    /// What anchored regions and the graph's output need in memory.
    fn find_needed(&mut self, fuse: bool) {
        let graph = self.graph;
        self.needed.extend(graph.output().map(|output| storage(graph, output)));
        for region in &self.regions {
            for (&member, &place) in &region.members {
                let operands = graph.operands(member);
                // What a prologue may compute.
                let skip_x = fuse
                    && match graph.op(member) {
                        Op::Linear | Op::ExpertLinear | Op::TopK(_) => place == Place::Anchor,
                        Op::Take => matches!(region.anchor, Anchor::TopK(_)),
                        _ => false,
                    };
                for operand in operands.into_iter().skip(usize::from(skip_x)) {
                    if !region.members.contains_key(&operand) && !is_leaf(graph, operand) {
                        self.needed.insert(storage(graph, operand));
                    }
                }
            }
        }
        if !fuse {
            let all = graph.values().filter(|&v| !is_leaf(graph, v)).map(|v| storage(graph, v));
            self.needed.extend(all);
        }
    }

    /// Stored members of each anchored region; regions that nothing needs are dropped.
    fn set_outputs(&mut self) {
        let (graph, needed) = (self.graph, &self.needed);
        for region in &mut self.regions {
            if matches!(region.anchor, Anchor::Rows(_)) {
                continue;
            }
            let stored =
                |value: &ValueId| matches!(graph.op(*value), Op::Append) || needed.contains(value);
            let computed = region.members.iter().filter(|(_, place)| **place != Place::Prologue);
            region.outputs = computed.map(|(&value, _)| value).filter(stored).collect();
            region.outputs.extend(&region.aside);
        }
        self.regions.retain(|region| !region.outputs.is_empty());
    }
}
