//! The row family: norms, elementwise functions, gathers, rotations and cache appends.
//!
//! It applies to every value that is computed row by row. Its results are stored by a function
//! `post(row, j, s_0, …)` that the compiler emits; `j` steps over vectors of four elements, pairs or
//! single elements.

use crate::attention;
use crate::row_program::RowProgram;
use crate::shader::{Binding, Shader, declare};
use crate::template::fill;

/// Everything a row kernel is made of.
#[derive(Clone, Debug)]
pub struct Rows {
    /// What is computed of each token, each by workgroups of its own.
    pub parts: Vec<Part>,
    /// All bindings.
    pub bindings: Vec<Binding>,
    /// Functions that the parts' functions call.
    pub helpers: String,
    /// Threads of a workgroup.
    pub threads: u32,
}

/// Rows of one width.
#[derive(Clone, Debug)]
pub struct Part {
    /// Rows of each token, each a workgroup's.
    pub heads: u32,
    /// Elements over which statistics are taken.
    pub width: u32,
    /// Calls of `post` for a row.
    pub steps: u32,
    /// Statistics and functions, `post` included.
    pub program: RowProgram,
    /// Where the row is rounded to blocks that share a scale. `post` is then
    /// `four(n, j, s…) -> vec4<f32>`, which yields elements, `keep(n, j, word)`, which stores four of
    /// them, and `scales(n, word, bits)`, which stores scales.
    pub blocks: Option<Blocks>,
}

/// Blocks of a row that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Whether two scales share a word.
    pub paired: bool,
}

impl Blocks {
    /// Statements that round and store row `row` of `steps` fours by `threads` threads, a multiple of
    /// 16: eight threads have a block.
    fn text(self, prefix: &str, steps: u32, threads: u32, arguments: &str) -> String {
        let scales = match self.paired {
            false => format!("if (j % 8u == 0u) {{ {prefix}scales(row, j / 8u, bits); }}"),
            true => format!(
                "if (j % 16u == 0u) {{ {prefix}scales(row, j / 16u, bits | (block_scale(tid + 8u) << 16u)); }}"
            ),
        };
        format!(
            "    for (var start = 0u; start < {steps}u; start += {threads}u) {{\n        \
             let j = start + tid;\n        \
             let four = {prefix}four(row, min(j, {last}u){arguments});\n        \
             largest[tid] = block_largest(four);\n        \
             workgroupBarrier();\n        \
             let bits = block_scale(tid / 8u * 8u);\n        \
             if (j < {steps}u) {{\n            \
             {prefix}keep(row, j, block_word(four, bits));\n            \
             {scales}\n        }}\n        \
             workgroupBarrier();\n    }}\n",
            last = steps - 1,
        )
    }
}

impl Part {
    /// Statements for row `row`.
    fn text(&self, threads: u32) -> String {
        let prefix = &self.program.prefix;
        if let Some(blocks) = self.blocks {
            let arguments = self.program.all_arguments("");
            return self.program.statistics_text("row", self.width, threads, "")
                + &blocks.text(prefix, self.steps, threads, &arguments);
        }
        format!(
            "{}    for (var j = tid; j < {}u; j += {threads}u) {{ {prefix}post(row, j{}); }}\n",
            self.program.statistics_text("row", self.width, threads, ""),
            self.steps,
            self.program.all_arguments("")
        )
    }
}

impl Rows {
    /// Rows of each token, over all parts.
    pub fn heads(&self) -> u32 {
        self.parts.iter().map(|part| part.heads).sum()
    }

    /// The kernel's text.
    pub fn shader(&self) -> Shader {
        let threads = self.threads;
        let reducing = |part: &&Part| !part.program.statistics.is_empty();
        // Parts that look for the largest need one function more, which the others do without.
        let largest = |part: &&Part| part.program.needs_largest();
        let reduced = self.parts.iter().find(largest).or(self.parts.iter().find(reducing));
        let reductions = reduced.map_or(String::new(), |part| part.program.reductions(threads));
        let rounds = self.parts.iter().any(|part| part.blocks.is_some());
        let rounding = if rounds { attention::rounding(threads) } else { String::new() };
        let functions: String = self.parts.iter().map(|p| p.program.functions.as_str()).collect();
        let wgsl = fill(
            include_str!("rows.wgsl"),
            &[
                ("bindings", &declare(&self.bindings)),
                ("helpers", &(reductions + &rounding + &self.helpers)),
                ("functions", &functions),
                ("threads", &threads.to_string()),
                ("parts", &self.parts_text()),
            ],
        );
        let steps: Vec<String> = self.parts.iter().map(|part| part.steps.to_string()).collect();
        Shader {
            family: "rows",
            variant: format!("{} steps over {threads} threads", steps.join(" or ")),
            wgsl,
            workgroup: threads,
            workgroup_bytes: if reduced.is_some() { 4 * threads.div_ceil(4) } else { 0 }
                + if rounds { 4 * threads } else { 0 },
        }
    }

    /// The part that this workgroup takes, by its row of the token.
    fn parts_text(&self) -> String {
        if let [only] = &self.parts[..] {
            return format!("    let row = group.x;\n{}", only.text(self.threads));
        }
        let heads = self.heads();
        let mut text = format!(
            "    let token = group.x / {heads}u;\n    let head = group.x % {heads}u;\n    "
        );
        let mut first = 0;
        for (index, part) in self.parts.iter().enumerate() {
            let end = first + part.heads;
            let condition = if index + 1 == self.parts.len() {
                String::new()
            } else {
                format!("if (head < {end}u) ")
            };
            text.push_str(&format!(
                "{condition}{{\n    let row = token * {}u + head - {first}u;\n{}    }}",
                part.heads,
                part.text(self.threads)
            ));
            text.push_str(if condition.is_empty() { "\n" } else { " else " });
            first = end;
        }
        text
    }
}
