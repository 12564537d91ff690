//! Products of quantised weights with x in integers.
//!
//! Unpacking a weight to a float takes several instructions, more than multiplying it. Here the
//! weights stay bytes. Of x, each block of 32 elements has a scale, and an element is an integer of 16
//! bits, kept as two signed bytes: `256 · high + low`. Devices multiply four pairs of bytes and add
//! them up in one instruction. Sums of a block are exact; x is rounded by at most 2^-16 of the largest
//! element of its block, less than F16 rounds that element.

use super::text::X;
use super::{Product, segment_prefix};
use crate::formats::snippet;
use quarrel_ir::format::Format;
use std::fmt::Write;

/// How a product keeps x in workgroup memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staging {
    /// Not at all: it is computed wherever it is needed.
    No,
    /// As floats.
    Floats,
    /// As integers with a scale for each block of 32. For segments in chunks of 32 whose elements are
    /// to be had as bytes, and subgroups of 8 lanes at least; with smaller ones the result is not
    /// finite.
    Integers,
}

/// Vectors of four elements of a block of x.
const BLOCK: u32 = 8;

/// Vectors of x that a thread reads before it stages them.
const MOST_VECTORS: u32 = 8;

/// Whether weights of `format` can be multiplied with x in integers.
pub fn multiplies_integers(format: Format) -> bool {
    snippet(format).centre.is_some() && format.packing().chunk == 4 * BLOCK as usize
}

impl Product {
    /// Words of workgroup memory for x.
    pub(super) fn staged_words(&self) -> u32 {
        match self.staging {
            Staging::No => 0,
            Staging::Floats => 4 * self.staged_vectors(),
            Staging::Integers => 2 * self.staged_vectors() + 4 * self.x_blocks(),
        }
    }

    /// Declarations of workgroup memory for x, and what fills it.
    pub(super) fn stage_text(&self) -> String {
        let vectors = self.staged_vectors();
        match self.staging {
            Staging::No => String::new(),
            Staging::Floats => format!("var<workgroup> staged: array<vec4<f32>, {vectors}>;"),
            Staging::Integers => format!(
                "var<workgroup> staged: array<vec2<u32>, {vectors}>;\n\
                 var<workgroup> blocks: array<vec4<f32>, {}>;\n{}",
                self.x_blocks(),
                include_str!("integers.wgsl")
            ),
        }
    }

    /// Statements that stage token `t`'s row of x. Where each thread has as many vectors, and few, it
    /// reads them all before it stores one; not beside weights that are floats, which on an H200 is 5 %
    /// slower.
    pub(super) fn stage_row(&self, t: u32) -> String {
        let (vectors, threads) = (self.columns / 4, self.shape.threads);
        let each = vectors / threads;
        let even = vectors.is_multiple_of(threads) && (2..=MOST_VECTORS).contains(&each);
        let floats = self.segments.iter().all(|format| format.is_float());
        if !even || floats || !self.staged() {
            return self.stage_loop(t, "", "VECTORS");
        }
        let mut text = format!("{{\n    let i = {};\n", self.stager());
        for k in 0..each {
            let x = self.computed(t, &format!("i + {}u", k * threads));
            let _ = writeln!(text, "    let x_{k} = {x};");
        }
        for k in 0..each {
            let _ = writeln!(text, "    {{\n    let j = i + {}u;", k * threads);
            let _ = writeln!(text, "    {}\n    }}", self.stage_one(t, &format!("x_{k}")));
        }
        text + "    }\n"
    }

    /// The loop that stages `vectors` (an expression) vectors of token `t`'s row of x from `from` on.
    pub(super) fn stage_loop(&self, t: u32, from: &str, vectors: &str) -> String {
        if !self.staged() {
            return String::new();
        }
        let kept = self.stage_one(t, &self.computed(t, &format!("{from}j")));
        let (first, threads) = (self.stager(), self.shape.threads);
        format!("for (var j = {first}; j < {vectors}; j += {threads}u) {{ {kept} }}\n")
    }

    /// WGSL for a thread's number while x is staged: lanes that follow each other meet over a block.
    fn stager(&self) -> &'static str {
        if self.staging == Staging::Integers { "subgroup * lanes + lane" } else { "tid" }
    }

    /// The statement that stages `x` as vector `j` of token `t`'s row.
    fn stage_one(&self, t: u32, x: &str) -> String {
        let place = self.staged_place(t, "j");
        match self.staging {
            Staging::No => String::new(),
            Staging::Floats => format!("staged[{place}] = {x};"),
            Staging::Integers => {
                let first = t * self.row_blocks();
                format!("keep_integers({place}, {first}u + j / {BLOCK}u, {x}, lane, lanes);")
            }
        }
    }

    /// Blocks of x in workgroup memory.
    fn x_blocks(&self) -> u32 {
        self.shape.tokens * self.row_blocks()
    }

    /// The same of one row, or of what of it is staged at a time.
    fn row_blocks(&self) -> u32 {
        self.window().unwrap_or(self.columns / 4) / BLOCK
    }

    /// What units from `first` on that share a scale add to the sums, as [`Product::group_text`].
    pub(super) fn integer_group_text(
        &self,
        chunk: &str,
        index: usize,
        first: &str,
        known: Option<u32>,
    ) -> String {
        let (p, form) = (segment_prefix(index), snippet(self.segments[index]));
        let mut text = self.each(|t, r| {
            format!("            var high_{t}_{r} = 0i;\n            var low_{t}_{r} = 0i;\n")
        });
        for t in 0..self.shape.tokens {
            let _ = writeln!(
                text,
                "            let block_{t} = blocks[{}u + {chunk}];",
                t * self.row_blocks()
            );
        }
        text +=
            &self.units_text(first, known, form.group, |i| self.integer_unit_text(chunk, index, i));
        let centre = form.centre.unwrap_or(0);
        for t in 0..self.shape.tokens {
            let total = match form.group {
                BLOCK => format!("block_{t}.y + block_{t}.z"),
                _ => format!("select(block_{t}.y, block_{t}.z, {first} >= 4u)"),
            };
            if form.offset || centre > 0 {
                let _ = writeln!(text, "            let total_{t} = {total};");
            }
        }
        for r in 0..self.shape.rows {
            let _ = writeln!(text, "            let scale_{r} = {p}scale(raw_{r}, {first});");
            if form.offset {
                let _ = writeln!(text, "            let offset_{r} = {p}offset(raw_{r}, {first});");
            }
        }
        text + &self.each(|t, r| {
            let whole = format!("f32(high_{t}_{r} * 256i + low_{t}_{r})");
            let dot = match centre {
                0 => whole,
                _ => format!("({whole} - {centre}.0 * total_{t})"),
            };
            let offset =
                if form.offset { format!(" + total_{t} * offset_{r}") } else { String::new() };
            format!("            sum_{t}_{r} += block_{t}.x * ({dot} * scale_{r}{offset});\n")
        })
    }

    /// What unit `i` of a chunk adds to a group's sums.
    fn integer_unit_text(&self, chunk: &str, index: usize, i: &str) -> String {
        let p = segment_prefix(index);
        let mut text = String::new();
        for t in 0..self.shape.tokens {
            let x = self.x(X::Staged(chunk), t, BLOCK, i);
            let _ = writeln!(text, "            let x_{t} = {x};");
        }
        for r in 0..self.shape.rows {
            let _ = writeln!(text, "            let w_{r} = {p}bytes(raw_{r}, {i});");
            for t in 0..self.shape.tokens {
                let _ = writeln!(
                    text,
                    "            high_{t}_{r} += dot4I8Packed(x_{t}.x, w_{r});\n            \
                     low_{t}_{r} += dot4I8Packed(x_{t}.y, w_{r});"
                );
            }
        }
        text
    }
}
