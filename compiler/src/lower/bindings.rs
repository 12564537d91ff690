//! What a kernel's bindings stand for, before buffers are assigned.

use quarrel_ir::graph::{StateId, ValueId};
use quarrel_ir::plan::{Access, BufferRange, Groups};
use quarrel_kernels::shader::Binding;

/// What a binding stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A value in memory.
    Value(ValueId),
    /// A value in memory in F16: see [`super::halves`].
    Halves(ValueId),
    /// What the workgroups of a split leave of a value.
    Partials {
        value: ValueId,
        /// Workgroups that share the positions of a token and head.
        splits: u32,
        /// Bytes at the largest step.
        bytes: u64,
    },
    /// What the workgroups that share the columns of a product leave of its value.
    Shares {
        value: ValueId,
        shares: u32,
        /// Bytes at the largest step.
        bytes: u64,
    },
    /// The rows that have chosen each expert, listed.
    Groups { ids: ValueId, groups: Groups },
    /// Part of the packed weights.
    Weight(BufferRange),
    /// A state, all slots.
    State(StateId),
    /// One of the step's own buffers.
    Io(IoBuffer),
}

/// The step's own buffers that kernels read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IoBuffer {
    Tokens,
    Positions,
    Slots,
    OutRows,
    Step,
    Live,
}

impl IoBuffer {
    /// The name under which kernels bind it.
    pub const fn name(self) -> &'static str {
        match self {
            IoBuffer::Tokens => "tokens",
            IoBuffer::Positions => "positions",
            IoBuffer::Slots => "slots",
            IoBuffer::OutRows => "out_rows",
            IoBuffer::Step => "step",
            IoBuffer::Live => "live",
        }
    }
}

/// The bindings of a kernel under construction. Names follow the order of first use, so kernels of
/// repeated layers have the same text.
#[derive(Clone, Debug, Default)]
pub struct Bindings {
    entries: Vec<(Resource, Binding)>,
}

impl Bindings {
    /// The name under which `resource` is bound as an array of `element`, bound on first use.
    pub fn name(&mut self, resource: Resource, element: &'static str, access: Access) -> String {
        let known = self.entries.iter().find(|(r, b)| *r == resource && b.element == element);
        if let Some((_, binding)) = known {
            return binding.name.clone();
        }
        let index = self.entries.len();
        let name = match &resource {
            Resource::Value(_) | Resource::Halves(_) => format!("value_{index}"),
            Resource::Partials { .. } => format!("partials_{index}"),
            Resource::Shares { .. } => format!("shares_{index}"),
            Resource::Groups { .. } => format!("groups_{index}"),
            Resource::Weight(_) => format!("weight_{index}"),
            Resource::State(_) => format!("state_{index}"),
            Resource::Io(io) => io.name().to_string(),
        };
        self.add(resource, Binding { name: name.clone(), element, access });
        name
    }

    /// Adds a binding under its own name.
    pub fn add(&mut self, resource: Resource, binding: Binding) {
        self.entries.push((resource, binding));
    }

    /// Adds a binding under its own name unless it is there already.
    pub fn add_once(&mut self, resource: Resource, binding: Binding) {
        if !self.entries.iter().any(|(_, known)| known.name == binding.name) {
            self.add(resource, binding);
        }
    }

    /// The bindings in order.
    pub fn declared(&self) -> Vec<Binding> {
        self.entries.iter().map(|(_, binding)| binding.clone()).collect()
    }

    /// What each binding stands for, in order.
    pub fn resources(&self) -> Vec<Resource> {
        self.entries.iter().map(|(resource, _)| resource.clone()).collect()
    }
}
