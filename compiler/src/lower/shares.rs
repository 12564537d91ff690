//! Products of prompts whose columns several workgroups share: where the rows of weights make too few
//! tiles to keep a device busy, or where columns are written out, so that the text is short. Each leaves
//! sums of its own, which the kernel that reads the value adds up; what followed the sums in an epilogue
//! becomes such a kernel.

use super::bindings::Resource;
use super::expression::{At, Emitter};
use super::product::shape_of;
use super::split::reads_from;
use super::{Context, RunDim};
use crate::decisions::{Decisions, Refusal};
use crate::error::CompileError;
use crate::region::{Anchor, ProductAnchor, Region, label};
use quarrel_ir::facts::{DeviceFacts, DeviceKind};
use quarrel_ir::graph::{Graph, Op, ValueId};
use quarrel_ir::plan::{Phase, Place, PlanOptions};
use quarrel_kernels::product::Order;
use std::collections::BTreeMap;

/// How many workgroups share the columns of each product that may be shared: by its value.
pub type Shares = BTreeMap<ValueId, u32>;

/// Decides which products are shared; their epilogues become regions of their own.
pub fn share(
    context: Context<'_>,
    regions: Vec<Region>,
    decisions: &mut Decisions,
) -> Result<(Vec<Region>, Shares), CompileError> {
    if !context.multiplies_matrices() && context.device.kind != DeviceKind::Cpu {
        return Ok((regions, Shares::new()));
    }
    let may = |region: &Region| shareable(context, &regions, region);
    let linears: Vec<Option<ValueId>> = regions.iter().map(may).collect();
    // As if none were shared: what may be is a choice among tiles.
    let mut shares: Shares = linears.iter().flatten().map(|linear| (*linear, 1)).collect();
    for (region, linear) in regions.iter().zip(&linears) {
        let (Anchor::Product(product), Some(linear)) = (&region.anchor, linear) else { continue };
        let context = Context { shares: &shares, ..context };
        let (shape, _) = shape_of(context, region, product)?;
        shares.insert(*linear, shape.shares());
    }
    let mut all = Vec::new();
    for (region, linear) in regions.into_iter().zip(linears) {
        match linear.filter(|linear| shares[linear] > 1) {
            Some(linear) => {
                all.extend(apart(context, region, (linear, shares[&linear]), decisions));
            }
            None => all.push(region),
        }
    }
    Ok((all, shares))
}

/// The one value that a region multiplies, where what follows it can be computed by other kernels.
fn shareable(context: Context<'_>, regions: &[Region], region: &Region) -> Option<ValueId> {
    let graph = context.graph;
    let Anchor::Product(ProductAnchor { groups, experts: None, .. }) = &region.anchor else {
        return None;
    };
    let ([group], [output]) = (&groups[..], &region.outputs[..]) else { return None };
    let [linear] = group.linears[..] else { return None };
    let plain = group.order == Order::Plain
        && context.phase == Phase::Prefill
        && context.rows(linear) == RunDim::Tokens
        && graph.tensor(*output).is_some()
        && Some(*output) != graph.output()
        && region.aside.is_empty();
    // Ops on elements, which a kernel of rows can take over; or whole kernels of rows.
    let taken_over = |(member, place): (&ValueId, &Place)| {
        *place != Place::Epilogue
            || matches!(graph.op(*member), Op::Unary(_) | Op::Binary(_) | Op::Reshape(_))
    };
    let reads = |reader: &&Region| {
        let mut members = reader.members.keys();
        !reader.members.contains_key(&linear)
            && members.any(|member| reads_from(graph, *member, linear))
    };
    let by_rows = || {
        let mut readers = regions.iter().filter(reads).peekable();
        readers.peek().is_some() && readers.all(|reader| matches!(reader.anchor, Anchor::Rows(_)))
    };
    let fits = match *output == linear {
        true => by_rows(),
        false => region.members.iter().all(taken_over),
    };
    (plain && fits).then_some(linear)
}

/// Why columns are shared on a device, and what would change that.
fn why(device: &DeviceFacts) -> (&'static str, &'static str) {
    match device.kind {
        DeviceKind::Cpu => (
            "they are written out, and of all of them the driver would take long to compile",
            "fewer columns",
        ),
        _ => (
            "the rows of weights make too few tiles to keep the device busy",
            "more rows of weights, or a longer prompt at once",
        ),
    }
}

/// The region of a shared product, and that of what followed its sums.
fn apart(
    context: Context<'_>,
    mut region: Region,
    (linear, shares): (ValueId, u32),
    decisions: &mut Decisions,
) -> Vec<Region> {
    let (graph, output) = (context.graph, region.outputs[0]);
    let (why, change) = why(context.device);
    let shared = format!("{shares} workgroups share its columns: {why}");
    if output == linear {
        region.reasons.push(shared);
        return vec![region];
    }
    let (after, before): (BTreeMap<_, _>, BTreeMap<_, _>) =
        region.members.iter().partition(|(_, place)| **place == Place::Epilogue);
    for member in after.keys().filter(|member| reads_from(graph, **member, linear)) {
        let refusal = Refusal::new(
            format!(
                "several workgroups share the columns of the product, and what they leave is added up \
                 where it is read: {why}"
            ),
            change,
        );
        decisions.undo((linear, *member), "share-columns", refusal);
    }
    let reason = format!("adds up what the workgroups left that share {}", label(graph, linear));
    let place = |value: &ValueId| if *value == output { Place::Anchor } else { Place::Prologue };
    let members = after.keys().map(|value| (*value, place(value))).collect();
    let mut rows = Region::rows(output, members, reason);
    // Why they were together holds of what is apart now.
    let Region { anchor, aside, reasons, .. } = region;
    rows.reasons.splice(0..0, reasons);
    let reasons = vec![shared];
    vec![Region { anchor, members: before, outputs: vec![linear], aside, reasons }, rows]
}

impl Emitter<'_> {
    /// How many workgroups share the columns of a product, where they do.
    pub fn shared(&self, value: ValueId) -> Option<u32> {
        self.shares.get(&value).copied().filter(|shares| *shares > 1)
    }

    /// Where a kernel stores `output`, and in which row: its workgroup's own share, where there are
    /// several.
    pub fn own_share(&self, output: ValueId, whole: Resource, row: &str) -> (Resource, String) {
        match self.shared(output) {
            None => (whole, row.to_string()),
            Some(shares) => {
                let rows = self.options.step_tokens();
                let resource = resource(self.graph, self.options, output, shares);
                (resource, format!("own_share * {rows}u + {row}"))
            }
        }
    }

    /// The sum of all shares of an element of `value`, or of four; a row has `width` places.
    pub fn load_shares(
        &mut self,
        value: ValueId,
        shares: u32,
        at: &At,
        (width, wide): (u64, bool),
    ) -> String {
        let rows = self.options.step_tokens();
        let term = |share: u32| {
            let index = format!("({}u + {}) * {width}u + {}", share * rows, at.row, at.place);
            self.read(resource(self.graph, self.options, value, shares), &index, wide)
        };
        format!("({})", (0..shares).map(term).collect::<Vec<_>>().join(" + "))
    }
}

fn resource(graph: &Graph, options: &PlanOptions, value: ValueId, shares: u32) -> Resource {
    let width = graph.tensor(value).map_or(0, |tensor| tensor.width());
    let bytes = 4 * u64::from(shares) * u64::from(options.step_tokens()) * width;
    Resource::Shares { value, shares, bytes }
}
