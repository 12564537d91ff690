// What rounds elements to blocks of 32 that share a scale: eight threads have a block, each four of
// its elements.
var<workgroup> largest: array<f32, {{threads}}>;

fn block_largest(four: vec4<f32>) -> f32 {
    let size = abs(four);
    let exponents = bitcast<vec4<u32>>(four) & vec4<u32>(0x7f800000u);
    let finite = all(exponents != vec4<u32>(0x7f800000u));
    return select(3.4e38f, max(max(size.x, size.y), max(size.z, size.w)), finite);
}

// The bits of the scale of the block whose first thread this is; NaN where F16 has no such number.
fn block_scale(first: u32) -> u32 {
    var most = 0.0;
    for (var i = 0u; i < 8u; i++) { most = max(most, largest[first + i]); }
    let exact = most / 127.0;
    return select(0x7e00u, pack2x16float(vec2<f32>(exact, 0.0)) & 0xffffu, exact <= 65504.0);
}

fn block_word(four: vec4<f32>, bits: u32) -> u32 {
    let scale = unpack2x16float(bits).x;
    let some = scale > 0.0;
    let whole = clamp(round(four / select(1.0, scale, some)), vec4<f32>(-127.0), vec4<f32>(127.0));
    return pack4xI8(select(vec4<i32>(), vec4<i32>(whole), vec4<bool>(some)));
}
