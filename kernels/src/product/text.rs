//! The text of a product kernel: what fills the template's holes. The loop over the columns is in
//! `blocks.rs`, which rows of the weights a tile takes in `rows.rs`.

use super::{Chosen, Columns, Experts, PART_ROWS, Product, Staging, segment_prefix};
use crate::formats::snippet;
use crate::shader::declare;
use crate::template::fill;
use quarrel_ir::format::Format;
use std::fmt::Write;

/// Where the columns' loop takes x from.
#[derive(Clone, Copy)]
pub(super) enum X<'a> {
    /// It is computed.
    Computed,
    /// Workgroup memory, in which chunk `c` is the one that this expression says.
    Staged(&'a str),
}

impl Experts {
    /// Statements that choose the expert; with a sum, the head of the loop over the experts, whose
    /// parts of each sum the same lane adds up in order.
    fn open_text(&self) -> String {
        let top = self.top;
        let Chosen::Alone { ids, summed } = &self.chosen else { return String::new() };
        match summed {
            false => format!("    let n_0 = min(first, count - 1u);\n    expert = {ids}[n_0];\n"),
            true => format!(
                "    for (var which = 0u; which < {top}u; which++) {{\n    \
                 let n_0 = min(first, count - 1u) * {top}u + which;\n    \
                 expert = {ids}[n_0];\n    let share_of = share(n_0 / {top}u, which);\n"
            ),
        }
    }
}

impl Product {
    pub(super) fn text(&self) -> String {
        let shape = self.shape;
        if let Columns::Matrices(matrices) = shape.columns {
            return self.matrix_text(matrices);
        }
        debug_assert!(PART_ROWS.is_multiple_of(shape.rows), "a subgroup's rows are in one part");
        let stage = match shape.columns {
            Columns::Held => {
                format!("var<workgroup> shares: array<f32, {}>;", self.held_bytes() / 4)
            }
            Columns::Down { .. } => self.stage_text() + &self.totals_text(),
            _ => self.stage_text(),
        };
        let mut helpers = self.expert_helpers();
        helpers += self.share_text();
        helpers += &self.reductions();
        helpers += &self.snippets();
        let functions = format!("{}{}", self.prologue.functions, self.functions);
        let number = |n: u32| n.to_string();
        let origin = self.origin_text("group.y", "TOKENS");
        fill(
            include_str!("product.wgsl"),
            &[
                ("bindings", &declare(&self.bindings)),
                ("tokens", &number(shape.tokens)),
                ("tile", &number(shape.tile)),
                ("blocks", &number(shape.tile / shape.rows)),
                ("vectors", &number(self.columns / 4)),
                ("sums", &number(self.shares() * shape.tokens * shape.tile)),
                ("stage", &stage),
                ("helpers", &helpers),
                ("rows", &self.rows_text()),
                ("functions", &functions),
                ("threads", &number(shape.threads)),
                ("count", &self.count_text("group.y")),
                ("origin", &origin),
                ("take_tile", &(self.take_tile("group.y") + self.take_share())),
                ("prologue", &self.prologue_text()),
                ("ahead", &self.fetched().map_or(String::new(), |f| self.fetch_text(f))),
                ("blocks_text", &self.blocks_text()),
                ("close", if self.is_summed() { "    }" } else { "" }),
                ("meet", &self.meet_text()),
                ("epilogue", &self.epilogue_text(shape.tokens, &origin)),
            ],
        )
    }

    /// The segment whose struct of a chunk segment `index` uses: the first of its format.
    pub(super) fn owner(&self, index: usize) -> usize {
        let format = self.segments[index];
        self.segments.iter().position(|known| *known == format).unwrap_or(index)
    }

    /// The functions that read each segment.
    pub(super) fn snippets(&self) -> String {
        let one = |(index, format): (usize, &Format)| {
            let (prefix, owner) = (segment_prefix(index), self.owner(index));
            let (snippet, rows) = (snippet(*format), self.interleaved[index]);
            match owner == index {
                true => snippet.text(&prefix, self.words, rows),
                false => snippet.text_beside(&prefix, &segment_prefix(owner), self.words, rows),
            }
        };
        self.segments.iter().enumerate().map(one).collect()
    }

    /// Text for each segment, where `which` says at run time which one it is.
    pub(super) fn by_segment(&self, which: &str, body: impl Fn(usize) -> String) -> String {
        let all = self.segments.len();
        let mut text = String::new();
        for index in 0..all {
            let head = match (index, index + 1 == all) {
                (0, true) => "        {\n".to_string(),
                (0, false) => format!("        if ({which} == 0u) {{\n"),
                (_, false) => format!(" else if ({which} == {index}u) {{\n"),
                (_, true) => " else {\n".to_string(),
            };
            let _ = write!(text, "{head}{}        }}", body(index));
        }
        text + "\n"
    }

    fn prologue_text(&self) -> String {
        if self.shape.columns == Columns::Across {
            return self.across_prologue();
        }
        let (tokens, threads) = (self.shape.tokens, self.shape.threads);
        let mut text = String::new();
        if let Some(experts) = &self.experts {
            text.push_str(&experts.open_text());
        }
        for t in 0..tokens {
            let suffix = format!("_{t}");
            if self.experts.is_none() || self.is_grouped() {
                let row = self.row(&format!("min(first + {t}u, count - 1u)"));
                let _ = writeln!(text, "    let n_{t} = {row};");
            }
            text.push_str(&self.prologue.statistics_text(
                &format!("n_{t}"),
                self.columns,
                threads,
                &suffix,
            ));
            let arguments = self.prologue.all_arguments(&suffix);
            for (index, vectors) in self.aside.iter().enumerate() {
                let _ = writeln!(
                    text,
                    "    if (tile == 0u) {{ for (var j = tid; j < {vectors}u; j += {threads}u) {{ aside_{index}(n_{t}, j{arguments}); }} }}"
                );
            }
            if self.window().is_none() {
                let staged = if self.is_down() { self.down_stage(t) } else { self.stage_row(t) };
                let _ = write!(text, "    {staged}");
            }
        }
        if self.staged() && self.window().is_none() {
            text.push_str("    workgroupBarrier();\n");
        }
        if self.shape.columns == Columns::Held {
            text.push_str(&self.hold_text());
        }
        text
    }

    pub(super) fn is_summed(&self) -> bool {
        let chosen = self.experts.as_ref().map(|experts| &experts.chosen);
        matches!(chosen, Some(Chosen::Alone { summed: true, .. }))
    }

    /// The statement that keeps a finished sum.
    pub(super) fn stored_sum(&self, place: &str, sum: &str) -> String {
        match self.is_summed() {
            true => format!(
                "sums[{place}] = select(sums[{place}], 0.0, which == 0u) + share_of * {sum};"
            ),
            false => format!("sums[{place}] = {sum};"),
        }
    }

    /// WGSL for vector `j` of token `t`'s row of x, computed here.
    pub(super) fn computed(&self, t: u32, j: &str) -> String {
        format!("pre(n_{t}, {j}{})", self.prologue.all_arguments(&format!("_{t}")))
    }

    /// Whether x is in workgroup memory.
    pub(super) fn staged(&self) -> bool {
        self.staging != Staging::No
    }

    /// Where all rows take x from, if nothing else is said.
    pub(super) fn usual(&self) -> X<'static> {
        if self.staged() && self.window().is_none() { X::Staged("c") } else { X::Computed }
    }

    /// WGSL for vector `i` of the `units` that chunk `c` of token `t`'s row of x has.
    pub(super) fn x(&self, from: X<'_>, t: u32, units: u32, i: &str) -> String {
        match from {
            X::Computed => self.computed(t, &format!("c * {units}u + {i}")),
            X::Staged(chunk) => {
                let row = t * self.staged_row();
                let place = match self.padded() {
                    Some(pad) if pad == units => format!("{row}u + {chunk} * {}u + {i}", pad + 1),
                    _ => self.staged_place(t, &format!("({chunk} * {units}u + {i})")),
                };
                format!("staged[{place}]")
            }
        }
    }

    /// Vectors of x after each of which there is an unused one in workgroup memory, so that lanes
    /// that read neighbouring chunks read different banks.
    fn padded(&self) -> Option<u32> {
        let units = self.segments.iter().map(|format| format.packing().chunk as u32 / 4);
        units.max().filter(|units| *units > 1 && !self.is_down())
    }

    /// Vectors of workgroup memory for x.
    pub(super) fn staged_vectors(&self) -> u32 {
        self.shape.tokens * self.staged_row()
    }

    /// The same for one row of x, or what of it is staged at a time.
    fn staged_row(&self) -> u32 {
        let own = self.columns / 4 / if self.is_down() { self.shape.shares() } else { 1 };
        let vectors = self.window().unwrap_or(own);
        vectors + self.padded().map_or(0, |pad| vectors / pad)
    }

    /// WGSL for the place of vector `j` of what is staged of token `t`'s row of x.
    pub(super) fn staged_place(&self, t: u32, j: &str) -> String {
        let row = t * self.staged_row();
        match self.padded() {
            Some(pad) => format!("{row}u + {j} + ({j}) / {pad}u"),
            None => format!("{row}u + {j}"),
        }
    }

    /// The epilogue over the sums of `tokens` rows of x from row `origin` (an expression) on.
    pub(super) fn epilogue_text(&self, tokens: u32, origin: &str) -> String {
        let threads = self.shape.threads;
        self.by_group(|index, group| {
            let step = if group.pair { 2 } else { 1 };
            let units = self.units_per_tile(group);
            let per_token = units / step;
            let (total, row) = (group.units, self.row("n"));
            format!(
                "        for (var e = tid; e < {all}u; e += {threads}u) {{\n            \
                 let t = e / {per_token}u;\n            \
                 let n = {origin} + t;\n            \
                 let p = first + (e % {per_token}u) * {step}u;\n            \
                 if (n < count && p < {total}u) {{ post_{index}(t, {row}, unit_{index}(p), first); }}\n        }}\n",
                all = tokens * per_token,
            )
        })
    }
}
