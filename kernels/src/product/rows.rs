//! Which rows of the weights a tile takes: the functions that map its slots to rows, and units to
//! their places among a group's.

use super::{Group, Order, Product, Rows};
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

impl Product {
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
    pub(super) fn by_group(&self, body: impl Fn(usize, &Group) -> String) -> String {
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
