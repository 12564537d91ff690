//! Rows of states as words of device memory.

use half::f16;
use quarrel_ir::graph::{Addressing, Graph, StateFormat, StateId};
use quarrel_ir::plan::PlanOptions;

/// What stands where a sequence has no row: far from anything that a model computes, so that it shows
/// where it is read, and small enough for sixteen bits.
const GARBAGE: f32 = 24_576.0;

/// How the rows of a state lie in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    /// How elements are stored.
    pub(crate) stored: StateFormat,
    /// What they are rounded to.
    pub(crate) rounded: StateFormat,
    /// Elements of a row.
    pub(crate) width: usize,
    /// Rows of a slot.
    pub(crate) count: u32,
    addressing: Addressing,
}

impl Rows {
    /// Those of a state under a plan's options.
    pub(crate) fn of(graph: &Graph, options: &PlanOptions, state: StateId) -> Rows {
        // Dispatches of the plan name states of the graph.
        let state = &graph.states[state.0 as usize];
        // Elements of 16 bits lie in pairs; rows of an odd number of heads' elements take 32 each.
        let odd = state.row.last().is_some_and(|last| last % 2 == 1);
        Rows {
            stored: if odd { StateFormat::F32 } else { state.format },
            rounded: state.format,
            width: state.width() as usize,
            count: state.addressing.rows(options.context, options.step_tokens()),
            addressing: state.addressing,
        }
    }

    /// Whether it keeps one row, which each token replaces.
    pub(crate) fn replaced(self) -> bool {
        self.addressing == Addressing::Replace
    }

    /// Words of a row.
    pub(crate) fn row_words(self) -> usize {
        match self.stored {
            StateFormat::F32 => self.width,
            StateFormat::F16 => self.width / 2,
        }
    }

    /// The row that holds `position`.
    pub(crate) fn row(self, position: u32) -> u32 {
        match self.addressing {
            Addressing::Append => position,
            Addressing::Ring { .. } => position % self.count,
            Addressing::Replace => 0,
        }
    }

    /// The words of one row.
    pub(crate) fn encode(self, row: &[f32]) -> Vec<u32> {
        match self.stored {
            StateFormat::F32 => row.iter().map(|x| x.to_bits()).collect(),
            StateFormat::F16 => row
                .chunks_exact(2)
                .map(|pair| {
                    let bits = |x: f32| u32::from(f16::from_f32(x).to_bits());
                    bits(pair[0]) | bits(pair[1]) << 16
                })
                .collect(),
        }
    }

    /// The elements of rows.
    pub(crate) fn decode(self, words: &[u32]) -> Vec<f32> {
        match self.stored {
            StateFormat::F32 => crate::words::floats(words),
            StateFormat::F16 => words
                .iter()
                .flat_map(|word| [*word as u16, (*word >> 16) as u16])
                .map(|bits| f16::from_bits(bits).to_f32())
                .collect(),
        }
    }

    /// Slot 0 where the positions before `end` are written, `all` being the rows of all positions;
    /// those from `new` on stand for what is not written yet.
    pub(crate) fn image(self, all: &[f32], new: u32, end: u32) -> Vec<u32> {
        let words = self.row_words();
        let garbage = self.encode(&vec![GARBAGE; self.width]);
        let shown = self.shown(end);
        let mut image = garbage.repeat(shown as usize);
        // Later positions come round to the rows of earlier ones.
        for position in end.saturating_sub(2 * self.count)..end {
            let at = self.row(position) as usize * words;
            // `all` has a row for each position, the image one for each that is kept.
            let row = &all[position as usize * self.width..][..self.width];
            let row = match position < new {
                true => self.encode(row),
                false => vec![crate::words::POISON; words],
            };
            image[at..at + words].copy_from_slice(&row);
        }
        image
    }

    /// Rows of a slot that are written and read back where the positions before `end` are written:
    /// some more than those, to see what is out of place.
    pub(crate) fn shown(self, end: u32) -> u32 {
        self.count.min(end + 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(addressing: Addressing, stored: StateFormat) -> Rows {
        let count = addressing.rows(16, 4);
        Rows { stored, rounded: stored, width: 2, count, addressing }
    }

    #[test]
    fn rows_come_back_as_they_were() {
        for format in [StateFormat::F32, StateFormat::F16] {
            let rows = rows(Addressing::Append, format);
            assert_eq!(rows.decode(&rows.encode(&[1.5, -2.0])), [1.5, -2.0]);
        }
    }

    #[test]
    fn an_image_has_what_is_written() {
        let all: Vec<f32> = (0..32).map(|i| (i / 2) as f32).collect();
        let append = rows(Addressing::Append, StateFormat::F32);
        let image = append.decode(&append.image(&all, 2, 3));
        assert_eq!(image[..4], [0.0, 0.0, 1.0, 1.0]);
        assert!(image[4].is_nan() && image[6] == GARBAGE);
        // Three rows are read, and four written, so six are kept.
        let ring = rows(Addressing::Ring { window: 3 }, StateFormat::F32);
        let image = ring.decode(&ring.image(&all, 8, 10));
        let first: Vec<f32> = image.chunks(2).map(|row| row[0]).collect();
        assert_eq!((first[0], first[1], first[4], first[5]), (6.0, 7.0, 4.0, 5.0));
        assert!(first[2].is_nan() && first[3].is_nan());
    }
}
