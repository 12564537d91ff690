//! Finds the first kernel that produces a number that is none.
//!
//! The sequence is processed once more from its start, one dispatch at a time, and after each what
//! it wrote is read back. NaN and +∞ count; −∞ does not, because masks and maxima of nothing are
//! made of it.

use crate::engine::Engine;
use crate::error::{BadKernel, NotFinite, RuntimeError};
use crate::readback::read_pieces;
use crate::session::Session;
use quarrel_ir::plan::{Access, BufferRange, BufferRole, Dispatch, Kernel, Phase, StepDims};

/// The error for slot `index`, whose logits are not finite after the tokens that the session holds
/// for it. After a `decode` step the last token is run by the decode program, as it was.
pub(crate) fn diagnose(session: &mut Session, index: usize, decode: bool) -> RuntimeError {
    // The caller's slot is one of the session's.
    let tokens = session.slots[index].tokens().to_vec();
    session.reset_states();
    match find(&session.engine, index as u32, &tokens, decode) {
        Ok(kernel) => RuntimeError::NotFinite(NotFinite { kernel }),
        Err(error) => error,
    }
}

fn find(
    engine: &Engine,
    slot: u32,
    tokens: &[u32],
    decode: bool,
) -> Result<Option<BadKernel>, RuntimeError> {
    // Left-overs of other steps must not be taken for results.
    engine.clear(BufferRole::Activation);
    let chunk = engine.plan().options.chunk.max(1) as usize;
    let prompt = tokens.len() - usize::from(decode && !tokens.is_empty());
    for first in (0..prompt).step_by(chunk) {
        let range = first..prompt.min(first + chunk);
        let out_rows = usize::from(range.end == tokens.len());
        let dims = engine.write_chunk(slot, tokens, range, out_rows);
        if let Some(bad) = find_in_step(engine, Phase::Prefill, dims, first as u32)? {
            return Ok(Some(bad));
        }
    }
    match tokens.last() {
        Some(&last) if decode => {
            let dims = write_decode_step(engine, slot, last, prompt as u32);
            find_in_step(engine, Phase::Decode, dims, prompt as u32)
        }
        _ => Ok(None),
    }
}

/// Writes the inputs of a decode step in which only `slot` is live.
fn write_decode_step(engine: &Engine, slot: u32, token: u32, position: u32) -> StepDims {
    let io = &engine.plan().io;
    let slots = engine.plan().options.slots;
    let only = |value: u32| -> Vec<u32> {
        (0..slots).map(|each| if each == slot { value } else { 0 }).collect()
    };
    let each: Vec<u32> = (0..slots).collect();
    engine.write(io.tokens, &only(token));
    engine.write(io.positions, &only(position));
    engine.write(io.live, &only(1));
    engine.write(io.slots, &each);
    engine.write(io.out_rows, &each);
    engine.write(io.step, &[slots, slots, 0, 0]);
    StepDims { tokens: slots, out_rows: slots, slots }
}

fn find_in_step(
    engine: &Engine,
    phase: Phase,
    dims: StepDims,
    position: u32,
) -> Result<Option<BadKernel>, RuntimeError> {
    let program = engine.plan().program(phase).ok_or(RuntimeError::NoProgram(phase))?;
    engine.compile(&[phase])?;
    for (index, dispatch) in program.dispatches.iter().enumerate() {
        engine.submit_one(phase, dims, index)?;
        let kernel = engine.plan().kernel(dispatch.kernel);
        for (range, element) in written_floats(engine, kernel, dispatch) {
            if let Some(element) = first_bad(engine, range, element)? {
                return Ok(Some(bad_kernel(kernel, dispatch, element, position)));
            }
        }
    }
    Ok(None)
}

fn bad_kernel(kernel: &Kernel, dispatch: &Dispatch, element: u64, position: u32) -> BadKernel {
    let op = |fused: &quarrel_ir::plan::FusedOp| match &fused.name {
        Some(name) => format!("%{} {} ({name})", fused.value, fused.op),
        None => format!("%{} {}", fused.value, fused.op),
    };
    BadKernel {
        kernel: kernel.name.clone(),
        layer: dispatch.layer,
        ops: dispatch.ops.iter().map(op).collect(),
        element,
        position,
    }
}

/// Float types of buffers' elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Float {
    Half,
    Single,
}

/// The intermediate values and logits that a dispatch writes.
fn written_floats<'a>(
    engine: &'a Engine,
    kernel: &'a Kernel,
    dispatch: &'a Dispatch,
) -> impl Iterator<Item = (BufferRange, Float)> + 'a {
    let plan = engine.plan();
    let bindings = kernel.bindings.iter().zip(&dispatch.bindings);
    bindings.filter_map(move |(binding, range)| {
        let role = plan.buffer(range.buffer).role;
        let value = role == BufferRole::Activation || range.buffer == plan.io.logits;
        let float = float_type(&kernel.wgsl, &binding.name)?;
        (binding.access == Access::Write && value).then_some((*range, float))
    })
}

/// The float type in the declaration of storage variable `name`, if it is one.
fn float_type(wgsl: &str, name: &str) -> Option<Float> {
    let mut declarations = wgsl.split("var<storage").skip(1);
    let ty = declarations.find_map(|text| {
        let (variable, rest) = text.split_once('>')?.1.split_once(':')?;
        (variable.trim() == name).then(|| rest.split(';').next()).flatten()
    })?;
    if ty.contains("f16") { Some(Float::Half) } else { ty.contains("f32").then_some(Float::Single) }
}

/// The first element of the range that is NaN or +∞.
fn first_bad(
    engine: &Engine,
    range: BufferRange,
    float: Float,
) -> Result<Option<u64>, RuntimeError> {
    let (mut found, mut seen) = (None, 0);
    let buffer = engine.buffer(range.buffer);
    read_pieces(engine.gpu(), buffer, range.offset, range.bytes, |bytes| {
        let at = match float {
            Float::Single => bytes.chunks_exact(4).position(|b| {
                let value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                value.is_nan() || value == f32::INFINITY
            }),
            Float::Half => bytes.chunks_exact(2).position(|b| {
                let value = half::f16::from_le_bytes([b[0], b[1]]);
                value.is_nan() || value == half::f16::INFINITY
            }),
        };
        let width = match float {
            Float::Single => 4,
            Float::Half => 2,
        };
        found = found.or(at.map(|at| seen + at as u64));
        seen += bytes.len() as u64 / width;
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{Float, float_type};

    #[test]
    fn element_types_are_read_from_declarations() {
        let wgsl = "@group(0) @binding(0) var<storage, read> a: array<vec4<u32>>;\n\
                    @group(0) @binding(1) var<storage, read_write> out : array<vec4<f32>>;\n\
                    @group(0) @binding(2) var<storage,read_write> h: array<f16>;\n";
        assert_eq!(float_type(wgsl, "a"), None);
        assert_eq!(float_type(wgsl, "out"), Some(Float::Single));
        assert_eq!(float_type(wgsl, "h"), Some(Float::Half));
        assert_eq!(float_type(wgsl, "missing"), None);
    }
}
