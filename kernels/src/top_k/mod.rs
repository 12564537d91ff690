//! The top-k family: which elements of a row are the largest, and functions of those.
//!
//! It applies to rows that fit workgroup memory. The scores are the value of a row program,
//! `score(n, j, s_0, …) -> f32`; results are stored by `post(n, j, s_0, …)` for each of the chosen,
//! whose places are `chosen[j]`.

use crate::row_program::RowProgram;
use crate::shader::{Binding, Shader, declare};
use crate::template::fill;

/// Everything a top-k kernel is made of.
#[derive(Clone, Debug)]
pub struct TopK {
    /// Elements of a row.
    pub width: u32,
    /// How many are chosen.
    pub count: u32,
    /// Statistics and functions, `score` and `post` included.
    pub program: RowProgram,
    /// All bindings.
    pub bindings: Vec<Binding>,
    /// Threads of a workgroup.
    pub threads: u32,
}

impl TopK {
    /// Bytes of workgroup memory.
    pub fn workgroup_bytes(&self) -> u32 {
        4 * (self.width + self.count + self.threads.div_ceil(4))
    }

    /// The kernel's text.
    pub fn shader(&self) -> Shader {
        let threads = self.threads;
        let reduced = !self.program.statistics.is_empty();
        let helpers = if reduced { self.program.reductions(threads) } else { String::new() };
        let wgsl = fill(
            include_str!("top_k.wgsl"),
            &[
                ("bindings", &declare(&self.bindings)),
                ("width", &self.width.to_string()),
                ("count", &self.count.to_string()),
                ("helpers", &helpers),
                ("functions", &self.program.functions),
                ("threads", &threads.to_string()),
                ("statistics", &self.program.statistics_text("row", self.width, threads, "")),
                ("arguments", &self.program.all_arguments("")),
            ],
        );
        Shader {
            family: "top_k",
            variant: format!("{} of {} over {threads} threads", self.count, self.width),
            wgsl,
            workgroup: threads,
            workgroup_bytes: self.workgroup_bytes(),
        }
    }
}
