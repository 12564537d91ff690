//! Lowering: a region becomes a kernel, with what its bindings stand for and what it costs.

mod attention;
mod bindings;
mod blocks;
mod expression;
mod group;
mod halves;
mod product;
mod rows;
mod scan;
mod shapes;
mod shares;
mod split;
mod store;
mod top_k;
mod variants;
mod weights;

pub use bindings::{IoBuffer, Resource};
pub use group::{Grouped, group};
pub use halves::{Halves, halves};
pub use shares::{Shares, share};
pub use split::{Splits, split};
pub use variants::check_keys;
pub use weights::WeightTable;

use crate::error::CompileError;
use crate::region::{Anchor, Region, label, marks};
use bindings::Bindings;
use expression::Emitter;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::graph::{Graph, RunDim, StateDecl, StateFormat, StateId, ValueId};
use quarrel_ir::plan::{Choice, Cost, Extent, Phase, PlanOptions, Precision};
use quarrel_kernels::attention::CacheRows;
use quarrel_kernels::shader::{Binding, Shader};
use std::collections::{BTreeMap, BTreeSet};

/// What lowering reads.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub graph: &'a Graph,
    pub weights: &'a WeightTable,
    /// Values whose positions are split.
    pub splits: &'a Splits,
    /// Ids of experts whose rows are listed expert by expert.
    pub groups: &'a Grouped,
    /// Values that are in memory in F16.
    pub halves: &'a Halves,
    /// Products whose columns workgroups may share.
    pub shares: &'a Shares,
    pub device: &'a DeviceFacts,
    pub options: &'a PlanOptions,
    pub phase: Phase,
}

/// How a state is stored: elements of 16 bits lie in pairs, so that rows or heads of an odd number of
/// them take 32 bits each.
pub fn state_format(state: &StateDecl) -> StateFormat {
    match (state.format, state.row.last()) {
        (StateFormat::F16, Some(last)) if last % 2 == 1 => StateFormat::F32,
        (format, _) => format,
    }
}

/// Bytes of a state's row on the device.
pub fn row_bytes(state: &StateDecl) -> u64 {
    state_format(state).row_bytes(&state.row)
}

/// A region as a kernel launch, before buffers are assigned.
#[derive(Clone, Debug)]
pub struct Launch {
    pub shader: Shader,
    pub bindings: Vec<Binding>,
    pub resources: Vec<Resource>,
    pub grid: [Extent; 3],
    pub cost: Cost,
    /// A further sentence on why the kernel is as it is.
    pub note: Option<String>,
    /// Which of its variants it is.
    pub choice: Option<Choice>,
}

/// Lowers one region for one phase.
pub fn lower(context: Context<'_>, region: &Region) -> Result<Launch, CompileError> {
    let mut launch = match &region.anchor {
        Anchor::Product(product) => product::lower(context, region, product),
        Anchor::Attention(value) => attention::lower(context, region, *value),
        Anchor::Combine(value) => split::lower_combine(context, *value),
        Anchor::Group(ids) => group::lower(context, region, *ids),
        Anchor::TopK(value) => top_k::lower(context, region, *value),
        Anchor::Scan(value) => scan::lower(context, *value),
        Anchor::Rows(_) => rows::lower(context, region),
    }?;
    launch.note = halves::noted(context, &launch);
    // Matrices in parts may need many.
    let (needs, has) = (launch.bindings.len(), context.device.max_storage_buffers);
    if needs > has as usize {
        return Err(CompileError::Unsupported {
            what: label(context.graph, region.outputs[0]),
            why: format!(
                "it needs {needs} buffers at once, but {} binds {has}",
                context.device.name
            ),
        });
    }
    Ok(launch)
}

impl<'a> Context<'a> {
    /// An emitter for `region` that computes `inline` in place.
    fn emitter(&self, region: &Region, inline: BTreeSet<ValueId>) -> Emitter<'a> {
        Emitter {
            graph: self.graph,
            weights: self.weights,
            splits: self.splits,
            halves: self.halves,
            shares: self.shares,
            options: self.options,
            inline,
            marks: marks(self.graph, region),
            sums: BTreeMap::new(),
            statistics: BTreeMap::new(),
            bindings: Bindings::default(),
            helpers: Vec::new(),
            chosen: None,
            tables: Vec::new(),
        }
    }

    /// The phase whose kernels suit rows of `dim`: a prompt's only row of logits is like a decode
    /// step's, and shares its kernel.
    fn phase_for(&self, dim: RunDim) -> Phase {
        let one = self.options.out_rows == 1 && self.options.slots == 1;
        if dim == RunDim::OutRows && one { Phase::Decode } else { self.phase }
    }

    /// WGSL for the size of `dim` in this step; binds the step's sizes where they vary.
    fn count(&self, dim: RunDim, bindings: &mut Bindings) -> String {
        if self.phase_for(dim) == Phase::Decode {
            return format!("{}u", self.options.slots);
        }
        let step = Resource::Io(IoBuffer::Step);
        let name = bindings.name(step, "u32", quarrel_ir::plan::Access::Read);
        match dim {
            RunDim::Tokens => format!("{name}[0]"),
            RunDim::OutRows => format!("{name}[1]"),
            RunDim::Slots => format!("{}u", self.options.slots),
        }
    }

    /// The row axis of a value; constants have none.
    fn rows(&self, value: ValueId) -> RunDim {
        self.graph.tensor(value).and_then(|t| t.rows).unwrap_or(RunDim::Tokens)
    }

    /// Bytes of a row of a value in memory, of all shares together.
    fn value_row_bytes(&self, value: ValueId) -> u64 {
        let width = self.graph.tensor(value).map_or(0, |tensor| tensor.width());
        let shares = self.shares.get(&value).copied().unwrap_or(1);
        width * if self.halves.contains(&value) { 2 } else { 4 * u64::from(shares) }
    }

    /// Whether products and attention may go by cooperative matrices.
    fn multiplies_matrices(&self) -> bool {
        self.options.precision == Precision::Auto && shapes::matrix_size(self.device).is_some()
    }

    /// How a state is stored.
    fn state_format(&self, state: StateId) -> StateFormat {
        state_format(self.state(state))
    }

    /// A state's declaration.
    fn state(&self, state: StateId) -> &'a StateDecl {
        &self.graph.states[state.0 as usize]
    }

    /// Where a state's rows are.
    fn rows_of(&self, state: StateId) -> CacheRows {
        expression::rows_of(self.graph, self.options, state)
    }

    /// Whether the state's elements are rounded to 16 bits but stored in 32.
    fn rounds(&self, state: StateId) -> bool {
        self.state_format(state) != self.state(state).format
    }
}
