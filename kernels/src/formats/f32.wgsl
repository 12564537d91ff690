struct $raw { q: vec4<f32> }
fn $load(chunk: u32) -> $raw { return $raw($p0[chunk]); }
fn $unit(raw: $raw, i: u32) -> vec4<f32> { return raw.q; }
