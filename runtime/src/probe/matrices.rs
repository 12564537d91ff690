//! How fast cooperative matrices multiply whose factors lie in workgroup memory.

use super::{Probe, storage};
use crate::error::RuntimeError;
use crate::gpu::Gpu;
use quarrel_ir::facts::DeviceKind;
use quarrel_ir::plan::Access;
use std::fmt::Write;

/// Matrices of each factor that a subgroup holds at once, and so sums: `ACROSS` times `DOWN`.
const DOWN: u32 = 4;
const ACROSS: u32 = 2;
/// Subgroups of a workgroup.
const SUBGROUPS: u32 = 4;
/// Places of each factor in workgroup memory: a subgroup goes through them again and again.
const PLACES: u32 = 4;
const ROUNDS: u32 = 1024;

/// Operations a second of products of cooperative matrices, each multiply-add counted as two; `None`
/// where the device has none with F16 factors and F32 sums that are square.
pub(crate) fn matrix_flops_per_s(gpu: &Gpu) -> Result<Option<f64>, RuntimeError> {
    let facts = gpu.facts();
    let square = |size: &u32| facts.matrix_shapes.contains(&(*size, *size, *size));
    let Some(size) = [16, 8].into_iter().find(square).filter(|_| facts.shader_f16) else {
        return Ok(None);
    };
    let threads = SUBGROUPS * facts.subgroup_size;
    if threads > facts.max_workgroup_threads {
        return Ok(None);
    }
    let kernel = Probe::new(gpu, "matrices", &text(size, threads), &[Access::Write])?;
    // Several workgroups on each processor of a data-centre GPU.
    let groups: u32 = if facts.kind == DeviceKind::Cpu { 2 } else { 2048 };
    let result = storage(gpu, 4 * u64::from(groups * size * size));
    let group = kernel.bind(gpu, &[&result]);
    let (rounds, seconds) = kernel.time(gpu, &[group], groups, 1)?;
    let products = u64::from(groups * SUBGROUPS * ROUNDS) * u64::from(DOWN * ACROSS);
    let flops = 2 * u64::from(size).pow(3) * products * rounds;
    Ok(Some(flops as f64 / seconds))
}

/// A kernel whose subgroups multiply matrices of `size` and add the products to sums that they hold.
fn text(size: u32, threads: u32) -> String {
    // Rows lie in different banks.
    let stride = size + 8;
    let place = stride * size;
    let (mut held, mut step, mut whole) = (String::new(), String::new(), String::new());
    // Writing to a string does not fail, here and below.
    for i in 0..DOWN {
        let _ = writeln!(
            step,
            "        let a_{i} = coopLoadT<coop_mat{size}x{size}<f16, A>>(&xs[(at + {i}u) % {PLACES}u * {place}u], {stride}u);"
        );
    }
    for j in 0..ACROSS {
        let _ = writeln!(
            step,
            "        let b_{j} = coopLoad<coop_mat{size}x{size}<f16, B>>(&ws[(at + {j}u) % {PLACES}u * {place}u], {stride}u);"
        );
        for i in 0..DOWN {
            let _ = writeln!(held, "    var sum_{i}_{j}: coop_mat{size}x{size}<f32, C>;");
            let _ =
                writeln!(step, "        sum_{i}_{j} = coopMultiplyAdd(a_{i}, b_{j}, sum_{i}_{j});");
            // Each sum is stored over the last, so that none is left out.
            let _ = writeln!(
                whole,
                "    coopStoreT(sum_{i}_{j}, &sums[0], {size}u);\n    workgroupBarrier();\n    \
                 if (subgroup == 0u) {{ result[group.x * {all}u + thread % {all}u] += sums[thread % {all}u]; }}\n    workgroupBarrier();",
                all = size * size
            );
        }
    }
    let halves = PLACES * place;
    format!(
        "enable f16;
enable wgpu_cooperative_matrix;
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
var<workgroup> xs: array<f16, {halves}>;
var<workgroup> ws: array<f16, {halves}>;
var<workgroup> sums: array<f32, {all}>;
@compute @workgroup_size({threads})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
) {{
    for (var e = thread; e < {halves}u; e += {threads}u) {{ xs[e] = 0.5h; ws[e] = 0.25h; }}
    workgroupBarrier();
{held}    for (var at = 0u; at < {ROUNDS}u; at += 1u) {{
{step}    }}
{whole}}}",
        all = size * size
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_within_the_limits_of_every_device() {
        for size in [8, 16] {
            let text = text(size, 128);
            assert!(!text.contains("{{"), "{text}");
            let bytes = 2 * 2 * PLACES * (size + 8) * size + 4 * size * size;
            assert!(bytes <= 16 << 10, "{bytes}");
        }
    }
}
