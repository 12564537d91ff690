// The rows that have chosen each expert, one after another, and tables of tiles of them: one workgroup
// counts the rows of each expert, and gives each its place behind those of the experts before it. Rows
// of one expert come in any order. Right for every subgroup size.
{{bindings}}
const EXPERTS = {{experts}}u;
const THREADS = {{threads}}u;

var<workgroup> counts: array<atomic<u32>, {{experts}}>;
var<workgroup> next: array<atomic<u32>, {{experts}}>;
var<workgroup> used: array<u32, {{tables}}>;
@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
    let rows = {{count}} * {{top}}u;
    for (var expert = tid; expert < EXPERTS; expert += THREADS) { atomicStore(&counts[expert], 0u); }
    workgroupBarrier();
    for (var row = tid; row < rows; row += THREADS) { atomicAdd(&counts[ids[row]], 1u); }
    workgroupBarrier();
    for (var expert = tid; expert < EXPERTS; expert += THREADS) {
        let count = atomicLoad(&counts[expert]);
        var first = 0u;
{{declare}}
        for (var before = 0u; before < expert; before++) {
            let other = atomicLoad(&counts[before]);
            first += other;
{{add}}
        }
        atomicStore(&next[expert], first);
{{tiles}}
    }
    workgroupBarrier();
    for (var row = tid; row < rows; row += THREADS) {
        groups[atomicAdd(&next[ids[row]], 1u)] = row;
    }
    // What is left of each table has no rows.
{{rest}}
}
