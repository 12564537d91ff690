struct $raw { q0: vec4<u32>, q1: vec4<u32>, d: vec2<f32> }
fn $load(chunk: u32) -> $raw {
    return $raw($four(2u * chunk), $four(2u * chunk + 1u), $p1[chunk]);
}
fn $unit(raw: $raw, i: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(select(raw.q0[i & 3u], raw.q1[i & 3u], i >= 4u)));
}
fn $scale(raw: $raw, i: u32) -> f32 { return select(raw.d.x, raw.d.y, i >= 4u); }
