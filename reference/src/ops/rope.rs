//! Rotary position embedding.

use quarrel_ir::graph::{Rope, RopeStyle};

/// `x[N, heads, size]` with the first `spec.dims` elements of each head turned by the angle of the
/// row's position; angles are computed in F64. `factors` has `dims / 2` elements.
///
/// # Panics
/// If `x` is not a row of `heads · size` elements for each position, `dims` is over `size`, or
/// there are too few factors.
pub fn rope(
    x: &[f32],
    heads: usize,
    size: usize,
    position: &[u32],
    factors: Option<&[f32]>,
    spec: &Rope,
) -> Vec<f32> {
    assert_eq!(x.len(), position.len() * heads * size, "rope: one row for each position");
    let dims = spec.dims as usize;
    assert!(dims <= size, "rope: {dims} elements of {size} turn");
    let magnitude = f64::from(spec.magnitude);
    let mut y = x.to_vec();
    if y.is_empty() {
        return y;
    }
    for (row, &position) in y.chunks_exact_mut(heads * size).zip(position) {
        for i in 0..dims / 2 {
            let frequency = f64::from(spec.base).powf(-2.0 * i as f64 / dims as f64);
            let factor = factors.map_or(1.0, |factors| f64::from(factors[i]));
            let scale = f64::from(spec.scale);
            let scale = spec.ramp.map_or(scale, |ramp| {
                let (low, high) = (f64::from(ramp.low), f64::from(ramp.high));
                let kept = 1.0 - ((i as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                scale + (1.0 - scale) * kept
            });
            let angle = scale * f64::from(position) * frequency / factor;
            let (sin, cos) = angle.sin_cos();
            let (first, second) = match spec.style {
                RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                RopeStyle::Half => (i, i + dims / 2),
            };
            for head in row.chunks_exact_mut(size) {
                let (a, b) = (f64::from(head[first]), f64::from(head[second]));
                head[first] = ((a * cos - b * sin) * magnitude) as f32;
                head[second] = ((a * sin + b * cos) * magnitude) as f32;
            }
        }
    }
    y
}
