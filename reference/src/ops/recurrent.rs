//! Ops along a sequence: short convolution and selective state space.

use crate::states::cache_row;

/// Causal convolution along each channel of cached rows, `[N, channels]`; `w[channels, taps]`. The
/// rows of each slot are `rows[context, channels]`. Sums are F64.
///
/// # Panics
/// If a place is beyond the rows.
pub fn short_conv(
    rows: &[f32],
    context: usize,
    w: &[f32],
    channels: usize,
    slot: &[u32],
    position: &[u32],
) -> Vec<f32> {
    let taps = w.len() / channels;
    let mut y = Vec::with_capacity(slot.len() * channels);
    for (&slot, &position) in slot.iter().zip(position) {
        for channel in 0..channels {
            let term = |tap: usize| {
                // Rows before position 0 are zeros.
                let at = (position as usize + tap + 1).checked_sub(taps)?;
                let row = cache_row(context, slot, at as u32);
                let x = rows[row * channels + channel];
                Some(f64::from(w[channel * taps + tap]) * f64::from(x))
            };
            y.push((0..taps).filter_map(term).sum::<f64>() as f32);
        }
    }
    y
}

/// Extents of a scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanShape {
    /// Heads, a multiple of `groups`.
    pub heads: usize,
    /// Channels of a head.
    pub size: usize,
    /// Elements of the state of a channel.
    pub width: usize,
    /// Groups of heads that share `b` and `c`.
    pub groups: usize,
}

/// What a scan reads for one token.
#[derive(Clone, Copy, Debug)]
pub struct ScanToken<'a> {
    /// `[heads, size]`
    pub x: &'a [f32],
    /// `[heads]`
    pub step: &'a [f32],
    /// `[groups, width]`
    pub b: &'a [f32],
    /// `[groups, width]`
    pub c: &'a [f32],
}

/// One token of a selective state space: see [`quarrel_ir::graph::Op::Scan`]. Changes
/// `state[heads, size, width]` and yields `[heads, size]`. `decay` is `[heads, width]` or `[heads]`.
///
/// # Panics
/// If a length is not as the shape says.
pub fn scan_token(
    state: &mut [f32],
    shape: ScanShape,
    decay: &[f32],
    token: ScanToken<'_>,
) -> Vec<f32> {
    let ScanShape { heads, size, width, groups } = shape;
    let each = decay.len() / heads;
    let mut y = Vec::with_capacity(heads * size);
    for (at, channel) in state.chunks_exact_mut(width).enumerate() {
        let head = at / size;
        let group = head / (heads / groups);
        let (step, x) = (f64::from(token.step[head]), f64::from(token.x[at]));
        let mut sum = 0.0;
        for (s, kept) in channel.iter_mut().enumerate() {
            let decay = f64::from(decay[head * each + s % each]);
            let b = f64::from(token.b[group * width + s]);
            *kept = ((step * decay).exp() * f64::from(*kept) + step * b * x) as f32;
            sum += f64::from(token.c[group * width + s]) * f64::from(*kept);
        }
        y.push(sum as f32);
    }
    y
}
