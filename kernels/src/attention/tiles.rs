//! Attention in tiles of positions: the text of kernels for several tokens, for heads of any size,
//! and for processors that run kernels in software.

use super::{AttentionKernel, store_out};
use crate::row_program::float;
use crate::shader::Shader;
use std::fmt::Write;

/// Sizes of a kernel in tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiles {
    /// Tokens of a workgroup.
    pub tokens: u32,
    /// Query heads of a workgroup; divides the heads that share a key head.
    pub heads: u32,
    /// Threads of a workgroup, at least an eighth of the elements of a value head.
    pub threads: u32,
    /// Positions that each thread scores at once: each query is read once for all of them.
    pub positions: u32,
}

impl Tiles {
    /// Positions of a tile.
    pub const fn tile(&self) -> u32 {
        self.threads * self.positions
    }

    const fn queries(&self) -> u32 {
        self.tokens * self.heads
    }

    /// Bytes of workgroup memory for heads of these sizes.
    pub const fn workgroup_bytes(&self, key_size: u32) -> u32 {
        let each = key_size.next_multiple_of(8) + self.tile() + 3;
        4 * self.queries() * each + 32 * self.threads
    }
}

/// What writes the text.
pub(super) struct TileText<'a> {
    pub(super) kernel: &'a AttentionKernel,
    pub(super) tiles: Tiles,
}

impl TileText<'_> {
    /// The kernel's text.
    pub(super) fn shader(&self) -> Shader {
        let Tiles { tokens, heads, threads, positions } = self.tiles;
        let number = |n: u32| n.to_string();
        let queries = self.tiles.queries();
        let kernel = self.kernel;
        let [key8, value8] = [kernel.key_size, kernel.value_size].map(|size| size.div_ceil(8));
        let holes = [
            ("queries", number(queries)),
            ("tokens", number(tokens)),
            ("threads", number(threads)),
            ("tile", number(self.tiles.tile())),
            ("parts", number(threads / value8)),
            ("query_vectors", number(2 * queries * key8)),
            ("weight_count", number(queries * self.tiles.tile())),
            ("part_vectors", number(2 * threads)),
            ("store", store_out(kernel.value_size)),
            ("count", kernel.count.clone()),
            ("scale", float(kernel.attention.scale)),
            ("oldest", kernel.oldest("positions[first]")),
            ("outputs", self.outputs_text()),
            ("scores", self.scores_text()),
            ("rescale", self.rescale_text()),
            ("accumulate", self.accumulate_text()),
            ("finish", self.finish_text()),
        ];
        let wgsl = kernel.fill(include_str!("tiles.wgsl"), &kernel.loads(), &holes);
        Shader {
            family: "attention",
            variant: format!(
                "{tokens} tokens x {heads} heads, {positions} positions a thread of {threads}"
            ),
            wgsl,
            workgroup: threads,
            workgroup_bytes: self.tiles.workgroup_bytes(kernel.key_size),
        }
    }

    fn each_query(&self, line: impl Fn(u32) -> String) -> String {
        (0..self.tiles.queries()).map(line).collect()
    }

    fn outputs_text(&self) -> String {
        self.each_query(|i| {
            format!("    var low_{i} = vec4<f32>();\n    var high_{i} = vec4<f32>();\n")
        })
    }

    fn scores_text(&self) -> String {
        let positions = self.tiles.positions;
        let mut text = String::new();
        for p in 0..positions {
            let _ = writeln!(text, "        let position_{p} = base + tid + {p}u * THREADS;");
            // Positions beyond the newest are scored like the newest, then masked.
            let _ = writeln!(
                text,
                "        let row_{p} = (cache_row(slot, min(position_{p}, newest)) * KV_HEADS + kv) * KEY_ROW;"
            );
            text.push_str(&self.each_query(|i| format!("        var score_{i}_{p} = 0.0;\n")));
        }
        text.push_str("        for (var c = 0u; c < KEY4 / 2u; c++) {\n");
        for p in 0..positions {
            let _ = writeln!(text, "            let key_{p} = load_key(row_{p}, c);");
        }
        text.push_str(&self.each_query(|i| {
            let mut lines = format!(
                "            let low_query_{i} = queries[{i}u * KEY4 + 2u * c];\n            \
                 let high_query_{i} = queries[{i}u * KEY4 + 2u * c + 1u];\n"
            );
            for p in 0..positions {
                let _ = writeln!(
                    lines,
                    "            score_{i}_{p} += dot(key_{p}.low, low_query_{i}) + dot(key_{p}.high, high_query_{i});"
                );
            }
            lines
        }));
        text.push_str("        }\n");
        for t in 0..self.tiles.tokens {
            let _ = writeln!(text, "        let at_{t} = positions[min(first + {t}u, end - 1u)];");
        }
        for p in 0..positions {
            text.push_str(&self.masks_text(p));
        }
        text
    }

    /// Stores the scores of position `p` of each thread, masked.
    fn masks_text(&self, p: u32) -> String {
        let mut text = String::new();
        for t in 0..self.tiles.tokens {
            let seen = self.kernel.sees(&format!("at_{t}"), &format!("position_{p}"));
            let _ = writeln!(text, "        let seen_{t}_{p} = {seen};");
        }
        text + &self.each_query(|i| {
            let (t, h) = (i / self.tiles.heads, i % self.tiles.heads);
            let score = self.kernel.biased(
                &format!("score_{i}_{p}"),
                &format!("head + {h}u"),
                &format!("at_{t}"),
                &format!("position_{p}"),
            );
            format!(
                "        weights[{i}u * TILE + tid + {p}u * THREADS] = select(LOWEST, {score}, seen_{t}_{p});\n"
            )
        })
    }

    fn rescale_text(&self) -> String {
        self.each_query(|i| {
            format!("        low_{i} *= factors[{i}];\n        high_{i} *= factors[{i}];\n")
        })
    }

    fn accumulate_text(&self) -> String {
        self.each_query(|i| {
            format!(
                "                let weight_{i} = weights[{i}u * TILE + i];\n                \
                 low_{i} += weight_{i} * value.low;\n                \
                 high_{i} += weight_{i} * value.high;\n"
            )
        })
    }

    fn finish_text(&self) -> String {
        self.each_query(|i| {
            let (t, h) = (i / self.tiles.heads, i % self.tiles.heads);
            let after = if i + 1 < self.tiles.queries() { "    workgroupBarrier();\n" } else { "" };
            format!(
                "    parts[2u * tid] = low_{i};\n    parts[2u * tid + 1u] = high_{i};\n    \
                 workgroupBarrier();\n    \
                 if (first + {t}u < count) {{\n        \
                 for (var j = tid; j < VALUE4; j += THREADS) {{\n            \
                 var total = vec4<f32>();\n            \
                 for (var k = 0u; k < PARTS; k++) {{ total += parts[k * VALUE4 + j]; }}\n            \
                 store_out((first + {t}u) * ALL_HEADS + head + {h}u, j, total / totals[{i}]);\n        }}\n    }}\n{after}"
            )
        })
    }
}
