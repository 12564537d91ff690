//! Grids over the run-time dims.

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

impl Extent {
    /// The number of workgroups; a dispatch with a zero extent is skipped.
    ///
    /// # Panics
    /// If tiles are of 0; [`Plan::verify`](super::Plan::verify) has checked those of a plan.
    pub fn at(self, dims: StepDims) -> u32 {
        match self {
            Extent::Const(n) => n,
            Extent::Tiles { dim, tile, times } => {
                let size = match dim {
                    RunDim::Tokens => dims.tokens,
                    RunDim::OutRows => dims.out_rows,
                    RunDim::Slots => dims.slots,
                };
                size.div_ceil(tile).saturating_mul(times)
            }
        }
    }
}

impl Display for Extent {
    /// As people write it: `12`, `N`, `⌈N/16⌉·9`.
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
    }
}
