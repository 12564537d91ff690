// The largest of all threads' values, the lowest token among equals.

var<workgroup> best_keys: array<u32, THREADS>;
var<workgroup> best_tokens: array<u32, THREADS>;

struct Best {
    key: u32,
    token: u32,
}

fn better(a: Best, b: Best) -> Best {
    if b.key > a.key || (b.key == a.key && b.token < a.token) { return b; }
    return a;
}

fn best_of_four(best: Best, keys: vec4<u32>, first: u32) -> Best {
    var result = best;
    for (var c = 0u; c < 4u; c += 1u) {
        result = better(result, Best(keys[c], first + c));
    }
    return result;
}

// All threads get the result.
fn best_of_all(mine: Best, thread: u32) -> Best {
    best_keys[thread] = mine.key;
    best_tokens[thread] = mine.token;
    for (var span = THREADS / 2u; span > 0u; span /= 2u) {
        workgroupBarrier();
        if thread < span {
            let other = Best(best_keys[thread + span], best_tokens[thread + span]);
            let best = better(Best(best_keys[thread], best_tokens[thread]), other);
            best_keys[thread] = best.key;
            best_tokens[thread] = best.token;
        }
    }
    workgroupBarrier();
    let result = Best(best_keys[0], best_tokens[0]);
    workgroupBarrier();
    return result;
}
