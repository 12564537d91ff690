struct $raw { q: vec4<u32> }
fn $load(chunk: u32) -> $raw { return $raw($four(chunk)); }
fn $unit(raw: $raw, i: u32) -> vec4<f32> {
    let words = vec2<u32>(raw.q[2u * i], raw.q[2u * i + 1u]);
    let low = bitcast<vec2<f32>>(words << vec2(16u));
    let high = bitcast<vec2<f32>>(words & vec2(0xffff0000u));
    return vec4<f32>(low.x, high.x, low.y, high.y);
}
