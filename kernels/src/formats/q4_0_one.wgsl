fn $load(chunk: u32) -> $raw {
    let d = unpack2x16float($p1[chunk >> 1u]);
    return $raw($four(chunk), select(d.x, d.y, (chunk & 1u) == 1u));
}
