// What four codes stand for: one byte each of a table of 16, whose words are chosen by bits 2 and 3.
fn $values(codes: u32) -> vec4<f32> {
    let q = unpack4xU8(codes);
    let odd = (q & vec4(4u)) != vec4(0u);
    let low = select(vec4(0xbfad9881u), vec4(0xf6eaddcfu), odd);
    let high = select(vec4(0x26190d01u), vec4(0x71594535u), odd);
    let words = select(low, high, q >= vec4(8u));
    return vec4<f32>(bitcast<vec4<i32>>(words << (vec4(24u) - (q & vec4(3u)) * 8u)) >> vec4(24u));
}
