//! The variant of a product that gives each thread a row of weights of its own.
//!
//! Where memory is read lane by lane, what all lanes read alike is read once, if its place is known in
//! advance and nothing decides which lanes take part: in no loop and behind no condition. So x is kept
//! in workgroup memory and the columns are written out; each element of x is an operand of the
//! products themselves. Each thread has whole sums, so nothing is added up over a subgroup and no lane
//! idles. Nothing depends on the subgroup's size.

use super::{Columns, Product, segment_prefix};
use crate::formats::{Words, snippet};
use crate::row_program::RowProgram;
use quarrel_ir::packing::Interleaving;
use std::fmt::Write;

/// Vectors of x that a thread keeps at a time, with their sum.
const TOGETHER: u32 = 2;

impl Product {
    /// Whether each thread has a row of weights.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.shape.columns, Columns::Down { .. })
    }

    /// Columns of a workgroup.
    fn own_columns(&self) -> u32 {
        self.columns / self.shape.shares()
    }

    /// The declaration of which workgroup of those that share columns this is, and how it knows.
    pub(super) fn share_text(&self) -> &'static str {
        if self.is_down() && self.shape.shares() > 1 {
            "var<private> own_share: u32;\n"
        } else {
            ""
        }
    }

    /// The statement that tells it.
    pub(super) fn take_share(&self) -> &'static str {
        if self.share_text().is_empty() { "" } else { "    own_share = group.z;\n" }
    }

    /// `each` for every workgroup before this one, as a term of a place.
    fn share_start(&self, each: u32) -> String {
        match self.shape.shares() {
            1 => String::new(),
            _ => format!("own_share * {each}u + "),
        }
    }

    /// What elements of a segment's weights are less by than what is multiplied.
    fn centre(&self, index: usize) -> Option<u32> {
        let form = snippet(self.segments[index]);
        form.centre.filter(|centre| form.spreads(self.words) && *centre > 0)
    }

    /// Sums of x that are kept, of [`TOGETHER`] vectors each, where weights have offsets.
    fn totals(&self) -> u32 {
        let offset =
            |index: usize| snippet(self.segments[index]).offset || self.centre(index).is_some();
        if (0..self.segments.len()).any(offset) {
            self.shape.tokens * self.own_columns() / 4 / TOGETHER
        } else {
            0
        }
    }

    /// Bytes of workgroup memory for sums of x.
    pub(super) fn totals_bytes(&self) -> u32 {
        if self.is_down() { 4 * self.totals() } else { 0 }
    }

    /// The declaration of the sums of x.
    pub(super) fn totals_text(&self) -> String {
        match self.totals() {
            0 => String::new(),
            totals => format!("\nvar<workgroup> totals: array<f32, {totals}>;"),
        }
    }

    /// Statements that keep token `t`'s row of x, and its sums.
    pub(super) fn down_stage(&self, t: u32) -> String {
        let (vectors, threads) = (self.own_columns() / 4, self.shape.threads);
        let start = self.share_start(vectors);
        if self.totals() == 0 {
            return self.stage_loop(t, &start, &format!("{vectors}u"));
        }
        let first = t * vectors / TOGETHER;
        let mut text =
            format!("for (var g = tid; g < {}u; g += {threads}u) {{\n", vectors / TOGETHER);
        for i in 0..TOGETHER {
            let x = self.computed(t, &format!("{start}{TOGETHER}u * g + {i}u"));
            let _ = writeln!(text, "        let x_{i} = {x};");
        }
        for i in 0..TOGETHER {
            let place = self.staged_place(t, &format!("{TOGETHER}u * g + {i}u"));
            let _ = match snippet(self.segments[0]).spreads(self.words) {
                true => writeln!(
                    text,
                    "        staged[{place}] = x_{i} * {}narrow(({TOGETHER}u * g + {i}u) & 7u);",
                    segment_prefix(0)
                ),
                false => writeln!(text, "        staged[{place}] = x_{i};"),
            };
        }
        let sum: Vec<String> = (0..TOGETHER).map(|i| format!("x_{i}")).collect();
        let sum = sum.join(" + ");
        let _ = writeln!(text, "        totals[{first}u + g] = dot({sum}, vec4(1.0));\n    }}");
        text
    }

    /// All columns of a thread's row, of segment `index`.
    pub(super) fn down_text(&self, index: usize) -> String {
        let (p, format) = (segment_prefix(index), self.segments[index]);
        let chunk = format.packing().chunk as u32;
        let chunks = self.own_columns() / chunk;
        let mut text = self.each(|t, _| format!("    var sum_{t} = 0.0;\n"));
        let two = self.words == Words::Quads;
        let at = self.places(index, if two { 2 } else { 1 });
        let _ = writeln!(text, "    let own = {};", at.start);
        for c in 0..chunks {
            let _ = match (two, c % 2) {
                (true, 0) => writeln!(
                    text,
                    "    {{\n    let two = {p}two(own + {}u);\n    {{\n    let raw = two.a;",
                    at.place(c)
                ),
                (true, _) => writeln!(text, "    {{\n    let raw = two.b;"),
                _ => {
                    writeln!(text, "    {{\n    let raw = {p}{}(own + {}u);", at.load, at.place(c))
                }
            };
            for first in (0..chunk / 4).step_by(snippet(format).group as usize) {
                text.push_str(&self.down_group(index, c * chunk / 4, first));
            }
            text.push_str(if two && c % 2 == 1 { "    }\n    }\n" } else { "    }\n" });
        }
        text + &self.each(|t, _| format!("    sums[{t}u * TILE + slot] = sum_{t};\n"))
    }

    /// Where a thread's chunks of segment `index` are, where `several` are loaded at once.
    fn places(&self, index: usize, several: u32) -> Places {
        let chunk = self.segments[index].packing().chunk as u32;
        let (all, own) = (self.columns / chunk / several, self.own_columns() / chunk / several);
        let Some(Interleaving { rows, together, .. }) = self.interleaved[index] else {
            let start = format!("{}row_0 * {all}u", self.share_start(own));
            return Places { start, load: "load", several, rows: 1, together: 1 };
        };
        let (rows, together) = (rows as u32, together as u32 / several);
        let before = rows * all;
        let start = format!(
            "{}row_0 / {rows}u * {before}u + row_0 % {rows}u * {together}u",
            self.share_start(own * rows)
        );
        Places { start, load: "load_at", several, rows, together }
    }

    /// What a chunk's units from `first` on that share a scale add to the sums; `start` is the place in
    /// x of the chunk's first unit.
    fn down_group(&self, index: usize, start: u32, first: u32) -> String {
        let (p, form) = (segment_prefix(index), snippet(self.segments[index]));
        let target = if form.scaled { "dot" } else { "sum" };
        let mut text = "    {\n".to_string();
        if form.scaled {
            text += &self.each(|t, _| format!("    var dot_{t} = 0.0;\n"));
        }
        for unit in first..first + form.group {
            let unit_of = if form.spreads(self.words) { "spread" } else { "unit" };
            let _ = writeln!(text, "    {{\n    let w = {p}{unit_of}(raw, {unit}u);");
            for t in 0..self.shape.tokens {
                let place = t * self.own_columns() / 4 + start + unit;
                let _ = writeln!(text, "    {target}_{t} += dot(staged[{place}], w);");
            }
            text.push_str("    }\n");
        }
        if form.scaled {
            let _ = writeln!(text, "    let scale = {p}scale(raw, {first}u);");
            if form.offset {
                let _ = writeln!(text, "    let offset = {p}offset(raw, {first}u);");
            }
            text += &self.each(|t, _| {
                let total = || self.total(t, start + first, form.group);
                let offset = match (form.offset, self.centre(index)) {
                    (true, _) => format!(" + ({}) * offset", total()),
                    (false, Some(centre)) => format!(" - {centre}.0 * ({}) * scale", total()),
                    (false, None) => String::new(),
                };
                format!("    sum_{t} += dot_{t} * scale{offset};\n")
            });
        }
        text + "    }\n"
    }

    /// WGSL for the sum of `group` vectors of token `t`'s row of x from `first` on.
    fn total(&self, t: u32, first: u32, group: u32) -> String {
        let start = (t * self.own_columns() / 4 + first) / TOGETHER;
        let parts: Vec<String> =
            (0..group / TOGETHER).map(|i| format!("totals[{}]", start + i)).collect();
        parts.join(" + ")
    }

    /// The functions that reduce over the workgroup. Here none branches before the columns.
    pub(super) fn reductions(&self) -> String {
        let threads = self.shape.threads;
        if !self.is_down() || self.prologue.needs_largest() {
            return self.prologue.reductions(threads);
        }
        let sums = self.prologue.statistics.len() as u32 * self.shape.tokens;
        RowProgram::straight_sum(threads, sums > 1)
    }
}

/// Where a thread's chunks are in the planes.
struct Places {
    /// WGSL for the first one's index.
    start: String,
    /// The function that loads one.
    load: &'static str,
    /// Chunks that are loaded at once, and counted as one.
    several: u32,
    /// Rows whose chunks lie in turn, `together` of each.
    rows: u32,
    together: u32,
}

impl Places {
    /// How far behind the first one chunk `chunk` is.
    fn place(&self, chunk: u32) -> u32 {
        let Places { several, rows, together, .. } = *self;
        let at = chunk / several;
        at / together * together * rows + at % together
    }
}
