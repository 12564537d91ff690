//! Rows of x that have chosen the same expert, for many rows: a workgroup takes a tile of them, as
//! [`quarrel_ir::plan::Groups`] lists them, so that it reads the expert's weights once for all.
//!
//! A kernel's places 0, 1, … are those of its tile; [`Product::row`] says which row of x, and of what
//! is stored, is at a place. There are at least as many workgroups as tiles; those without a tile end
//! before they meet.

use super::{Chosen, Experts, Product};

impl Experts {
    /// The first word of a workgroup's tile, where `along` is its number.
    fn tile_text(table: u32, along: &str) -> String {
        format!("{table}u + 3u * {along}")
    }
}

impl Product {
    /// The binding of the list, and where in it the tiles are, where rows are grouped.
    fn listed(&self) -> Option<(&str, u32)> {
        match self.experts.as_ref().map(|experts| &experts.chosen) {
            Some(Chosen::Grouped { groups, table }) => Some((groups, *table)),
            _ => None,
        }
    }

    /// Whether a workgroup's rows of x are those of a tile.
    pub(super) fn is_grouped(&self) -> bool {
        self.listed().is_some()
    }

    /// WGSL for the end of a workgroup's rows of x, where `along` is its number among those along x.
    pub(super) fn count_text(&self, along: &str) -> String {
        match self.listed() {
            Some((groups, table)) => {
                format!("{groups}[{} + 2u]", Experts::tile_text(table, along))
            }
            None => self.count.clone(),
        }
    }

    /// WGSL for the first of them, where each workgroup has `rows`.
    pub(super) fn origin_text(&self, along: &str, rows: &str) -> String {
        if self.is_grouped() { "0u".into() } else { format!("{along} * {rows}") }
    }

    /// Declarations for products with experts.
    pub(super) fn expert_helpers(&self) -> String {
        let mut text = String::new();
        if self.experts.is_some() {
            text.push_str("var<private> expert: u32;\n");
        }
        if let Some((groups, _)) = self.listed() {
            text.push_str("var<private> listed_from: u32;\n");
            text.push_str(&format!(
                "fn listed(place: u32) -> u32 {{ return {groups}[listed_from + place]; }}\n"
            ));
        }
        text
    }

    /// Statements with which a workgroup takes its tile, or ends where there is none.
    pub(super) fn take_tile(&self, along: &str) -> String {
        let Some((groups, table)) = self.listed() else { return String::new() };
        let tile = Experts::tile_text(table, along);
        format!(
            "    if (count == 0u) {{ return; }}\n    expert = {groups}[{tile}];\n    \
             listed_from = {groups}[{tile} + 1u];\n"
        )
    }

    /// WGSL for the row of x at place `at`.
    pub(super) fn row(&self, at: &str) -> String {
        if self.is_grouped() { format!("listed({at})") } else { at.into() }
    }
}
