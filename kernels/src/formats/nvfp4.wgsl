struct $raw { q: vec4<u32>, s: u32 }
fn $load(chunk: u32) -> $raw {
    return $raw($four(chunk), $p1[chunk >> 1u] >> ((chunk & 1u) * 16u));
}
fn $unit(raw: $raw, i: u32) -> vec4<f32> {
    return $values((raw.q[i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu);
}
// Half of a float of 4 bits of exponent and 3 of mantissa; the code of a NaN is 0.
fn $scale(raw: $raw, i: u32) -> f32 {
    let code = (raw.s >> ((i >> 2u) * 8u)) & 255u;
    let exponent = (code >> 3u) & 15u;
    let mantissa = code & 7u;
    let normal = bitcast<f32>(((exponent + 119u) << 23u) | (mantissa << 20u));
    let value = select(normal, f32(mantissa) * 0.0009765625, exponent == 0u);
    return select(value, 0.0, code == 0x7fu);
}
