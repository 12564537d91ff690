//! The variant of a product that keeps its row of x in registers.
//!
//! Where memory is read lane by lane, reading x again for every block of weight rows costs more than
//! the products themselves. Each thread's share of x is read once a workgroup; the loop over columns
//! is written out, because registers cannot be indexed. Threads without a last chunk hold zeros and
//! read nothing. Sums over a subgroup cost as much as reading a row, so each thread keeps its share of
//! each row's sum in workgroup memory, and in the end adds up the shares of some rows. Nothing depends
//! on the subgroup's size: a branch on it would make each load test which lanes take part.

use super::{Columns, Product, segment_prefix};
use crate::formats::snippet;
use std::collections::BTreeSet;
use std::fmt::Write;

impl Product {
    /// Steps that the threads take along the columns, a row's chunks, and a chunk's units.
    fn held_steps(&self) -> (u32, u32, u32) {
        let chunk = self.segments[0].packing().chunk as u32;
        let chunks = self.columns / chunk;
        (chunks.div_ceil(self.shape.threads), chunks, chunk / 4)
    }

    /// Statements that read each thread's share of x into `x_STEP_UNIT`, with the sums
    /// `total_STEP_FIRST_GROUP` of each `GROUP` units from `FIRST` on that an offset needs.
    pub(super) fn hold_text(&self) -> String {
        let ((steps, chunks, units), threads) = (self.held_steps(), self.shape.threads);
        let mut text = String::new();
        for step in 0..steps {
            let _ = writeln!(
                text,
                "    let chunk_{step} = min(tid + {}u, {}u);",
                step * threads,
                chunks - 1
            );
            let _ = writeln!(text, "    let used_{step} = tid + {}u < {chunks}u;", step * threads);
            for unit in 0..units {
                let x = self.computed(0, &format!("chunk_{step} * {units}u + {unit}u"));
                let _ = writeln!(
                    text,
                    "    let x_{step}_{unit} = select(vec4<f32>(), {x}, used_{step});"
                );
            }
            for group in self.offset_groups() {
                for first in (0..units).step_by(group as usize) {
                    let sum: Vec<String> =
                        (first..first + group).map(|unit| format!("x_{step}_{unit}")).collect();
                    let _ = writeln!(
                        text,
                        "    let total_{step}_{first}_{group} = dot({}, vec4(1.0));",
                        sum.join(" + ")
                    );
                }
            }
        }
        text
    }

    /// The numbers of units that share an offset, each once.
    fn offset_groups(&self) -> BTreeSet<u32> {
        let forms = self.segments.iter().map(|format| snippet(*format));
        forms.filter(|form| form.offset).map(|form| form.group).collect()
    }

    /// One block of rows of a segment, x held.
    pub(super) fn held_text(&self, index: usize) -> String {
        let ((steps, chunks, units), threads) = (self.held_steps(), self.shape.threads);
        let (p, form) = (segment_prefix(index), snippet(self.segments[index]));
        let mut text = String::new();
        for r in 0..self.shape.rows {
            let _ = writeln!(text, "            var sum_{r} = 0.0;");
            for step in 0..steps {
                let read = format!("{p}load(row_{r} * {chunks}u + chunk_{step})");
                // Threads without a chunk read nothing.
                let _ = match (step + 1) * threads > chunks {
                    false => writeln!(text, "            {{\n            let raw = {read};"),
                    true => writeln!(
                        text,
                        "            {{\n            var raw: {}raw;\n            if (used_{step}) {{ raw = {read}; }}",
                        segment_prefix(self.owner(index))
                    ),
                };
                for first in (0..units).step_by(form.group as usize) {
                    text.push_str(&self.held_group(index, (r, step, first)));
                }
                text.push_str("            }\n");
            }
            let _ =
                writeln!(text, "            shares[(slot + {r}u) * {threads}u + tid] = sum_{r};");
        }
        text
    }

    /// Statements that add up what the threads have kept of each row, once all blocks are done.
    pub(super) fn held_sums(&self) -> String {
        let threads = self.shape.threads;
        let again = if self.is_summed() { "    workgroupBarrier();\n" } else { "" };
        format!(
            "    workgroupBarrier();\n    \
             for (var e = tid; e < TILE; e += {threads}u) {{\n        var all = 0.0;\n        \
             for (var i = 0u; i < {threads}u; i++) {{ all += shares[e * {threads}u + i]; }}\n        \
             {}\n    }}\n{again}",
            self.stored_sum("e", "all"),
        )
    }

    /// Bytes of workgroup memory for the threads' shares of each sum.
    pub(super) const fn held_bytes(&self) -> u32 {
        match self.shape.columns {
            Columns::Held => 4 * self.shape.threads * self.shape.tile,
            _ => 0,
        }
    }

    /// What the units from `first` on that share a scale add to the sum of row `r`, in one step.
    fn held_group(&self, index: usize, (r, step, first): (u32, u32, u32)) -> String {
        let (p, form) = (segment_prefix(index), snippet(self.segments[index]));
        let mut text = "            {\n            var products = vec4<f32>();\n".to_string();
        for unit in first..first + form.group {
            let _ =
                writeln!(text, "            products += x_{step}_{unit} * {p}unit(raw, {unit}u);");
        }
        let scale = match form.scaled {
            true => format!(" * {p}scale(raw, {first}u)"),
            false => String::new(),
        };
        let offset = match form.offset {
            true => format!(" + total_{step}_{first}_{} * {p}offset(raw, {first}u)", form.group),
            false => String::new(),
        };
        let _ = writeln!(
            text,
            "            sum_{r} += dot(products, vec4(1.0)){scale}{offset};\n            }}"
        );
        text
    }
}
