//! The variant of a product that multiplies by cooperative matrices, for many rows of x.
//!
//! It applies where the device has square matrices of F16 with sums in F32, the columns are whole
//! steps of [`Matrices::depth`], x needs no statistics and no experts are chosen.

use super::{Product, segment_prefix};
use crate::formats::unit_value;
use crate::shader::declare;
use crate::template::fill;
use std::fmt::Write;

/// How a workgroup's tile is made of cooperative matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrices {
    /// Rows and columns of a matrix.
    pub size: u32,
    /// Subgroups along the rows of x and along those of the weights.
    pub subgroups: (u32, u32),
    /// Matrices of sums that each subgroup holds along the same.
    pub held: (u32, u32),
    /// Columns of one step.
    pub depth: u32,
}

impl Matrices {
    /// Rows of x of a workgroup.
    pub const fn tokens(&self) -> u32 {
        self.size * self.subgroups.0 * self.held.0
    }

    /// Rows of weights of a workgroup.
    pub const fn tile(&self) -> u32 {
        self.size * self.subgroups.1 * self.held.1
    }

    /// F16 elements from one row of a step to the next in workgroup memory.
    const fn stride(&self) -> u32 {
        self.depth + 8
    }

    /// Bytes of workgroup memory.
    pub const fn workgroup_bytes(&self) -> u32 {
        2 * self.stride() * (self.tokens() + self.tile()) + 4 * self.size * self.tile()
    }

    /// Whether each of `threads` threads has as much to read of a step as the others, in whole
    /// vectors of four.
    pub fn divides(&self, threads: u32) -> bool {
        let whole = |rows: u32| (rows * self.depth / 4).is_multiple_of(threads);
        let part = self.tile() * self.depth / threads;
        whole(self.tokens()) && whole(self.tile()) && part > 0 && self.depth.is_multiple_of(part)
    }
}

impl Product {
    /// The kernel's text.
    pub(super) fn matrix_text(&self, matrices: Matrices) -> String {
        let threads = self.shape.threads;
        debug_assert!(matrices.divides(threads) && self.prologue.statistics.is_empty());
        let number = |n: u32| n.to_string();
        fill(
            include_str!("matrix.wgsl"),
            &[
                ("bindings", &declare(&self.bindings)),
                ("rows", &number(matrices.tokens())),
                ("tile", &number(matrices.tile())),
                ("steps", &number(self.columns / matrices.depth)),
                ("stride", &number(matrices.stride())),
                ("band", &number(matrices.size)),
                ("x_halves", &number(matrices.tokens() * matrices.stride())),
                ("w_halves", &number(matrices.tile() * matrices.stride())),
                ("sums", &number(matrices.size * matrices.tile())),
                ("helpers", &self.snippets()),
                ("weight_rows", &self.rows_text()),
                ("functions", &format!("{}{}", self.prologue.functions, self.functions)),
                ("threads", &number(threads)),
                ("count", &self.count),
                ("places", &self.places_text(matrices)),
                ("aside", &self.matrix_aside_text(matrices)),
                ("first", &self.read_text(matrices, "0u", true)),
                ("store", &self.keep_text(matrices)),
                ("next", &self.read_text(matrices, "next", false)),
                ("multiply", &multiply_text(matrices)),
                ("subgroups", &number(matrices.subgroups.0 * matrices.subgroups.1)),
                ("bands", &self.bands_text(matrices)),
            ],
        )
    }

    /// Vectors of x, and vectors of weights, that a thread reads of a step.
    fn parts(&self, matrices: Matrices) -> (u32, u32) {
        let threads = self.shape.threads;
        (
            matrices.tokens() * matrices.depth / 4 / threads,
            matrices.tile() * matrices.depth / 4 / threads,
        )
    }

    /// Where a thread reads, and the sums.
    fn places_text(&self, matrices: Matrices) -> String {
        let (x_parts, w_parts) = self.parts(matrices);
        let (threads, vectors) = (self.shape.threads, matrices.depth / 4);
        let mut text = format!(
            "    let down = subgroup / {across}u;\n    let across = subgroup % {across}u;\n    \
             let x_row = tid / {vectors}u;\n    let x_at = tid % {vectors}u;\n",
            across = matrices.subgroups.1
        );
        for i in 0..x_parts {
            let _ = writeln!(
                text,
                "    let n_{i} = min(origin + x_row + {}u, count - 1u);",
                i * threads / vectors
            );
        }
        let _ = writeln!(
            text,
            "    let slot = tid / {per_row}u;\n    let w_at = tid % {per_row}u * {w_parts}u;\n    \
             let row = weight_row(tile, slot);",
            per_row = vectors / w_parts
        );
        if self.segments.len() > 1 {
            text.push_str("    let segment = weight_segment(tile, slot);\n");
        }
        let (size, (rows, columns)) = (matrices.size, matrices.held);
        for (i, j) in pairs(rows, columns) {
            let _ = writeln!(text, "    var sum_{i}_{j}: coop_mat{size}x{size}<f32, C>;");
        }
        text
    }

    /// What the first workgroup along the weights stores besides.
    fn matrix_aside_text(&self, matrices: Matrices) -> String {
        let mut text = String::new();
        for (index, vectors) in self.aside.iter().enumerate() {
            let _ = writeln!(
                text,
                "    if (tile == 0u) {{\n        \
                 for (var e = tid; e < {all}u; e += {threads}u) {{\n            \
                 aside_{index}(min(origin + e / {vectors}u, count - 1u), e % {vectors}u);\n        }}\n    }}",
                all = vectors * matrices.tokens(),
                threads = self.shape.threads,
            );
        }
        text
    }

    /// Reads a thread's part of step `step` of x and of the weights.
    fn read_text(&self, matrices: Matrices, step: &str, declare: bool) -> String {
        let (x_parts, w_parts) = self.parts(matrices);
        let vectors = matrices.depth / 4;
        let mut text = String::new();
        let var = if declare { "    var " } else { "        " };
        for i in 0..x_parts {
            let _ = writeln!(text, "{var}x_{i} = pre(n_{i}, {step} * {vectors}u + x_at);");
        }
        if declare {
            for u in 0..w_parts {
                let _ = writeln!(text, "    var w_{u}: vec4<f32>;");
            }
        }
        let several = self.segments.len() > 1;
        for index in 0..self.segments.len() {
            let body = self.weights_text(index, step, w_parts, vectors);
            let head = match (several, index) {
                (false, _) => "        {\n".to_string(),
                (true, 0) => "        if (segment == 0u) {\n".to_string(),
                (true, index) => format!(" else if (segment == {index}u) {{\n"),
            };
            let _ = write!(text, "{head}{body}        }}");
        }
        text.push('\n');
        text
    }

    /// Reads `parts` vectors of a row of segment `index`.
    fn weights_text(&self, index: usize, step: &str, parts: u32, vectors: u32) -> String {
        let (p, format) = (segment_prefix(index), self.segments[index]);
        let units = format.packing().chunk as u32 / 4;
        let chunks = self.columns / (4 * units);
        let mut text = format!("            let at = {step} * {vectors}u + w_at;\n");
        // Either a chunk has several threads' parts, or a part has several chunks.
        for first in (0..parts).step_by(units.min(parts) as usize) {
            let raw = format!("raw_{first}");
            let _ = writeln!(
                text,
                "            let {raw} = {p}load(row * {chunks}u + (at + {first}u) / {units}u);"
            );
            for u in first..first + units.min(parts) {
                let unit = match units > parts {
                    true => format!("at % {units}u + {u}u"),
                    false => format!("{}u", u - first),
                };
                let value = unit_value(format, &p, &raw, &unit);
                let _ = writeln!(text, "            w_{u} = {value};");
            }
        }
        text
    }

    /// Puts what a thread has read into workgroup memory.
    fn keep_text(&self, matrices: Matrices) -> String {
        let (x_parts, w_parts) = self.parts(matrices);
        let mut text = String::new();
        let mut four = |array: &str, at: String, value: String| {
            let _ = writeln!(text, "        {{\n            let half = vec4<f16>({value});");
            let _ = writeln!(text, "            let at = {at};");
            for (e, axis) in ["x", "y", "z", "w"].iter().enumerate() {
                let _ = writeln!(text, "            {array}[at + {e}u] = half.{axis};");
            }
            text.push_str("        }\n");
        };
        for i in 0..x_parts {
            let below = i * self.shape.threads / (matrices.depth / 4);
            four("xs", format!("(x_row + {below}u) * STRIDE + 4u * x_at"), format!("x_{i}"));
        }
        for u in 0..w_parts {
            four("ws", format!("slot * STRIDE + 4u * (w_at + {u}u)"), format!("w_{u}"));
        }
        text
    }

    /// Hands the sums to the epilogue, band by band.
    fn bands_text(&self, matrices: Matrices) -> String {
        let Matrices { size, subgroups, held, .. } = matrices;
        let mut text = String::new();
        for (who, i) in pairs(subgroups.0, held.0) {
            let band = who * held.0 + i;
            let _ = writeln!(
                text,
                "    if (broken) {{ for (var e = tid; e < {}u; e += {}u) {{ sums[e] = bitcast<f32>(0x7fc00000u | tid); }} }}\n    else if (down == {who}u) {{",
                size * matrices.tile(),
                self.shape.threads
            );
            for j in 0..held.1 {
                let _ = writeln!(
                    text,
                    "        coopStoreT(sum_{i}_{j}, &sums[(across * {}u + {j}u) * {size}u], TILE);",
                    held.1
                );
            }
            text.push_str("    }\n    workgroupBarrier();\n");
            text.push_str(&self.epilogue_text(size, &format!("origin + {}u", band * size)));
            text.push_str("    workgroupBarrier();\n");
        }
        text
    }
}

/// Multiplies one step.
fn multiply_text(matrices: Matrices) -> String {
    let Matrices { size, held: (rows, columns), depth, .. } = matrices;
    let mut text = String::new();
    for column in (0..depth).step_by(size as usize) {
        text.push_str("        {\n");
        for i in 0..rows {
            let _ = writeln!(
                text,
                "            let a_{i} = coopLoadT<coop_mat{size}x{size}<f16, A>>(&xs[(down * {rows}u + {i}u) * {size}u * STRIDE + {column}u], STRIDE);"
            );
        }
        for j in 0..columns {
            let _ = writeln!(
                text,
                "            let b_{j} = coopLoad<coop_mat{size}x{size}<f16, B>>(&ws[(across * {columns}u + {j}u) * {size}u * STRIDE + {column}u], STRIDE);"
            );
            for i in 0..rows {
                let _ = writeln!(
                    text,
                    "            sum_{i}_{j} = coopMultiplyAdd(a_{i}, b_{j}, sum_{i}_{j});"
                );
            }
        }
        text.push_str("        }\n");
    }
    text
}

/// All pairs of numbers below `rows` and `columns`.
fn pairs(rows: u32, columns: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..rows).flat_map(move |i| (0..columns).map(move |j| (i, j)))
}
