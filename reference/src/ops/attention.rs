//! Scaled dot-product attention over cached rows.

use super::linear::dot;
use crate::states::cache_row;
use quarrel_ir::graph::{Attention, alibi_slope};
use rayon::prelude::*;

/// Extents of queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a query or key head.
    pub size: usize,
    /// Elements of a value head.
    pub value_size: usize,
}

/// Cached rows of keys and values, `context` rows for each slot.
#[derive(Clone, Copy, Debug)]
pub struct Cache<'a> {
    /// `[slots · context, kv_heads, size]`
    pub keys: &'a [f32],
    /// `[slots · context, kv_heads, value_size]`
    pub values: &'a [f32],
    /// Rows of each slot.
    pub context: usize,
}

/// Attention of `q[N, heads, size]` over the cached rows up to each row's position:
/// `[N, heads, value_size]`. Scores, softmax and sums are F64.
///
/// # Panics
/// If an extent is 0, `heads` is no multiple of `kv_heads`, `q`, `slot` and `position` have not
/// the same number of rows, or a place is beyond the cache.
pub fn attention(
    q: &[f32],
    shape: AttentionShape,
    cache: Cache<'_>,
    slot: &[u32],
    position: &[u32],
    spec: &Attention,
) -> Vec<f32> {
    let AttentionShape { heads, kv_heads, size, value_size } = shape;
    assert!(size > 0 && value_size > 0 && kv_heads > 0, "attention: no extent is 0");
    assert!(heads > 0 && heads.is_multiple_of(kv_heads), "attention: {heads} heads");
    assert_eq!(q.len(), slot.len() * heads * size, "attention: one row for each slot");
    assert_eq!(slot.len(), position.len(), "attention: one position for each slot");
    let mut y = vec![0.0; slot.len() * heads * value_size];
    let query_heads = q.par_chunks_exact(size);
    query_heads.zip(y.par_chunks_exact_mut(value_size)).enumerate().for_each(|(at, (q, y))| {
        let (n, head) = (at / heads, at % heads);
        one_head(q, y, head, shape, cache, (slot[n], position[n]), spec);
    });
    y
}

/// One query head of one row, written to `y[value_size]`.
fn one_head(
    q: &[f32],
    y: &mut [f32],
    head: usize,
    shape: AttentionShape,
    cache: Cache<'_>,
    (slot, position): (u32, u32),
    spec: &Attention,
) {
    let AttentionShape { heads, kv_heads, size, value_size } = shape;
    let kv_head = head / (heads / kv_heads);
    let slope = spec.alibi.map_or(0.0, |bias| alibi_slope(bias, head as u32, heads as u32));
    let first = spec.window.map_or(0, |window| position.saturating_sub(window.saturating_sub(1)));
    let rows =
        || (first..=position).map(|p| cache_row(cache.context, slot, p) * kv_heads + kv_head);

    let scores: Vec<f64> = rows()
        .zip(first..=position)
        .map(|(row, at)| {
            let score = f64::from(spec.scale) * dot(q, &cache.keys[row * size..][..size]);
            let score = match spec.softcap.map(f64::from) {
                Some(softcap) => softcap * (score / softcap).tanh(),
                None => score,
            };
            score - f64::from(slope) * f64::from(position - at)
        })
        .collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let total: f64 = weights.iter().sum();

    let mut sums = vec![0.0; value_size];
    for (row, weight) in rows().zip(&weights) {
        let values = &cache.values[row * value_size..][..value_size];
        for (sum, &value) in sums.iter_mut().zip(values) {
            *sum += weight * f64::from(value);
        }
    }
    for (y, sum) in y.iter_mut().zip(sums) {
        *y = (sum / total) as f32;
    }
}
