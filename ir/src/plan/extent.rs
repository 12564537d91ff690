//! Grids over the run-time dims.

use super::Groups;
use crate::graph::RunDim;
use serde::{Deserialize, Serialize};
use std::fmt::{Display, Formatter, Result};

/// A grid extent over the run-time dims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// Always this many.
    Const(u32),
    /// `⌈dim / tile⌉ · times`
    Tiles {
        /// The run-time dim.
        dim: RunDim,
        /// How much of it one workgroup covers.
        tile: u32,
        /// How many workgroups each tile has.
        times: u32,
    },
    /// `min(⌈dim · top / tile⌉ + experts, dim · top)`: what tiles of rows that have chosen the same
    /// expert may be at most
    Groups {
        /// The run-time dim.
        dim: RunDim,
        /// Experts that each of it chooses.
        top: u32,
        /// Rows that one workgroup takes.
        tile: u32,
        /// Experts to choose from.
        experts: u32,
    },
}

/// Values of the run-time dims in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepDims {
    /// N
    pub tokens: u32,
    /// R
    pub out_rows: u32,
    /// S
    pub slots: u32,
}

impl StepDims {
    /// The value of a dim.
    const fn of(self, dim: RunDim) -> u32 {
        match dim {
            RunDim::Tokens => self.tokens,
            RunDim::OutRows => self.out_rows,
            RunDim::Slots => self.slots,
        }
    }
}

impl Extent {
    /// The run-time dim that it goes over.
    pub const fn dim(self) -> Option<RunDim> {
        match self {
            Extent::Const(_) => None,
            Extent::Tiles { dim, .. } | Extent::Groups { dim, .. } => Some(dim),
        }
    }

    /// What one workgroup covers of it.
    pub(super) const fn tile(self) -> u32 {
        match self {
            Extent::Const(_) => 1,
            Extent::Tiles { tile, .. } | Extent::Groups { tile, .. } => tile,
        }
    }

    /// The number of workgroups; a dispatch with a zero extent is skipped.
    ///
    /// # Panics
    /// If tiles are of 0; [`Plan::verify`](super::Plan::verify) has checked those of a plan.
    pub fn at(self, dims: StepDims) -> u32 {
        match self {
            Extent::Const(n) => n,
            Extent::Tiles { dim, tile, times } => dims.of(dim).div_ceil(tile).saturating_mul(times),
            Extent::Groups { dim, top, tile, experts } => {
                Groups::tiles(dims.of(dim).saturating_mul(top), tile, experts)
            }
        }
    }
}

impl Display for Extent {
    /// As people write it: `12`, `N`, `⌈N/16⌉·9`, `⌈N·8/64⌉+32`.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match *self {
            Extent::Const(n) => write!(f, "{n}"),
            Extent::Tiles { dim, tile, times } => {
                match tile {
                    1 => write!(f, "{}", dim.letter())?,
                    _ => write!(f, "⌈{}/{tile}⌉", dim.letter())?,
                }
                if times == 1 { Ok(()) } else { write!(f, "·{times}") }
            }
            Extent::Groups { dim, top, tile, experts } => {
                write!(f, "⌈{}·{top}/{tile}⌉+{experts}", dim.letter())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_are_short() {
        let dim = RunDim::Tokens;
        assert_eq!(Extent::Tiles { dim, tile: 1, times: 1 }.to_string(), "N");
        assert_eq!(Extent::Tiles { dim, tile: 16, times: 9 }.to_string(), "⌈N/16⌉·9");
        let groups = Extent::Groups { dim, top: 8, tile: 64, experts: 32 };
        assert_eq!(groups.to_string(), "⌈N·8/64⌉+32");
    }

    #[test]
    fn groups_have_tiles_for_any_share_of_the_rows() {
        let groups = Extent::Groups { dim: RunDim::Tokens, top: 8, tile: 64, experts: 32 };
        let at = |tokens| groups.at(StepDims { tokens, out_rows: 1, slots: 1 });
        assert_eq!([0, 1, 9, 512].map(at), [0, 8, 34, 96]);
    }
}
