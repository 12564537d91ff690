// The largest logit of each row, from those of its parts. One workgroup a row.

const BAD: u32 = 0xffffffffu;

@compute @workgroup_size(THREADS)
fn main(
{{entry}}
) {
    let row = group.x;
    let facts = begin(row, tid);
    if facts.z == 0u {
        if tid == 0u { report(facts.x, 0u, IDLE, facts.y); }
        return;
    }
    var mine = Best(0u, NO_TOKEN);
    for (var i = tid; i < PARTS; i += THREADS) {
        let part = largest[row * MOST_PARTS + i];
        mine = better(mine, Best(part.x, part.y));
    }
    let best = best_of_all(mine, Lane(lane, lanes, subgroup, subgroups));
    let nothing = ~MINUS_INFINITY;
    if tid == 0u { end(row, facts, best.token, best.key != BAD && best.key > nothing); }
}
