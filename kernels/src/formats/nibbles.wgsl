// The nibbles of a unit where they are in their word, without a shift but for the topmost.
fn $spread(raw: $raw, i: u32) -> vec4<f32> {
    let q = raw.q[i & 3u];
    let low = vec4<u32>(q & 0xfu, q & 0xf00u, q & 0xf0000u, q & 0xf000000u);
    let high = vec4<u32>(q & 0xf0u, q & 0xf000u, q & 0xf00000u, q >> 28u);
    return vec4<f32>(vec4<i32>(select(low, high, i >= 4u)));
}
fn $narrow(i: u32) -> vec4<f32> {
    let low = vec4<f32>(1.0, 0x1p-8f, 0x1p-16f, 0x1p-24f);
    let high = vec4<f32>(0x1p-4f, 0x1p-12f, 0x1p-20f, 1.0);
    return select(low, high, i >= 4u);
}
