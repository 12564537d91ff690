// The largest elements of a row, and what follows from them: each workgroup takes one row. An
// element's rank is the number of those before it, so that no element waits for another.
{{bindings}}
const WIDTH = {{width}}u;
const COUNT = {{count}}u;

var<workgroup> scores: array<f32, {{width}}>;
var<workgroup> chosen: array<u32, {{count}}>;
{{helpers}}
{{functions}}
@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
    let row = group.x;
{{statistics}}
    // Elements that are no numbers have no rank: ids stay in range.
    for (var j = tid; j < COUNT; j += {{threads}}u) { chosen[j] = 0u; }
    for (var j = tid; j < WIDTH; j += {{threads}}u) { scores[j] = score(row, j{{arguments}}); }
    workgroupBarrier();
    for (var j = tid; j < WIDTH; j += {{threads}}u) {
        let own = scores[j];
        var rank = 0u;
        for (var i = 0u; i < WIDTH; i++) {
            let other = scores[i];
            rank += select(0u, 1u, other > own || (other == own && i < j));
        }
        if (rank < COUNT && own == own) { chosen[rank] = j; }
    }
    workgroupBarrier();
    for (var j = tid; j < COUNT; j += {{threads}}u) { post(row, j{{arguments}}); }
}
