// Attention over cached keys and values in tiles of positions, with the softmax taken along the way
// (Milakov & Gimelshein 2018; Dao et al. 2022).
//
// A workgroup computes QUERIES = TOKENS tokens x HEADS query heads that share one key and value
// head. Positions come in tiles of TILE: first each thread scores TILE / THREADS positions, then
// each subgroup takes the softmax of some queries, then threads split over eight-element chunks of
// the values and over positions. Right for every subgroup size.
{{of_heads}}
const QUERIES = {{queries}}u;
const TOKENS = {{tokens}}u;
const THREADS = {{threads}}u;
const TILE = {{tile}}u;
const PARTS = {{parts}}u;

var<workgroup> queries: array<vec4<f32>, {{query_vectors}}>;
var<workgroup> weights: array<f32, {{weight_count}}>;
var<workgroup> maxima: array<f32, QUERIES>;
var<workgroup> totals: array<f32, QUERIES>;
var<workgroup> factors: array<f32, QUERIES>;
var<workgroup> parts: array<vec4<f32>, {{part_vectors}}>;

{{store}}
@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
    let count = {{count}};
    let head = group.x * HEADS;
    let kv = head / SHARE;
    let first = group.y * TOKENS;
    let end = min(first + TOKENS, count);
    let slot = slots[first];
    let newest = positions[end - 1u];
    for (var i = tid; i < QUERIES * KEY4; i += THREADS) {
        let query = i / KEY4;
        let n = min(first + query / HEADS, count - 1u);
        queries[i] = load_query(n * ALL_HEADS + head + query % HEADS, i % KEY4) * {{scale}};
    }
    for (var i = tid; i < QUERIES; i += THREADS) {
        maxima[i] = LOWEST;
        totals[i] = 0.0;
    }
    workgroupBarrier();
    let chunk = tid % (VALUE4 / 2u);
    let part = tid / (VALUE4 / 2u);
{{outputs}}
    for (var base = {{oldest}}; base <= newest; base += TILE) {
{{scores}}
        workgroupBarrier();
        for (var query = subgroup; query < QUERIES; query += subgroups) {
            let at = query * TILE;
            var highest = LOWEST;
            for (var i = lane; i < TILE; i += lanes) { highest = max(highest, weights[at + i]); }
            let before = maxima[query];
            let now = max(before, subgroupMax(highest));
            var total = 0.0;
            for (var i = lane; i < TILE; i += lanes) {
                let score = weights[at + i];
                let weight = select(0.0, exp(score - now), score > LOWEST);
                weights[at + i] = weight;
                total += weight;
            }
            total = subgroupAdd(total);
            if (lane == 0u) {
                let factor = exp(before - now);
                maxima[query] = now;
                totals[query] = totals[query] * factor + total;
                factors[query] = factor;
            }
        }
        workgroupBarrier();
        let used = min(TILE, newest - base + 1u);
{{rescale}}
        if (part < PARTS) {
            for (var i = part; i < used; i += PARTS) {
                let value = load_value((cache_row(slot, base + i) * KV_HEADS + kv) * VALUE_ROW, chunk);
{{accumulate}}
            }
        }
        workgroupBarrier();
    }
{{finish}}
}
