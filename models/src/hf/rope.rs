//! The scaling of rotary positions that Llama 3.1 introduced.

/// The most rotary dims of a head; those in use have up to 256.
const MAX_DIMS: u64 = 1 << 16;

/// What each of the `dims / 2` rotary frequencies is divided by: 1 for wavelengths that are short
/// beside the original context, `factor` for long ones, and between them a blend of the two
/// frequencies. `numbers` are base, factor, low frequency factor, high frequency factor and original
/// context. In F32, as llama.cpp's converter computes them from the formula of transformers'
/// `_compute_llama3_parameters`.
pub(super) fn llama3_factors(dims: u64, numbers: [f64; 5]) -> Result<Vec<f32>, String> {
    let [base, factor, low, high, original] = numbers.map(|number| number as f32);
    let positive = [base, factor, low, high, original].iter().all(|x| x.is_finite() && *x > 0.0);
    if !positive || high <= low {
        return Err(format!(
            "the rotary scaling (base {base}, factor {factor}, low_freq_factor {low}, \
             high_freq_factor {high}, original context {original}) is not that of Llama 3"
        ));
    }
    if dims == 0 || !dims.is_multiple_of(2) || dims > MAX_DIMS {
        return Err(format!("{dims} rotary dims a head are not an even number up to {MAX_DIMS}"));
    }
    let factor_of = |pair: u64| {
        let frequency = 1.0 / base.powf((2 * pair) as f32 / dims as f32);
        let wavelength = 2.0 * std::f32::consts::PI / frequency;
        if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    Ok((0..dims / 2).map(factor_of).collect())
}

#[cfg(test)]
mod tests {
    use super::llama3_factors;

    /// Computed with NumPy in F32 from the formula.
    #[test]
    fn factors_of_llama_3_2() {
        let factors = llama3_factors(16, [500_000.0, 8.0, 1.0, 4.0, 8192.0]).unwrap();
        let expected = [1.0, 1.0, 1.0, 1.0, 2.694_53, 8.0, 8.0, 8.0];
        for (got, expected) in factors.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-4, "{factors:?}");
        }
    }

    #[test]
    fn absurd_scalings_are_refused() {
        for (dims, numbers) in [
            (16, [0.0, 8.0, 1.0, 4.0, 8192.0]),
            (16, [1e4, -8.0, 1.0, 4.0, 8192.0]),
            (16, [1e4, 8.0, 4.0, 4.0, 8192.0]),
            (16, [1e4, 8.0, 1.0, f64::NAN, 8192.0]),
            (15, [1e4, 8.0, 1.0, 4.0, 8192.0]),
            (0, [1e4, 8.0, 1.0, 4.0, 8192.0]),
            (1 << 40, [1e4, 8.0, 1.0, 4.0, 8192.0]),
        ] {
            assert!(llama3_factors(dims, numbers).is_err(), "{dims} {numbers:?}");
        }
    }
}
