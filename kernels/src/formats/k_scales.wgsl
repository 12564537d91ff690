// The scale and offset of chunk `c` of the 8 that share `s`.
fn $scales(s: vec4<u32>, c: u32) -> vec2<f32> {
    let low = (s.yz >> vec2(4u * c)) & vec2(15u);
    let high = (vec2(s.w) >> vec2(2u * c, 16u + 2u * c)) & vec2(3u);
    return unpack2x16float(s.x) * vec2<f32>(low | (high << vec2(4u))) * vec2(1.0, -1.0);
}
fn $scale(raw: $raw, i: u32) -> f32 { return raw.d.x; }
fn $offset(raw: $raw, i: u32) -> f32 { return raw.d.y; }
