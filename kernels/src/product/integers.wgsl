// Keeps four elements of x as integers of 16 bits, split into signed bytes. The eight lanes of a block
// call it together. A block is its scale and the sums of its first and second 16 integers. What is
// not finite makes the scale so.
fn keep_integers(at: u32, block: u32, x: vec4<f32>, lane: u32, lanes: u32) {
    let size = abs(x);
    let own = max(max(size.x, size.y), max(size.z, size.w));
    let finite = all(size <= vec4(3.4e38)) && lanes >= 8u;
    var most = select(bitcast<f32>(0x7f800000u | (lane & 0u)), own, finite);
    most = max(most, subgroupShuffleXor(most, 1u));
    most = max(most, subgroupShuffleXor(most, 2u));
    most = max(most, subgroupShuffleXor(most, 4u));
    let whole = vec4<i32>(round(x * (32639.0 / max(most, 1e-30))));
    let high = (whole + 128) >> vec4(8u);
    staged[at] = vec2(pack4xI8(high), pack4xI8(whole - high * 256));
    var total = whole.x + whole.y + whole.z + whole.w;
    total += subgroupShuffleXor(total, 1u);
    total += subgroupShuffleXor(total, 2u);
    let other = subgroupShuffleXor(total, 4u);
    if ((lane & 7u) == 0u) {
        blocks[block] = vec4(most / 32639.0, f32(total), f32(other), 0.0);
    }
}
