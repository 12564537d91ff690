//! SPIR-V as text, an instruction a line, with the line of WGSL behind each.

use quarrel_ir::plan::Kernel;
use quarrel_kernels::check;
use rspirv::binary::Disassemble;
use rspirv::dr::{Instruction, Operand};
use rspirv::spirv::Op;

/// The instructions of a kernel, each with the number, from 1, of the line of WGSL that it comes from.
/// Written with names and line numbers, which drivers are not given.
pub(super) fn lines(kernel: &Kernel) -> Result<Vec<(String, Option<u32>)>, String> {
    let words = check::spirv_with_lines(&kernel.wgsl).map_err(|error| error.to_string())?;
    let module = rspirv::dr::load_words(words).map_err(|error| error.to_string())?;
    let mut line = None;
    let mut lines = Vec::new();
    for instruction in module.all_inst_iter() {
        match instruction.class.opcode {
            Op::Line => line = source_line(instruction),
            Op::NoLine | Op::FunctionEnd => line = None,
            // The text that it was written from.
            Op::Source | Op::SourceContinued | Op::String => continue,
            _ => {}
        }
        if !matches!(instruction.class.opcode, Op::Line | Op::NoLine) {
            lines.push((instruction.disassemble(), line));
        }
    }
    Ok(lines)
}

/// `OpLine file line column`
fn source_line(instruction: &Instruction) -> Option<u32> {
    match instruction.operands.get(1) {
        Some(Operand::LiteralBit32(line)) => Some(*line),
        _ => None,
    }
}
