//! Attention of one token at a time, four lanes to a position: the text of kernels for GPUs.

use super::AttentionKernel;
use crate::row_program::float;
use crate::shader::Shader;
use std::fmt::Write;

/// Lanes of the subgroups that the workgroup memory is laid out for; smaller ones take turns.
const LANES: u32 = 32;

/// Sizes of a kernel in quads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quads {
    /// Query heads of a workgroup; divides the heads that share a key head.
    pub heads: u32,
    /// Threads of a workgroup: a multiple of any subgroup's, and at least `heads` times a fourth of
    /// the elements of a value head.
    pub threads: u32,
    /// Positions that each quad takes in a step.
    pub positions: u32,
    /// Workgroups that share the positions of a token and head.
    pub splits: u32,
}

impl Quads {
    /// Positions of a step.
    pub const fn step(&self) -> u32 {
        self.threads / 4 * self.positions
    }

    const fn kept(&self) -> u32 {
        self.threads.div_ceil(LANES)
    }

    /// Bytes of workgroup memory for value heads of this size.
    pub const fn workgroup_bytes(&self, value_size: u32) -> u32 {
        self.kept() * self.heads * (8 + 4 * value_size)
    }
}

/// What writes the text.
pub(super) struct QuadText<'a> {
    pub(super) kernel: &'a AttentionKernel,
    pub(super) quads: Quads,
}

impl QuadText<'_> {
    /// The kernel's text.
    pub(super) fn shader(&self) -> Shader {
        let Quads { heads, threads, positions, splits } = self.quads;
        let value_size = self.kernel.value_size;
        debug_assert!(heads * value_size / 4 <= threads, "a thread has one result at most");
        let number = |n: u32| n.to_string();
        let kept = self.quads.kept();
        let holes = [
            ("quads", number(threads / 4)),
            ("step", number(self.quads.step())),
            ("splits", number(splits)),
            ("kept", number(kept)),
            ("kept_heads", number(kept * heads)),
            ("kept_vectors", number(kept * heads * value_size / 4)),
            ("threads", number(threads)),
            ("oldest", self.kernel.oldest("newest")),
            ("queries", self.queries_text()),
            ("positions", self.steps_text()),
            ("meet", self.meet_text()),
            ("keep", self.keep_text()),
            ("store", self.store_text()),
        ];
        let split = if splits > 1 { format!(", {splits} splits") } else { String::new() };
        Shader {
            family: "attention",
            variant: format!(
                "{heads} heads, {positions} positions a quad of {threads} threads{split}"
            ),
            wgsl: self.kernel.fill(include_str!("quads.wgsl"), &self.kernel.loads(), &holes),
            workgroup: threads,
            workgroup_bytes: self.quads.workgroup_bytes(value_size),
        }
    }

    /// Chunks of eight elements that a lane has of a head, the last of which may be beyond its end.
    fn chunks(size: u32) -> u32 {
        size.div_ceil(32)
    }

    fn key_chunks(&self) -> u32 {
        Self::chunks(self.kernel.key_size)
    }

    fn value_chunks(&self) -> u32 {
        Self::chunks(self.kernel.value_size)
    }

    /// Lines for each head of the workgroup and each chunk of the values.
    fn each_sum(&self, line: impl Fn(u32, u32) -> String) -> String {
        let chunks = self.value_chunks();
        let heads = 0..self.quads.heads;
        heads.flat_map(|h| (0..chunks).map(move |i| (h, i))).map(|(h, i)| line(h, i)).collect()
    }

    /// Names the chunks of a lane, loads its part of the queries and starts its sums.
    fn queries_text(&self) -> String {
        let mut text = String::new();
        for (name, size) in [("key", self.kernel.key_size), ("value", self.kernel.value_size)] {
            for i in 0..Self::chunks(size) {
                // Beyond the end of a head its last chunk is read again.
                let _ = writeln!(
                    text,
                    "    let {name}_chunk_{i} = min(quarter + {}u, {}u);",
                    4 * i,
                    size / 8 - 1
                );
            }
        }
        let scale = float(self.kernel.attention.scale);
        for i in 0..self.key_chunks() {
            let (first, all) = (4 * i, self.kernel.key_size / 8);
            let scale = match first + 4 <= all {
                true => scale.clone(),
                false => format!("select(0.0, {scale}, quarter + {first}u < {all}u)"),
            };
            let _ = writeln!(text, "    let scale_{i} = {scale};");
            for h in 0..self.quads.heads {
                for (half, more) in [("low", 0), ("high", 1)] {
                    let _ = writeln!(
                        text,
                        "    let {half}_query_{h}_{i} = load_query(n * ALL_HEADS + head + {h}u, \
                         2u * key_chunk_{i} + {more}u) * scale_{i};"
                    );
                }
            }
        }
        for h in 0..self.quads.heads {
            let _ = writeln!(text, "    var highest_{h} = LOWEST;\n    var total_{h} = 0.0;");
        }
        text + &self.each_sum(|h, i| {
            format!("    var low_{h}_{i} = vec4<f32>();\n    var high_{h}_{i} = vec4<f32>();\n")
        })
    }

    /// A step of as many positions as are left, up to a whole one: few are not read several times.
    fn steps_text(&self) -> String {
        let mut text = String::from("        ");
        for positions in (0..).map(|i| 1 << i).take_while(|n| *n < self.quads.positions) {
            let body = self.positions_text(positions);
            let _ =
                write!(text, "if (end - base <= {positions}u * QUADS) {{\n{body}        }} else ");
        }
        let body = self.positions_text(self.quads.positions);
        text + &format!("{{\n{body}        }}")
    }

    /// A step of `positions` for each quad: loads first, all of them, then scores and sums.
    fn positions_text(&self, positions: u32) -> String {
        let mut text = String::new();
        for p in 0..positions {
            // Positions beyond the last are read like the last, and not counted.
            let _ = writeln!(
                text,
                "        let position_{p} = base + quad + {p}u * QUADS;\n        \
                 let seen_{p} = position_{p} < end;\n        \
                 let row_{p} = cache_row(slot, min(position_{p}, end - 1u)) * KV_HEADS + kv;"
            );
        }
        let loads = [("key", "KEY", self.key_chunks()), ("value", "VALUE", self.value_chunks())];
        for (name, constant, chunks) in loads {
            for (p, i) in (0..positions).flat_map(|p| (0..chunks).map(move |i| (p, i))) {
                let _ = writeln!(
                    text,
                    "        let {name}_{p}_{i} = load_{name}(row_{p} * {constant}_ROW, {name}_chunk_{i});"
                );
            }
        }
        for h in 0..self.quads.heads {
            (0..positions).for_each(|p| text.push_str(&self.score_text(h, p)));
            text.push_str(&self.weights_text(h, positions));
        }
        text
    }

    /// The score of position `p` of each quad for head `h`.
    fn score_text(&self, h: u32, p: u32) -> String {
        let terms: Vec<String> = (0..self.key_chunks())
            .map(|i| {
                format!(
                    "dot(key_{p}_{i}.low, low_query_{h}_{i}) + dot(key_{p}_{i}.high, high_query_{h}_{i})"
                )
            })
            .collect();
        let dot = format!("dot_{h}_{p}");
        let (head, position) = (format!("head + {h}u"), format!("position_{p}"));
        let score = self.kernel.biased(&dot, &head, "newest", &position);
        format!(
            "        var {dot} = {};\n        {dot} += subgroupShuffleXor({dot}, 1u);\n        \
             {dot} += subgroupShuffleXor({dot}, 2u);\n        \
             let score_{h}_{p} = select(LOWEST, {score}, seen_{p});\n",
            terms.join(" + ")
        )
    }

    /// Turns the scores of head `h` into weights and adds the values.
    fn weights_text(&self, h: u32, positions: u32) -> String {
        let highest = (0..positions)
            .fold(format!("highest_{h}"), |most, p| format!("max({most}, score_{h}_{p})"));
        let mut text = format!(
            "        let now_{h} = {highest};\n        \
             let factor_{h} = exp(highest_{h} - now_{h});\n        highest_{h} = now_{h};\n"
        );
        let sum = |start: String, term: &dyn Fn(u32) -> String| {
            (0..positions).fold(start, |sum, p| format!("{sum} + {}", term(p)))
        };
        for p in 0..positions {
            let _ = writeln!(
                text,
                "        let weight_{h}_{p} = select(0.0, exp(score_{h}_{p} - now_{h}), seen_{p});"
            );
        }
        let total = sum(format!("total_{h} * factor_{h}"), &|p| format!("weight_{h}_{p}"));
        let _ = writeln!(text, "        total_{h} = {total};");
        for i in 0..self.value_chunks() {
            for half in ["low", "high"] {
                let sum = sum(format!("{half}_{h}_{i} * factor_{h}"), &|p| {
                    format!("weight_{h}_{p} * value_{p}_{i}.{half}")
                });
                let _ = writeln!(text, "        {half}_{h}_{i} = {sum};");
            }
        }
        text
    }

    /// Adds up the quads of a subgroup.
    fn meet_text(&self) -> String {
        let mut text = String::new();
        for h in 0..self.quads.heads {
            let _ = writeln!(
                text,
                "    let most_{h} = subgroupMax(highest_{h});\n    \
                 let rest_{h} = exp(highest_{h} - most_{h});\n    \
                 total_{h} = subgroupAdd(select(0.0, total_{h} * rest_{h}, quarter == 0u));"
            );
        }
        text += &self.each_sum(|h, i| {
            format!("    low_{h}_{i} *= rest_{h};\n    high_{h}_{i} *= rest_{h};\n")
        });
        text += "    for (var other = 4u; other < lanes; other *= 2u) {\n";
        text += &self.each_sum(|h, i| {
            ["low", "high"]
                .map(|half| {
                    format!(
                        "        {half}_{h}_{i} += subgroupShuffleXor({half}_{h}_{i}, other);\n"
                    )
                })
                .concat()
        });
        text + "    }"
    }

    /// Puts what a subgroup has into workgroup memory.
    fn keep_text(&self) -> String {
        let mut text = String::from("            if (lane == 0u) {\n");
        for h in 0..self.quads.heads {
            let _ = writeln!(
                text,
                "                maxima[at * HEADS + {h}u] = most_{h};\n                \
                 totals[at * HEADS + {h}u] = total_{h};"
            );
        }
        text += "            }\n";
        let all = self.kernel.value_size / 8;
        text + &self.each_sum(|h, i| {
            let place = format!("at * OUTPUTS + {h}u * VALUE4 + 2u * value_chunk_{i}");
            let stores = format!("sums[{place}] = low_{h}_{i}; sums[{place} + 1u] = high_{h}_{i};");
            match 4 * i + 4 <= all {
                true => format!("            {stores}\n"),
                false => {
                    format!("            if (quarter + {}u < {all}u) {{ {stores} }}\n", 4 * i)
                }
            }
        })
    }

    /// Stores the head's result, or the partials of this workgroup: see [`Split`](super::Split).
    fn store_text(&self) -> String {
        let row = "        let row = n * ALL_HEADS + head + own;\n";
        let stores = match self.kernel.split() {
            None => "        out[row * VALUE4 + j] = sum / total;".to_string(),
            Some(_) => "        let first = (row * SPLITS + group.z) * (VALUE4 + 1u);\n        \
                 out[first + j] = sum;\n        \
                 let used = f32((newest - oldest + share) / share);\n        \
                 if (j == 0u) { out[first + VALUE4] = vec4(highest, total, used, 0.0); }"
                .to_string(),
        };
        format!("{row}{stores}")
    }
}
