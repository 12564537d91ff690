struct $raw { q: vec4<u32>, fifths: u32, d: vec2<f32> }
fn $load(chunk: u32) -> $raw {
    let first = 3u * (chunk >> 3u);
    let c = chunk & 7u;
    return $raw($four(chunk), $p1[first + 1u + (c >> 2u)][c & 3u], $scales($p1[first], c));
}
fn $bytes(raw: $raw, i: u32) -> u32 {
    let nibbles = (raw.q[i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu;
    let fifth = (raw.fifths >> i) & 0x01010101u;
    return nibbles | (fifth << 4u);
}
fn $unit(raw: $raw, i: u32) -> vec4<f32> { return vec4<f32>(unpack4xU8($bytes(raw, i))); }
