//! Which values are kept in F16: those that nothing but products by matrices of F16 reads. These round
//! them in any case, so that no result changes, and half the bytes are moved.

use super::attention::kernel_of;
use super::bindings::Resource;
use super::expression::Emitter;
use super::product::shape_of;
use super::{Context, Launch};
use crate::error::CompileError;
use crate::region::{Anchor, Region, is_leaf, label, storage};
use quarrel_ir::graph::{Op, ValueId};
use quarrel_ir::plan::Access;
use quarrel_kernels::attention::Shape;
use quarrel_kernels::product::Columns;
use std::collections::{BTreeMap, BTreeSet};

/// The values of a program that are kept in F16.
pub type Halves = BTreeSet<ValueId>;

/// The values that the regions of a program keep in F16.
pub fn halves(context: Context<'_>, regions: &[Region]) -> Result<Halves, CompileError> {
    if !context.multiplies_matrices() {
        return Ok(Halves::new());
    }
    let graph = context.graph;
    // Whether all that reads a value takes halves.
    let mut taken: BTreeMap<ValueId, bool> = BTreeMap::new();
    for region in regions {
        let x = match &region.anchor {
            Anchor::Product(product) => {
                let (shape, plain) = shape_of(context, region, product)?;
                let matrices = plain && matches!(shape.columns, Columns::Matrices(_));
                matrices.then(|| storage(graph, product.x))
            }
            _ => None,
        };
        for &member in region.members.keys() {
            for (position, operand) in graph.operands(member).into_iter().enumerate() {
                let home = storage(graph, operand);
                if region.members.contains_key(&home) || is_leaf(graph, home) {
                    continue;
                }
                let as_x = match graph.op(member) {
                    Op::Linear | Op::ExpertLinear => position == 0,
                    Op::Reshape(_) => true,
                    _ => false,
                };
                *taken.entry(home).or_insert(true) &= as_x && x == Some(home);
            }
        }
    }
    let mut halves = Halves::new();
    for region in regions {
        if writes_halves(context, region)? {
            let own = region.outputs.iter().copied();
            let shared = |output: &ValueId| context.shares.get(output).is_some_and(|n| *n > 1);
            halves.extend(own.filter(|output| taken.get(output) == Some(&true) && !shared(output)));
        }
    }
    Ok(halves)
}

/// Whether the kernel of a region can store its results in F16.
fn writes_halves(context: Context<'_>, region: &Region) -> Result<bool, CompileError> {
    Ok(match region.anchor {
        Anchor::Rows(_) | Anchor::Product(_) => true,
        Anchor::Attention(value) => {
            matches!(kernel_of(context, value)?.0.shape, Shape::Flash(_))
        }
        Anchor::Combine(_) | Anchor::Group(_) | Anchor::TopK(_) | Anchor::Scan(_) => false,
    })
}

/// The note of a launch, with what it stores in F16.
pub fn noted(context: Context<'_>, launch: &Launch) -> Option<String> {
    let bound = launch.resources.iter().zip(&launch.bindings);
    let stored: BTreeSet<ValueId> = bound
        .filter_map(|(resource, binding)| match resource {
            Resource::Halves(value) if binding.access == Access::Write => Some(*value),
            _ => None,
        })
        .collect();
    let names: Vec<String> = stored.iter().map(|value| label(context.graph, *value)).collect();
    if names.is_empty() {
        return launch.note.clone();
    }
    let own = launch.note.iter().map(|note| format!("{note}; ")).collect::<String>();
    Some(format!(
        "{own}{} kept in F16, to which the matrices that read it round",
        names.join(" and ") + if names.len() > 1 { " are" } else { " is" }
    ))
}

impl Emitter<'_> {
    /// Element `index` of a value in F16, or four of them, as they are.
    pub fn half(&mut self, value: ValueId, index: &str, wide: bool) -> String {
        let element = if wide { "vec4<f16>" } else { "f16" };
        format!("{}[{index}]", self.bindings.name(Resource::Halves(value), element, Access::Read))
    }
}
