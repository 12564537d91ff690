//! Whether the options suit the model and the device: checked before a plan is verified, because
//! what is wrong here is the user's to change and no bug.

use crate::error::CompileError;
use crate::lower::row_bytes;
use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::graph::{Addressing, Graph, Input, Op, StateDecl};
use quarrel_ir::plan::{Buffer, BufferRole, PlanOptions};

/// That the device can be one, that every option is in its range, and that the model has a row for
/// each position: kernels do not check a table of learned positions.
pub fn check_inputs(
    graph: &Graph,
    device: &DeviceFacts,
    options: &PlanOptions,
) -> Result<(), CompileError> {
    device.check()?;
    let positive = [
        ("context", options.context),
        ("chunk", options.chunk),
        ("slots", options.slots),
        ("out_rows", options.out_rows),
    ];
    if let Some((name, _)) = positive.into_iter().find(|(_, n)| *n == 0) {
        return Err(CompileError::Options(format!("{name} must be at least 1")));
    }
    let context = options.context;
    for value in graph.values().filter(|value| *graph.op(*value) == Op::Embed) {
        let operands = graph.operands(value);
        let rows = graph.tensor(operands[0]).map_or(0, |table| table.dims[0]);
        if *graph.op(operands[1]) == Op::Input(Input::Position) && rows < u64::from(context) {
            return Err(CompileError::Options(format!(
                "the model has {rows} learned positions, fewer than the context of {context}: use \
                 --ctx {rows} or less"
            )));
        }
    }
    Ok(())
}

/// That the device can hold each state whole: kernels bind them so.
pub fn check_states(
    graph: &Graph,
    device: &DeviceFacts,
    options: &PlanOptions,
) -> Result<(), CompileError> {
    for state in &graph.states {
        let rows = state.addressing.rows(options.context, options.step_tokens());
        let bytes =
            u64::from(options.slots).saturating_mul(rows.into()).saturating_mul(row_bytes(state));
        let what = format!("{rows} rows of the state {:?}", state.name);
        fits(what, bytes, device, instead("--ctx", options))?;
    }
    Ok(())
}

/// Bytes of states for each position of the context, over all slots.
pub fn position_bytes(graph: &Graph, options: &PlanOptions) -> u64 {
    let (context, chunk) = (options.context, options.step_tokens());
    let grows = |state: &&StateDecl| match state.addressing {
        Addressing::Append => true,
        Addressing::Ring { .. } => !state.addressing.comes_round(context, chunk),
        Addressing::Replace => false,
    };
    u64::from(options.slots) * graph.states.iter().filter(grows).map(row_bytes).sum::<u64>()
}

/// That the device can hold each value of a step: kernels bind them whole.
pub fn check_values(
    buffers: &[Buffer],
    device: &DeviceFacts,
    options: &PlanOptions,
) -> Result<(), CompileError> {
    let values = |role| matches!(role, BufferRole::Activation | BufferRole::Io);
    for buffer in buffers.iter().filter(|buffer| values(buffer.role)) {
        let what = format!("the buffer {:?} of a step", buffer.name);
        fits(what, buffer.bytes, device, instead("--chunk", options))?;
    }
    Ok(())
}

/// What makes it smaller.
fn instead(option: &str, options: &PlanOptions) -> String {
    let sequences = if options.slots > 1 { ", or fewer sequences at once" } else { "" };
    format!("a smaller {option}{sequences}")
}

fn fits(
    what: String,
    needs: u64,
    device: &DeviceFacts,
    instead: String,
) -> Result<(), CompileError> {
    let has = device.max_binding_bytes.min(device.max_buffer_bytes);
    if needs <= has {
        return Ok(());
    }
    Err(CompileError::DoesNotFit { what, needs, device: device.name.clone(), has, instead })
}
