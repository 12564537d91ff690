//! The row family: norms, elementwise functions, gathers, rotations and cache appends.
//!
//! It applies to every value that is computed row by row. Its results are stored by a function
//! `post(row, j, s_0, …)` that the compiler emits; `j` steps over vectors of four elements, pairs or
//! single elements.

use crate::row_program::RowProgram;
use crate::shader::{Binding, Shader, declare};
use crate::template::fill;

/// Everything a row kernel is made of.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Elements over which statistics are taken.
    pub width: u32,
    /// Calls of `post` for a row.
    pub steps: u32,
    /// Statistics and functions, `post` included.
    pub program: RowProgram,
    /// All bindings.
    pub bindings: Vec<Binding>,
    /// Threads of a workgroup.
    pub threads: u32,
}

impl Rows {
    /// The kernel's text.
    pub fn shader(&self) -> Shader {
        let threads = self.threads;
        let reduced = !self.program.statistics.is_empty();
        let helpers = if reduced { self.program.reductions(threads) } else { String::new() };
        let wgsl = fill(
            include_str!("rows.wgsl"),
            &[
                ("bindings", &declare(&self.bindings)),
                ("helpers", &helpers),
                ("functions", &self.program.functions),
                ("threads", &threads.to_string()),
                ("statistics", &self.program.statistics_text("row", self.width, threads, "")),
                ("steps", &self.steps.to_string()),
                ("arguments", &self.program.all_arguments("")),
            ],
        );
        Shader {
            family: "rows",
            variant: format!("{} steps over {threads} threads", self.steps),
            wgsl,
            workgroup: threads,
            workgroup_bytes: if reduced { 4 * threads.div_ceil(4) } else { 0 },
        }
    }
}
