// The largest logit of each row. One workgroup a row; a value that is no number beats all others,
// so that one reduction finds either.

const BAD: u32 = 0xffffffffu;
// Of +infinity.
const INFINITY_KEY: u32 = 0xff800000u;

@compute @workgroup_size(THREADS)
fn main(
{{entry}}
) {
    let row = group.x;
    var mine = Best(0u, 0u);
    var most = vec4(0u);
    // Several loads under way at once; the last group may be taken more than once.
    for (var i = tid; i < GROUPS; i += 4u * THREADS) {
        let bits_0 = words(row, i);
        let bits_1 = words(row, min(i + THREADS, GROUPS - 1u));
        let bits_2 = words(row, min(i + 2u * THREADS, GROUPS - 1u));
        let bits_3 = words(row, min(i + 3u * THREADS, GROUPS - 1u));
        mine = with_four(mine, bits_0, i);
        mine = with_four(mine, bits_1, min(i + THREADS, GROUPS - 1u));
        mine = with_four(mine, bits_2, min(i + 2u * THREADS, GROUPS - 1u));
        mine = with_four(mine, bits_3, min(i + 3u * THREADS, GROUPS - 1u));
        most = max(most, max(max(bits_0, bits_1), max(bits_2, bits_3)));
    }
    // NaN below zero has the largest bits; NaN above and infinity have the largest keys.
    let bad = max(max(most.x, most.y), max(most.z, most.w)) > MINUS_INFINITY;
    if bad || mine.key >= INFINITY_KEY { mine.key = BAD; }
    let facts = begin(row, tid);
    if facts.z == 0u {
        if tid == 0u { report(facts.x, 0u, IDLE, facts.y); }
        return;
    }
    let best = best_of_all(mine, Lane(lane, lanes, subgroup, subgroups));
    let nothing = ~MINUS_INFINITY;
    if tid == 0u { end(row, facts, best.token, best.key != BAD && best.key > nothing); }
}

fn with_four(best: Best, bits: vec4<u32>, group: u32) -> Best {
    let keys = ordered(bits);
    let largest = max(max(keys.x, keys.y), max(keys.z, keys.w));
    if largest < best.key { return best; }
    return best_of_four(best, keys, 4u * group);
}
