//! Normalisation over the last axis.

use quarrel_ir::graph::{NormKind, Normalize};

/// Each row of `x[…, d]` scaled by its own statistics, which are computed in F64.
///
/// # Panics
/// If `d` is 0 or `x` is not whole rows.
pub fn normalize(x: &[f32], d: usize, spec: &Normalize) -> Vec<f32> {
    assert!(d > 0 && x.len().is_multiple_of(d), "normalize: x is rows of {d}");
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(d) {
        let mean_of =
            |f: &dyn Fn(f64) -> f64| row.iter().map(|&x| f(f64::from(x))).sum::<f64>() / d as f64;
        let mean = match spec.kind {
            NormKind::Rms => 0.0,
            NormKind::Layer => mean_of(&|x| x),
        };
        let square = mean_of(&|x| (x - mean) * (x - mean));
        let root = (square + f64::from(spec.eps)).sqrt();
        y.extend(row.iter().map(|&x| ((f64::from(x) - mean) / root) as f32));
    }
    y
}
