fn $load(chunk: u32) -> $raw {
    let d = unpack2x16float($p1[chunk >> 1u]);
    return $raw($four(2u * chunk), $four(2u * chunk + 1u), select(d.x, d.y, (chunk & 1u) == 1u));
}
