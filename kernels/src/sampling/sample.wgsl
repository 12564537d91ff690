// Draws a token by a slot's sampling parameters. One workgroup a row.
//
// Top-k, top-p and min-p each keep the tokens at or above some logit, so the kernel looks for one
// threshold in the ordered bits of the logits and never sorts. The draw is the Gumbel-max trick:
// the largest of logit / temperature + noise has the distribution of the softmax.

// Counts and masses at or above three thresholds, then of all.
var<workgroup> counts: array<vec4<f32>, THREADS>;
var<workgroup> masses: array<vec4<f32>, THREADS>;
// Logits before the penalty, with the tokens they belong to.
var<workgroup> saved: array<u32, HISTORY>;

const BAD: u32 = 0xffffffffu;

struct Kept {
    count: vec4<f32>,
    mass: vec4<f32>,
}

fn kept_of_all(mine: Kept, thread: u32) -> Kept {
    counts[thread] = mine.count;
    masses[thread] = mine.mass;
    for (var span = THREADS / 2u; span > 0u; span /= 2u) {
        workgroupBarrier();
        if thread < span {
            counts[thread] += counts[thread + span];
            masses[thread] += masses[thread + span];
        }
    }
    workgroupBarrier();
    let result = Kept(counts[0], masses[0]);
    workgroupBarrier();
    return result;
}

// Counts and masses of the tokens with keys at or above `limits` and `lowest`. The mass of a token
// is exp(logit - largest).
fn measure(row: u32, thread: u32, largest: f32, lowest: u32, limits: vec4<u32>) -> Kept {
    var mine = Kept(vec4(0.0), vec4(0.0));
    for (var i = thread; i < GROUPS; i += THREADS) {
        let bits = words(row, i);
        let keys = ordered(bits);
        let mass = exp(bitcast<vec4<f32>>(bits) - vec4(largest));
        for (var c = 0u; c < 4u; c += 1u) {
            let key = keys[c];
            if key >= lowest {
                let above = vec4(key) >= limits;
                mine.count += select(vec4(0.0), vec4(1.0), above);
                mine.mass += select(vec4(0.0), vec4(mass[c]), above);
            }
        }
    }
    return kept_of_all(mine, thread);
}

// The largest threshold in [lowest, top] at or above which there are `aim` tokens, or, `by_mass`,
// that share of the mass at or above `lowest`. Every round cuts the range to a quarter and it ends
// when one token is left to decide on.
fn threshold(
    row: u32, thread: u32, largest: f32, lowest: u32, top: u32, aim: f32, by_mass: bool,
) -> u32 {
    // What is wanted is met at `low` and not at `high`.
    var low = lowest;
    var high = top + 1u;
    var wanted = aim;
    var low_count = f32(VOCABULARY);
    var high_count = 0.0;
    for (var round = 0u; round < 17u; round += 1u) {
        if high - low <= 1u || low_count - high_count <= 1.0 { break; }
        let quarter = max((high - low) / 4u, 1u);
        let limits = vec4(
            low + quarter,
            min(low + 2u * quarter, high - 1u),
            min(low + 3u * quarter, high - 1u),
            lowest,
        );
        let kept = measure(row, thread, largest, lowest, limits);
        if round == 0u {
            low_count = kept.count.w;
            wanted = select(aim, aim * kept.mass.w, by_mass);
        }
        let have = select(kept.count, kept.mass, vec4(by_mass));
        if have.z >= wanted {
            low = limits.z;
            low_count = kept.count.z;
        } else if have.y >= wanted {
            low = limits.y;
            low_count = kept.count.y;
            high = limits.z;
            high_count = kept.count.z;
        } else if have.x >= wanted {
            low = limits.x;
            low_count = kept.count.x;
            high = limits.y;
            high_count = kept.count.y;
        } else {
            high = limits.x;
            high_count = kept.count.x;
        }
    }
    return low;
}

// Four mixed words; Jarzynski and Olano, Hash Functions for GPU Rendering, 2020 (pcg4d).
fn mix(input: vec4<u32>) -> vec4<u32> {
    var v = input * 1664525u + 1013904223u;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    v = v ^ (v >> vec4(16u));
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}

// Gumbel noise, -log(e) with e drawn from the exponential distribution. Small e decide, and there
// log(1 - v) would be too coarse: its series takes over.
fn gumbel(seed: u32, slot: u32, position: u32, token: u32) -> f32 {
    let word = mix(vec4(seed, slot, position, token)).x;
    let v = min((f32(word) + 0.5) * 2.3283064e-10, 0.99999994);
    let series = v * (1.0 + v * (0.5 + v * (0.33333334 + v * (0.25 + v * 0.2))));
    let e = select(-log(1.0 - v), series, v < 0.05);
    return -log(e);
}

// The record of the penalised tokens: thread t answers for entry t of the history. Only the first
// of equal entries counts.
fn penalised_token(record: u32, thread: u32) -> u32 {
    let count = min(sampler[record + 6u], HISTORY);
    if thread >= count { return BAD; }
    let token = sampler[record + 8u + thread];
    for (var i = 0u; i < thread; i += 1u) {
        if sampler[record + 8u + i] == token { return BAD; }
    }
    return select(BAD, token, token < VOCABULARY);
}

fn penalise(row: u32, thread: u32, token: u32, penalty: f32) {
    if token != BAD {
        let bits = word(row, token);
        saved[thread] = bits;
        let logit = bitcast<f32>(bits);
        set_word(row, token, bitcast<u32>(select(logit / penalty, logit * penalty, logit < 0.0)));
    }
    storageBarrier();
    workgroupBarrier();
}

// The key of `largest + log(share)`: what min-p keeps is at or above it.
fn share_key(largest: f32, share: f32) -> u32 {
    return ordered(vec4(bitcast<u32>(largest + log(share)))).x;
}

// The lowest key that top-k, top-p and min-p keep.
fn lowest_kept(row: u32, thread: u32, record: u32, top: u32, largest: f32) -> u32 {
    // Above -infinity, which is never drawn.
    var lowest = ~MINUS_INFINITY + 1u;
    let top_k = sampler[record + 1u];
    if top_k > 0u && top_k < VOCABULARY {
        lowest = threshold(row, thread, largest, lowest, top, f32(top_k), false);
    }
    let top_p = bitcast<f32>(sampler[record + 2u]);
    if top_p <= 0.0 {
        lowest = top;
    } else if top_p < 1.0 {
        lowest = threshold(row, thread, largest, lowest, top, top_p, true);
    }
    let min_p = bitcast<f32>(sampler[record + 3u]);
    if min_p > 0.0 {
        lowest = max(lowest, min(share_key(largest, min_p), top));
    }
    return lowest;
}

fn draw(
    row: u32, thread: u32, at: Lane, facts: vec4<u32>, largest: f32, lowest: u32, heat: f32,
) -> u32 {
    let seed = sampler[facts.x * SLOT_WORDS + 5u];
    var mine = Best(0u, 0u);
    for (var i = thread; i < GROUPS; i += THREADS) {
        let bits = words(row, i);
        let keys = ordered(bits);
        for (var c = 0u; c < 4u; c += 1u) {
            if keys[c] >= lowest {
                let token = 4u * i + c;
                let noise = gumbel(seed, facts.x, facts.y, token);
                let score = (bitcast<f32>(bits[c]) - largest) / heat + noise;
                let key = ordered(vec4(bitcast<u32>(score))).x;
                mine = better(mine, Best(key, token));
            }
        }
    }
    return best_of_all(mine, at).token;
}

@compute @workgroup_size(THREADS)
fn main(
{{entry}}
) {
    let row = group.x;
    let at = Lane(lane, lanes, subgroup, subgroups);
    let facts = begin(row, tid);
    if facts.z == 0u {
        if tid == 0u { report(facts.x, 0u, IDLE, facts.y); }
        return;
    }
    let record = facts.x * SLOT_WORDS;
    let penalty = bitcast<f32>(sampler[record + 4u]);
    var penalised = BAD;
    if penalty != 1.0 { penalised = penalised_token(record, tid); }
    penalise(row, tid, penalised, penalty);

    var mine = Best(0u, 0u);
    for (var i = tid; i < GROUPS; i += THREADS) {
        let bits = words(row, i);
        let keys = select(ordered(bits), vec4(BAD), not_finite(bits));
        mine = best_of_four(mine, keys, 4u * i);
    }
    let best = best_of_all(mine, at);
    let finite = best.key != BAD && best.key > ~MINUS_INFINITY;
    var token = best.token;
    let heat = bitcast<f32>(sampler[record]);
    if finite && heat > 0.0 {
        let largest = bitcast<f32>(word(row, best.token));
        let lowest = lowest_kept(row, tid, record, best.key, largest);
        token = draw(row, tid, at, facts, largest, lowest, heat);
    }

    // The logits are the model's again.
    workgroupBarrier();
    if penalised != BAD { set_word(row, penalised, saved[tid]); }
    if tid == 0u { end(row, facts, token, finite); }
}
