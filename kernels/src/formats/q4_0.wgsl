struct $raw { q: vec4<u32>, d: f32 }
fn $bytes(raw: $raw, i: u32) -> u32 {
    return (raw.q[i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu;
}
fn $unit(raw: $raw, i: u32) -> vec4<f32> { return vec4<f32>(unpack4xU8($bytes(raw, i))) - 8.0; }
fn $scale(raw: $raw, i: u32) -> f32 { return raw.d; }
