//! Values as words of device memory.

use half::f16;
use quarrel_reference::Elements;

/// A word that is NaN as a float and beyond every id: what a kernel has not written is seen.
pub(crate) const POISON: u32 = 0x7fc0_dead;

/// The words of a value's elements.
pub(crate) fn of_elements(elements: &Elements) -> Vec<u32> {
    match elements {
        Elements::Floats(floats) => floats.iter().map(|x| x.to_bits()).collect(),
        Elements::Ids(ids) => ids.clone(),
    }
}

/// Elements from words, of the same kind as `like`.
pub(crate) fn elements(words: &[u32], like: &Elements) -> Elements {
    match like {
        Elements::Floats(_) => Elements::Floats(floats(words)),
        Elements::Ids(_) => Elements::Ids(words.to_vec()),
    }
}

/// Floats from words.
pub(crate) fn floats(words: &[u32]) -> Vec<f32> {
    words.iter().map(|word| f32::from_bits(*word)).collect()
}

/// The words of floats rounded to F16, two in each.
pub(crate) fn of_halves(floats: &[f32]) -> Vec<u32> {
    let bits = |x: &f32| u32::from(f16::from_f32(*x).to_bits());
    floats.chunks(2).map(|two| two.iter().rev().fold(0, |word, x| word << 16 | bits(x))).collect()
}

/// Floats from words of two F16 each.
pub(crate) fn halves(words: &[u32]) -> Vec<f32> {
    let float = |bits: u32| f16::from_bits(bits as u16).to_f32();
    words.iter().flat_map(|word| [float(*word), float(word >> 16)]).collect()
}

/// The words of `shares` shares whose sum is `values`, no two alike, each of `share` words; what is
/// beyond the values is poisoned.
pub(crate) fn of_shares(values: &[f32], shares: usize, share: usize) -> Vec<u32> {
    let mut words = vec![POISON; shares * share];
    for (at, value) in values.iter().enumerate() {
        let mut left = *value;
        for own in 0..shares {
            let part = if own + 1 == shares { left } else { left * 0.75 };
            left -= part;
            words[own * share + at] = part.to_bits();
        }
    }
    words
}

/// The first `elements` sums of shares of `share` words each.
pub(crate) fn sum_of_shares(words: &[u32], elements: usize, share: usize) -> Vec<f32> {
    let of = |own: &[u32], at: usize| own.get(at).map_or(f32::NAN, |word| f32::from_bits(*word));
    let sum = |at: usize| words.chunks(share).map(|own| of(own, at)).sum();
    (0..elements).map(sum).collect()
}

/// Extents of what the workgroups of a split leave: see [`quarrel_ir::plan::Content::Partials`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partials {
    pub(crate) size: usize,
    pub(crate) splits: usize,
}

impl Partials {
    /// Words for `rows` heads, those of all tokens together.
    pub(crate) fn words(self, rows: usize) -> usize {
        rows * self.splits * (self.size + 4)
    }

    /// Partials whose combination is `values`, no two of them alike; of three or more the last is
    /// that of a split without positions.
    pub(crate) fn of(self, values: &[f32]) -> Vec<u32> {
        let last = if self.splits > 2 { self.splits - 2 } else { self.splits - 1 };
        let highest = |split: usize| (split * 37 % 11) as f32 / 4.0 - 1.0;
        let total = |split: usize| 1.0 + (split % 3) as f32 / 2.0;
        let weight = |split: usize| f64::from(highest(split)).exp() * f64::from(total(split));
        // The last one's share makes good what the others are off.
        let off = |split: usize| if split.is_multiple_of(2) { 0.25 } else { -0.25 };
        let others: f64 = (0..last).map(|split| weight(split) * off(split)).sum();
        let mut words = Vec::with_capacity(self.words(values.len() / self.size));
        for head in values.chunks_exact(self.size) {
            for split in 0..=last {
                let off = if split == last { -others / weight(last) } else { off(split) };
                let share = f64::from(total(split)) * (1.0 + off);
                words.extend(head.iter().map(|x| ((f64::from(*x) * share) as f32).to_bits()));
                let used = (last + 1) as f32;
                words.extend([highest(split), total(split), used, 0.0].map(f32::to_bits));
            }
            for _ in last + 1..self.splits {
                words.extend(std::iter::repeat_n(0, self.size));
                words.extend([(-1e30f32).to_bits(), 0, 0, 0]);
            }
        }
        words
    }

    /// What partials combine to.
    pub(crate) fn combine(self, words: &[u32]) -> Vec<f32> {
        let row = self.size + 4;
        let mut values = Vec::new();
        for head in words.chunks_exact(row * self.splits) {
            let of = |split: usize, at: usize| {
                // A head has so many rows of so many words.
                f64::from(f32::from_bits(head[split * row + at]))
            };
            let highest = (0..self.splits).map(|s| of(s, self.size)).fold(f64::MIN, f64::max);
            let weight = |split: usize| (of(split, self.size) - highest).exp();
            let sum = |at: usize| (0..self.splits).map(|s| weight(s) * of(s, at)).sum::<f64>();
            let total = sum(self.size + 1);
            values.extend((0..self.size).map(|at| (sum(at) / total) as f32));
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_what_they_are_of() {
        let values: Vec<f32> = (0..10).map(|i| (i as f32 - 4.0) / 3.0).collect();
        for shares in [1, 2, 4] {
            let words = of_shares(&values, shares, 16);
            for (found, wanted) in sum_of_shares(&words, 10, 16).iter().zip(&values) {
                assert!((found - wanted).abs() < 1e-6, "{shares}: {found} and {wanted}");
            }
            assert!(sum_of_shares(&words, 11, 16)[10].is_nan());
        }
        let halves = [1.0, -0.5, 65504.0];
        assert_eq!(super::halves(&of_halves(&halves))[..3], halves);
    }

    #[test]
    fn partials_combine_to_what_they_are_of() {
        let values: Vec<f32> = (0..24).map(|i| (i as f32 - 7.0) / 3.0).collect();
        for splits in [2, 3, 4, 8, 32] {
            let partials = Partials { size: 8, splits };
            let words = partials.of(&values);
            assert_eq!(words.len(), partials.words(3));
            for (found, wanted) in partials.combine(&words).iter().zip(&values) {
                assert!((found - wanted).abs() < 1e-5, "{splits}: {found} and {wanted}");
            }
            // A split that is left out shows.
            let mut without = words;
            without[..8].fill(0);
            assert!((partials.combine(&without)[0] - values[0]).abs() > 1e-2, "{splits}");
        }
    }
}
