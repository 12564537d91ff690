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
    stored: StateFormat,
    /// What they are rounded to.
    pub(crate) rounded: StateFormat,
    /// Elements of a row.
    pub(crate) width: usize,
    /// Rows of a slot.
    pub(crate) count: u32,
    /// Whether two scales of blocks share a word.
    paired: bool,
    addressing: Addressing,
}

/// Part of a state's buffer in which each row has so many words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plane {
    /// Words before it.
    pub(crate) first: usize,
    /// Words of a row.
    pub(crate) words: usize,
}

/// Elements of a block that share a scale.
const BLOCK: usize = StateFormat::BLOCK as usize;

impl Rows {
    /// Those of a state under the options of a plan for one sequence.
    pub(crate) fn of(graph: &Graph, options: &PlanOptions, state: StateId) -> Rows {
        // Dispatches of the plan name states of the graph.
        let state = &graph.states[state.0 as usize];
        // Elements of 16 bits lie in pairs; those of heads with an odd number take 32 each.
        let odd = state.row.last().is_some_and(|last| last % 2 == 1);
        let halves = state.format == StateFormat::F16;
        Rows {
            stored: if odd && halves { StateFormat::F32 } else { state.format },
            rounded: state.format,
            width: state.width() as usize,
            count: state.addressing.rows(options.context, options.step_tokens()),
            paired: StateFormat::pairs_scales(&state.row),
            addressing: state.addressing,
        }
    }

    /// Whether it keeps one row, which each token replaces.
    pub(crate) fn replaced(self) -> bool {
        self.addressing == Addressing::Replace
    }

    /// Words of a row, those of all planes.
    pub(crate) fn row_words(self) -> usize {
        self.planes().iter().map(|plane| plane.words).sum()
    }

    /// Where a row's words are, in their order.
    pub(crate) fn planes(self) -> Vec<Plane> {
        let whole = |words| vec![Plane { first: 0, words }];
        match self.stored {
            StateFormat::F32 => whole(self.width),
            StateFormat::F16 => whole(self.width / 2),
            StateFormat::Q8 => {
                let elements = Plane { first: 0, words: self.width / 4 };
                let scales = self.width / BLOCK / if self.paired { 2 } else { 1 };
                let first = self.count as usize * elements.words;
                vec![elements, Plane { first, words: scales }]
            }
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

    /// The words of one row, plane after plane.
    pub(crate) fn encode(self, row: &[f32]) -> Vec<u32> {
        let half = |x: f32| u32::from(f16::from_f32(x).to_bits());
        let pairs = |halves: &[u32]| -> Vec<u32> {
            halves.chunks(2).map(|pair| pair[0] | pair.get(1).map_or(0, |x| x << 16)).collect()
        };
        match self.stored {
            StateFormat::F32 => row.iter().map(|x| x.to_bits()).collect(),
            StateFormat::F16 => pairs(&row.iter().map(|x| half(*x)).collect::<Vec<_>>()),
            StateFormat::Q8 => {
                let (mut words, mut scales) = (Vec::new(), Vec::new());
                for block in row.chunks(BLOCK) {
                    // A block that was rounded has a largest element of 127 scales.
                    let scale =
                        f16::from_f32(block.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 127.0);
                    let step = if scale.to_f32() > 0.0 { scale.to_f32() } else { 1.0 };
                    let byte =
                        |x: &f32| (x / step).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
                    let bytes: Vec<u8> = block.iter().map(byte).collect();
                    let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                    words.extend(bytes.chunks_exact(4).map(word));
                    scales.push(u32::from(scale.to_bits()));
                }
                words.extend(if self.paired { pairs(&scales) } else { scales });
                words
            }
        }
    }

    /// The elements of one row.
    pub(crate) fn decode(self, words: &[u32]) -> Vec<f32> {
        let half = |bits: u32| f16::from_bits(bits as u16).to_f32();
        let halves = |words: &[u32]| -> Vec<f32> {
            words.iter().flat_map(|word| [half(*word), half(*word >> 16)]).collect()
        };
        match self.stored {
            StateFormat::F32 => crate::words::floats(words),
            StateFormat::F16 => halves(words),
            StateFormat::Q8 => {
                let (words, scales) = words.split_at(self.width / 4);
                let scales = match self.paired {
                    true => halves(scales),
                    false => scales.iter().map(|word| half(*word)).collect(),
                };
                let bytes = words.iter().flat_map(|word| word.to_le_bytes());
                // There is a scale for each block.
                bytes
                    .enumerate()
                    .map(|(i, byte)| f32::from(byte as i8) * scales[i / BLOCK])
                    .collect()
            }
        }
    }

    /// The words of slot 0's rows where the positions before `end` are written, `all` being the rows of
    /// all positions; those from `new` on stand for what is not written yet.
    pub(crate) fn image(self, all: &[f32], new: u32, end: u32) -> Vec<u32> {
        let words = self.row_words();
        let garbage = self.encode(&vec![GARBAGE; self.width]);
        let shown = self.shown(end);
        let mut image = garbage.repeat(shown as usize);
        // Later positions come round to the rows of earlier ones.
        for position in end.saturating_sub(self.count.saturating_mul(2))..end {
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
        Rows { stored, rounded: stored, width: 2, count, paired: false, addressing }
    }

    #[test]
    fn blocks_come_back_as_they_were() {
        for paired in [false, true] {
            let rows = Rows { width: 128, paired, ..rows(Addressing::Append, StateFormat::Q8) };
            let row: Vec<f32> = (0..128).map(|i| (i as f32 - 127.0) * 0.5).collect();
            let words = rows.encode(&row);
            assert_eq!(words.len(), if paired { 34 } else { 36 });
            let once = rows.decode(&words);
            assert!(once.iter().zip(&row).all(|(a, b)| (a - b).abs() < 0.3));
            assert_eq!(rows.decode(&rows.encode(&once)), once);
        }
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
