struct $raw { q: vec4<u32>, d: f32 }
fn $load(chunk: u32) -> $raw {
    let s = $p1[chunk >> 3u];
    let c = chunk & 7u;
    let scale = ((s.y >> (4u * c)) & 15u) | (((s.x >> (16u + 2u * c)) & 3u) << 4u);
    return $raw($four(chunk), unpack2x16float(s.x).x * (f32(scale) - 32.0));
}
fn $unit(raw: $raw, i: u32) -> vec4<f32> {
    return $values((raw.q[i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu);
}
fn $scale(raw: $raw, i: u32) -> f32 { return raw.d; }
