//! Attention with a token for each thread: the text of kernels for prompts on processors that run
//! kernels in software.
//!
//! There what lanes share through workgroup memory costs more than it saves: a load is as many as the
//! subgroup has lanes, wherever it is from. So each thread has whole queries and whole sums in
//! registers, written out, and one load of a key serves all of them.

use super::{AttentionKernel, store_out};
use crate::row_program::float;
use crate::shader::Shader;
use std::fmt::Write;

/// Sizes of a kernel with a token for each thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own {
    /// Query heads of a thread; divides the heads that share a key head.
    pub heads: u32,
    /// Threads of a workgroup, which are its tokens.
    pub threads: u32,
}

/// What writes the text.
pub(super) struct OwnText<'a> {
    pub(super) kernel: &'a AttentionKernel,
    pub(super) own: Own,
}

impl OwnText<'_> {
    /// The kernel's text.
    pub(super) fn shader(&self) -> Shader {
        let Own { heads, threads } = self.own;
        let kernel = self.kernel;
        let holes = [
            ("threads", threads.to_string()),
            ("store", store_out(kernel.value_size)),
            ("count", kernel.count.clone()),
            ("queries", self.queries_text()),
            ("oldest", kernel.oldest("positions[first]")),
            ("seen", kernel.sees("at", "position")),
            ("scores", self.scores_text()),
            ("weights", self.weights_text()),
            ("sums", self.sums_text()),
            ("finish", self.finish_text()),
        ];
        let wgsl = kernel.fill(include_str!("own.wgsl"), &kernel.loads(), &holes);
        Shader {
            family: "attention",
            variant: format!("a token x {heads} heads a thread of {threads}"),
            wgsl,
            workgroup: threads,
            workgroup_bytes: 0,
        }
    }

    /// Chunks of eight elements of a key head, and of a value head.
    fn chunks(&self) -> (u32, u32) {
        (self.kernel.key_size.div_ceil(8), self.kernel.value_size.div_ceil(8))
    }

    fn each_head(&self, line: impl Fn(u32) -> String) -> String {
        (0..self.own.heads).map(line).collect()
    }

    fn queries_text(&self) -> String {
        let scale = float(self.kernel.attention.scale);
        let (keys, values) = self.chunks();
        self.each_head(|h| {
            let mut text = format!("    var highest_{h} = LOWEST;\n    var total_{h} = 0.0;\n");
            for j in 0..2 * keys {
                let query = format!("load_query(n * ALL_HEADS + head + {h}u, {j}u)");
                let _ = writeln!(text, "    let query_{h}_{j} = {query} * {scale};");
            }
            for j in 0..2 * values {
                let _ = writeln!(text, "    var sum_{h}_{j} = vec4<f32>();");
            }
            text
        })
    }

    fn scores_text(&self) -> String {
        let mut text = self.each_head(|h| format!("        var score_{h} = 0.0;\n"));
        for c in 0..self.chunks().0 {
            let _ = writeln!(text, "        let key_{c} = load_key(row * KEY_ROW, {c}u);");
            text += &self.each_head(|h| {
                let (low, high) = (2 * c, 2 * c + 1);
                format!(
                    "        score_{h} += dot(key_{c}.low, query_{h}_{low}) + dot(key_{c}.high, query_{h}_{high});\n"
                )
            });
        }
        text += &self.each_head(|h| {
            let head = format!("head + {h}u");
            let score = self.kernel.biased(&format!("score_{h}"), &head, "at", "position");
            format!("        let scored_{h} = {score};\n")
        });
        text
    }

    fn weights_text(&self) -> String {
        self.each_head(|h| {
            format!(
                "        let now_{h} = max(highest_{h}, select(LOWEST, scored_{h}, seen));\n        \
                 let factor_{h} = exp(highest_{h} - now_{h});\n        \
                 let weight_{h} = select(0.0, exp(scored_{h} - now_{h}), seen);\n        \
                 highest_{h} = now_{h};\n        \
                 total_{h} = total_{h} * factor_{h} + weight_{h};\n"
            )
        })
    }

    fn sums_text(&self) -> String {
        let mut text = String::new();
        for c in 0..self.chunks().1 {
            let _ = writeln!(text, "        let value_{c} = load_value(row * VALUE_ROW, {c}u);");
            text += &self.each_head(|h| {
                let (low, high) = (2 * c, 2 * c + 1);
                format!(
                    "        sum_{h}_{low} = sum_{h}_{low} * factor_{h} + weight_{h} * value_{c}.low;\n        \
                     sum_{h}_{high} = sum_{h}_{high} * factor_{h} + weight_{h} * value_{c}.high;\n"
                )
            });
        }
        text
    }

    fn finish_text(&self) -> String {
        let values = self.chunks().1;
        self.each_head(|h| {
            let store = |j| {
                format!(
                    "        store_out(n * ALL_HEADS + head + {h}u, {j}u, sum_{h}_{j} / total_{h});\n"
                )
            };
            (0..2 * values).map(store).collect()
        })
    }
}
