//! The loop over the columns: what a subgroup does for each block of weight rows that it holds.

use super::text::X;
use super::{Columns, Product, Staging, segment_prefix};
use crate::formats::snippet;
use std::fmt::Write;

impl Product {
    /// All blocks of rows of a subgroup.
    pub(super) fn blocks_text(&self) -> String {
        if self.is_down() {
            return format!("    let block = tid;\n{}", self.block_text());
        }
        let each = match self.shape.columns {
            Columns::Across | Columns::Held => "var block = 0u; block < BLOCKS; block++",
            _ => "var block = subgroup; block < BLOCKS; block += subgroups",
        };
        let blocks = format!("    for ({each}) {{\n{}    }}\n", self.block_text());
        match self.shape.columns {
            Columns::Fetched(fetched) => format!(
                "    if (lanes == {}u) {{\n{}    }} else {{\n{blocks}    }}\n",
                fetched.lanes,
                self.multiply_text(fetched)
            ),
            Columns::Held => blocks + &self.held_sums(),
            _ => blocks,
        }
    }

    fn block_text(&self) -> String {
        // Threads that have rows of their own have neighbouring ones.
        let (held, apart) = match self.is_down() {
            true => (1, self.shape.threads),
            false => (self.shape.rows, 1),
        };
        let mut text = format!("        let slot = block * {held}u;\n");
        for r in 0..self.shape.rows {
            let _ =
                writeln!(text, "        let row_{r} = weight_row(tile, slot + {}u);", r * apart);
        }
        if self.segments.len() == 1 {
            text.push_str(&self.rows_of_text(0));
            return text;
        }
        text.push_str("        let segment = weight_segment(tile, slot);\n");
        text + &self.by_segment("segment", |index| self.rows_of_text(index))
    }

    /// One block of rows of one segment, with x held or read.
    fn rows_of_text(&self, index: usize) -> String {
        match self.shape.columns {
            Columns::Held => self.held_text(index),
            Columns::Across => self.across_text(index),
            Columns::Down { .. } => self.down_text(index),
            _ => self.segment_text(index),
        }
    }

    /// Lines for each row of x and each weight row that a subgroup holds.
    pub(super) fn each(&self, line: impl Fn(u32, u32) -> String) -> String {
        let rows = self.shape.rows;
        (0..self.shape.held_tokens())
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
        text + &self.sums_text(1)
    }

    /// What one chunk of each row, `raw_R`, adds to the sums.
    pub(super) fn chunk_text(&self, from: X<'_>, index: usize) -> String {
        let format = self.segments[index];
        let (units, group) = (format.packing().chunk as u32 / 4, snippet(format).group);
        if !self.shape.unrolled() && units != group {
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

    /// Adds the lanes' sums up and keeps them; those of `share` subgroups one after another.
    pub(super) fn sums_text(&self, share: u32) -> String {
        let mut text =
            self.each(|t, r| format!("        sum_{t}_{r} = subgroupAdd(sum_{t}_{r});\n"));
        text.push_str("        if (lane == 0u) {\n");
        text += &self.each(|t, r| {
            let own = match share {
                1 => String::new(),
                _ => format!("subgroup % {share}u * {}u + ", self.shape.tokens * self.shape.tile),
            };
            let place = format!("{own}{t}u * TILE + slot + {r}u");
            format!("            {}\n", self.stored_sum(&place, &format!("sum_{t}_{r}")))
        });
        text.push_str("        }\n");
        text
    }

    /// What a chunk's units from `first` on that share a scale add to the sums; `known` is `first`
    /// where it is a number.
    fn group_text(&self, from: X<'_>, index: usize, first: &str, known: Option<u32>) -> String {
        if let (Staging::Integers, X::Staged(chunk)) = (self.staging, from) {
            return self.integer_group_text(chunk, index, first, known);
        }
        let (p, form) = (segment_prefix(index), snippet(self.segments[index]));
        let mut text = String::new();
        if form.scaled {
            text += &self.each(|t, r| format!("            var dot_{t}_{r} = 0.0;\n"));
        }
        if form.offset {
            for t in 0..self.shape.held_tokens() {
                let _ = writeln!(text, "            var total_{t} = 0.0;");
            }
        }
        text += &self.units_text(first, known, form.group, |i| self.unit_text(from, index, i));
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

    /// What `unit` says for each of the `group` units from `first` on, written out or in a loop.
    pub(super) fn units_text(
        &self,
        first: &str,
        known: Option<u32>,
        group: u32,
        unit: impl Fn(&str) -> String,
    ) -> String {
        match known {
            Some(first) if self.shape.unrolled() || group == 1 => {
                (first..first + group).map(|i| braced(&unit(&format!("{i}u")), true)).collect()
            }
            _ => {
                let end = match known {
                    Some(first) => format!("{}u", first + group),
                    None => format!("{first} + {group}u"),
                };
                let body = unit("i");
                format!(
                    "            for (var i = {first}; i < {end}; i++) {{\n{body}            }}\n"
                )
            }
        }
    }

    /// What unit `i` of a chunk adds to a group's sums.
    fn unit_text(&self, from: X<'_>, index: usize, i: &str) -> String {
        let (p, format) = (segment_prefix(index), self.segments[index]);
        let (form, units) = (snippet(format), format.packing().chunk / 4);
        let target = if form.scaled { "dot" } else { "sum" };
        let mut text = String::new();
        for t in 0..self.shape.held_tokens() {
            let x = self.x(from, t, units as u32, i);
            let _ = writeln!(text, "            let x_{t} = {x};");
            if form.offset {
                let _ = writeln!(text, "            total_{t} += dot(x_{t}, vec4(1.0));");
            }
        }
        for r in 0..self.shape.rows {
            let _ = writeln!(text, "            let w_{r} = {p}unit(raw_{r}, {i});");
            for t in 0..self.shape.held_tokens() {
                let _ = writeln!(text, "            {target}_{t}_{r} += dot(x_{t}, w_{r});");
            }
        }
        text
    }
}

/// `text` as a block of its own, where `own`.
fn braced(text: &str, own: bool) -> String {
    if own { format!("            {{\n{text}            }}\n") } else { text.to_string() }
}
