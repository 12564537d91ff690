//! Lowering of scans.

use super::bindings::{Bindings, IoBuffer, Resource};
use super::{Context, Launch};
use crate::error::CompileError;
use crate::region::{storage, weight_behind};
use quarrel_ir::graph::{RunDim, Type, ValueId};
use quarrel_ir::plan::{Cost, Extent};
use quarrel_kernels::scan::Scan;

/// Threads of a workgroup: channels wait for no other, and there are few of them.
const THREADS: u32 = 32;

/// Lowers a scan.
pub fn lower(context: Context<'_>, value: ValueId) -> Result<Launch, CompileError> {
    let graph = context.graph;
    let operands = graph.operands(value);
    let dims = |at: usize| graph.tensor(operands[at]).map(|t| t.dims.clone()).unwrap_or_default();
    let (Type::State(state), Some(decay)) =
        (&graph.node(operands[0]).ty, weight_behind(graph, operands[3]))
    else {
        unreachable!("the types of a scan's operands were checked when it was added")
    };
    let mut own = Bindings::default();
    let count = context.count(RunDim::Tokens, &mut own);
    let (x, b) = (dims(1), dims(4));
    let kernel = Scan {
        heads: x[0] as u32,
        size: x[1] as u32,
        width: b[1] as u32,
        groups: b[0] as u32,
        decays: dims(3)[1] as u32,
        count,
        extra: own.declared(),
        threads: THREADS,
    };
    let value_of = |at: usize| Resource::Value(storage(graph, operands[at]));
    let mut resources = vec![
        Resource::State(*state),
        value_of(1),
        value_of(2),
        Resource::Weight(context.weights.vector(decay)),
        value_of(4),
        value_of(5),
        Resource::Io(IoBuffer::Slots),
        Resource::Io(IoBuffer::Positions),
        Resource::Io(IoBuffer::Live),
        Resource::Value(value),
    ];
    resources.extend(own.resources());
    let kept = x[0] * x[1] * b[1];
    Ok(Launch {
        shader: kernel.shader(),
        bindings: kernel.bindings(),
        resources,
        grid: [Extent::Const(kernel.groups()), Extent::Const(1), Extent::Const(1)],
        cost: Cost {
            token_bytes: 8 * kept + 8 * x[0] * x[1],
            token_flops: 6 * kept,
            ..Cost::default()
        },
        note: None,
        choice: None,
    })
}
