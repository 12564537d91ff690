//! Anchors: what regions grow around, and what their kernels never compute.

use super::{Fusion, OPERANDS, STATE};
use crate::decisions::Refusal;
use crate::region::{Anchor, ExpertAnchor, ProductAnchor, Region, UnitGroup, is_state};
use quarrel_ir::graph::{Op, ValueId};
use quarrel_ir::plan::{MERGE, Place};
use quarrel_kernels::product::Order;
use std::collections::{BTreeMap, BTreeSet};

impl Fusion<'_> {
    /// One region for each attention and for the products of each value.
    pub(super) fn make_anchors(&mut self, merge: bool) {
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
                self.refuse_operands(value);
                self.merge_product(index, value, group);
                continue;
            }
            by_operand.insert(key, self.regions.len());
            let anchor = Anchor::Product(ProductAnchor { x, groups: vec![group], experts });
            self.add_anchor(anchor, value);
        }
    }

    fn add_anchor(&mut self, anchor: Anchor, value: ValueId) {
        self.refuse_operands(value);
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
        let others: Vec<ValueId> = product.linears().collect();
        product.groups.push(group);
        self.regions[index].members.insert(value, Place::Anchor);
        self.home.insert(value, index);
        for other in others {
            let reason = "both multiply the same rows: one kernel reads them once";
            self.decisions.take(MERGE, (other, value), reason);
        }
    }

    /// Notes why the kernel of an anchor computes none of its operands but the rows that a product
    /// or a choice works on.
    fn refuse_operands(&mut self, value: ValueId) {
        let graph = self.graph;
        let operands = graph.operands(value);
        let refusal = match graph.op(value) {
            Op::ExpertLinear => {
                // The first are rows that a prologue may compute.
                for &operand in operands.iter().skip(1) {
                    let refusal = Refusal::new(
                        "a workgroup must know its experts before it begins: their ids are read \
                         from memory",
                        "nothing: the choice of experts compares a whole row, and many workgroups \
                         depend on it",
                    );
                    self.decisions.refuse(graph, OPERANDS, (operand, value), refusal);
                }
                return;
            }
            Op::Attention(_) => Refusal::new(
                "attention reads the rows of its queries as they are: each is used by workgroups \
                 that share its positions",
                "a rule for prologues of attention",
            ),
            Op::Scan => Refusal::new(
                "a scan goes from token to token, and reads finished rows",
                "a rule for prologues of scans",
            ),
            _ => return,
        };
        for operand in operands {
            match is_state(graph, operand) {
                true => self.decisions.refuse(graph, STATE, (operand, value), state_order()),
                false => {
                    self.decisions.refuse(graph, OPERANDS, (operand, value), refusal.clone());
                }
            }
        }
    }
}

/// A state is read after it was written.
pub(super) fn state_order() -> Refusal {
    Refusal::new(
        "it reads rows of a state that other workgroups store: it starts when they are done",
        "nothing on offer: the new rows would have to reach it by another way than memory",
    )
}
