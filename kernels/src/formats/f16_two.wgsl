fn $two(pair: u32) -> $both {
    let v = $p0[pair];
    return $both($raw($low(v)), $raw($high(v)));
}
