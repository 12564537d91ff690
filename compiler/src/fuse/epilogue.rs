//! Epilogue growth: ops that work on a product's sums before they are stored.

use super::Fusion;
use crate::region::{Anchor, ProductAnchor, UnitGroup, is_leaf, label, storage};
use quarrel_ir::graph::{NormKind, Op, Rope, RopeStyle, StateFormat, Type, ValueId};
use quarrel_ir::plan::Place;
use quarrel_kernels::product::Order;
use std::collections::BTreeSet;

/// Elements of a row whose share of a sum each thread computes by itself.
const MOST_INLINE: u64 = 16;

impl Fusion<'_> {
    /// Offers every op, in order, to the region of its latest operand.
    pub(super) fn grow_epilogues(&mut self) {
        for value in self.graph.values() {
            if self.home.contains_key(&value) || is_leaf(self.graph, value) {
                continue;
            }
            let operands = self.graph.operands(value);
            let carrier = match self.graph.op(value) {
                // Its terms, not the weights that they are added up with.
                Op::ExpertSum => operands.first().copied().filter(|o| self.home.contains_key(o)),
                _ => operands.iter().copied().filter(|o| self.home.contains_key(o)).max(),
            };
            let Some(carrier) = carrier else { continue };
            let region = self.home[&carrier];
            let joined = match self.regions[region].anchor {
                Anchor::Product(_) => self.try_join(region, value, &operands),
                Anchor::TopK(ids) => self.try_follow(region, ids, value, &operands),
                Anchor::Attention(_) | Anchor::Combine(_) | Anchor::Scan(_) | Anchor::Rows(_) => {
                    continue;
                }
            };
            match joined {
                Ok(reason) => {
                    self.home.insert(value, region);
                    self.regions[region].members.insert(value, Place::Epilogue);
                    if !reason.is_empty() {
                        self.regions[region].reasons.push(reason.clone());
                        self.decide(value, "fuse-epilogue", true, reason);
                    }
                }
                Err(reason) => self.decide(value, "fuse-epilogue", false, reason),
            }
        }
    }

    /// Joins `value` to the groups of `region` where that is legal; the reason either way.
    fn try_join(
        &mut self,
        region: usize,
        value: ValueId,
        operands: &[ValueId],
    ) -> Result<String, String> {
        let graph = self.graph;
        let what = label(graph, value);
        let (reason, order) = match graph.op(value) {
            Op::Unary(_) | Op::Binary(_) => {
                (format!("{what} needs only sums of its own element"), Order::Plain)
            }
            Op::Reshape(_) => (String::new(), Order::Plain),
            Op::Append if self.appends_blocks(value) => {
                return Err(format!(
                    "{what} rounds whole blocks of {} elements, of which several workgroups may \
                     compute parts",
                    StateFormat::BLOCK
                ));
            }
            Op::Append => {
                (format!("{what} stores finished elements straight to the cache"), Order::Plain)
            }
            Op::Rope(rope) => {
                let head = graph.tensor(value).map_or(0, |t| t.last());
                (
                    format!("{what} turns pairs whose sums share a workgroup"),
                    rope_order(rope, head)?,
                )
            }
            Op::Normalize(_) => {
                return Err(format!("{what} sums over a row that several workgroups compute"));
            }
            Op::ExpertSum => (self.may_sum(region, value, operands)?, Order::Plain),
            op => return Err(format!("{} is no function of single elements", op.name())),
        };
        let Anchor::Product(product) = &self.regions[region].anchor else {
            return Err("not a product".into());
        };
        let groups: BTreeSet<usize> =
            operands.iter().filter_map(|o| product.group_of(*o)).collect();
        if groups.is_empty() {
            return Err(format!("no sum of the product is an operand of {what}"));
        }
        self.check_units(region, &groups, value, order)?;
        for &operand in operands {
            let inside = self.regions[region].members.contains_key(&operand);
            if !inside && self.waits_for(operand, region) {
                return Err(format!("{} waits for this product itself", label(graph, operand)));
            }
        }
        if let Anchor::Product(ProductAnchor { experts: Some(experts), .. }) =
            &mut self.regions[region].anchor
            && matches!(graph.op(value), Op::ExpertSum)
        {
            experts.sum = Some(value);
        }
        self.join_groups(region, &groups, value, order);
        Ok(reason)
    }

    /// Whether `value` appends to a state whose elements are rounded together.
    fn appends_blocks(&self, value: ValueId) -> bool {
        let Type::State(state) = self.graph.node(value).ty else { return false };
        self.graph.states[state.0 as usize].format == StateFormat::Q8
    }

    /// Whether the sum over experts `value` can be taken by the product that yields its terms.
    fn may_sum(
        &self,
        region: usize,
        value: ValueId,
        operands: &[ValueId],
    ) -> Result<String, String> {
        let what = label(self.graph, value);
        let Anchor::Product(ProductAnchor { groups, experts: Some(experts), .. }) =
            &self.regions[region].anchor
        else {
            return Err(format!("the terms of {what} are not products with experts"));
        };
        let alone = groups.len() == 1 && groups[0].linears.len() == 1;
        let direct = alone && groups[0].linears[0] == storage(self.graph, operands[0]);
        if !direct || !groups[0].members.is_empty() || experts.sum.is_some() {
            return Err(format!("the terms of {what} are not sums of one product alone"));
        }
        if self.graph.users(operands[0]) != [value] {
            return Err(format!("the terms of {what} are needed by others"));
        }
        Ok(format!("{what} adds up what one workgroup computes expert by expert"))
    }

    /// Whether `value` can be computed from what the top-k `ids` has chosen, in its kernel.
    fn try_follow(
        &self,
        region: usize,
        ids: ValueId,
        value: ValueId,
        operands: &[ValueId],
    ) -> Result<String, String> {
        let graph = self.graph;
        let what = label(graph, value);
        let width = |v: ValueId| graph.tensor(v).map_or(0, |t| t.width());
        let inside = |v: &ValueId| self.regions[region].members.contains_key(v);
        match graph.op(value) {
            Op::Take if operands[1] == ids => {
                return match self.waits_for(operands[0], region) {
                    true => Err(format!("{what} reads what waits for the choice")),
                    false => Ok(format!("{what} reads what was chosen, in the same kernel")),
                };
            }
            Op::Unary(_) | Op::Binary(_) | Op::Reshape(_) if width(value) == width(ids) => {}
            Op::Normalize(norm)
                if width(value) == width(ids)
                    && graph.tensor(value).is_some_and(|t| t.dims.len() == 1)
                    && matches!(norm.kind, NormKind::Softmax | NormKind::Sum)
                    && width(value) <= MOST_INLINE => {}
            op => return Err(format!("{} is no function of what was chosen", op.name())),
        }
        match operands.iter().find(|v| !inside(v) && !is_leaf(graph, **v)) {
            Some(other) => Err(format!("{} is computed elsewhere", label(graph, *other))),
            None if operands.contains(&ids) => Err("ids are no numbers".into()),
            None => Ok(format!("{what} needs only what was chosen")),
        }
    }

    /// Whether the groups have the same units as `value` and agree on their order.
    fn check_units(
        &self,
        region: usize,
        groups: &BTreeSet<usize>,
        value: ValueId,
        order: Order,
    ) -> Result<(), String> {
        let Anchor::Product(product) = &self.regions[region].anchor else {
            return Err("not a product".into());
        };
        let width = match &self.graph.node(value).ty {
            Type::Tensor(tensor) => tensor.width(),
            Type::State(id) => self.graph.states[id.0 as usize].width(),
        };
        // Without their sum, each expert's result is a row of the kernel.
        let (width, rotated) = match product.experts {
            Some(experts)
                if experts.sum.is_none() && !matches!(self.graph.op(value), Op::ExpertSum) =>
            {
                (width / experts.top, order != Order::Plain)
            }
            _ => (width, false),
        };
        if rotated || (product.experts.is_some() && matches!(self.graph.op(value), Op::Append)) {
            return Err("results of experts have no position in the sequence".into());
        }
        let mut orders: Vec<Order> = groups.iter().map(|&g| product.groups[g].order).collect();
        orders.push(order);
        orders.retain(|order| *order != Order::Plain);
        orders.dedup();
        if orders.len() > 1 {
            return Err("its operands lie in different orders within a workgroup".into());
        }
        match groups.iter().find(|&&g| product.groups[g].units != width) {
            Some(&g) => Err(format!(
                "it has {width} elements a row, the product's sums {}",
                product.groups[g].units
            )),
            None => Ok(()),
        }
    }

    /// Makes one group of `groups`, with `value` in it.
    fn join_groups(
        &mut self,
        region: usize,
        groups: &BTreeSet<usize>,
        value: ValueId,
        order: Order,
    ) {
        let Anchor::Product(product) = &mut self.regions[region].anchor else { return };
        let mut kept: Vec<UnitGroup> = Vec::new();
        let mut joined: Option<usize> = None;
        for (index, group) in std::mem::take(&mut product.groups).into_iter().enumerate() {
            match joined {
                Some(at) if groups.contains(&index) => {
                    kept[at].linears.extend(group.linears);
                    kept[at].members.extend(group.members);
                    if group.order != Order::Plain {
                        kept[at].order = group.order;
                    }
                }
                _ => {
                    if groups.contains(&index) {
                        joined = Some(kept.len());
                    }
                    kept.push(group);
                }
            }
        }
        if let Some(at) = joined {
            kept[at].members.insert(value);
            if order != Order::Plain {
                kept[at].order = order;
            }
        }
        product.groups = kept;
    }

    /// Whether computing `value` needs anything that `region` computes. Regions run whole: a path
    /// that enters a region needs all that the region needs.
    fn waits_for(&self, value: ValueId, region: usize) -> bool {
        let mut seen: BTreeSet<ValueId> = BTreeSet::new();
        let mut stack = vec![storage(self.graph, value)];
        while let Some(value) = stack.pop() {
            if !seen.insert(value) {
                continue;
            }
            match self.home.get(&value) {
                Some(&home) if home == region => return true,
                Some(&home) => {
                    let members = self.regions[home].members.keys();
                    stack.extend(members.flat_map(|m| self.graph.operands(*m)));
                }
                None => stack.extend(self.graph.operands(value)),
            }
        }
        false
    }
}

/// The order of units that a rotation in an epilogue needs.
fn rope_order(rope: &Rope, head: u64) -> Result<Order, String> {
    match rope.style {
        RopeStyle::Interleaved if head.is_multiple_of(2) => Ok(Order::Plain),
        RopeStyle::Interleaved => {
            Err("pairs can only be kept together in heads of whole pairs".into())
        }
        RopeStyle::Half if head.is_multiple_of(4) && rope.dims.is_multiple_of(4) => {
            Ok(Order::HalfPairs { head: head as u32, half: rope.dims / 2 })
        }
        RopeStyle::Half => Err("pairs can only be brought together in heads of whole fours".into()),
    }
}
