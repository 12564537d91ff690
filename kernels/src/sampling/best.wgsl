// The largest of all threads' values, the lowest token among equals.

const NO_TOKEN: u32 = 0xffffffffu;
// Most subgroups of a workgroup.
const SUBGROUPS: u32 = (THREADS + 3u) / 4u;

var<workgroup> best_keys: array<u32, SUBGROUPS>;
var<workgroup> best_tokens: array<u32, SUBGROUPS>;

// Where a thread is in its workgroup.
struct Lane {
    lane: u32,
    lanes: u32,
    subgroup: u32,
    subgroups: u32,
}

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

// All threads get the result. Subgroups have at least 4 lanes.
fn best_of_all(mine: Best, at: Lane) -> Best {
    let own = best_of_subgroup(mine);
    if at.lane == 0u {
        best_keys[at.subgroup] = own.key;
        best_tokens[at.subgroup] = own.token;
    }
    workgroupBarrier();
    var among = Best(0u, NO_TOKEN);
    for (var i = at.lane; i < at.subgroups; i += at.lanes) {
        among = better(among, Best(best_keys[i], best_tokens[i]));
    }
    let result = best_of_subgroup(among);
    workgroupBarrier();
    return result;
}

fn best_of_subgroup(mine: Best) -> Best {
    let key = subgroupMax(mine.key);
    return Best(key, subgroupMin(select(NO_TOKEN, mine.token, mine.key == key)));
}
