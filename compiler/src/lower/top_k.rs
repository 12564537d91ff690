//! Lowering of the choice of the largest elements, with what is computed before and after it.

use super::expression::{At, Body, Emitter};
use super::rows::{cost, statistics};
use super::store::{Step, store};
use super::{Context, Launch};
use crate::error::CompileError;
use crate::region::{Region, label};
use quarrel_ir::graph::{Op, RunDim, ValueId};
use quarrel_ir::plan::{Extent, Place};
use quarrel_kernels::row_program::{RowProgram, parameters};
use quarrel_kernels::top_k::TopK;

/// Threads of a workgroup.
const THREADS: u32 = 64;

/// Lowers a region around the top-k `value`.
pub fn lower(
    context: Context<'_>,
    region: &Region,
    value: ValueId,
) -> Result<Launch, CompileError> {
    let graph = context.graph;
    let x = graph.operands(value)[0];
    let width = graph.tensor(x).map_or(0, |t| t.last());
    let Op::TopK(count) = *graph.op(value) else {
        unreachable!("the anchor of a top-k region is a top-k")
    };
    let before = region.members.iter().filter(|(_, place)| **place == Place::Prologue);
    let mut emitter = context.emitter(region, before.map(|(v, _)| *v).collect());
    let mut program = RowProgram::default();
    statistics(&mut emitter, &mut program, &At { row: "n".into(), place: "j".into() });
    let given = parameters(program.statistics.len());
    program.functions.push_str(&score(&mut emitter, x, given.as_str()));
    emitter.inline = region.members.keys().copied().collect();
    emitter.chosen = Some((value, "chosen"));
    let stores: String = region
        .outputs
        .iter()
        .map(|&output| {
            let text = store(context, &mut emitter, output, ("n", "j"), Step::Single);
            format!("    {{\n{text}    }}\n")
        })
        .collect();
    program.functions.push_str(&format!("fn post(n: u32, j: u32{given}) {{\n{stores}}}\n"));
    program.functions.insert_str(0, &emitter.helpers.concat());
    let kernel = TopK {
        width: width as u32,
        count,
        program,
        bindings: emitter.bindings.declared(),
        threads: THREADS.min(context.device.max_workgroup_threads),
    };
    if kernel.workgroup_bytes() > context.device.max_workgroup_bytes {
        return Err(CompileError::Unsupported {
            what: label(graph, value),
            why: format!("a row of {width} scores does not fit the memory of a workgroup"),
        });
    }
    Ok(Launch {
        shader: kernel.shader(),
        bindings: emitter.bindings.declared(),
        resources: emitter.bindings.resources(),
        grid: [
            Extent::Tiles { dim: RunDim::Tokens, tile: 1, times: 1 },
            Extent::Const(1),
            Extent::Const(1),
        ],
        cost: cost(context, region, width),
        note: None,
        choice: None,
    })
}

/// The function that computes a score.
fn score(emitter: &mut Emitter<'_>, x: ValueId, given: &str) -> String {
    let mut body = Body::default();
    let at = At { row: "n".into(), place: "j".into() };
    let score = emitter.value(&mut body, x, &at, false);
    format!("fn score(n: u32, j: u32{given}) -> f32 {{\n{}    return {score};\n}}\n", body.text)
}
