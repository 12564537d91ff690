//! Emission: launches and memory become a plan.

use crate::error::CompileError;
use crate::lower::{IoBuffer, Launch, Resource, WeightTable, row_bytes};
use crate::memory::{Assigned, Pool, pooled, value_bytes};
use crate::region::{Region, listed};
use quarrel_ir::graph::{Graph, StateId, ValueId};
use quarrel_ir::plan::{
    Buffer, BufferId, BufferRange, BufferRole, Choice, Content, Dispatch, FusedOp, Io, Kernel,
    KernelId, Phase, PlanOptions, Program,
};
use quarrel_ir::sampling::{MAX_STOP_TOKENS, MOST_PARTS, RECORDS, SLOT_WORDS};
use quarrel_kernels::shader::Shader;
use std::collections::HashMap;

/// A plan under construction.
pub struct Emission<'a> {
    graph: &'a Graph,
    options: &'a PlanOptions,
    pub buffers: Vec<Buffer>,
    pub kernels: Vec<Kernel>,
    pub io: Io,
    states: Vec<BufferId>,
    /// First buffer of the activation pool.
    pool_start: u32,
    known: HashMap<String, KernelId>,
}

impl<'a> Emission<'a> {
    /// Makes the buffers of weights, step inputs and results, and states.
    pub fn new(
        graph: &'a Graph,
        options: &'a PlanOptions,
        weights: &WeightTable,
        output: ValueId,
    ) -> Emission<'a> {
        let mut buffers = weights.buffers.clone();
        for buffer in &mut buffers {
            buffer.bytes = buffer.bytes.next_multiple_of(16);
        }
        let io = make_io(&mut buffers, graph, options, output);
        let states = graph
            .states
            .iter()
            .map(|state| {
                let rows = state.addressing.rows(options.context, options.step_tokens());
                let bytes = u64::from(options.slots) * u64::from(rows) * row_bytes(state);
                push(&mut buffers, &state.name, bytes, BufferRole::State)
            })
            .collect();
        let pool_start = buffers.len() as u32;
        Emission {
            graph,
            options,
            buffers,
            kernels: vec![],
            io,
            states,
            pool_start,
            known: HashMap::new(),
        }
    }

    /// The program of `launches`, whose values lie in the pool as `assigned` says.
    pub fn program(
        &mut self,
        name: &str,
        phase: Phase,
        regions: &[Region],
        launches: Vec<Launch>,
        assigned: &Assigned,
    ) -> Result<Program, CompileError> {
        let mut dispatches = Vec::new();
        for (region, launch) in regions.iter().zip(launches) {
            let bindings = launch
                .resources
                .iter()
                .map(|resource| self.range(resource, assigned))
                .collect::<Result<Vec<_>, _>>()?;
            let declared = launch.bindings.iter().map(|b| b.declared()).collect();
            let kernel = self.kernel(launch.shader, declared, launch.choice);
            let mut reason = region.reasons.join("; ");
            if let Some(note) = launch.note {
                reason = if reason.is_empty() { note } else { format!("{reason}; {note}") };
            }
            dispatches.push(Dispatch {
                kernel,
                bindings,
                contents: launch.resources.iter().map(content).collect(),
                grid: launch.grid,
                layer: layer_of(self.graph, region),
                ops: fused_ops(self.graph, region),
                reason,
                cost: launch.cost,
            });
        }
        Ok(Program { name: name.to_string(), phase, dispatches })
    }

    /// Adds a finished kernel, or finds the one with the same text.
    pub fn kernel(
        &mut self,
        shader: Shader,
        bindings: Vec<quarrel_ir::plan::KernelBinding>,
        choice: Option<Choice>,
    ) -> KernelId {
        if let Some(&id) = self.known.get(&shader.wgsl) {
            return id;
        }
        let id = KernelId(self.kernels.len() as u32);
        self.known.insert(shader.wgsl.clone(), id);
        self.kernels.push(Kernel {
            name: format!("{}_{}", shader.family, id.0),
            family: shader.family.to_string(),
            variant: shader.variant,
            choice,
            wgsl: shader.wgsl,
            bindings,
            workgroup: shader.workgroup,
            workgroup_bytes: shader.workgroup_bytes,
        });
        id
    }

    /// A whole buffer.
    pub fn whole(&self, buffer: BufferId) -> BufferRange {
        BufferRange { buffer, offset: 0, bytes: self.buffers[buffer.0 as usize].bytes }
    }

    /// Adds the activation pool's buffers; called after all programs.
    pub fn add_pool(&mut self, pool: Pool) {
        for (index, buffer) in pool.buffers.into_iter().enumerate() {
            self.buffers.push(Buffer {
                name: format!("activations {index}"),
                bytes: buffer.bytes.max(16),
                role: BufferRole::Activation,
                tenants: buffer.tenants,
            });
        }
    }

    fn range(&self, resource: &Resource, assigned: &Assigned) -> Result<BufferRange, CompileError> {
        Ok(match resource {
            Resource::Weight(range) => *range,
            Resource::State(StateId(state)) => self.whole(self.states[*state as usize]),
            Resource::Io(io) => self.whole(match io {
                IoBuffer::Tokens => self.io.tokens,
                IoBuffer::Positions => self.io.positions,
                IoBuffer::Slots => self.io.slots,
                IoBuffer::OutRows => self.io.out_rows,
                IoBuffer::Step => self.io.step,
                IoBuffer::Live => self.io.live,
            }),
            Resource::Value(value) if Some(*value) == self.graph.output() => {
                self.whole(self.io.logits)
            }
            Resource::Value(_)
            | Resource::Halves(_)
            | Resource::Partials { .. }
            | Resource::Shares { .. }
            | Resource::Groups { .. } => self.pool_range(resource, assigned)?,
        })
    }

    fn pool_range(
        &self,
        resource: &Resource,
        assigned: &Assigned,
    ) -> Result<BufferRange, CompileError> {
        let found = pooled(self.graph, self.options, resource).zip(assigned.get(resource));
        let Some(((_, bytes), index)) = found else {
            return Err(CompileError::Options(format!(
                "a bug in the compiler: {:?} is read but never computed",
                content(resource)
            )));
        };
        Ok(BufferRange { buffer: BufferId(self.pool_start + *index as u32), offset: 0, bytes })
    }
}

/// What a resource is in the plan.
fn content(resource: &Resource) -> Content {
    match *resource {
        Resource::Value(ValueId(value)) => Content::Value(value),
        Resource::Halves(ValueId(value)) => Content::Halves(value),
        Resource::Partials { value: ValueId(value), splits, .. } => {
            Content::Partials { value, splits }
        }
        Resource::Shares { value: ValueId(value), shares, .. } => Content::Shares { value, shares },
        Resource::Groups { ids: ValueId(value), groups } => Content::Groups { value, groups },
        Resource::Weight(_) => Content::Weights,
        Resource::State(StateId(state)) => Content::State(state),
        Resource::Io(_) => Content::Io,
    }
}

fn push(buffers: &mut Vec<Buffer>, name: &str, bytes: u64, role: BufferRole) -> BufferId {
    let bytes = bytes.max(16).next_multiple_of(16);
    buffers.push(Buffer { name: name.to_string(), bytes, role, tenants: vec![] });
    BufferId(buffers.len() as u32 - 1)
}

fn make_io(buffers: &mut Vec<Buffer>, graph: &Graph, options: &PlanOptions, output: ValueId) -> Io {
    let tokens = u64::from(options.step_tokens()) * 4;
    let rows = u64::from(options.out_rows.max(options.slots)) * 4;
    let slots = u64::from(options.slots) * 4;
    let mut io = |name: &str, bytes| push(buffers, name, bytes, BufferRole::Io);
    Io {
        tokens: io("tokens", tokens),
        positions: io("positions", tokens),
        slots: io("slots", tokens),
        out_rows: io("out_rows", rows),
        step: io("step", 16),
        logits: io("logits", value_bytes(graph, options, output)),
        largest: io("largest logits", 2 * rows * u64::from(MOST_PARTS)),
        live: io("live", slots),
        sampler: io("sampler", slots * SLOT_WORDS as u64),
        sampled: io("sampled", 4 * slots * u64::from(RECORDS)),
        drawn: io("drawn", slots),
        stop: io("stop", 4 * (1 + MAX_STOP_TOKENS as u64)),
    }
}

/// The layer of a region's latest result.
fn layer_of(graph: &Graph, region: &Region) -> Option<u32> {
    region.outputs.iter().max().and_then(|output| graph.node(*output).origin.layer)
}

fn fused_ops(graph: &Graph, region: &Region) -> Vec<FusedOp> {
    listed(graph, region)
        .map(|(value, place)| FusedOp {
            value: value.0,
            op: graph.op(value).name().to_string(),
            name: graph.node(value).origin.name.clone(),
            layer: graph.node(value).origin.layer,
            place,
        })
        .collect()
}
