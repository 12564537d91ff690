//! The product family: merged matrix products with a prologue on x and an epilogue on the sums.
//!
//! It applies to every product whose columns are whole chunks of its formats. One template serves
//! one row of x (decode) and many (prompts): what differs is how many rows of x and of the weights a
//! subgroup holds at a time.

mod across;
mod blocks;
mod down;
mod fetched;
mod grouped;
mod held;
mod integers;
mod matrix;
mod rows;
mod text;

pub use fetched::Fetched;
pub use integers::{Staging, multiplies_integers};
pub use matrix::Matrices;
pub use rows::{epilogue_sum, unit_place};

use crate::formats::Words;
use crate::row_program::RowProgram;
use crate::shader::{Binding, Shader};
use quarrel_ir::format::Format;
use quarrel_ir::packing::Interleaving;

/// Everything a product kernel is made of.
#[derive(Clone, Debug)]
pub struct Product {
    /// Tile sizes.
    pub shape: Shape,
    /// Elements of a row of x.
    pub columns: u32,
    /// WGSL expression for the number of rows of x, which may use bindings.
    pub count: String,
    /// Weight segments: rows of one format behind one set of planes.
    pub segments: Vec<Format>,
    /// How rows of each segment are interleaved, where they are.
    pub interleaved: Vec<Option<Interleaving>>,
    /// How their words are loaded.
    pub words: Words,
    /// Groups of outputs with the same units.
    pub groups: Vec<Group>,
    /// Where the weights are those of experts that are chosen on the device.
    pub experts: Option<Experts>,
    /// How x is computed from what is in memory: value function `pre(n, j, s…) -> vec4<f32>`.
    pub prologue: RowProgram,
    /// Whether `pre` yields `vec4<f16>`, as x is in memory; for [`Columns::Matrices`].
    pub halves: bool,
    /// Vectors of four of what the first workgroup along the weights stores besides: a function
    /// `aside_I(n, j, s…)` in the prologue each.
    pub aside: Vec<u32>,
    /// Whether x is computed once a workgroup and kept in workgroup memory, and how: all of it or,
    /// where weights are read ahead, as much as [`Fetched::staged`] turns use at a time.
    pub staging: Staging,
    /// All bindings; planes of segment i are named by [`segment_prefix`].
    pub bindings: Vec<Binding>,
    /// WGSL functions that prologue and epilogue call, with the epilogues `post_G` themselves.
    pub functions: String,
}

/// Tile sizes of a product kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of x that a workgroup takes, all held by each subgroup at once.
    pub tokens: u32,
    /// Rows of weights that a subgroup holds at once.
    pub rows: u32,
    /// Rows of weights that a workgroup takes; a multiple of `rows`.
    pub tile: u32,
    /// Threads of a workgroup.
    pub threads: u32,
    /// How the columns are gone through.
    pub columns: Columns,
}

/// How a product goes through the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columns {
    /// A chunk of each row a lane at a time.
    Plain,
    /// With x in registers, shared among all threads, which together take a block of rows at a time.
    /// For one row of x and segments of the same chunk.
    Held,
    /// With weights read ahead; a workgroup has as many blocks of rows as subgroups, or as groups of
    /// subgroups that share columns. For segments of the same chunk, and not for experts.
    Fetched(Fetched),
    /// A chunk of each row at a time, with a row of x, or several, for each thread: no sum is shared,
    /// so nothing is added up in the end and no thread idles. `tokens` is a multiple of `threads`,
    /// and the prologue takes no statistics.
    Across,
    /// Written out, with `rows` rows of weights for each thread, which make up the tile, and the rows of
    /// x in workgroup memory: what all lanes read alike is an operand. x is staged. Not for experts.
    Down {
        /// Workgroups that share the columns; each takes as many whole chunks, or pairs of them.
        shares: u32,
    },
    /// By cooperative matrices, which make up the tile: `tokens`, `tile` and `threads` are theirs,
    /// and `rows` does not apply.
    Matrices(Matrices),
}

impl Columns {
    /// What people are told of it.
    fn text(self) -> String {
        match self {
            Columns::Held => ", x in registers".to_string(),
            Columns::Fetched(Fetched { ahead, share, passes, .. }) => {
                let shared = match share {
                    1 => String::new(),
                    _ => format!(", {share} subgroups share columns"),
                };
                let passes = match passes {
                    1 => String::new(),
                    _ => format!(", {passes} passes"),
                };
                format!(", {ahead} chunks ahead{shared}{passes}")
            }
            Columns::Across => ", rows of x across threads".to_string(),
            Columns::Down { shares } => {
                let shared = match shares {
                    1 => String::new(),
                    _ => format!(", {shares} workgroups share columns"),
                };
                format!(", rows of weights across threads{shared}")
            }
            Columns::Plain | Columns::Matrices(_) => String::new(),
        }
    }
}

impl Shape {
    /// Workgroups that share the columns, along the grid's last axis. Each has sums of its own, and
    /// its epilogue stores them by `own_share`, which counts the workgroups.
    pub const fn shares(&self) -> u32 {
        match self.columns {
            Columns::Matrices(matrices) => matrices.shares,
            Columns::Down { shares } => shares,
            _ => 1,
        }
    }

    /// Whether a chunk's units are unrolled in the text.
    const fn unrolled(&self) -> bool {
        self.tokens * self.rows <= 16
    }

    /// Rows of x that a thread works on at once.
    const fn held_tokens(&self) -> u32 {
        match self.columns {
            Columns::Across => self.tokens / self.threads,
            _ => self.tokens,
        }
    }
}

/// Outputs that are computed from the same unit of several matrices.
///
/// Unit `j` has one sum for each of the group's linears: row `j` of that matrix. The epilogue is a
/// function `post_G(t, n, j, first)` for group G: token `t` of the workgroup, which is row `n` of x,
/// unit `j`, and the workgroup's first place `first` for [`epilogue_sum`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Number of units.
    pub units: u32,
    /// Where each linear's rows are.
    pub linears: Vec<Rows>,
    /// The order in which units lie in tiles.
    pub order: Order,
    /// Whether the epilogue takes units two at a time (`j` and `j + 1`, `j` even).
    pub pair: bool,
}

/// The rows of one linear: unit `u` is row `first + u / len * every + u % len` of its matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// The matrix's segment, or the first of those of a matrix in parts.
    pub segment: usize,
    /// The row of unit 0.
    pub first: u32,
    /// Rows that lie together.
    pub len: u32,
    /// From one such run of rows to the next.
    pub every: u32,
    /// Rows of each part of a matrix that is too large for one binding; each part is a segment. A
    /// multiple of [`PART_ROWS`] and of the heads of the group's order.
    pub part_rows: Option<u32>,
}

/// Parts of a matrix have multiples of this many rows, so that rows that a subgroup holds at once
/// ([`Shape::rows`], which divides it) are in one part.
pub const PART_ROWS: u32 = 192;

/// Products with the matrices of experts: every matrix is one for each expert, one after another.
///
/// A row of the kernel is a pair of token and id, `token · top + t`; with a sum it is a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Ids of each token.
    pub top: u32,
    /// How a workgroup knows its expert.
    pub chosen: Chosen,
}

/// How the rows of a product with experts are shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// A workgroup takes one row, for shapes of one row of x.
    Alone {
        /// The binding of the ids, `u32[N, top]`.
        ids: String,
        /// WGSL function `share(n, t) -> f32`, in [`Product::functions`], that weighs what the
        /// experts yield, to be summed; without it each is a row of the result.
        summed: bool,
    },
    /// A workgroup takes a tile of rows that have chosen the same expert.
    Grouped {
        /// The binding of the list, as [`quarrel_ir::plan::Groups`] describes it.
        groups: String,
        /// The first word of the table of tiles of [`Shape::tokens`] rows.
        table: u32,
    },
}

/// The order in which units lie in tiles, so that units that need each other share a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By number.
    Plain,
    /// Within each head of `head` units, blocks of four: `i, i + 1, i + half, i + half + 1` for
    /// even `i < half`; units from `2 · half` on by number. `head` and `2 · half` are multiples of 4.
    HalfPairs {
        /// Units of a head.
        head: u32,
        /// Distance between partners.
        half: u32,
    },
}

/// The name prefix of segment `index`'s snippet and planes.
pub fn segment_prefix(index: usize) -> String {
    format!("w{index}_")
}

impl Product {
    /// Units of `group` that one workgroup takes.
    pub fn units_per_tile(&self, group: &Group) -> u32 {
        self.shape.tile / group.linears.len() as u32
    }

    /// Workgroups along x.
    pub fn tiles(&self) -> u32 {
        self.groups.iter().map(|g| g.units.div_ceil(self.units_per_tile(g))).sum()
    }

    /// Bytes of workgroup memory.
    pub fn workgroup_bytes(&self) -> u32 {
        if let Columns::Matrices(matrices) = self.shape.columns {
            return matrices.workgroup_bytes();
        }
        let reduced = match self.prologue.statistics.is_empty() {
            true => 0,
            false => self.shape.threads.div_ceil(4),
        };
        let sums = self.shares() * self.shape.tokens * self.shape.tile;
        4 * (sums + self.staged_words() + reduced) + self.held_bytes() + self.totals_bytes()
    }

    /// The kernel's text.
    pub fn shader(&self) -> Shader {
        let Shape { tokens, rows, tile, threads, columns } = self.shape;
        let staged = match self.staging {
            Staging::No => "",
            Staging::Floats => ", x staged",
            Staging::Integers => ", x staged in integers",
        };
        let unrolled = if self.shape.unrolled() { ", unrolled" } else { "" };
        let how = columns.text();
        let variant = match columns {
            Columns::Matrices(Matrices {
                size,
                held: (down, across),
                depth,
                buffers,
                ahead,
                shares,
                ..
            }) => {
                let twice = if buffers > 1 { " twice" } else { "" };
                let further = if ahead > 1 { ", 2 steps ahead" } else { "" };
                let shared = match shares {
                    1 => String::new(),
                    _ => format!(", {shares} workgroups share columns"),
                };
                format!(
                    "F16 matrices of {size} x {size}, {down} x {across} a subgroup, {tokens} x {tile} x {depth}{twice} a workgroup of {threads}{further}{shared}"
                )
            }
            _ => format!(
                "{tokens} x {rows} a subgroup, {tile} rows a workgroup of {threads}{staged}{how}{unrolled}"
            ),
        };
        Shader {
            family: "product",
            variant,
            wgsl: self.text(),
            workgroup: threads,
            workgroup_bytes: self.workgroup_bytes(),
        }
    }
}
