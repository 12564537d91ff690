fn $load(chunk: u32) -> $raw { return $raw($four(chunk), $p1[chunk]); }
