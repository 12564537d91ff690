fn $two(pair: u32) -> $both {
    let v = $p0[2u * pair];
    let w = $p0[2u * pair + 1u];
    let d = unpack2x16float($p1[pair]);
    return $both($raw($low(v), $high(v), d.x), $raw($low(w), $high(w), d.y));
}
