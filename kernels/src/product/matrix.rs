//! The variant of a product that multiplies by cooperative matrices, for many rows of x.
//!
//! It applies where the device has square matrices of F16 with sums in F32, the columns are whole
//! steps of [`Matrices::depth`], x needs no statistics, and rows that have chosen experts are grouped.

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
    /// Steps that workgroup memory holds at once: one, or two, so that one can be stored while
    /// another is multiplied.
    pub buffers: u32,
    /// Steps that each thread reads ahead into registers: one or two.
    pub ahead: u32,
    /// Workgroups that share the columns.
    pub shares: u32,
    /// Whether workgroup memory is declared in vectors of four, which matrices are loaded from on
    /// Vulkan but not on Metal.
    pub vectors: bool,
    /// Whether workgroups that take the same weights follow each other, so that large weights come
    /// from memory once; x, which is smaller, is in the caches.
    pub weights_once: bool,
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
        2 * self.buffers * self.stride() * (self.tokens() + self.tile())
            + 4 * self.size * self.tile()
    }

    /// Whether each of `threads` threads has as much to read of a step as the others, in whole
    /// vectors of four.
    pub fn divides(&self, threads: u32) -> bool {
        let whole = |rows: u32| (rows * self.depth / 4).is_multiple_of(threads);
        let part = self.tile() * self.depth / threads;
        let rows = self.depth.is_multiple_of(part.max(1)) || part.is_multiple_of(self.depth);
        // Those of the threads that read a row of x are neighbours.
        let neighbours = threads.is_multiple_of(self.depth / 4);
        whole(self.tokens()) && whole(self.tile()) && part > 0 && rows && neighbours
    }

    /// Elements of a vector of four as workgroup memory is declared.
    const fn unit(&self) -> u32 {
        if self.vectors { 1 } else { 4 }
    }
}

/// What of a step's weights a thread reads.
#[derive(Clone, Copy)]
struct WeightParts {
    /// Vectors of four that lie together.
    together: u32,
    /// Rows in which it reads so many.
    rows: u32,
}

impl Product {
    /// The kernel's text.
    pub(super) fn matrix_text(&self, matrices: Matrices) -> String {
        let threads = self.shape.threads;
        debug_assert!(matrices.divides(threads) && self.prologue.statistics.is_empty());
        let round = matrices.depth * matrices.ahead * matrices.shares;
        debug_assert!(self.columns.is_multiple_of(round), "whole rounds");
        let number = |n: u32| n.to_string();
        // Of rows of a step in workgroup memory.
        let elements = |rows: u32| rows * matrices.stride() / 4 * matrices.unit();
        let (tile_id, rows_id) = match matrices.weights_once {
            true => ("group.y", "group.x"),
            false => ("group.x", "group.y"),
        };
        let (own, share) = match matrices.shares {
            1 => ("", ""),
            _ => ("var<private> own_share: u32;\n", "    own_share = group.z;\n"),
        };
        fill(
            include_str!("matrix.wgsl"),
            &[
                ("bindings", &declare(&self.bindings)),
                ("rows", &number(matrices.tokens())),
                ("tile", &number(matrices.tile())),
                ("steps", &number(self.columns / matrices.depth / matrices.shares)),
                ("stride", &number(elements(1))),
                ("band", &number(matrices.size)),
                ("halves", if matrices.vectors { "vec4<f16>" } else { "f16" }),
                ("x_step", &number(elements(matrices.tokens()))),
                ("w_step", &number(elements(matrices.tile()))),
                ("x_halves", &number(matrices.buffers * elements(matrices.tokens()))),
                ("w_halves", &number(matrices.buffers * elements(matrices.tile()))),
                ("sums", &number(matrices.size * matrices.tile())),
                ("helpers", &(self.expert_helpers() + &self.snippets())),
                ("weight_rows", &self.rows_text()),
                ("functions", &format!("{own}{}{}", self.prologue.functions, self.functions)),
                ("threads", &number(threads)),
                ("count", &self.count_text(rows_id)),
                ("share", share),
                ("tile_id", tile_id),
                ("origin", &self.origin_text(rows_id, "ROWS")),
                ("take_tile", &self.take_tile(rows_id)),
                ("places", &self.places_text(matrices)),
                ("aside", &self.matrix_aside_text(matrices)),
                ("first", &self.first_text(matrices)),
                ("ahead", &number(matrices.ahead)),
                ("phases", &self.phases_text(matrices)),
                ("subgroups", &number(matrices.subgroups.0 * matrices.subgroups.1)),
                ("bands", &self.bands_text(matrices)),
            ],
        )
    }

    /// Vectors of x that a thread reads of a step.
    fn x_parts(&self, matrices: Matrices) -> u32 {
        matrices.tokens() * matrices.depth / 4 / self.shape.threads
    }

    /// The weights that a thread reads of a step: chunks of one row, so that neighbours read
    /// neighbouring chunks, and as many rows as there is left to read.
    fn w_parts(&self, matrices: Matrices) -> WeightParts {
        let all = matrices.tile() * matrices.depth / 4 / self.shape.threads;
        let chunk = self.segments.iter().map(|format| format.packing().chunk as u32 / 4).max();
        let vectors = matrices.depth / 4;
        let fits = |n: &u32| {
            all.is_multiple_of(*n)
                && vectors.is_multiple_of(*n)
                && self.shape.threads.is_multiple_of(vectors / n)
        };
        let most = all.min(vectors);
        // A chunk, or the next larger number that divides what there is.
        let together = (chunk.unwrap_or(1).min(most)..=most).find(fits).unwrap_or(1);
        WeightParts { together, rows: all / together }
    }

    /// Where a thread reads, and the sums.
    fn places_text(&self, matrices: Matrices) -> String {
        let (x_parts, w_parts) = (self.x_parts(matrices), self.w_parts(matrices));
        let (threads, vectors) = (self.shape.threads, matrices.depth / 4);
        let mut text = format!(
            "    let down = subgroup / {across}u;\n    let across = subgroup % {across}u;\n    \
             let x_row = tid / {vectors}u;\n    let x_at = tid % {vectors}u;\n",
            across = matrices.subgroups.1
        );
        for i in 0..x_parts {
            let at = format!("min(origin + x_row + {}u, count - 1u)", i * threads / vectors);
            let _ = writeln!(text, "    let n_{i} = {};", self.row(&at));
        }
        let per_row = vectors / w_parts.together;
        let _ = writeln!(text, "    let w_at = tid % {per_row}u * {}u;", w_parts.together);
        for r in 0..w_parts.rows {
            let _ = writeln!(
                text,
                "    let slot_{r} = tid / {per_row}u + {}u;\n    \
                 let row_{r} = weight_row(tile, slot_{r});",
                r * threads / per_row
            );
            if self.segments.len() > 1 {
                let _ = writeln!(text, "    let segment_{r} = weight_segment(tile, slot_{r});");
            }
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

    /// Declares what a thread reads ahead, reads the first steps, and stores the first one.
    fn first_text(&self, matrices: Matrices) -> String {
        let w_parts = self.w_parts(matrices);
        let mut text = String::new();
        for set in 0..matrices.ahead {
            for i in 0..self.x_parts(matrices) {
                let scalar = if self.halves { "f16" } else { "f32" };
                let _ = writeln!(text, "    var x_{set}_{i}: vec4<{scalar}>;");
            }
            for owner in self.owners() {
                let chunks = 0..self.chunks_read(owner, w_parts);
                for (r, c) in chunks.flat_map(|c| (0..w_parts.rows).map(move |r| (r, c))) {
                    let prefix = segment_prefix(owner);
                    let _ = writeln!(text, "    var raw_{set}_{owner}_{r}_{c}: {prefix}raw;");
                }
            }
            text += &self.read_text(matrices, &format!("{set}u"), set);
        }
        text + &self.keep_text(matrices, "0u", "0u", 0)
    }

    /// The steps of a round, of which there are as many as are read ahead.
    fn phases_text(&self, matrices: Matrices) -> String {
        let ahead = matrices.ahead;
        let mut text = String::new();
        for phase in 0..ahead {
            let (from, into) = match (matrices.buffers, ahead) {
                (1, _) => ("0u".to_string(), "0u".to_string()),
                (_, 1) => ("step % 2u".to_string(), "(step + 1u) % 2u".to_string()),
                _ => (format!("{}u", phase % 2), format!("{}u", (phase + 1) % 2)),
            };
            let stored = format!("min(step + {}u, STEPS - 1u)", phase + 1);
            text.push_str("        workgroupBarrier();\n");
            let read = format!("min(step + {}u, STEPS - 1u)", phase + ahead);
            text += &self.read_text(matrices, &read, phase);
            let _ = write!(
                text,
                "        {{\n        let from_step = {from};\n{}        }}\n",
                multiply_text(matrices)
            );
            if matrices.buffers == 1 {
                text.push_str("        workgroupBarrier();\n");
            }
            text += &self.keep_text(matrices, &stored, &into, (phase + 1) % ahead);
        }
        text
    }

    /// Chunks of a row of a segment of `owner`'s format that a thread reads of a step.
    fn chunks_read(&self, owner: usize, parts: WeightParts) -> u32 {
        let units = self.segments[owner].packing().chunk as u32 / 4;
        parts.together.div_ceil(units)
    }

    /// Reads a thread's part of step `step` of x and of the weights, as they lie in memory, into the
    /// registers of `set`.
    fn read_text(&self, matrices: Matrices, step: &str, set: u32) -> String {
        let w_parts = self.w_parts(matrices);
        let vectors = matrices.depth / 4;
        let step = from_start(matrices, step);
        let mut text = format!("        {{\n        let at = {step} * {vectors}u;\n");
        for i in 0..self.x_parts(matrices) {
            let _ = writeln!(text, "        x_{set}_{i} = pre(n_{i}, at + x_at);");
        }
        for r in 0..w_parts.rows {
            text += &self.by_segment(&format!("segment_{r}"), |index| {
                let (p, owner) = (segment_prefix(index), self.owner(index));
                let units = self.segments[index].packing().chunk as u32 / 4;
                let row = self.columns / (4 * units);
                (0..self.chunks_read(owner, w_parts))
                    .map(|c| {
                        format!(
                            "            raw_{set}_{owner}_{r}_{c} = {p}load(row_{r} * {row}u + (at + w_at) / {units}u + {c}u);\n"
                        )
                    })
                    .collect()
            });
        }
        text + "        }\n"
    }

    /// Puts what a thread has read of step `step` into workgroup memory.
    fn keep_text(&self, matrices: Matrices, step: &str, into: &str, set: u32) -> String {
        let (x_parts, w_parts) = (self.x_parts(matrices), self.w_parts(matrices));
        let (unit, vectors) = (matrices.unit(), matrices.depth / 4);
        let step = from_start(matrices, step);
        let mut text = format!(
            "        {{\n        let into = {into};\n        let at = {step} * {vectors}u + w_at;\n"
        );
        for i in 0..x_parts {
            let below = i * self.shape.threads / vectors;
            let place = format!("into * X_STEP + (x_row + {below}u) * STRIDE + {unit}u * x_at");
            text += &four_text(matrices, "xs", &place, &format!("x_{set}_{i}"));
        }
        for r in 0..w_parts.rows {
            text += &self.by_segment(&format!("segment_{r}"), |index| {
                let (p, owner, format) =
                    (segment_prefix(index), self.owner(index), self.segments[index]);
                let units = format.packing().chunk as u32 / 4;
                (0..w_parts.together)
                    .map(|u| {
                        // Either a chunk has several threads' parts, or a part has several chunks.
                        let unit_of = match units > w_parts.together {
                            true => format!("at % {units}u + {u}u"),
                            false => format!("{}u", u % units),
                        };
                        let raw = format!("raw_{set}_{owner}_{r}_{}", u / units);
                        let place =
                            format!("into * W_STEP + slot_{r} * STRIDE + {unit}u * (w_at + {u}u)");
                        four_text(matrices, "ws", &place, &unit_value(format, &p, &raw, &unit_of))
                    })
                    .collect()
            });
        }
        text + "        }\n"
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

/// Step `step` of a workgroup's share, counted from the first column.
fn from_start(matrices: Matrices, step: &str) -> String {
    match matrices.shares {
        1 => step.to_string(),
        _ => format!("(own_share * STEPS + {step})"),
    }
}

/// Puts four elements into workgroup memory, as halves.
fn four_text(matrices: Matrices, array: &str, at: &str, value: &str) -> String {
    if matrices.vectors {
        return format!("        {array}[{at}] = vec4<f16>({value});\n");
    }
    let mut text = format!(
        "        {{\n            let half = vec4<f16>({value});\n            let place = {at};\n"
    );
    for (e, axis) in ["x", "y", "z", "w"].iter().enumerate() {
        let _ = writeln!(text, "            {array}[place + {e}u] = half.{axis};");
    }
    text + "        }\n"
}

/// Multiplies one step.
fn multiply_text(matrices: Matrices) -> String {
    let Matrices { size, held: (rows, columns), depth, .. } = matrices;
    let mut text = String::new();
    for column in (0..depth).step_by(size as usize) {
        let column = column / 4 * matrices.unit();
        text.push_str("        {\n");
        for i in 0..rows {
            let _ = writeln!(
                text,
                "            let a_{i} = coopLoadT<coop_mat{size}x{size}<f16, A>>(&xs[from_step * X_STEP + (down * {rows}u + {i}u) * {size}u * STRIDE + {column}u], STRIDE);"
            );
        }
        for j in 0..columns {
            let _ = writeln!(
                text,
                "            let b_{j} = coopLoad<coop_mat{size}x{size}<f16, B>>(&ws[from_step * W_STEP + (across * {columns}u + {j}u) * {size}u * STRIDE + {column}u], STRIDE);"
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
