// Twice what four 4-bit floats stand for: sizes are the nibbles of a word, in order.
fn $values(codes: u32) -> vec4<f32> {
    let q = unpack4xU8(codes);
    let size = vec4<f32>((vec4(0xc8643210u) >> ((q & vec4(7u)) * 4u)) & vec4(15u));
    return select(size, -size, q >= vec4(8u));
}
