//! Rows of experts in prompts: where products take them expert by expert, and the kernel that lists
//! them so.

use super::expression::Emitter;
use super::{Context, Launch, Resource, shapes};
use crate::error::CompileError;
use crate::region::{Anchor, ExpertAnchor, ProductAnchor, Region, label, storage};
use quarrel_ir::facts::DeviceKind;
use quarrel_ir::graph::{Graph, RunDim, ValueId};
use quarrel_ir::plan::{Access, Cost, Extent, Groups, Phase};
use quarrel_kernels::groups::GroupRows;
use quarrel_kernels::product::{Chosen, Experts};
use std::collections::{BTreeMap, BTreeSet};

/// The choices of experts whose rows are listed, by the ids in memory.
pub type Grouped = BTreeMap<ValueId, Groups>;

/// Threads of the one workgroup.
const THREADS: u32 = 1024;
/// The same where kernels run in software, which goes from barrier to barrier subgroup by subgroup.
const SOFTWARE_THREADS: u32 = 64;

/// Decides which choices of experts are listed expert by expert; adds the regions that do it, each after
/// the one that chooses.
pub fn group(context: Context<'_>, regions: Vec<Region>) -> (Vec<Region>, Grouped) {
    let mut grouped = Grouped::new();
    let mut alone = BTreeSet::new();
    for region in &regions {
        let Anchor::Product(product) = &region.anchor else { continue };
        let Some((experts, groups)) = rows(context, product) else { continue };
        let ids = storage(context.graph, experts.ids);
        let chosen = regions.iter().any(|region| region.outputs.contains(&ids));
        if chosen && may_group(context, experts, groups) {
            // Ids of several products are below the numbers of all their experts.
            let known = grouped.entry(ids).or_insert(groups);
            known.experts = known.experts.max(groups.experts);
        } else {
            alone.insert(ids);
        }
    }
    grouped.retain(|ids, _| !alone.contains(ids));
    let with_lists = |region: Region| {
        let ids: Vec<ValueId> =
            region.outputs.iter().copied().filter(|output| grouped.contains_key(output)).collect();
        let lists = ids.into_iter().map(|ids| Region {
            anchor: Anchor::Group(ids),
            members: BTreeMap::new(),
            outputs: vec![ids],
            aside: BTreeSet::new(),
            reasons: vec![],
        });
        std::iter::once(region).chain(lists).collect::<Vec<_>>()
    };
    (regions.into_iter().flat_map(with_lists).collect(), grouped)
}

/// The rows of a product with experts in the largest step.
fn rows(context: Context<'_>, product: &ProductAnchor) -> Option<(ExpertAnchor, Groups)> {
    let (experts, linear) = (product.experts?, product.linears().next()?);
    let matrices = *context.graph.operands(linear).get(1)?;
    let number = *context.graph.tensor(matrices)?.dims.first()?;
    let rows = u64::from(most(context, experts.ids)) * experts.top;
    let groups = Groups {
        rows: u32::try_from(rows).unwrap_or(u32::MAX),
        experts: u32::try_from(number).unwrap_or(u32::MAX),
    };
    Some((experts, groups))
}

/// Rows of a value in the largest step.
fn most(context: Context<'_>, value: ValueId) -> u32 {
    match context.rows(value) {
        RunDim::OutRows => context.options.out_rows,
        _ => context.options.step_tokens(),
    }
}

/// Whether listing rows pays, and can be done.
fn may_group(context: Context<'_>, experts: ExpertAnchor, groups: Groups) -> bool {
    let fits = GroupRows::workgroup_bytes(groups.experts) <= context.device.max_workgroup_bytes;
    let grid = Groups::tiles(groups.rows, Groups::TILES[0], groups.experts);
    experts.sum.is_none()
        && context.phase_for(context.rows(experts.ids)) == Phase::Prefill
        && fits
        && grid <= context.device.max_grid
        && shapes::experts::pays(groups)
}

/// The list of the rows of each expert that the product takes its rows from, where it does.
pub fn grouped(context: Context<'_>, experts: ExpertAnchor) -> Option<Groups> {
    context.groups.get(&storage(context.graph, experts.ids)).copied()
}

/// How the kernel's workgroups, which take `tile` rows, know their experts.
pub fn chosen(
    context: Context<'_>,
    emitter: &mut Emitter<'_>,
    experts: ExpertAnchor,
    tile: u32,
) -> Experts {
    let ids = storage(context.graph, experts.ids);
    let chosen = match context.groups.get(&ids) {
        Some(&groups) => {
            let list = Resource::Groups { ids, groups };
            let name = emitter.bindings.name(list, "u32", Access::Read);
            Chosen::Grouped { groups: name, table: groups.table(tile) }
        }
        None => {
            let name = emitter.bindings.name(Resource::Value(experts.ids), "u32", Access::Read);
            Chosen::Alone { ids: name, summed: experts.sum.is_some() }
        }
    };
    Experts { top: experts.top as u32, chosen }
}

/// What people are told of how a product of a prompt takes the rows of its experts.
pub fn note(context: Context<'_>, product: &ProductAnchor, tile: u32) -> Option<String> {
    let (experts, groups) = rows(context, product)?;
    let Groups { rows, experts: number } = groups;
    if grouped(context, experts).is_some() {
        return Some(format!(
            "a workgroup takes up to {tile} rows of one expert, whose weights it reads once: a step \
             has up to {rows} rows for {number} experts"
        ));
    }
    if context.phase_for(context.rows(experts.ids)) == Phase::Decode {
        return None;
    }
    let why = match experts.sum {
        Some(_) => "its workgroups add up what the experts of a token yield".to_string(),
        None => format!(
            "up to {rows} rows of a step for {number} experts are fewer than {} each, from which on \
             listing them expert by expert is taken to pay",
            shapes::experts::LEAST_ROWS
        ),
    };
    Some(format!("each workgroup takes one row with its expert: {why}"))
}

/// Lowers the kernel that lists the rows of `ids`.
pub fn lower(context: Context<'_>, region: &Region, ids: ValueId) -> Result<Launch, CompileError> {
    let graph = context.graph;
    let Some(&groups) = context.groups.get(&ids) else {
        return Err(CompileError::Options(format!(
            "a bug in the compiler: {} is listed but no product wants it",
            label(graph, ids)
        )));
    };
    let mut emitter: Emitter<'_> = context.emitter(region, BTreeSet::new());
    let resources = [Resource::Value(ids), Resource::Groups { ids, groups }];
    for (resource, binding) in resources.into_iter().zip(GroupRows::bindings()) {
        emitter.bindings.add(resource, binding);
    }
    let dim = context.rows(ids);
    let count = context.count(dim, &mut emitter.bindings);
    let threads = match context.device.kind {
        DeviceKind::Cpu => SOFTWARE_THREADS,
        _ => THREADS,
    };
    let top = width(graph, ids);
    let kernel = GroupRows {
        groups,
        top: top as u32,
        count,
        bindings: emitter.bindings.declared(),
        threads: threads.min(context.device.max_workgroup_threads),
    };
    let Groups { rows, experts } = groups;
    Ok(Launch {
        shader: kernel.shader(),
        bindings: emitter.bindings.declared(),
        resources: emitter.bindings.resources(),
        // One, where there is any row.
        grid: [
            Extent::Tiles { dim, tile: most(context, ids).max(1), times: 1 },
            Extent::Const(1),
            Extent::Const(1),
        ],
        cost: Cost { token_bytes: 8 * top, ..Cost::default() },
        note: Some(format!(
            "lists the rows of each expert, so that products multiply many with weights that they \
             read once: a step has up to {rows} rows for {experts} experts, {} each or more",
            shapes::experts::LEAST_ROWS
        )),
        choice: None,
    })
}

fn width(graph: &Graph, value: ValueId) -> u64 {
    graph.tensor(value).map_or(0, |tensor| tensor.width())
}
