struct $raw { q: vec4<u32> }
fn $load(chunk: u32) -> $raw { return $raw($four(chunk)); }
fn $unit(raw: $raw, i: u32) -> vec4<f32> {
    let low = (raw.q[i & 1u] >> ((i >> 1u) * 2u)) & 0x03030303u;
    let third = (raw.q.z >> i) & 0x01010101u;
    return vec4<f32>(unpack4xU8(low | (third << 2u))) - 4.0;
}
fn $scale(raw: $raw, i: u32) -> f32 {
    let scale = extractBits(bitcast<i32>(raw.q.w), (i >> 2u) * 8u, 8u);
    return unpack2x16float(raw.q.w).y * f32(scale);
}
