struct $raw { q: vec4<u32>, s: u32, d: vec2<f32> }
fn $load(chunk: u32) -> $raw {
    let scales = $p1[chunk];
    return $raw($four(chunk), scales.x, unpack2x16float(scales.y));
}
fn $unit(raw: $raw, i: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8((raw.q[i & 3u] >> ((i >> 2u) * 2u)) & 0x03030303u));
}
fn $scale(raw: $raw, i: u32) -> f32 {
    return raw.d.x * f32((raw.s >> ((i >> 2u) * 8u)) & 15u);
}
fn $offset(raw: $raw, i: u32) -> f32 {
    return -raw.d.y * f32((raw.s >> ((i >> 2u) * 8u + 4u)) & 15u);
}
