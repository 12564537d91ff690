struct $raw { q: vec4<u32>, d: vec2<u32> }
fn $load(chunk: u32) -> $raw { return $raw($four(chunk), $p1[chunk]); }
// Multiplying spreads four bits over the lowest bits of bytes.
fn $bytes(raw: $raw, i: u32) -> u32 {
    let nibbles = (raw.q[i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu;
    let fifth = (((raw.d.x >> (4u * i)) & 15u) * 0x204081u) & 0x01010101u;
    return nibbles | (fifth << 4u);
}
fn $unit(raw: $raw, i: u32) -> vec4<f32> { return vec4<f32>(unpack4xU8($bytes(raw, i))) - 16.0; }
fn $scale(raw: $raw, i: u32) -> f32 { return unpack2x16float(raw.d.y).x; }
