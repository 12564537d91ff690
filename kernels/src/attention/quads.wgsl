// Attention of one token over cached keys and values, with the softmax taken along the way (Milakov &
// Gimelshein 2018) and its positions shared by SPLITS workgroups (Dao et al. 2023).
//
// Four lanes, a quad, take a position: each has every fourth chunk of eight elements of the query,
// the key and the value. A quad keeps the maximum, the total and the sums of its own positions, so
// the loop waits for nobody, and the loads of a step are all under way at once. In the end the quads
// of a subgroup meet, then the subgroups, in workgroup memory. Right for every subgroup size: all
// are multiples of four.
{{of_heads}}
const QUADS = {{quads}}u;
// Positions of a step.
const STEP = {{step}}u;
const SPLITS = {{splits}}u;
// Subgroups whose results lie in workgroup memory at once.
const KEPT = {{kept}}u;
const OUTPUTS = HEADS * VALUE4;

var<workgroup> maxima: array<f32, {{kept_heads}}>;
var<workgroup> totals: array<f32, {{kept_heads}}>;
var<workgroup> sums: array<vec4<f32>, {{kept_vectors}}>;

@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
    let head = group.x * HEADS;
    let kv = head / SHARE;
    let n = group.y;
    let slot = slots[n];
    let newest = positions[n];
    let oldest = {{oldest}};
    // Equal shares of the positions that there are, in whole steps. A workgroup without any leaves
    // sums of nothing.
    let share = (newest - oldest + SPLITS * STEP) / (SPLITS * STEP) * STEP;
    let begin = oldest + group.z * share;
    let end = min(begin + share, newest + 1u);
    let quarter = lane % 4u;
    let quad = subgroup * (lanes / 4u) + lane / 4u;
{{queries}}
    for (var base = begin; base < end; base += STEP) {
{{positions}}
    }
{{meet}}
    let j = tid % VALUE4;
    let own = min(tid / VALUE4, HEADS - 1u);
    var highest = LOWEST;
    var total = 0.0;
    var sum = vec4<f32>();
    for (var start = 0u; start < subgroups; start += KEPT) {
        let kept = min(KEPT, subgroups - start);
        if (subgroup >= start && subgroup < start + kept && lane < 4u) {
            let at = subgroup - start;
{{keep}}
        }
        workgroupBarrier();
        if (tid < OUTPUTS) {
            let before = highest;
            for (var i = 0u; i < kept; i++) { highest = max(highest, maxima[i * HEADS + own]); }
            let factor = exp(before - highest);
            total *= factor;
            sum *= factor;
            for (var i = 0u; i < kept; i++) {
                let weight = exp(maxima[i * HEADS + own] - highest);
                total += weight * totals[i * HEADS + own];
                sum += weight * sums[i * OUTPUTS + own * VALUE4 + j];
            }
        }
        workgroupBarrier();
    }
    if (tid < OUTPUTS) {
{{store}}
    }
}
