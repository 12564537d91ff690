//! Lowering of attention.

use super::bindings::{IoBuffer, Resource};
use super::{Context, Launch, shapes, variants};
use crate::error::CompileError;
use crate::region::{Region, storage};
use quarrel_ir::graph::{Attention, Op, RunDim, StateFormat, StateId, Type, ValueId};
use quarrel_ir::plan::{Access, Choice, Cost, Phase, Precision};
use quarrel_kernels::attention::AttentionKernel;
use quarrel_kernels::shader::Binding;

/// Lowers an attention op.
pub fn lower(
    context: Context<'_>,
    region: &Region,
    value: ValueId,
) -> Result<Launch, CompileError> {
    let (mut kernel, choice) = kernel_of(context, value)?;
    let operands = Operands::of(context, value);
    let result = region.outputs[0];
    let split = context.splits.get(&result);
    kernel.halves = context.halves.contains(&result);
    let mut own = super::Bindings::default();
    context.count(RunDim::Tokens, &mut own);
    let mut resources = vec![
        Resource::Value(storage(context.graph, operands.q)),
        Resource::State(operands.keys),
        Resource::State(operands.values),
        Resource::Io(IoBuffer::Slots),
        Resource::Io(IoBuffer::Positions),
        match split {
            Some(split) => split.partials(result),
            None if kernel.halves => Resource::Halves(result),
            None => Resource::Value(result),
        },
    ];
    let scales = kernel.scales().into_iter();
    let states = scales.map(|(_, keys)| if keys { operands.keys } else { operands.values });
    resources.extend(states.map(Resource::State));
    resources.extend(own.resources());
    let bindings: Vec<Binding> = kernel.bindings();
    debug_assert!(bindings.iter().filter(|b| b.access == Access::Write).count() == 1);
    let [heads, key_size, value_size] =
        [kernel.heads, kernel.key_size, kernel.value_size].map(u64::from);
    let width = heads * (key_size + value_size);
    let left = split.map_or(context.value_row_bytes(result), |split| split.split.bytes());
    Ok(Launch {
        shader: kernel.shader(),
        bindings,
        resources,
        grid: kernel.grid(),
        cost: Cost {
            token_bytes: 4 * heads * key_size + left,
            context_bytes: operands.row_bytes,
            context_flops: 2 * width,
            window: operands.attention.window,
            one_sequence: context.phase == Phase::Prefill,
            ..Cost::default()
        },
        choice: Some(choice),
        note: split.map(|split| {
            let splits = split.split.splits;
            let where_combined = match split.in_place {
                true => "; the product that reads it combines them, which is predicted to take less than another dispatch",
                false => "",
            };
            format!("its positions are shared by {splits} workgroups{where_combined}")
        }),
    })
}

/// What attention reads.
struct Operands {
    attention: Attention,
    q: ValueId,
    heads: u64,
    keys: StateId,
    values: StateId,
    kv_heads: u64,
    key_size: u64,
    value_size: u64,
    /// Bytes of a position's keys and values, all heads.
    row_bytes: u64,
}

impl Operands {
    fn of(context: Context<'_>, value: ValueId) -> Operands {
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
        let bytes = |state| super::row_bytes(context.state(state));
        Operands {
            attention: *attention,
            q: operands[0],
            heads: q.dims[0],
            keys,
            values,
            kv_heads,
            key_size,
            value_size,
            row_bytes: bytes(keys) + bytes(values),
        }
    }
}

/// The kernel of an attention op, and which of its variants it is.
pub fn kernel_of(
    context: Context<'_>,
    value: ValueId,
) -> Result<(AttentionKernel, Choice), CompileError> {
    let operands = Operands::of(context, value);
    let (heads, kv_heads) = (operands.heads as u32, operands.kv_heads as u32);
    let needs = shapes::AttentionNeeds {
        phase: context.phase,
        heads,
        share: heads / kv_heads,
        key_size: operands.key_size as u32,
        value_size: operands.value_size as u32,
        row_bytes: operands.row_bytes,
        positions: operands.attention.window.unwrap_or(u32::MAX).min(context.options.context),
        slots: context.options.slots,
        split: context.options.split,
        tokens: context.options.step_tokens(),
        matrices: context.options.precision == Precision::Auto
            && [operands.keys, operands.values]
                .iter()
                .all(|state| context.state_format(*state) != StateFormat::Q8),
    };
    let mut own = super::Bindings::default();
    let count = context.count(RunDim::Tokens, &mut own);
    let states = [operands.keys, operands.values].map(|state| context.state_format(state).name());
    let states = if states[0] == states[1] { states[0].into() } else { states.join("+") };
    let (shape, choice) = variants::attention(context.device, context.options, &needs, &states)?;
    let kernel = AttentionKernel {
        attention: operands.attention,
        heads,
        kv_heads,
        key_size: needs.key_size,
        value_size: needs.value_size,
        rows: context.rows_of(operands.keys),
        slots: context.options.slots,
        key_format: context.state_format(operands.keys),
        value_format: context.state_format(operands.values),
        count,
        halves: false,
        extra: own.declared(),
        shape,
    };
    Ok((kernel, choice))
}

fn state_of(context: Context<'_>, value: ValueId) -> Option<StateId> {
    match context.graph.node(value).ty {
        Type::State(state) => Some(state),
        Type::Tensor(_) => None,
    }
}
