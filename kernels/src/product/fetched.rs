//! The variant of a product that reads weights ahead.
//!
//! A decode step is a chain of short kernels, each of which waits for memory several times. Weights
//! do not depend on x: each lane reads its first chunks before the prologue computes x, and the next
//! ones while it multiplies. The lanes of a subgroup are known, so each step is written out; a
//! subgroup of another size takes the usual loop.
//!
//! Where rows are few, several subgroups of a workgroup share the columns of a block of rows, so
//! that more of the weights are on their way at once. Their sums meet in workgroup memory. Where rows
//! are many, subgroups may take several blocks of rows one after another, in passes, so that fewer
//! workgroups compute x.

use super::text::X;
use super::{Columns, Product, segment_prefix};
use std::fmt::Write;

/// Chunks of rows up to which a pass is written out: turns, times chunks of a row, times rows. On an H200
/// 8 are 7 % faster so, 28 are 10 % slower.
const WRITTEN_OUT: u32 = 16;

/// How far ahead weights are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Lanes of a subgroup.
    pub lanes: u32,
    /// Subgroups that share the columns of a block of rows; 1 where each has a block of its own.
    pub share: u32,
    /// Chunks of each row that a lane reads at once: one turn.
    pub ahead: u32,
    /// Where x is staged in parts, the turns that a part lasts.
    pub staged: Option<u32>,
    /// Blocks of rows that each subgroup takes one after another, all with the x that is staged once; 1
    /// where x is staged in parts.
    pub passes: u32,
}

impl Fetched {
    /// Lanes that go through a row together.
    const fn together(&self) -> u32 {
        self.lanes * self.share
    }

    /// Chunks of a row that a block's lanes read in a turn.
    const fn span(&self) -> u32 {
        self.together() * self.ahead
    }
}

impl Product {
    /// How far ahead weights are read, where they are.
    pub(super) const fn fetched(&self) -> Option<Fetched> {
        match self.shape.columns {
            Columns::Fetched(fetched) => Some(fetched),
            _ => None,
        }
    }

    /// Chunks of a row, and the turns that a lane takes to read its share of them.
    fn turns(&self, fetched: Fetched) -> (u32, u32) {
        let chunks = self.columns / self.segments[0].packing().chunk as u32;
        (chunks, chunks.div_ceil(fetched.span()))
    }

    /// Vectors of x that are staged at a time, where that is not all.
    pub(super) fn window(&self) -> Option<u32> {
        let fetched = self.fetched()?;
        let units = self.segments[0].packing().chunk as u32 / 4;
        fetched.staged.filter(|_| self.staged()).map(|turns| turns * fetched.span() * units)
    }

    /// Statements that stage the part of x that begins with turn `turn`.
    fn window_text(&self, fetched: Fetched) -> String {
        let (Some(window), Some(turns)) = (self.window(), fetched.staged) else {
            return String::new();
        };
        let mut text =
            format!("        if (turn % {turns}u == 0u) {{\n        workgroupBarrier();\n");
        for t in 0..self.shape.tokens {
            let from = format!("turn / {turns}u * {window}u + ");
            let vectors = format!("min({window}u, VECTORS - turn / {turns}u * {window}u)");
            let _ = write!(text, "        {}", self.stage_loop(t, &from, &vectors));
        }
        text + "        workgroupBarrier();\n        }\n"
    }

    /// Statements that read each lane's first chunks.
    pub(super) fn fetch_text(&self, fetched: Fetched) -> String {
        let rows = self.shape.rows;
        let mut text = match fetched.share {
            1 => format!("    let ahead = subgroup * {rows}u;\n    let column = lane;\n"),
            share => format!(
                "    let ahead = subgroup / {share}u * {rows}u;\n    \
                 let column = subgroup % {share}u * {}u + lane;\n",
                fetched.lanes
            ),
        };
        let kind = if fetched.passes > 1 { "var" } else { "let" };
        for r in 0..rows {
            let _ = writeln!(text, "    {kind} ahead_row_{r} = weight_row(tile, ahead + {r}u);");
        }
        if self.segments.len() > 1 {
            let _ = writeln!(text, "    {kind} ahead_segment = weight_segment(tile, ahead);");
        }
        for owner in self.owners() {
            for (r, k) in self.ahead(fetched) {
                let _ = writeln!(
                    text,
                    "    var fetched_{owner}_{r}_{k}: {}raw;",
                    segment_prefix(owner)
                );
            }
        }
        text + &self.read_ahead(fetched, "column")
    }

    /// Statements that multiply a subgroup's blocks of rows by what is read ahead.
    pub(super) fn multiply_text(&self, fetched: Fetched) -> String {
        let (_, turns) = self.turns(fetched);
        let passes = fetched.passes;
        let mut text = String::new();
        if passes > 1 {
            debug_assert!(self.window().is_none(), "x is staged once");
            let rows = self.shape.tile / passes;
            let _ = writeln!(
                text,
                "        for (var nth_pass = 0u; nth_pass < {passes}u; nth_pass++) {{\n        \
                 let slot = ahead + nth_pass * {rows}u;"
            );
        } else {
            text.push_str("        let slot = ahead;\n");
        }
        text += &self.each(|t, r| format!("        var sum_{t}_{r} = 0.0;\n"));
        if self.written_out(fetched) {
            for turn in 0..turns {
                let start = format!("column + {}u", turn * fetched.span());
                let next = format!("column + {}u", (turn + 1) * fetched.span());
                let next = if turn + 1 < turns {
                    self.read_ahead(fetched, &next)
                } else {
                    self.next_pass(fetched)
                };
                let _ = writeln!(text, "        {{\n        let start = {start};");
                text += &self.turn_text(fetched, &next);
                text.push_str("        }\n");
            }
        } else {
            let _ = writeln!(text, "        for (var turn = 0u; turn < {turns}u; turn++) {{");
            let _ = writeln!(text, "        let start = turn * {}u + column;", fetched.span());
            text += &self.window_text(fetched);
            let next = self.read_ahead(fetched, &format!("start + {}u", fetched.span()));
            let last = self.next_pass(fetched);
            let next = format!(
                "        if (turn + 1u < {turns}u) {{\n{next}        }} else {{\n{last}        }}\n"
            );
            text += &self.turn_text(fetched, &next);
            text.push_str("        }\n");
        }
        text += &self.sums_text(fetched.share);
        if passes > 1 {
            text.push_str("        }\n");
        }
        text
    }

    /// Whether turns are written out, so that nothing moves from register to register between them.
    fn written_out(&self, fetched: Fetched) -> bool {
        let (_, turns) = self.turns(fetched);
        self.window().is_none() && turns * fetched.ahead * self.shape.rows <= WRITTEN_OUT
    }

    /// Statements that read the first chunks of the next pass's rows, if there is one.
    fn next_pass(&self, fetched: Fetched) -> String {
        if fetched.passes == 1 {
            return String::new();
        }
        let rows = self.shape.tile / fetched.passes;
        let mut text = format!(
            "        if (nth_pass + 1u < {}u) {{\n        let next = slot + {rows}u;\n",
            fetched.passes
        );
        for r in 0..self.shape.rows {
            let _ = writeln!(text, "        ahead_row_{r} = weight_row(tile, next + {r}u);");
        }
        if self.segments.len() > 1 {
            text.push_str("        ahead_segment = weight_segment(tile, next);\n");
        }
        text + &self.read_ahead(fetched, "column") + "        }\n"
    }

    /// One turn: what was read is multiplied while `next` reads on.
    fn turn_text(&self, fetched: Fetched, next: &str) -> String {
        let mut text = String::new();
        let (_, turns) = self.turns(fetched);
        let several = turns * fetched.passes > 1;
        let owners = self.owners();
        if several {
            for &owner in &owners {
                for (r, k) in self.ahead(fetched) {
                    let _ = writeln!(
                        text,
                        "        let now_{owner}_{r}_{k} = fetched_{owner}_{r}_{k};"
                    );
                }
            }
            if fetched.passes > 1 && owners.len() > 1 {
                text.push_str("        let now_segment = ahead_segment;\n");
            }
            text.push_str(next);
        }
        let segment = if fetched.passes > 1 { "now_segment" } else { "ahead_segment" };
        for (index, &owner) in owners.iter().enumerate() {
            let body = self.owner_text(fetched, owner, if several { "now" } else { "fetched" });
            let same = (0..self.segments.len()).filter(|s| self.owner(*s) == owner);
            let which: Vec<String> = same.map(|s| format!("{segment} == {s}u")).collect();
            let head = match (index, index + 1 == owners.len()) {
                (0, true) => "        {\n".to_string(),
                (0, false) => format!("        if ({}) {{\n", which.join(" || ")),
                (_, false) => format!(" else if ({}) {{\n", which.join(" || ")),
                (_, true) => " else {\n".to_string(),
            };
            let _ = write!(text, "{head}{body}        }}");
        }
        text + "\n"
    }

    /// Subgroups that share a block of rows, whose sums lie one after another in workgroup memory.
    pub(super) fn shares(&self) -> u32 {
        self.fetched().map_or(1, |fetched| fetched.share)
    }

    /// Statements, after a barrier, that add up the sums of subgroups that share rows; a subgroup
    /// of another size than was expected has not shared.
    pub(super) fn meet_text(&self) -> String {
        let Some(Fetched { lanes, share: share @ 2.., .. }) = self.fetched() else {
            return String::new();
        };
        let (all, threads) = (self.shape.tokens * self.shape.tile, self.shape.threads);
        let parts: Vec<String> =
            (0..share).map(|part| format!("sums[e + {}u]", part * all)).collect();
        format!(
            "    if (lanes == {lanes}u) {{\n        \
             for (var e = tid; e < {all}u; e += {threads}u) {{ sums[e] = {}; }}\n    }}\n    \
             workgroupBarrier();\n",
            parts.join(" + ")
        )
    }

    /// The segments whose structs the others of the same format use.
    pub(super) fn owners(&self) -> Vec<usize> {
        (0..self.segments.len()).filter(|s| self.owner(*s) == *s).collect()
    }

    /// Rows, and chunks of each, that a lane reads at once.
    fn ahead(&self, fetched: Fetched) -> impl Iterator<Item = (u32, u32)> + use<> {
        (0..self.shape.rows).flat_map(move |r| (0..fetched.ahead).map(move |k| (r, k)))
    }

    /// Statements that read chunks from `start` on into `fetched_…`; beyond the last one, the last.
    fn read_ahead(&self, fetched: Fetched, start: &str) -> String {
        let (chunks, turns) = self.turns(fetched);
        let whole = chunks == turns * fetched.span();
        self.by_segment("ahead_segment", |index| {
            let (p, owner) = (segment_prefix(index), self.owner(index));
            let read = |(r, k): (u32, u32)| {
                let at = format!("{start} + {}u", k * fetched.together());
                let at = if whole { at } else { format!("min({at}, {}u)", chunks - 1) };
                format!(
                    "        fetched_{owner}_{r}_{k} = {p}load(ahead_row_{r} * {chunks}u + {at});\n"
                )
            };
            self.ahead(fetched).map(read).collect()
        })
    }

    /// What one turn adds to the sums, for rows of segments that share `owner`'s format.
    fn owner_text(&self, fetched: Fetched, owner: usize, from: &str) -> String {
        let (chunks, turns) = self.turns(fetched);
        let mut text = String::new();
        for k in 0..fetched.ahead {
            let end = ((turns - 1) * fetched.ahead + k + 1) * fetched.together();
            let head = if end > chunks { format!("if (c < {chunks}u) ") } else { String::new() };
            let _ =
                writeln!(text, "        {{\n        let c = start + {}u;", k * fetched.together());
            let _ = writeln!(text, "        {head}{{");
            for r in 0..self.shape.rows {
                let _ = writeln!(text, "            let raw_{r} = {from}_{owner}_{r}_{k};");
            }
            let part = self.window().and(fetched.staged);
            let staged = part.map(|turns| {
                let span = fetched.span();
                format!("(turn % {turns}u * {span}u + column + {}u)", k * fetched.together())
            });
            let from = staged.as_deref().map_or(self.usual(), X::Staged);
            text.push_str(&self.chunk_text(from, owner));
            text.push_str("        }\n        }\n");
        }
        text
    }
}
