//! The matrix product, with the weight in whatever format it is stored.

use quarrel_ir::format::Format;
use rayon::prelude::*;
use std::borrow::Cow;

/// A matrix whose rows are read one by one.
#[derive(Clone, Copy, Debug)]
pub enum Matrix<'a> {
    /// Plain values, row after row.
    Plain(&'a [f32]),
    /// Rows of blocks, as [`Format`] describes them.
    Packed(Format, &'a [u8]),
}

impl<'a> Matrix<'a> {
    /// Row `row` of a matrix with `columns` columns.
    ///
    /// # Panics
    /// If there is no such row, or a row is not whole blocks.
    pub fn row(self, row: usize, columns: usize) -> Cow<'a, [f32]> {
        match self {
            Matrix::Plain(values) => Cow::Borrowed(&values[row * columns..(row + 1) * columns]),
            Matrix::Packed(format, bytes) => {
                assert_eq!(columns % format.block_len(), 0, "a row is whole blocks");
                let row_bytes = columns / format.block_len() * format.block_bytes();
                let mut values = vec![0.0; columns];
                format.dequantize(&bytes[row * row_bytes..(row + 1) * row_bytes], &mut values);
                Cow::Owned(values)
            }
        }
    }
}

/// `y[n, i] = Σ_j x[n, j] · w[i, j]` for `x[N, k]` and `w[m, k]`: `y[N, m]`, each sum in F64.
///
/// # Panics
/// If `k` or `m` is 0, `x` is not whole rows, or `w` has fewer than `m` rows.
pub fn linear(x: &[f32], w: Matrix<'_>, m: usize, k: usize) -> Vec<f32> {
    assert!(m > 0 && k > 0 && x.len().is_multiple_of(k), "linear: x is rows of {k}");
    let n = x.len() / k;
    if n == 0 {
        return Vec::new();
    }
    // Column by column, so that each row of the weight is read once for all rows of x.
    let mut columns = vec![0.0; m * n];
    columns.par_chunks_exact_mut(n).enumerate().for_each(|(i, column)| {
        let w = w.row(i, k);
        for (y, x) in column.iter_mut().zip(x.chunks_exact(k)) {
            *y = dot(x, &w) as f32;
        }
    });
    if n == 1 {
        return columns;
    }
    (0..n * m).map(|at| columns[at % m * n + at / m]).collect()
}

/// `Σ a · b` in F64, where each product is exact.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
