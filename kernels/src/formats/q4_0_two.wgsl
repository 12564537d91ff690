fn $two(pair: u32) -> $both {
    let v = $p0[pair];
    let d = unpack2x16float($p1[pair]);
    return $both($raw($low(v), d.x), $raw($high(v), d.y));
}
