struct $raw { q: vec4<u32>, d: f32 }
fn $load(chunk: u32) -> $raw {
    let e = ($p1[chunk >> 2u] >> ((chunk & 3u) * 8u)) & 255u;
    // Half of 2^(e - 127); below 2 not a normal float.
    let bits = select((e - 1u) << 23u, 0x00200000u << (e & 1u), e < 2u);
    return $raw($four(chunk), bitcast<f32>(bits));
}
fn $unit(raw: $raw, i: u32) -> vec4<f32> {
    return $values((raw.q[i & 3u] >> ((i >> 2u) * 4u)) & 0x0f0f0f0fu);
}
fn $scale(raw: $raw, i: u32) -> f32 { return raw.d; }
