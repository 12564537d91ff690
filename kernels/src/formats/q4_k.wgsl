struct $raw { q: vec4<u32>, d: vec2<f32> }
fn $load(chunk: u32) -> $raw {
    return $raw($p0[chunk], $scales($p1[chunk >> 3u], chunk & 7u));
}
fn $unit(raw: $raw, i: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8((raw.q[i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu));
}
