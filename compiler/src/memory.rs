//! Memory planning: activations share buffers when their lives do not overlap.
//!
//! Before: launches in order. After: every value in memory has a buffer; a dispatch never reads a
//! buffer that it writes.

use crate::lower::{Launch, Resource};
use crate::region::label;
use quarrel_ir::graph::{Graph, RunDim, ValueId};
use quarrel_ir::plan::{Access, PlanOptions, Tenant};
use std::collections::HashMap;

/// A buffer of the activation pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolBuffer {
    /// The most that any tenant needs.
    pub bytes: u64,
    /// The values that live in it.
    pub tenants: Vec<Tenant>,
}

/// Buffers that the programs of a plan share: one program runs at a time, and no activation
/// outlives its program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pool {
    /// The buffers.
    pub buffers: Vec<PoolBuffer>,
}

/// The buffers of the pool in which a program's values, partials and groups lie.
pub type Assigned = HashMap<Resource, usize>;

/// First and last launch of each value, its partials or its groups, that is in memory, and its bytes.
struct Life {
    resource: Resource,
    label: String,
    first: usize,
    last: usize,
    bytes: u64,
}

impl Pool {
    /// Gives each value of a program a buffer of the pool. `output` has memory of its own.
    pub fn assign(
        &mut self,
        graph: &Graph,
        options: &PlanOptions,
        program: &str,
        launches: &[Launch],
        output: ValueId,
    ) -> Assigned {
        let mut assigned = Assigned::new();
        let mut busy_until: Vec<Option<usize>> = vec![None; self.buffers.len()];
        for life in lives(graph, options, launches, output) {
            let free = |until: &Option<usize>| until.is_none_or(|until| until < life.first);
            let fit = |index: usize| {
                let has = self.buffers[index].bytes;
                // Prefer the smallest that is large enough, then the largest that must grow.
                if has >= life.bytes { (0, has) } else { (1, u64::MAX - has) }
            };
            let best =
                (0..self.buffers.len()).filter(|i| free(&busy_until[*i])).min_by_key(|i| fit(*i));
            let index = best.unwrap_or_else(|| {
                self.buffers.push(PoolBuffer::default());
                busy_until.push(None);
                self.buffers.len() - 1
            });
            busy_until[index] = Some(life.last);
            let buffer = &mut self.buffers[index];
            buffer.bytes = buffer.bytes.max(life.bytes);
            buffer.tenants.push(Tenant {
                program: program.to_string(),
                value: life.label,
                first: life.first as u32,
                last: life.last as u32,
                bytes: life.bytes,
            });
            assigned.insert(life.resource, index);
        }
        assigned
    }
}

/// The lives of all values in memory but `output`, by first launch.
fn lives(graph: &Graph, options: &PlanOptions, launches: &[Launch], output: ValueId) -> Vec<Life> {
    let mut lives: Vec<Life> = Vec::new();
    let mut index_of: HashMap<&Resource, usize> = HashMap::new();
    for (at, launch) in launches.iter().enumerate() {
        for (resource, binding) in launch.resources.iter().zip(&launch.bindings) {
            let Some((value, bytes)) = pooled(graph, options, resource) else { continue };
            let label = match resource {
                Resource::Value(_) if value == output => continue,
                Resource::Partials { .. } => format!("partials of {}", label(graph, value)),
                Resource::Shares { .. } => format!("shares of {}", label(graph, value)),
                Resource::Groups { .. } => format!("groups by {}", label(graph, value)),
                _ => label(graph, value),
            };
            if binding.access == Access::Write && !index_of.contains_key(resource) {
                index_of.insert(resource, lives.len());
                lives.push(Life { resource: resource.clone(), label, first: at, last: at, bytes });
            } else if let Some(&index) = index_of.get(resource) {
                lives[index].last = at;
            }
        }
    }
    lives
}

/// The value that a resource of the pool stands for, and its bytes at the largest step of the plan.
pub fn pooled(graph: &Graph, options: &PlanOptions, resource: &Resource) -> Option<(ValueId, u64)> {
    let (value, bytes) = match *resource {
        Resource::Value(value) => (value, value_bytes(graph, options, value)),
        Resource::Halves(value) => (value, value_bytes(graph, options, value) / 2),
        Resource::Partials { value, bytes, .. } | Resource::Shares { value, bytes, .. } => {
            (value, bytes)
        }
        Resource::Groups { ids, groups } => (ids, 4 * u64::from(groups.words())),
        Resource::Weight(_) | Resource::State(_) | Resource::Io(_) => return None,
    };
    Some((value, bytes.next_multiple_of(16)))
}

/// Bytes of a value at the largest step of the plan.
pub fn value_bytes(graph: &Graph, options: &PlanOptions, value: ValueId) -> u64 {
    let Some(tensor) = graph.tensor(value) else { return 0 };
    let rows = match tensor.rows {
        Some(RunDim::Tokens) => options.step_tokens(),
        Some(RunDim::OutRows) => options.out_rows.max(options.slots),
        Some(RunDim::Slots) => options.slots,
        None => 1,
    };
    (u64::from(rows) * tensor.width() * 4).next_multiple_of(16)
}
