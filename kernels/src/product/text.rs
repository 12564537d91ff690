//! The text of a product kernel: what fills the template's holes.

use super::{Experts, Group, Order, PART_ROWS, Product, Rows, segment_prefix};
use crate::formats::snippet;
use crate::shader::declare;
use crate::template::fill;
use quarrel_ir::format::Format;
use std::fmt::Write;

/// WGSL for the sum of linear `linear` of group `group` at unit `j`, inside an epilogue function;
/// `units` is the group's units per tile.
pub fn epilogue_sum(group: usize, linear: usize, units: u32, j: &str) -> String {
    let offset = linear as u32 * units;
    format!("sums[t * TILE + {offset}u + place_{group}({j}) - first]")
}

/// WGSL for the function `place_G(j)`: where unit j of the group lies in the group's order.
pub fn unit_place(group: usize, order: Order) -> String {
    let body = match order {
        Order::Plain => "    return j;\n".to_string(),
        Order::HalfPairs { head, half } => format!(
            "    let i = j % {head}u;\n    if (i >= {dims}u) {{ return j; }}\n    \
             let k = select(i, i - {half}u, i >= {half}u);\n    \
             return j - i + (k >> 1u) * 4u + (k & 1u) + select(0u, 2u, i >= {half}u);\n",
            dims = 2 * half
        ),
    };
    format!("fn place_{group}(j: u32) -> u32 {{\n{body}}}\n")
}

/// WGSL for the function `unit_G(p)`: the unit at place p; the inverse of [`unit_place`].
fn unit_at(group: usize, order: Order) -> String {
    let body = match order {
        Order::Plain => "    return p;\n".to_string(),
        Order::HalfPairs { head, half } => format!(
            "    let i = p % {head}u;\n    if (i >= {dims}u) {{ return p; }}\n    \
             return p - i + (i >> 2u) * 2u + (i & 1u) + select(0u, {half}u, (i & 2u) == 2u);\n",
            dims = 2 * half
        ),
    };
    format!("fn unit_{group}(p: u32) -> u32 {{\n{body}}}\n")
}

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
        let Experts { top, ids, summed } = self;
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
        if let Some(matrices) = shape.matrices {
            return self.matrix_text(matrices);
        }
        debug_assert!(PART_ROWS.is_multiple_of(shape.rows), "a subgroup's rows are in one part");
        let stage = if self.staged {
            format!("var<workgroup> staged: array<vec4<f32>, {}>;", self.staged_vectors())
        } else {
            String::new()
        };
        let mut helpers = if self.experts.is_some() {
            "var<private> expert: u32;\n".to_string()
        } else {
            String::new()
        };
        helpers += &self.prologue.reductions(shape.threads);
        helpers += &self.snippets();
        let functions = format!("{}{}", self.prologue.functions, self.functions);
        let number = |n: u32| n.to_string();
        fill(
            include_str!("product.wgsl"),
            &[
                ("bindings", &declare(&self.bindings)),
                ("tokens", &number(shape.tokens)),
                ("tile", &number(shape.tile)),
                ("blocks", &number(shape.tile / shape.rows)),
                ("vectors", &number(self.columns / 4)),
                ("sums", &number(shape.tokens * shape.tile)),
                ("stage", &stage),
                ("helpers", &helpers),
                ("rows", &self.rows_text()),
                ("functions", &functions),
                ("threads", &number(shape.threads)),
                ("count", &self.count),
                ("prologue", &self.prologue_text()),
                ("ahead", &shape.fetched.map_or(String::new(), |f| self.fetch_text(f))),
                ("blocks_text", &self.blocks_text()),
                ("close", if self.is_summed() { "    }" } else { "" }),
                ("epilogue", &self.epilogue_text(shape.tokens, "group.y * TOKENS")),
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
            match owner == index {
                true => snippet(*format).text(&prefix, self.words),
                false => snippet(*format).text_beside(&prefix, &segment_prefix(owner), self.words),
            }
        };
        self.segments.iter().enumerate().map(one).collect()
    }

    /// First tile of each group, and the end.
    fn first_tiles(&self) -> Vec<u32> {
        let mut first = vec![0];
        for group in &self.groups {
            let tiles = group.units.div_ceil(self.units_per_tile(group));
            first.push(first[first.len() - 1] + tiles);
        }
        first
    }

    /// `if`s over the groups by tile, with `body(group index, group)` in each branch.
    fn by_group(&self, body: impl Fn(usize, &Group) -> String) -> String {
        let first = self.first_tiles();
        let mut text = String::new();
        for (index, group) in self.groups.iter().enumerate() {
            let last = index + 1 == self.groups.len();
            let head = match (index, last) {
                (0, true) => "    {".to_string(),
                (_, true) => " else {".to_string(),
                (0, false) => format!("    if (tile < {}u) {{", first[1]),
                (_, false) => format!(" else if (tile < {}u) {{", first[index + 1]),
            };
            let units = self.units_per_tile(group);
            let place = match first[index] {
                0 => format!("tile * {units}u"),
                start => format!("(tile - {start}u) * {units}u"),
            };
            let _ =
                write!(text, "{head}\n        let first = {place};\n{}    }}", body(index, group));
        }
        text.push('\n');
        text
    }

    /// Functions that map a tile's slots to weight rows and segments.
    pub(super) fn rows_text(&self) -> String {
        let mut text = String::new();
        for (index, group) in self.groups.iter().enumerate() {
            text.push_str(&unit_at(index, group.order));
            text.push_str(&unit_place(index, group.order));
        }
        let row = self.by_group(|index, group| {
            let units = self.units_per_tile(group);
            let last = group.units - 1;
            let rows = choose(group.linears.iter().map(Rows::row_text), units);
            let expert = match &self.experts {
                Some(_) => format!("expert * {}u + ", group.units),
                None => String::new(),
            };
            format!(
                "        let j = unit_{index}(min(first + slot % {units}u, {last}u));\n        \
                 return {expert}{rows};\n"
            )
        });
        let _ = write!(text, "fn weight_row(tile: u32, slot: u32) -> u32 {{\n{row}}}\n");
        if self.segments.len() > 1 {
            let segment = self.by_group(|index, group| {
                let (units, last) = (self.units_per_tile(group), group.units - 1);
                let which = choose(group.linears.iter().map(Rows::segment_text), units);
                if group.linears.iter().all(|rows| rows.part_rows.is_none()) {
                    return format!("        return {which};\n");
                }
                format!(
                    "        let j = unit_{index}(min(first + slot % {units}u, {last}u));\n        \
                     return {which};\n"
                )
            });
            let _ =
                write!(text, "fn weight_segment(tile: u32, slot: u32) -> u32 {{\n{segment}}}\n");
        }
        text
    }

    fn prologue_text(&self) -> String {
        let (tokens, threads) = (self.shape.tokens, self.shape.threads);
        let mut text = String::new();
        if let Some(experts) = &self.experts {
            text.push_str(&experts.open_text());
        }
        for t in 0..tokens {
            let suffix = format!("_{t}");
            if self.experts.is_none() {
                let _ = writeln!(text, "    let n_{t} = min(first + {t}u, count - 1u);");
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
            if self.staged && self.window().is_none() {
                let _ = writeln!(
                    text,
                    "    for (var j = tid; j < VECTORS; j += {threads}u) {{ staged[{}] = pre(n_{t}, j{arguments}); }}",
                    self.staged_place(t, "j")
                );
            }
        }
        if self.staged && self.window().is_none() {
            text.push_str("    workgroupBarrier();\n");
        }
        if let Some(lanes) = self.shape.held {
            text.push_str(&self.hold_text(lanes));
        }
        text
    }

    pub(super) fn is_summed(&self) -> bool {
        self.experts.as_ref().is_some_and(|experts| experts.summed)
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

    /// Where all rows take x from, if nothing else is said.
    pub(super) fn usual(&self) -> X<'static> {
        if self.staged && self.window().is_none() { X::Staged("c") } else { X::Computed }
    }

    /// WGSL for vector `i` of the `units` that chunk `c` of token `t`'s row of x has.
    fn x(&self, from: X<'_>, t: u32, units: u32, i: &str) -> String {
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
        units.max().filter(|units| *units > 1)
    }

    /// Vectors of workgroup memory for x.
    pub(super) fn staged_vectors(&self) -> u32 {
        self.shape.tokens * self.staged_row()
    }

    /// The same for one row of x, or what of it is staged at a time.
    fn staged_row(&self) -> u32 {
        let vectors = self.window().unwrap_or(self.columns / 4);
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

    /// All blocks of rows of a subgroup.
    fn blocks_text(&self) -> String {
        let blocks = format!(
            "    for (var block = subgroup; block < BLOCKS; block += subgroups) {{\n{}    }}\n",
            self.block_text()
        );
        match self.shape.fetched {
            None => blocks,
            Some(fetched) => format!(
                "    if (lanes == {}u) {{\n{}    }} else {{\n{blocks}    }}\n",
                fetched.lanes,
                self.multiply_text(fetched)
            ),
        }
    }

    fn block_text(&self) -> String {
        let mut text = format!("        let slot = block * {}u;\n", self.shape.rows);
        for r in 0..self.shape.rows {
            let _ = writeln!(text, "        let row_{r} = weight_row(tile, slot + {r}u);");
        }
        if self.segments.len() == 1 {
            text.push_str(&self.either_text(0));
            return text;
        }
        text.push_str("        let segment = weight_segment(tile, slot);\n");
        for index in 0..self.segments.len() {
            let head = if index == 0 { "        " } else { " else " };
            let _ = write!(
                text,
                "{head}if (segment == {index}u) {{\n{}        }}",
                self.either_text(index)
            );
        }
        text.push('\n');
        text
    }

    /// One block of rows of one segment, with x held or read.
    fn either_text(&self, index: usize) -> String {
        match self.shape.held {
            None => self.segment_text(index),
            Some(lanes) => format!(
                "        if (lanes == {lanes}u) {{\n{}        }} else {{\n{}        }}\n",
                self.held_text(index, lanes),
                self.segment_text(index)
            ),
        }
    }

    /// Lines for each row of x and each weight row that a subgroup holds.
    pub(super) fn each(&self, line: impl Fn(u32, u32) -> String) -> String {
        let rows = self.shape.rows;
        (0..self.shape.tokens)
            .flat_map(|t| (0..rows).map(move |r| (t, r)))
            .map(|(t, r)| line(t, r))
            .collect()
    }

    /// The columns' loop for one block of rows of one segment.
    fn segment_text(&self, index: usize) -> String {
        let (p, format) = (segment_prefix(index), self.segments[index]);
        let chunks = self.columns / format.packing().chunk as u32;
        let mut text = self.each(|t, r| format!("        var sum_{t}_{r} = 0.0;\n"));
        let _ = writeln!(text, "        for (var c = lane; c < {chunks}u; c += lanes) {{");
        for r in 0..self.shape.rows {
            let _ = writeln!(text, "            let raw_{r} = {p}load(row_{r} * {chunks}u + c);");
        }
        text.push_str(&self.chunk_text(self.usual(), index));
        text.push_str("        }\n");
        text + &self.sums_text()
    }

    /// What one chunk of each row, `raw_R`, adds to the sums.
    pub(super) fn chunk_text(&self, from: X<'_>, index: usize) -> String {
        let format = self.segments[index];
        let (units, group) = (format.packing().chunk as u32 / 4, snippet(format).group);
        if !self.shape.unroll && units != group {
            let body = self.group_text(from, index, "g", None);
            return format!(
                "            for (var g = 0u; g < {units}u; g += {group}u) {{\n{body}            }}\n"
            );
        }
        let mut text = String::new();
        for first in (0..units).step_by(group as usize) {
            let body = self.group_text(from, index, &format!("{first}u"), Some(first));
            text.push_str(&braced(&body, units > group));
        }
        text
    }

    /// Adds the lanes' sums up and keeps them.
    pub(super) fn sums_text(&self) -> String {
        let mut text =
            self.each(|t, r| format!("        sum_{t}_{r} = subgroupAdd(sum_{t}_{r});\n"));
        text.push_str("        if (lane == 0u) {\n");
        text += &self.each(|t, r| {
            let place = format!("{t}u * TILE + slot + {r}u");
            format!("            {}\n", self.stored_sum(&place, &format!("sum_{t}_{r}")))
        });
        text.push_str("        }\n");
        text
    }

    /// What a chunk's units from `first` on that share a scale add to the sums; `known` is `first`
    /// where it is a number.
    fn group_text(&self, from: X<'_>, index: usize, first: &str, known: Option<u32>) -> String {
        let (p, form) = (segment_prefix(index), snippet(self.segments[index]));
        let mut text = String::new();
        if form.scaled {
            text += &self.each(|t, r| format!("            var dot_{t}_{r} = 0.0;\n"));
        }
        if form.offset {
            for t in 0..self.shape.tokens {
                let _ = writeln!(text, "            var total_{t} = 0.0;");
            }
        }
        match known {
            Some(first) if self.shape.unroll || form.group == 1 => {
                for i in first..first + form.group {
                    text += &braced(&self.unit_text(from, index, &format!("{i}u")), true);
                }
            }
            _ => {
                let end = match known {
                    Some(first) => format!("{}u", first + form.group),
                    None => format!("{first} + {}u", form.group),
                };
                let body = self.unit_text(from, index, "i");
                let _ = write!(
                    text,
                    "            for (var i = {first}; i < {end}; i++) {{\n{body}            }}\n"
                );
            }
        }
        if form.scaled {
            for r in 0..self.shape.rows {
                let _ = writeln!(text, "            let scale_{r} = {p}scale(raw_{r}, {first});");
                if form.offset {
                    let _ =
                        writeln!(text, "            let offset_{r} = {p}offset(raw_{r}, {first});");
                }
            }
            text += &self.each(|t, r| {
                let offset =
                    if form.offset { format!(" + total_{t} * offset_{r}") } else { String::new() };
                format!("            sum_{t}_{r} += dot_{t}_{r} * scale_{r}{offset};\n")
            });
        }
        text
    }

    /// What unit `i` of a chunk adds to a group's sums.
    fn unit_text(&self, from: X<'_>, index: usize, i: &str) -> String {
        let (p, format) = (segment_prefix(index), self.segments[index]);
        let (form, units) = (snippet(format), format.packing().chunk / 4);
        let target = if form.scaled { "dot" } else { "sum" };
        let mut text = String::new();
        for t in 0..self.shape.tokens {
            let x = self.x(from, t, units as u32, i);
            let _ = writeln!(text, "            let x_{t} = {x};");
            if form.offset {
                let _ = writeln!(text, "            total_{t} += dot(x_{t}, vec4(1.0));");
            }
        }
        for r in 0..self.shape.rows {
            let _ = writeln!(text, "            let w_{r} = {p}unit(raw_{r}, {i});");
            for t in 0..self.shape.tokens {
                let _ = writeln!(text, "            {target}_{t}_{r} += dot(x_{t}, w_{r});");
            }
        }
        text
    }

    /// The epilogue over the sums of `tokens` rows of x from row `origin` (an expression) on.
    pub(super) fn epilogue_text(&self, tokens: u32, origin: &str) -> String {
        let threads = self.shape.threads;
        self.by_group(|index, group| {
            let step = if group.pair { 2 } else { 1 };
            let units = self.units_per_tile(group);
            let per_token = units / step;
            let total = group.units;
            format!(
                "        for (var e = tid; e < {all}u; e += {threads}u) {{\n            \
                 let t = e / {per_token}u;\n            \
                 let n = {origin} + t;\n            \
                 let p = first + (e % {per_token}u) * {step}u;\n            \
                 if (n < count && p < {total}u) {{ post_{index}(t, n, unit_{index}(p), first); }}\n        }}\n",
                all = tokens * per_token,
            )
        })
    }
}

/// `text` as a block of its own, where `own`.
fn braced(text: &str, own: bool) -> String {
    if own { format!("            {{\n{text}            }}\n") } else { text.to_string() }
}

impl Rows {
    /// WGSL for the row of unit `j` in its matrix.
    fn matrix_row(&self) -> String {
        let Rows { first, len, every, .. } = *self;
        let row = match len == every {
            true => "j".to_string(),
            false => format!("j / {len}u * {every}u + j % {len}u"),
        };
        if first == 0 { row } else { format!("{first}u + {row}") }
    }

    /// WGSL for the row of unit `j` in its segment.
    fn row_text(&self) -> String {
        match self.part_rows {
            Some(rows) => format!("({}) % {rows}u", self.matrix_row()),
            None => self.matrix_row(),
        }
    }

    /// WGSL for the segment of unit `j`.
    fn segment_text(&self) -> String {
        match self.part_rows {
            Some(rows) => format!("{}u + ({}) / {rows}u", self.segment, self.matrix_row()),
            None => format!("{}u", self.segment),
        }
    }
}

/// A WGSL expression that picks value `slot / units`.
fn choose(values: impl Iterator<Item = String>, units: u32) -> String {
    let values: Vec<String> = values.collect();
    let Some((last, before)) = values.split_last() else { return "0u".into() };
    let mut text = last.clone();
    for (index, value) in before.iter().enumerate().rev() {
        let end = (index as u32 + 1) * units;
        text = format!("select({text}, {value}, slot < {end}u)");
    }
    text
}
