//! The grids of the IQ formats: the points that codes stand for. They are part of those formats'
//! definitions in ggml; `grids/make_grids.py` wrote the files.

/// A grid's points in 4 or 8 dimensions.
pub(super) struct Grid {
    /// Each coordinate's number among `values`, packed.
    packed: &'static [u8],
    /// Bits of a number.
    bits: usize,
    /// Coordinates of a point.
    dims: usize,
    /// What the numbers stand for.
    values: &'static [i8],
}

const TWO_BITS: &[i8] = &[8, 25, 43];

pub(super) const IQ1: Grid = eight(include_bytes!("grids/iq1_s.bin"), &[-1, 0, 1]);
pub(super) const IQ2_XXS: Grid = eight(include_bytes!("grids/iq2_xxs.bin"), TWO_BITS);
pub(super) const IQ2_XS: Grid = eight(include_bytes!("grids/iq2_xs.bin"), TWO_BITS);
pub(super) const IQ2_S: Grid = eight(include_bytes!("grids/iq2_s.bin"), TWO_BITS);
pub(super) const IQ3_XXS: Grid =
    four(include_bytes!("grids/iq3_xxs.bin"), &[4, 12, 20, 28, 36, 44, 52, 62]);
pub(super) const IQ3_S: Grid =
    four(include_bytes!("grids/iq3_s.bin"), &[1, 3, 5, 7, 9, 11, 13, 15]);

const fn eight(packed: &'static [u8], values: &'static [i8]) -> Grid {
    Grid { packed, bits: 2, dims: 8, values }
}

const fn four(packed: &'static [u8], values: &'static [i8]) -> Grid {
    Grid { packed, bits: 4, dims: 4, values }
}

impl Grid {
    /// A point's coordinate. The bits of a code can name no point beyond the grid's.
    pub fn value(&self, point: usize, coordinate: usize) -> i8 {
        let bit = (point * self.dims + coordinate) * self.bits;
        let number = self.packed[bit / 8] >> (bit % 8) & ((1 << self.bits) - 1);
        self.values[usize::from(number)]
    }
}

/// Eight signs from the lowest seven bits: the last makes their number even.
pub(super) fn sign(bits: u32) -> u8 {
    let seven = (bits & 127) as u8;
    seven | ((seven.count_ones() as u8) & 1) << 7
}
