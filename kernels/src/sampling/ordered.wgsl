// Logits as integers. The header above declares VOCABULARY, CONTEXT, SLOTS, THREADS, SLOT_WORDS,
// HISTORY, RECORDS, PARTS, MOST_PARTS and, where a kernel binds logits, `words`, which reads four of
// them as bits.

const GROUPS: u32 = (VOCABULARY + 3u) / 4u;
const MINUS_INFINITY: u32 = 0xff800000u;

// Maps floats to integers of the same order; both zeros are one. Integers, because compilers that
// assume finite numbers remove tests for NaN.
fn ordered(bits: vec4<u32>) -> vec4<u32> {
    let b = select(bits, vec4(0u), bits == vec4(0x80000000u));
    let signs = bitcast<vec4<u32>>(bitcast<vec4<i32>>(b) >> vec4(31u));
    return b ^ (signs | vec4(0x80000000u));
}

