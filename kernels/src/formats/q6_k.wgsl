struct $raw { q: vec4<u32>, high: vec2<u32>, s: u32 }
fn $load(chunk: u32) -> $raw { return $raw($four(chunk), $p1[chunk], $p2[chunk]); }
fn $bytes(raw: $raw, i: u32) -> u32 {
    let nibbles = (raw.q[i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu;
    let high = (raw.high[i & 1u] >> ((i >> 1u) * 2u)) & 0x03030303u;
    return nibbles | (high << 4u);
}
fn $unit(raw: $raw, i: u32) -> vec4<f32> { return vec4<f32>(unpack4xU8($bytes(raw, i))) - 32.0; }
fn $scale(raw: $raw, i: u32) -> f32 {
    return unpack2x16float(raw.s).y * f32(extractBits(bitcast<i32>(raw.s), (i >> 2u) * 8u, 8u));
}
