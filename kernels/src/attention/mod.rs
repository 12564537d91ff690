//! The attention family: queries against cached keys and values of their slot.
//!
//! Heads of multiples of 8 elements are read eight at a time, others element by element. Tokens that share a workgroup must be of one slot
//! at ascending positions, which holds for prompt steps; decode steps take one token a workgroup.

use crate::row_program::float;
use crate::shader::{Binding, Shader, declare};
use crate::template::fill;
use quarrel_ir::graph::{Attention, StateFormat};
use quarrel_ir::plan::Access;
use std::fmt::Write;

/// Everything an attention kernel is made of.
#[derive(Clone, Debug)]
pub struct AttentionKernel {
    /// Scale, window and soft-cap.
    pub attention: Attention,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Elements of a query or key head; an even number where keys are stored in 16 bits.
    pub key_size: u32,
    /// Elements of a value head; an even number where values are stored in 16 bits.
    pub value_size: u32,
    /// Positions of a slot's state.
    pub context: u32,
    /// How keys are stored.
    pub key_format: StateFormat,
    /// How values are stored.
    pub value_format: StateFormat,
    /// WGSL expression for the number of tokens.
    pub count: String,
    /// Bindings besides the kernel's own, which `count` may use.
    pub extra: Vec<Binding>,
    /// Tile sizes.
    pub shape: Shape,
}

/// Tile sizes of an attention kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tokens of a workgroup.
    pub tokens: u32,
    /// Query heads of a workgroup; divides the heads that share a key head.
    pub heads: u32,
    /// Threads of a workgroup, at least an eighth of `value_size`.
    pub threads: u32,
    /// Positions that each thread scores at once: each query is read once for all of them.
    pub positions: u32,
}

impl Shape {
    /// Positions of a tile.
    pub const fn tile(&self) -> u32 {
        self.threads * self.positions
    }
}

impl AttentionKernel {
    /// The kernel's bindings: `q`, `keys`, `values`, `slots`, `positions`, `out`, then the extra
    /// ones.
    pub fn bindings(&self) -> Vec<Binding> {
        let state = |format, size| match (format, in_eights(size)) {
            (StateFormat::F16, true) => "vec4<u32>",
            (StateFormat::F16, false) => "u32",
            (StateFormat::F32, _) => floats(size),
        };
        let read =
            |name: &str, element| Binding { name: name.into(), element, access: Access::Read };
        let mut all = vec![
            read("q", floats(self.key_size)),
            read("keys", state(self.key_format, self.key_size)),
            read("values", state(self.value_format, self.value_size)),
            read("slots", "u32"),
            read("positions", "u32"),
            Binding { name: "out".into(), element: floats(self.value_size), access: Access::Write },
        ];
        all.extend(self.extra.iter().cloned());
        all
    }

    fn queries(&self) -> u32 {
        self.shape.tokens * self.shape.heads
    }

    /// Bytes of workgroup memory.
    pub fn workgroup_bytes(&self) -> u32 {
        let queries = self.queries();
        4 * (queries * self.key_size.next_multiple_of(8)
            + queries * self.shape.tile()
            + 3 * queries)
            + 32 * self.shape.threads
    }

    /// The kernel's text.
    pub fn shader(&self) -> Shader {
        let Shape { tokens, heads, threads, positions } = self.shape;
        let number = |n: u32| n.to_string();
        let queries = self.queries();
        let oldest = match self.attention.window {
            None => "0u".to_string(),
            Some(window) => {
                format!("positions[first] - min(positions[first], {}u)", window.max(1) - 1)
            }
        };
        let (key_size, value_size) = (self.key_size, self.value_size);
        let [key8, value8] = [key_size, value_size].map(|size| size.div_ceil(8));
        let loads = load_function("load_key", "keys", self.key_format, key_size)
            + &load_function("load_value", "values", self.value_format, value_size)
            + &load_query(key_size)
            + &store_out(value_size)
            + &self.slope_text();
        let wgsl = fill(
            include_str!("attention.wgsl"),
            &[
                ("bindings", &declare(&self.bindings())),
                ("queries", &number(queries)),
                ("tokens", &number(tokens)),
                ("heads", &number(heads)),
                ("all_heads", &number(self.heads)),
                ("share", &number(self.heads / self.kv_heads)),
                ("kv_heads", &number(self.kv_heads)),
                ("key4", &number(2 * key8)),
                ("value4", &number(2 * value8)),
                ("key_row", &number(row_stride(key_size))),
                ("value_row", &number(row_stride(value_size))),
                ("threads", &number(threads)),
                ("tile", &number(self.shape.tile())),
                ("parts", &number(threads / value8)),
                ("cache_row", &cache_row(CacheRows { rows: self.context, ring: false })),
                ("query_vectors", &number(2 * queries * key8)),
                ("weight_count", &number(queries * self.shape.tile())),
                ("part_vectors", &number(2 * threads)),
                ("loads", &loads),
                ("count", &self.count),
                ("scale", &float(self.attention.scale)),
                ("oldest", &oldest),
                ("outputs", &self.outputs_text()),
                ("scores", &self.scores_text()),
                ("rescale", &self.rescale_text()),
                ("accumulate", &self.accumulate_text()),
                ("finish", &self.finish_text()),
            ],
        );
        Shader {
            family: "attention",
            variant: format!(
                "{tokens} tokens x {heads} heads, {positions} positions a thread of {threads}"
            ),
            wgsl,
            workgroup: threads,
            workgroup_bytes: self.workgroup_bytes(),
        }
    }

    /// The function of a head's slope under linear position biases; see
    /// [`alibi_slope`](quarrel_ir::graph::alibi_slope).
    fn slope_text(&self) -> String {
        let Some(bias) = self.attention.alibi else { return String::new() };
        let n = 1u32 << self.heads.max(1).ilog2();
        format!(
            "fn slope(head: u32) -> f32 {{\n    \
             let first = f32(head + 1u) / {n}.0;\n    let rest = f32(2u * max(head, {n}u) + 1u - {m}u) / {m}.0;\n    \
             return exp2(-{bias} * select(rest, first, head < {n}u));\n}}\n",
            m = 2 * n,
            bias = float(bias)
        )
    }

    fn each_query(&self, line: impl Fn(u32) -> String) -> String {
        (0..self.queries()).map(line).collect()
    }

    fn outputs_text(&self) -> String {
        self.each_query(|i| {
            format!("    var low_{i} = vec4<f32>();\n    var high_{i} = vec4<f32>();\n")
        })
    }

    fn scores_text(&self) -> String {
        let positions = self.shape.positions;
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
        for t in 0..self.shape.tokens {
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
        for t in 0..self.shape.tokens {
            let window = match self.attention.window {
                None => String::new(),
                Some(window) => format!(" && at_{t} - position_{p} < {window}u"),
            };
            let _ = writeln!(text, "        let seen_{t}_{p} = position_{p} <= at_{t}{window};");
        }
        text + &self.each_query(|i| {
            let score = match self.attention.softcap {
                None => format!("score_{i}_{p}"),
                // Beyond 15 nothing changes, but Metal's fast tanh overflows.
                Some(cap) => format!(
                    "{0} * tanh(clamp(score_{i}_{p} / {0}, -15.0, 15.0))",
                    float(cap)
                ),
            };
            let t = i / self.shape.heads;
            let score = match self.attention.alibi {
                None => score,
                Some(_) => {
                    let h = i % self.shape.heads;
                    // Masked positions may be beyond the row's own.
                    format!("{score} - slope(head + {h}u) * (f32(at_{t}) - f32(position_{p}))")
                }
            };
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
            let (t, h) = (i / self.shape.heads, i % self.shape.heads);
            let after = if i + 1 < self.queries() { "    workgroupBarrier();\n" } else { "" };
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

/// Where a slot's rows lie in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheRows {
    /// Rows of each slot.
    pub rows: u32,
    /// Whether positions beyond them begin again at the first.
    pub ring: bool,
}

impl CacheRows {
    /// The name of the function that [`cache_row`] defines.
    pub fn name(&self) -> String {
        if self.ring { format!("ring_row_{}", self.rows) } else { "cache_row".into() }
    }
}

/// The function of slot and position that finds a row of a state: the only place that knows where
/// rows lie.
pub fn cache_row(rows: CacheRows) -> String {
    let (name, each) = (rows.name(), rows.rows);
    let position = if rows.ring { format!("position % {each}u") } else { "position".into() };
    format!(
        "fn {name}(slot: u32, position: u32) -> u32 {{ return slot * {each}u + {position}; }}\n"
    )
}

/// Whether heads of `size` elements are read eight elements at a time.
const fn in_eights(size: u32) -> bool {
    size.is_multiple_of(8)
}

/// The type under which floats of heads of `size` elements are bound.
const fn floats(size: u32) -> &'static str {
    if in_eights(size) { "vec4<f32>" } else { "f32" }
}

/// From one head of a state to the next, in what [`load_function`] counts.
const fn row_stride(size: u32) -> u32 {
    if in_eights(size) { size / 8 } else { size }
}

/// A function that loads chunk `c` of eight elements of a state's head. Beyond the end of a head are
/// elements of its own again: queries have zeros there, and such sums of values are not stored.
fn load_function(name: &str, binding: &str, format: StateFormat, size: u32) -> String {
    let words = |words: [String; 4]| {
        let [x, y, z, w] = words.map(|word| format!("unpack2x16float({word})"));
        format!("Eight(vec4({x}, {y}), vec4({z}, {w}))")
    };
    let (last, pair) = (size.saturating_sub(1), size.saturating_sub(2));
    let body = match (format, in_eights(size)) {
        (StateFormat::F16, true) => format!(
            "let w = {binding}[head + c];\n    return {};",
            words(["w.x", "w.y", "w.z", "w.w"].map(String::from))
        ),
        (StateFormat::F32, true) => {
            format!("return Eight({binding}[2u * (head + c)], {binding}[2u * (head + c) + 1u]);")
        }
        (StateFormat::F16, false) => {
            let word = |i| format!("{binding}[(head + min(8u * c + {}u, {pair}u)) / 2u]", 2 * i);
            format!("return {};", words([0, 1, 2, 3].map(word)))
        }
        (StateFormat::F32, false) => {
            let element = |i| format!("{binding}[head + min(8u * c + {i}u, {last}u)]");
            let [low, high] = [[0, 1, 2, 3], [4, 5, 6, 7]].map(|four| four.map(element).join(", "));
            format!("return Eight(vec4({low}), vec4({high}));")
        }
    };
    format!("fn {name}(head: u32, c: u32) -> Eight {{\n    {body}\n}}\n")
}

/// The function that loads four elements of a query head, zeros beyond its end.
fn load_query(size: u32) -> String {
    let body = match in_eights(size) {
        true => "q[head * KEY4 + j]".to_string(),
        false => {
            let last = size.saturating_sub(1);
            let element = |i| {
                let at = format!("4u * j + {i}u");
                format!("select(0.0, q[head * {size}u + min({at}, {last}u)], {at} < {size}u)")
            };
            format!("vec4({})", [0, 1, 2, 3].map(element).join(", "))
        }
    };
    format!("fn load_query(head: u32, j: u32) -> vec4<f32> {{ return {body}; }}\n")
}

/// The function that stores four elements of a head's result, those of them that it has.
fn store_out(size: u32) -> String {
    let body = match in_eights(size) {
        true => "out[head * VALUE4 + j] = four;".to_string(),
        false => format!(
            "for (var i = 0u; i < 4u; i++) {{ if (4u * j + i < {size}u) {{ out[head * {size}u + 4u * j + i] = four[i]; }} }}"
        ),
    };
    format!("fn store_out(head: u32, j: u32, four: vec4<f32>) {{ {body} }}\n")
}
