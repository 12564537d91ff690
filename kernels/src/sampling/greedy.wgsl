// The largest logit of each row. One workgroup a row; a value that is no number beats all others,
// so that one reduction finds either.

const BAD: u32 = 0xffffffffu;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group.x;
    let facts = begin(row, thread);
    if facts.z == 0u {
        if thread == 0u { report(facts.x, 0u, IDLE, facts.y); }
        return;
    }
    var mine = Best(0u, 0u);
    for (var i = thread; i < GROUPS; i += THREADS) {
        let bits = words(row, i);
        let keys = select(ordered(bits), vec4(BAD), not_finite(bits));
        let largest = max(max(keys.x, keys.y), max(keys.z, keys.w));
        if largest > mine.key { mine = best_of_four(mine, keys, 4u * i); }
    }
    let best = best_of_all(mine, thread);
    let nothing = ~MINUS_INFINITY;
    if thread == 0u { end(row, facts, best.token, best.key != BAD && best.key > nothing); }
}
