//! Ops that only choose elements: rows of a table, rows of a value, a part of the last axis.

use super::Matrix;

/// Row `ids[n]` of `table[v, d]` for each n: `[N, d]`.
///
/// # Panics
/// If an id is beyond the table.
pub fn embed(table: Matrix<'_>, d: usize, ids: &[u32]) -> Vec<f32> {
    ids.iter().flat_map(|&id| table.row(id as usize, d).into_owned()).collect()
}

/// Row `rows[r]` of `x[N, width]` for each r: `[R, width]`.
///
/// # Panics
/// If a row is beyond `x`.
pub fn gather_rows(x: &[f32], width: usize, rows: &[u32]) -> Vec<f32> {
    embed(Matrix::Plain(x), width, rows)
}

/// Elements `start..start + len` of each row of `x[…, d]`.
///
/// # Panics
/// If `d` is 0 or the range is beyond a row.
pub fn slice(x: &[f32], d: usize, start: usize, len: usize) -> Vec<f32> {
    x.chunks_exact(d).flat_map(|row| &row[start..start + len]).copied().collect()
}
