struct $raw { q: vec4<u32>, d: vec2<u32> }
fn $load(chunk: u32) -> $raw { return $raw($four(chunk), $p1[chunk]); }
fn $unit(raw: $raw, i: u32) -> vec4<f32> {
    let nibbles = (raw.q[i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu;
    let fifth = (vec4(raw.d.x >> (4u * i)) >> vec4(0u, 1u, 2u, 3u)) & vec4(1u);
    return vec4<f32>(unpack4xU8(nibbles) + fifth * 16u);
}
fn $scale(raw: $raw, i: u32) -> f32 { return unpack2x16float(raw.d.y).x; }
fn $offset(raw: $raw, i: u32) -> f32 { return unpack2x16float(raw.d.y).y; }
