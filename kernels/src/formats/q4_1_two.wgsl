fn $two(pair: u32) -> $both {
    let v = $p0[pair];
    let d = $p1[pair];
    return $both($raw($low(v), u32(d)), $raw($high(v), u32(d >> 32u)));
}
