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
        let row = row.iter().map(|&x| f64::from(x));
        let eps = f64::from(spec.eps);
        let mean = |f: &dyn Fn(f64) -> f64| row.clone().map(f).sum::<f64>() / d as f64;
        // Each element less `shift`, through `f`, times `factor`.
        let (shift, f, factor): (f64, fn(f64) -> f64, f64) = match spec.kind {
            NormKind::Rms => (0.0, |x| x, 1.0 / (mean(&|x| x * x) + eps).sqrt()),
            NormKind::Layer => {
                let centre = mean(&|x| x);
                (centre, |x| x, 1.0 / (mean(&|x| (x - centre) * (x - centre)) + eps).sqrt())
            }
            NormKind::Softmax => {
                let most = row.clone().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = row.clone().map(|x| (x - most).exp()).sum();
                (most, f64::exp, 1.0 / (sum + eps))
            }
            NormKind::Sum => (0.0, |x| x, 1.0 / (row.clone().sum::<f64>() + eps)),
        };
        y.extend(row.map(|x| (f(x - shift) * factor) as f32));
    }
    y
}
