//! The variant of a product that gives each thread rows of weights of its own.
//!
//! Where memory is read lane by lane, what all lanes read alike is read once, if its place is known in
//! advance and nothing decides which lanes take part: in no loop and behind no condition. So x is kept
//! in workgroup memory and the columns are written out; each element of x is an operand of the
//! products themselves. Each thread has whole sums, so nothing is added up over a subgroup and no lane
//! idles. Nothing depends on the subgroup's size.

use super::{Columns, Product, segment_prefix};
use crate::formats::{Words, row_start, snippet};
use crate::row_program::RowProgram;
use quarrel_ir::packing::Interleaving;
use std::fmt::Write;

/// Vectors of x that a thread keeps at a time, with their sum.
const TOGETHER: u32 = 2;

impl Product {
    /// Whether each thread has rows of weights.
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

    /// All columns of a thread's rows, of segment `index`.
    pub(super) fn down_text(&self, index: usize) -> String {
        let (p, format) = (segment_prefix(index), self.segments[index]);
        let chunk = format.packing().chunk as u32;
        let chunks = self.own_columns() / chunk;
        let rows = 0..self.shape.rows;
        let mut text = self.each(|t, r| format!("    var y_{t}_{r} = 0.0;\n"));
        let several = if self.words == Words::Quads { 2 } else { 1 };
        let load = if self.interleaved[index].is_some() { "load_at" } else { "load" };
        let lie = self.interleaved[index].unwrap_or(Interleaving {
            rows: 1,
            together: 1,
            chunks: (self.columns / chunk).into(),
        });
        // How far behind the first chunk of its row a chunk is.
        let behind = |c: u32| lie.place(0, c.into()) as u32 / several;
        let share = self.share_start(behind(chunks));
        for r in rows.clone() {
            let start = row_start(lie, &format!("row_{r}"), several.into());
            let _ = writeln!(text, "    let own_{r} = {share}{start};");
        }
        for c in 0..chunks {
            let (half, place) = (["a", "b"][(c % several) as usize], behind(c));
            if several == 2 && half == "a" {
                text.push_str("    {\n");
                for r in rows.clone() {
                    let _ = writeln!(text, "    let two_{r} = {p}two(own_{r} + {place}u);");
                }
            }
            text.push_str("    {\n");
            for r in rows.clone() {
                let _ = match several {
                    2 => writeln!(text, "    let raw_{r} = two_{r}.{half};"),
                    _ => writeln!(text, "    let raw_{r} = {p}{load}(own_{r} + {place}u);"),
                };
            }
            for first in (0..chunk / 4).step_by(snippet(format).group as usize) {
                text.push_str(&self.down_group(index, c * chunk / 4, first));
            }
            text.push_str(if half == "b" { "    }\n    }\n" } else { "    }\n" });
        }
        text + &self.each(|t, r| {
            let slot = match r {
                0 => "slot".to_string(),
                _ => format!("slot + {}u", r * self.shape.threads),
            };
            format!("    sums[{t}u * TILE + {slot}] = y_{t}_{r};\n")
        })
    }

    /// What chunks' units from `first` on that share a scale add to the sums; `start` is the place in x
    /// of the chunks' first unit.
    fn down_group(&self, index: usize, start: u32, first: u32) -> String {
        let (p, form) = (segment_prefix(index), snippet(self.segments[index]));
        let target = if form.scaled { "dot" } else { "y" };
        let unit_of = if form.spreads(self.words) { "spread" } else { "unit" };
        let mut text = "    {\n".to_string();
        if form.scaled {
            text += &self.each(|t, r| format!("    var dot_{t}_{r} = 0.0;\n"));
        }
        for unit in first..first + form.group {
            text.push_str("    {\n");
            for r in 0..self.shape.rows {
                let _ = writeln!(text, "    let w_{r} = {p}{unit_of}(raw_{r}, {unit}u);");
            }
            text += &self.each(|t, r| {
                let place = t * self.own_columns() / 4 + start + unit;
                format!("    {target}_{t}_{r} += dot(staged[{place}], w_{r});\n")
            });
            text.push_str("    }\n");
        }
        if form.scaled {
            for r in 0..self.shape.rows {
                let _ = writeln!(text, "    let scale_{r} = {p}scale(raw_{r}, {first}u);");
                if form.offset {
                    let _ = writeln!(text, "    let offset_{r} = {p}offset(raw_{r}, {first}u);");
                }
            }
            text += &self.each(|t, r| {
                let total = || self.total(t, start + first, form.group);
                let offset = match (form.offset, self.centre(index)) {
                    (true, _) => format!(" + ({}) * offset_{r}", total()),
                    (false, Some(centre)) => format!(" - {centre}.0 * ({}) * scale_{r}", total()),
                    (false, None) => String::new(),
                };
                format!("    y_{t}_{r} += dot_{t}_{r} * scale_{r}{offset};\n")
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
