//! Lowering of attention.

use super::bindings::{IoBuffer, Resource};
use super::{Context, Launch, shapes};
use crate::error::CompileError;
use crate::region::{Region, storage};
use quarrel_ir::graph::{Op, RunDim, StateId, Type, ValueId};
use quarrel_ir::plan::{Access, Cost, Extent};
use quarrel_kernels::attention::AttentionKernel;
use quarrel_kernels::shader::Binding;

/// Lowers an attention op.
pub fn lower(
    context: Context<'_>,
    region: &Region,
    value: ValueId,
) -> Result<Launch, CompileError> {
    let graph = context.graph;
    let operands = graph.operands(value);
    let (Op::Attention(attention), Some(q), Some(keys), Some(values)) = (
        graph.op(value),
        graph.tensor(operands[0]),
        state_of(context, operands[1]),
        state_of(context, operands[2]),
    ) else {
        unreachable!("the types of attention's operands were checked when it was added")
    };
    let rows = |state: StateId| &graph.states[state.0 as usize].row;
    let (kv_heads, key_size, value_size) = (rows(keys)[0], rows(keys)[1], rows(values)[1]);
    let heads = q.dims[0] as u32;
    let share = heads / kv_heads as u32;
    let shape =
        shapes::attention(context.device, context.phase, share, key_size as u32, value_size as u32);
    let mut own = super::Bindings::default();
    let count = context.count(RunDim::Tokens, &mut own);
    let kernel = AttentionKernel {
        attention: *attention,
        heads,
        kv_heads: kv_heads as u32,
        key_size: key_size as u32,
        value_size: value_size as u32,
        context: context.options.context,
        key_format: context.state_format(keys),
        value_format: context.state_format(values),
        count,
        extra: own.declared(),
        shape,
    };
    let mut resources = vec![
        Resource::Value(storage(graph, operands[0])),
        Resource::State(keys),
        Resource::State(values),
        Resource::Io(IoBuffer::Slots),
        Resource::Io(IoBuffer::Positions),
        Resource::Value(region.outputs[0]),
    ];
    resources.extend(own.resources());
    let bindings: Vec<Binding> = kernel.bindings();
    debug_assert!(bindings.iter().filter(|b| b.access == Access::Write).count() == 1);
    let row_bytes = kv_heads
        * (key_size * kernel.key_format.bytes() + value_size * kernel.value_format.bytes());
    let width = u64::from(heads) * (key_size + value_size);
    Ok(Launch {
        shader: kernel.shader(),
        bindings,
        resources,
        grid: [
            Extent::Const(heads / shape.heads),
            Extent::Tiles { dim: RunDim::Tokens, tile: shape.tokens, times: 1 },
            Extent::Const(1),
        ],
        cost: Cost {
            token_bytes: 4 * width,
            context_bytes: row_bytes,
            context_flops: 2 * width,
            ..Cost::default()
        },
        note: None,
    })
}

fn state_of(context: Context<'_>, value: ValueId) -> Option<StateId> {
    match context.graph.node(value).ty {
        Type::State(state) => Some(state),
        Type::Tensor(_) => None,
    }
}
