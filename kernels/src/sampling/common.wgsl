// What kernels share that end a step.

const LIVE: u32 = 0u;
const STOPPED: u32 = 1u;
const NOT_FINITE: u32 = 2u;
const IDLE: u32 = 3u;
const CONTEXT_FULL: u32 = 4u;

// Slot, position and whether the slot is live, for all threads.
var<workgroup> row_facts: vec4<u32>;

// Whether a value is NaN or +infinity. -infinity is a logit that is never chosen.
fn not_finite(bits: vec4<u32>) -> vec4<bool> {
    return ((bits & vec4(0x7fffffffu)) > vec4(0x7f800000u)) | (bits == vec4(0x7f800000u));
}

// Slot and position of this workgroup's row of logits, and whether the slot is live. All threads
// have read their inputs when it returns.
fn begin(row: u32, thread: u32) -> vec4<u32> {
    if thread == 0u {
        let token_row = out_rows[row];
        let slot = slots[token_row];
        row_facts = vec4(slot, positions[token_row], live[slot], tokens[token_row]);
    }
    return workgroupUniformLoad(&row_facts);
}

fn is_stop(token: u32) -> bool {
    for (var i = 1u; i <= stop[0]; i += 1u) {
        if stop[i] == token { return true; }
    }
    return false;
}

// Records the result of a step and writes the inputs of the next. One thread calls it.
fn end(row: u32, facts: vec4<u32>, token: u32, finite: bool) {
    let slot = facts.x;
    let position = facts.y;
    var status = LIVE;
    if !finite {
        status = NOT_FINITE;
    } else if is_stop(token) {
        status = STOPPED;
    } else if position + 1u >= CONTEXT {
        status = CONTEXT_FULL;
    }
    if status != LIVE { live[slot] = 0u; }
    report(slot, token, status, position);
    if finite { remember(slot, token); }
    // A slot that goes on no further keeps its last input, so that steps submitted ahead stay
    // within bounds.
    tokens[slot] = select(facts.w, token, status == LIVE);
    positions[slot] = select(position, position + 1u, status == LIVE);
    slots[slot] = slot;
    out_rows[slot] = slot;
    if row == 0u {
        step[0] = SLOTS;
        step[1] = SLOTS;
        step[2] = 0u;
        step[3] = 0u;
    }
}

fn report(slot: u32, token: u32, status: u32, position: u32) {
    let some = status != NOT_FINITE && status != IDLE;
    // A count for each slot, as no workgroup may change what another reads.
    let count = drawn[slot];
    drawn[slot] = count + 1u;
    let record = 4u * ((count % RECORDS) * SLOTS + slot);
    sampled[record] = select(0u, token, some);
    sampled[record + 1u] = status;
    sampled[record + 2u] = select(position + 1u, position + 2u, some);
    sampled[record + 3u] = 0u;
}

fn remember(slot: u32, token: u32) {
    let record = slot * SLOT_WORDS;
    let next = sampler[record + 7u] % HISTORY;
    sampler[record + 8u + next] = token;
    sampler[record + 7u] = (next + 1u) % HISTORY;
    sampler[record + 6u] = min(sampler[record + 6u] + 1u, HISTORY);
}
