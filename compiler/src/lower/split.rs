//! Attention whose positions are split over workgroups: where what they leave is made one.

use super::attention::kernel_of;
use super::expression::{At, Emitter};
use super::{Context, Launch, Resource, lower, shapes};
use crate::decisions::{Decisions, Refusal};
use crate::error::CompileError;
use crate::region::{Anchor, Region, is_leaf, label, storage};
use quarrel_ir::graph::{Graph, Op, RunDim, ValueId};
use quarrel_ir::plan::{Access, Cost, Extent, Phase};
use quarrel_kernels::attention::{Combine, Split};
use quarrel_kernels::formats::Words;
use std::collections::{BTreeMap, BTreeSet};

/// The split values of a program.
pub type Splits = BTreeMap<ValueId, SplitValue>;

/// A value whose positions are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitValue {
    pub split: Split,
    /// Tokens of a step.
    tokens: u32,
    /// Whether the kernel that reads it combines it, so that it is never in memory itself.
    pub in_place: bool,
}

impl SplitValue {
    /// The partials of `value`.
    pub fn partials(&self, value: ValueId) -> Resource {
        let bytes = u64::from(self.tokens) * self.split.bytes();
        Resource::Partials { value, splits: self.split.splits, bytes }
    }
}

/// Decides which attention is split and where it is combined; adds regions for those that take a
/// kernel of their own.
pub fn split(
    context: Context<'_>,
    regions: Vec<Region>,
    decisions: &mut Decisions,
) -> Result<(Vec<Region>, Splits), CompileError> {
    let mut splits = Splits::new();
    for region in &regions {
        let Anchor::Attention(value) = region.anchor else { continue };
        if let Some(split) = kernel_of(context, value)?.0.split() {
            let place = combined_in_place(context, &regions, region.outputs[0], &split)?;
            note(context, &regions, region.outputs[0], &place, decisions);
            let in_place = place.is_ok();
            let split = SplitValue { split, tokens: context.options.slots, in_place };
            splits.insert(region.outputs[0], split);
        }
    }
    debug_assert!(splits.is_empty() || context.phase == Phase::Decode, "one token a slot");
    let with_combined = |region: Region| {
        let own = match region.anchor {
            Anchor::Attention(_) => splits.get(&region.outputs[0]).filter(|split| !split.in_place),
            _ => None,
        };
        let combine = own.map(|_| Region {
            anchor: Anchor::Combine(region.outputs[0]),
            members: BTreeMap::new(),
            outputs: region.outputs.clone(),
            aside: BTreeSet::new(),
            reasons: vec![],
        });
        std::iter::once(region).chain(combine)
    };
    Ok((regions.into_iter().flat_map(with_combined).collect(), splits))
}

/// Records for each op that reads a split value where it is combined.
fn note(
    context: Context<'_>,
    regions: &[Region],
    value: ValueId,
    in_place: &Result<(), Refusal>,
    decisions: &mut Decisions,
) {
    let graph = context.graph;
    let others = regions.iter().filter(|region| !region.members.contains_key(&value));
    for member in others.flat_map(|region| region.members.keys().copied()) {
        if matches!(graph.op(member), Op::Reshape(_)) || !reads_from(graph, member, value) {
            continue;
        }
        match in_place {
            Ok(()) => {
                let reason = "positions are split over workgroups, and the product that reads the \
                              result combines what they leave: predicted cheaper than a dispatch";
                decisions.take("combine-split", (value, member), reason);
            }
            Err(refusal) => decisions.decline("combine-split", (value, member), refusal.clone()),
        }
    }
}

/// Whether one product alone reads `value`, as its x, and should combine it; if not, why.
fn combined_in_place(
    context: Context<'_>,
    regions: &[Region],
    value: ValueId,
    split: &Split,
) -> Result<Result<(), Refusal>, CompileError> {
    let own = "the partials of split positions are combined by a kernel of their own: ";
    let refused = |why: &str, change: &str| Ok(Err(Refusal::new(format!("{own}{why}"), change)));
    let graph = context.graph;
    let reads = |region: &&Region| {
        let outside = !region.members.contains_key(&value);
        outside && region.members.keys().any(|member| reads_from(graph, *member, value))
    };
    let readers: Vec<&Region> = regions.iter().filter(reads).collect();
    let [reader] = readers[..] else {
        return refused("several kernels read the result", "one reader");
    };
    let Anchor::Product(product) = &reader.anchor else {
        return refused("what reads the result is no product", "a product as the one reader");
    };
    let as_x = context.options.fuse
        && product.experts.is_none()
        && gathered(graph, product.x) == value
        && reader.members.keys().all(|member| {
            matches!(graph.op(*member), Op::Linear | Op::Reshape(_) | Op::GatherRows)
                || !reads_from(graph, *member, value)
        });
    if !as_x || reader.outputs.contains(&value) {
        return refused(
            "the product needs the result otherwise than as the rows that it multiplies",
            "fusion, and a product that reads the result as it is",
        );
    }
    // As it would be if the value were in memory: the number of workgroups is the same.
    let Extent::Const(groups) = lower(context, reader)?.grid[0] else {
        return refused("the product's grid varies with the step", "a grid that does not");
    };
    let width = graph.tensor(value).map_or(0, |tensor| tensor.width());
    let groups = u64::from(groups) * u64::from(context.options.slots);
    let wanted =
        product.linears().any(|linear| context.options.together.contains(&[value.0, linear.0]));
    match shapes::combines_in_place(split, if wanted { 1 } else { groups }, width) {
        true => Ok(Ok(())),
        false => refused(
            &format!(
                "{groups} workgroups of the product would each read all partials, which is \
                 predicted to take longer than a dispatch"
            ),
            "fewer splits, or a product with fewer workgroups",
        ),
    }
}

/// The value whose rows `x` is, or some of them.
fn gathered(graph: &Graph, x: ValueId) -> ValueId {
    let home = storage(graph, x);
    match graph.op(home) {
        Op::GatherRows => gathered(graph, graph.operands(home)[0]),
        _ => home,
    }
}

/// Whether an op reads `value`, or a reshape of it.
pub fn reads_from(graph: &Graph, member: ValueId, value: ValueId) -> bool {
    graph.operands(member).into_iter().any(|operand| storage(graph, operand) == value)
}

/// Lowers the kernel that combines `value`.
pub fn lower_combine(context: Context<'_>, value: ValueId) -> Result<Launch, CompileError> {
    let Some(own) = context.splits.get(&value) else {
        return Err(CompileError::Options(format!(
            "a bug in the compiler: {} is combined but never split",
            label(context.graph, value)
        )));
    };
    let kernel = Combine { split: own.split, max_threads: context.device.max_workgroup_threads };
    let width = u64::from(own.split.heads) * u64::from(own.split.value_size);
    Ok(Launch {
        shader: kernel.shader(),
        bindings: kernel.bindings(),
        resources: vec![own.partials(value), Resource::Value(value)],
        grid: [
            Extent::Const(own.split.heads),
            Extent::Tiles { dim: RunDim::Tokens, tile: 1, times: 1 },
            Extent::Const(1),
        ],
        cost: Cost {
            token_bytes: own.split.bytes() + 4 * width,
            token_flops: 2 * u64::from(own.split.splits) * width,
            ..Cost::default()
        },
        note: Some(
            "combines what workgroups that share positions left, in a dispatch of its own: that is \
             predicted to take less than reading all of it wherever the result is read"
                .into(),
        ),
        choice: None,
    })
}

impl Emitter<'_> {
    /// An element of a value in memory.
    pub fn load(&mut self, value: ValueId, at: &At, wide: bool) -> String {
        let home = storage(self.graph, value);
        debug_assert!(!is_leaf(self.graph, home), "leaves are emitted in place");
        if let Some(own) = self.splits.get(&home).filter(|own| own.in_place) {
            return self.load_partials(home, *own, at, wide);
        }
        let width = self.graph.tensor(home).map_or(1, |t| t.width());
        let width = if wide { width / 4 } else { width };
        if let Some(shares) = self.shared(home) {
            return self.load_shares(home, shares, at, (width, wide));
        }
        let index = format!("({}) * {width}u + {}", at.row, at.place);
        if !self.halves.contains(&home) {
            return self.read(Resource::Value(home), &index, wide);
        }
        let float = if wide { "vec4<f32>" } else { "f32" };
        format!("{float}({})", self.half(home, &index, wide))
    }

    /// Element `index` of an array of F32, or four of them.
    pub fn read(&mut self, resource: Resource, index: &str, wide: bool) -> String {
        if !wide {
            return format!("{}[{index}]", self.bindings.name(resource, "f32", Access::Read));
        }
        let words = self.weights.words;
        let name = self.bindings.name(resource, words.element("vec4<f32>"), Access::Read);
        self.helper(words.floats());
        match words {
            Words::Fours => format!("{name}[{index}]"),
            Words::Pairs | Words::Quads => format!("four_floats({name}[{index}])"),
        }
    }

    /// An element of a value that its readers combine.
    fn load_partials(&mut self, home: ValueId, own: SplitValue, at: &At, wide: bool) -> String {
        let name = self.bindings.name(own.partials(home), "vec4<f32>", Access::Read);
        let function = format!("combined_{name}");
        self.helper(own.split.function(&function, &name));
        match wide {
            true => format!("{function}({}, {})", at.row, at.place),
            false => format!("{function}({}, ({}) / 4u)[({}) % 4u]", at.row, at.place, at.place),
        }
    }
}
