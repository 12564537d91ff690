//! What a dispatch cannot be faster than: the time its bytes take at the device's measured copy
//! bandwidth, that of its arithmetic, and that of a dispatch that does nothing.

use quarrel_ir::facts::DeviceFacts;
use quarrel_ir::plan::Kernel;
use serde::Serialize;

/// Measured speed of a device; what was not measured bounds nothing.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::commands) struct Roofline {
    /// Bytes a second of a copy, read plus written.
    pub(super) bytes_per_s: Option<f64>,
    /// F32 multiply-adds a second, each counted as two operations.
    pub(super) flops_per_s: Option<f64>,
    /// Microseconds of a dispatch that does almost nothing.
    pub(super) dispatch_us: Option<f64>,
}

impl Roofline {
    /// That of a device whose speed was measured.
    pub(in crate::commands) fn of(facts: &DeviceFacts, flops_per_s: Option<f64>) -> Roofline {
        let DeviceFacts { copy_bytes_per_s: bytes_per_s, dispatch_us, .. } = *facts;
        Roofline { bytes_per_s, flops_per_s, dispatch_us }
    }

    /// Least microseconds of a dispatch of `kernel` that moves and computes this much. Cooperative
    /// matrices compute faster than what was measured, which says nothing of them.
    pub(super) fn us(&self, bytes: u64, flops: u64, kernel: &Kernel) -> f64 {
        let at = |amount: u64, speed: Option<f64>| match speed {
            Some(speed) if speed > 0.0 => amount as f64 / speed * 1e6,
            _ => 0.0,
        };
        let matrices = kernel.wgsl.contains("coop_mat");
        let arithmetic = at(flops, self.flops_per_s.filter(|_| !matrices));
        at(bytes, self.bytes_per_s).max(arithmetic).max(self.dispatch_us.unwrap_or(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(wgsl: &str) -> Kernel {
        Kernel {
            name: "k".into(),
            family: "f".into(),
            variant: String::new(),
            wgsl: wgsl.into(),
            bindings: Vec::new(),
            workgroup: 1,
            workgroup_bytes: 0,
        }
    }

    #[test]
    fn the_slowest_of_three_bounds() {
        let measured =
            Roofline { bytes_per_s: Some(1e9), flops_per_s: Some(1e12), dispatch_us: Some(2.0) };
        let plain = kernel("fn main() {}");
        assert_eq!(measured.us(5_000, 1_000, &plain), 5.0);
        assert_eq!(measured.us(5_000, 9_000_000, &plain), 9.0);
        assert_eq!(measured.us(5, 5, &plain), 2.0);
        assert_eq!(measured.us(5_000, 9_000_000, &kernel("coop_mat8x8<f16, A>")), 5.0);
        assert_eq!(Roofline::default().us(5_000, 9_000, &plain), 0.0);
    }
}
