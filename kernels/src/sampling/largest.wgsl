// The largest logit of each part of each row, a workgroup each. A value that is no number beats all
// others, so that one reduction finds either.

const BAD: u32 = 0xffffffffu;
// Of +infinity.
const INFINITY_KEY: u32 = 0xff800000u;
// Fours of a part.
const OF_PART: u32 = (GROUPS + PARTS - 1u) / PARTS;

@compute @workgroup_size(THREADS)
fn main(
{{entry}}
) {
    let row = group.x;
    let begin = group.y * OF_PART;
    // The last part may be short, or have none but the row's last four.
    let last = min(begin + OF_PART, GROUPS) - 1u;
    var mine = Best(0u, 0u);
    var most = vec4(0u);
    // Several loads under way at once; the last four may be taken more than once.
    for (var i = begin + tid; i < begin + OF_PART; i += 4u * THREADS) {
        let at = min(vec4(i, i + THREADS, i + 2u * THREADS, i + 3u * THREADS), vec4(last));
        let bits_0 = words(row, at.x);
        let bits_1 = words(row, at.y);
        let bits_2 = words(row, at.z);
        let bits_3 = words(row, at.w);
        mine = with_four(mine, bits_0, at.x);
        mine = with_four(mine, bits_1, at.y);
        mine = with_four(mine, bits_2, at.z);
        mine = with_four(mine, bits_3, at.w);
        most = max(most, max(max(bits_0, bits_1), max(bits_2, bits_3)));
    }
    // NaN below zero has the largest bits; NaN above and infinity have the largest keys.
    let bad = max(max(most.x, most.y), max(most.z, most.w)) > MINUS_INFINITY;
    if bad || mine.key >= INFINITY_KEY { mine.key = BAD; }
    let best = best_of_all(mine, Lane(lane, lanes, subgroup, subgroups));
    if tid == 0u { largest[row * MOST_PARTS + group.y] = vec2(best.key, best.token); }
}

fn with_four(best: Best, bits: vec4<u32>, group: u32) -> Best {
    let keys = ordered(bits);
    let largest = max(max(keys.x, keys.y), max(keys.z, keys.w));
    if largest < best.key { return best; }
    return best_of_four(best, keys, 4u * group);
}
