struct $raw { q: vec4<u32> }
fn $unit(raw: $raw, i: u32) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(raw.q[2u * i]), unpack2x16float(raw.q[2u * i + 1u]));
}
