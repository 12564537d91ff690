// The partials of attention whose positions were split over workgroups, made one.
//
// A workgroup takes one head of one token, a thread four elements of some splits.
{{bindings}}
const HEADS = {{heads}}u;
const VALUE4 = {{value4}}u;
const SPLITS = {{splits}}u;
const PARTS = {{parts}}u;
const LOWEST = -1e30f;

var<workgroup> statistics: array<vec2<f32>, {{parts}}>;
var<workgroup> sums: array<vec4<f32>, {{vectors}}>;

@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
    let row = group.y * HEADS + group.x;
    let j = tid % VALUE4;
    let part = tid / VALUE4;
{{load}}
    if (j == 0u) { statistics[part] = vec2(highest, total); }
    sums[tid] = sum;
    workgroupBarrier();
    if (part == 0u) {
        var most = LOWEST;
        for (var i = 0u; i < PARTS; i++) { most = max(most, statistics[i].x); }
        var all = 0.0;
        var result = vec4<f32>();
        for (var i = 0u; i < PARTS; i++) {
            let weight = exp(statistics[i].x - most);
            all += weight * statistics[i].y;
            result += weight * sums[i * VALUE4 + j];
        }
        out[row * VALUE4 + j] = result / all;
    }
}
