//! Epilogue growth: ops that work on a product's sums before they are stored.

use super::{EPILOGUE, Fusion};
use crate::decisions::Refusal;
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
                Anchor::Attention(_) | Anchor::Combine(_) => Err(after(
                    "attention: its workgroups share heads and positions, and what they leave may \
                     still be partial",
                )),
                Anchor::Group(_) => Err(after("a list of rows, which yields no numbers")),
                Anchor::Scan(_) => Err(after("a scan: its threads go from token to token")),
                Anchor::Rows(_) => Err(after("a row kernel: what reads it takes it in")),
            };
            self.note_operands(region, value, carrier, &operands, joined.is_ok());
            match joined {
                Ok(reason) => {
                    self.home.insert(value, region);
                    self.regions[region].members.insert(value, Place::Epilogue);
                    if !reason.is_empty() {
                        let what = label(self.graph, value);
                        self.regions[region].reasons.push(format!("{what} {reason}"));
                        self.joined.insert(value, reason);
                    }
                }
                Err(refusal) => {
                    self.decisions.refuse(self.graph, EPILOGUE, (carrier, value), refusal);
                }
            }
        }
    }

    /// Notes why the kernel of `value`, if it is that of `carrier`, does not compute the other
    /// operands.
    fn note_operands(
        &mut self,
        region: usize,
        value: ValueId,
        carrier: ValueId,
        operands: &[ValueId],
        joined: bool,
    ) {
        for &operand in operands.iter().filter(|operand| **operand != carrier) {
            if self.regions[region].members.contains_key(&operand) {
                continue;
            }
            let refusal = match (self.home.contains_key(&storage(self.graph, operand)), joined) {
                (true, true) => other_kernel(),
                (true, false) => Refusal::new(
                    "an op may join only the kernel of its latest operand: the others have ended",
                    "nothing: the operand is finished by then, and reading it costs little",
                ),
                (false, true) => Refusal::new(
                    "an epilogue computes what needs the product's sums, and this does not: it is \
                     computed once and read",
                    "a rule that computes such operands again in every workgroup",
                ),
                // Whatever computes the value takes the operand in, or says why not.
                (false, false) => continue,
            };
            self.decisions.refuse(self.graph, EPILOGUE, (operand, value), refusal);
        }
    }

    /// Joins `value` to the groups of `region` where that is legal; the reason either way.
    fn try_join(
        &mut self,
        region: usize,
        value: ValueId,
        operands: &[ValueId],
    ) -> Result<String, Refusal> {
        let graph = self.graph;
        let (reason, order) = self.may_work_on_sums(region, value, operands)?;
        let Anchor::Product(product) = &self.regions[region].anchor else {
            return Err(after("no product"));
        };
        let groups: BTreeSet<usize> =
            operands.iter().filter_map(|o| product.group_of(*o)).collect();
        if groups.is_empty() {
            return Err(Refusal::new(
                "it needs what the product's prologue computes, and none of its sums",
                "nothing: it is computed where it is read",
            ));
        }
        self.check_units(region, &groups, value, order)?;
        for &operand in operands {
            let inside = self.regions[region].members.contains_key(&operand);
            if !inside && self.waits_for(operand, region) {
                return Err(Refusal::new(
                    "another operand of it waits for this very product",
                    "an architecture in which the two do not depend on each other",
                ));
            }
        }
        if let Anchor::Product(ProductAnchor { experts: Some(experts), .. }) =
            &mut self.regions[region].anchor
            && matches!(graph.op(value), Op::ExpertSum)
        {
            experts.sum = Some(value);
        }
        self.join_groups(region, &groups, value, order);
        Ok(reason.into())
    }

    /// Whether an op like that of `value` may work on a product's sums: the reason, and the order of
    /// units that it needs.
    fn may_work_on_sums(
        &self,
        region: usize,
        value: ValueId,
        operands: &[ValueId],
    ) -> Result<(&'static str, Order), Refusal> {
        let graph = self.graph;
        Ok(match graph.op(value) {
            Op::Unary(_) | Op::Binary(_) => ("needs only sums of its own element", Order::Plain),
            Op::Reshape(_) => ("", Order::Plain),
            Op::Append if self.appends_blocks(value) => {
                let block = StateFormat::BLOCK;
                return Err(Refusal::new(
                    format!(
                        "it rounds whole blocks of {block} elements, of which several workgroups \
                         may compute parts"
                    ),
                    "keys and values kept in F16 or F32 (--kv)",
                ));
            }
            Op::Append => ("stores finished elements straight to the cache", Order::Plain),
            Op::Rope(rope) => {
                let head = graph.tensor(value).map_or(0, |t| t.last());
                ("turns pairs whose sums share a workgroup", rope_order(rope, head)?)
            }
            Op::Normalize(_) => {
                return Err(Refusal::new(
                    "it sums over a row, of which each workgroup of the product computes a part",
                    "nothing on offer: one workgroup would have to compute whole rows, while the \
                     others wait",
                ));
            }
            Op::ExpertSum => (self.may_sum(region, value, operands)?, Order::Plain),
            op => {
                return Err(Refusal::new(
                    format!("{} is no function of single elements of the product", op.name()),
                    format!("a rule for {} in epilogues", op.name()),
                ));
            }
        })
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
    ) -> Result<&'static str, Refusal> {
        let Anchor::Product(ProductAnchor { groups, experts: Some(experts), .. }) =
            &self.regions[region].anchor
        else {
            return Err(Refusal::new(
                "its terms are not products with experts",
                "terms that come straight from a product with experts",
            ));
        };
        if self.many_rows(value) {
            return Err(Refusal::new(
                "in prompts a workgroup may take rows of one expert, and not all terms of a token",
                "decoding, where a workgroup goes through the experts of a token",
            ));
        }
        let alone = groups.len() == 1 && groups[0].linears.len() == 1;
        let direct = alone && groups[0].linears[0] == storage(self.graph, operands[0]);
        if !direct || !groups[0].members.is_empty() || experts.sum.is_some() {
            return Err(Refusal::new(
                "its terms are not the sums of one product alone",
                "a sum of the product itself, with what is done to its terms done before",
            ));
        }
        if self.graph.users(operands[0]) != [value] {
            return Err(Refusal::new(
                "others need its terms one by one",
                "no other use of the terms",
            ));
        }
        Ok("adds up what one workgroup computes expert by expert")
    }

    /// Whether `value` can be computed from what the top-k `ids` has chosen, in its kernel.
    fn try_follow(
        &self,
        region: usize,
        ids: ValueId,
        value: ValueId,
        operands: &[ValueId],
    ) -> Result<String, Refusal> {
        let graph = self.graph;
        let width = |v: ValueId| graph.tensor(v).map_or(0, |t| t.width());
        let inside = |v: &ValueId| self.regions[region].members.contains_key(v);
        match graph.op(value) {
            Op::Take if operands[1] == ids => {
                return match self.waits_for(operands[0], region) {
                    true => Err(Refusal::new(
                        "it reads what waits for the choice itself",
                        "nothing: the choice comes first",
                    )),
                    false => Ok("reads what was chosen, in the same kernel".into()),
                };
            }
            Op::Unary(_) | Op::Binary(_) | Op::Reshape(_) if width(value) == width(ids) => {}
            Op::Normalize(norm)
                if width(value) == width(ids)
                    && graph.tensor(value).is_some_and(|t| t.dims.len() == 1)
                    && matches!(norm.kind, NormKind::Softmax | NormKind::Sum)
                    && width(value) <= MOST_INLINE => {}
            op => {
                return Err(Refusal::new(
                    format!("{} is no function of the few elements that were chosen", op.name()),
                    format!("a rule for {} after a choice", op.name()),
                ));
            }
        }
        match operands.iter().any(|v| !inside(v) && !is_leaf(graph, *v)) {
            true => Err(Refusal::new(
                "another operand of it is computed elsewhere",
                "operands that were all chosen here",
            )),
            false if operands.contains(&ids) => {
                Err(Refusal::new("ids are no numbers", "nothing: arithmetic on ids has no meaning"))
            }
            false => Ok("needs only what was chosen".into()),
        }
    }

    /// Whether the groups have the same units as `value` and agree on their order.
    fn check_units(
        &self,
        region: usize,
        groups: &BTreeSet<usize>,
        value: ValueId,
        order: Order,
    ) -> Result<(), Refusal> {
        let Anchor::Product(product) = &self.regions[region].anchor else {
            return Err(after("no product"));
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
            return Err(Refusal::new(
                "results of experts have no position in the sequence",
                "the sum over the experts taken first",
            ));
        }
        let mut orders: Vec<Order> = groups.iter().map(|&g| product.groups[g].order).collect();
        orders.push(order);
        orders.retain(|order| *order != Order::Plain);
        orders.dedup();
        if orders.len() > 1 {
            return Err(Refusal::new(
                "its operands lie in different orders within a workgroup: one is turned by halves",
                "rotations of one style, or none, on both",
            ));
        }
        match groups.iter().find(|&&g| product.groups[g].units != width) {
            Some(&g) => {
                let units = product.groups[g].units;
                Err(Refusal::new(
                    format!("it has {width} elements a row, the product's sums {units}"),
                    "rows of the same length: each thread stores what it has summed",
                ))
            }
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

/// No op joins what a kernel of another kind has computed.
fn after(kind: &str) -> Refusal {
    Refusal::new(format!("no op joins a kernel of {kind}"), "a rule for epilogues of such kernels")
}

/// An operand comes from a kernel that must have ended.
pub(super) fn other_kernel() -> Refusal {
    Refusal::new(
        "another kernel computes it, each workgroup a part: all must have stored theirs before it \
         is read, and only a new dispatch waits for that",
        "nothing on offer: a barrier across the grid inside a kernel costs more than a dispatch",
    )
}

/// The order of units that a rotation in an epilogue needs.
fn rope_order(rope: &Rope, head: u64) -> Result<Order, Refusal> {
    match rope.style {
        RopeStyle::Interleaved if head.is_multiple_of(2) => Ok(Order::Plain),
        RopeStyle::Interleaved => Err(Refusal::new(
            "its pairs can only be kept together in heads of whole pairs",
            "heads of an even size",
        )),
        RopeStyle::Half if head.is_multiple_of(4) && rope.dims.is_multiple_of(4) => {
            Ok(Order::HalfPairs { head: head as u32, half: rope.dims / 2 })
        }
        RopeStyle::Half => Err(Refusal::new(
            "its pairs can only be brought together in heads of whole fours",
            "heads, and a part that turns, of a multiple of four",
        )),
    }
}
