struct $raw { q0: vec4<u32>, q1: vec4<u32>, d: f32 }
fn $bytes(raw: $raw, i: u32) -> u32 { return select(raw.q0[i & 3u], raw.q1[i & 3u], i >= 4u); }
fn $unit(raw: $raw, i: u32) -> vec4<f32> { return vec4<f32>(unpack4xI8($bytes(raw, i))); }
fn $scale(raw: $raw, i: u32) -> f32 { return raw.d; }
