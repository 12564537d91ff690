//! Choosing among experts, and products with the chosen ones.

use super::Matrix;
use super::linear::dot;

/// Where the `k` largest elements of each row of `x[N, e]` are, the largest first; of equal ones the
/// first: `[N, k]`.
///
/// # Panics
/// If `e` is 0.
pub fn top_k(x: &[f32], e: usize, k: usize) -> Vec<u32> {
    let choose = |row: &[f32]| {
        let mut ids: Vec<u32> = (0..row.len() as u32).collect();
        // A stable sort: of equal elements the first stays first.
        ids.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
        ids.truncate(k);
        ids
    };
    x.chunks_exact(e).flat_map(choose).collect()
}

/// Element `ids[n, i]` of row n of `x[N, e]`, for `k` ids a row: `[N, k]`.
///
/// # Panics
/// If an id is not below `e`, or `e` or `k` is 0.
pub fn take(x: &[f32], e: usize, ids: &[u32], k: usize) -> Vec<f32> {
    let rows = x.chunks_exact(e).zip(ids.chunks_exact(k));
    rows.flat_map(|(row, ids)| ids.iter().map(|&id| row[id as usize])).collect()
}

/// Products of rows with the matrices of chosen experts: `[N, t, m]`, each sum in F64. `x` has one
/// row of `columns` elements for each id, or one for each `top` ids; `w` is `[experts · m, columns]`.
///
/// # Panics
/// If an id is beyond `w`, or the lengths do not go together.
pub fn expert_linear(
    x: &[f32],
    w: Matrix<'_>,
    (m, columns): (usize, usize),
    ids: &[u32],
    top: usize,
) -> Vec<f32> {
    let rows = x.len() / columns;
    let share = if rows == ids.len() { 1 } else { top };
    let product = |(at, &expert): (usize, &u32)| {
        let x = &x[at / share * columns..][..columns];
        let row = move |i: usize| dot(x, &w.row(expert as usize * m + i, columns)) as f32;
        (0..m).map(row).collect::<Vec<f32>>()
    };
    ids.iter().enumerate().flat_map(product).collect()
}

/// `Σ_t weights[n, t] · y[n, t, i]`: `[N, m]`, each sum in F64.
///
/// # Panics
/// If `m` or `top` is 0.
pub fn expert_sum(y: &[f32], weights: &[f32], m: usize, top: usize) -> Vec<f32> {
    let rows = y.chunks_exact(m * top).zip(weights.chunks_exact(top));
    let sum = |(y, weights): (&[f32], &[f32])| {
        let at = |i: usize| {
            let terms = weights.iter().enumerate();
            terms.map(|(t, &w)| f64::from(w) * f64::from(y[t * m + i])).sum::<f64>() as f32
        };
        (0..m).map(at).collect::<Vec<f32>>()
    };
    rows.flat_map(sum).collect()
}
