//! The variant of a product that gives each thread rows of x of its own.
//!
//! Where memory is read lane by lane, a load costs the same whether lanes read neighbours or not. With
//! rows of x across the threads of a workgroup each thread has whole sums: they need not be added up
//! over a subgroup, which costs as much as a dozen products there, and no lane idles where a row has
//! fewer chunks than lanes. Weights are read by all threads alike. Nothing depends on the subgroup's
//! size.

use super::{Product, segment_prefix};
use std::fmt::Write;

impl Product {
    /// Statements that say which rows of x a thread has, `n_T`, and store what the prologue computes
    /// for others.
    pub(super) fn across_prologue(&self) -> String {
        debug_assert!(self.prologue.statistics.is_empty() && !self.staged(), "threads do not meet");
        let threads = self.shape.threads;
        let mut text = String::new();
        for t in 0..self.shape.held_tokens() {
            let row = self.row(&format!("min(first + {}u + tid, count - 1u)", t * threads));
            let _ = writeln!(text, "    let n_{t} = {row};");
            for (index, vectors) in self.aside.iter().enumerate() {
                let _ = writeln!(
                    text,
                    "    if (tile == 0u) {{ for (var j = 0u; j < {vectors}u; j++) {{ aside_{index}(n_{t}, j); }} }}"
                );
            }
        }
        text
    }

    /// One block of rows of a segment.
    pub(super) fn across_text(&self, index: usize) -> String {
        let p = segment_prefix(index);
        let chunks = self.columns / self.segments[index].packing().chunk as u32;
        let mut text = self.each(|t, r| format!("        var sum_{t}_{r} = 0.0;\n"));
        let _ = writeln!(text, "        for (var c = 0u; c < {chunks}u; c++) {{");
        for r in 0..self.shape.rows {
            let _ = writeln!(text, "            let raw_{r} = {p}load(row_{r} * {chunks}u + c);");
        }
        text.push_str(&self.chunk_text(self.usual(), index));
        text.push_str("        }\n");
        let threads = self.shape.threads;
        text + &self.each(|t, r| {
            format!("        sums[({}u + tid) * TILE + slot + {r}u] = sum_{t}_{r};\n", t * threads)
        })
    }
}
