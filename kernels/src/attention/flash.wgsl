// Attention of many tokens by cooperative matrices, with the softmax taken along the way (Milakov &
// Gimelshein 2018; Dao et al. 2022): factors are F16, sums F32.
//
// A workgroup takes ROWS rows; a row is a token with one of the SHARE query heads that share a key
// head, tokens first. Positions come STEP at a time. Of these each of ACROSS subgroups has KEYS, and
// keeps a maximum, a total and sums of its own for OWN rows; in the end they meet. PARTS subgroups may
// take the same rows and positions, each with its part of a head's elements, so that queries and sums fit
// into registers: their scores are added up.
//
// Matrices cannot be scaled row by row. So a row's maximum stays what it was until a score is above
// it by more than SLACK: until then weights are larger than 1, which the quotient cancels. When it
// moves, the sums go through workgroup memory. Weights are lifted by a factor of exp(LIFT), so that
// small ones keep their bits in F16: the largest is exp(LIFT + SLACK) = 22,000.
enable f16;
enable wgpu_cooperative_matrix;
{{of_heads}}
const ROWS = {{rows}}u;
const OWN = {{own}}u;
const ACROSS = {{across}}u;
const PARTS = {{parts}}u;
// Vectors of four of a part of a key's and of a value's elements.
const KEY_PART = {{key_part}}u;
const VALUE_PART = {{value_part}}u;
const KEYS = {{keys}}u;
const STEP = KEYS * ACROSS;
const THREADS = {{threads}}u;
const SUBGROUPS = {{subgroups}}u;
const LANES = {{lanes}}u;
// Lanes that share a row while the softmax is taken.
const TOGETHER = {{together}}u;
const LIFT = {{lift}};
const SLACK = {{slack}};
// From one row to the next in workgroup memory, in vectors of four: those of a row and a few more, so
// that rows lie in different banks.
const KEY_STRIDE = {{key_stride}}u;
const VALUE_STRIDE = {{value_stride}}u;
const SCORE_STRIDE = {{score_stride}}u;
const WEIGHT_STRIDE = {{weight_stride}}u;
// Where values begin, after the keys.
const VALUES = STEP * KEY_STRIDE;
// Elements of a vector of four as workgroup memory is declared.
const UNIT = {{unit}}u;

// Keys and values; the queries, before them.
var<workgroup> staged: array<{{halves}}, {{staged_len}}>;
var<workgroup> scores: array<{{floats}}, {{scores_len}}>;
var<workgroup> weights: array<{{halves}}, {{weights_len}}>;
var<workgroup> maxima: array<f32, {{statistics}}>;
var<workgroup> totals: array<f32, {{statistics}}>;
var<workgroup> moved: array<u32, SUBGROUPS>;

{{access}}
// Scores of four positions from `position` on for a token at `at`, those that it does not see LOWEST.
fn masked(four: vec4<f32>, position: u32, at: u32, slope: f32) -> vec4<f32> {
    let place = vec4(position) + vec4(0u, 1u, 2u, 3u);
{{score}}
    return select(vec4(LOWEST), score, {{seen}});
}

@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
    let count = {{count}};
    let all = count * SHARE;
    let tiles = (all + ROWS - 1u) / ROWS;
    if (group.y >= tiles) { return; }
    // The last tokens see most: they begin first.
    let first = (tiles - 1u - group.y) * ROWS;
    let kv = group.x;
    let oldest_token = positions[first / SHARE];
    let newest = positions[(min(first + ROWS, all) - 1u) / SHARE];
    let slot = slots[first / SHARE];
    let down = subgroup / (ACROSS * PARTS);
    let across = subgroup / PARTS % ACROSS;
    let head_part = subgroup % PARTS;
    for (var i = tid; i < ROWS * KEY4; i += THREADS) {
        let row = min(first + i / KEY4, all - 1u);
        let head = row / SHARE * ALL_HEADS + kv * SHARE + row % SHARE;
        put_staged(i / KEY4 * KEY_STRIDE + i % KEY4, vec4<f16>(q[head * KEY4 + i % KEY4] * {{scale}}));
    }
    workgroupBarrier();
{{queries}}
    var base = {{oldest}};
{{begin}}
    workgroupBarrier();
{{keep_keys}}
    for (; base <= newest; base += STEP) {
        workgroupBarrier();
{{keep_values}}
{{next_keys}}
{{multiply}}
        workgroupBarrier();
{{softmax}}
        if (lane == 0u) { moved[subgroup] = select(0u, 1u, moves); }
{{keep_keys}}
        workgroupBarrier();
        if (({{any_moved}}) != 0u) {
{{rescale}}
        }
{{next_values}}
{{accumulate}}
    }
{{statistics_text}}
    let broken = subgroups != SUBGROUPS || lanes != LANES;
{{finish}}
}
