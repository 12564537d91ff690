// Products of rows of x with merged weight matrices by cooperative matrices: y[n, i] = Σ_j x[n, j] ·
// w[i, j], with x and w rounded to F16 and the sums in F32.
//
// A workgroup computes ROWS rows of x with TILE rows of weights, some columns a step. Each thread
// reads its part of the next step while the subgroups multiply this one. The sums meet in workgroup
// memory, BAND rows of x at a time, from where the epilogue reads them.
enable f16;
enable wgpu_cooperative_matrix;
{{bindings}}
const ROWS = {{rows}}u;
const TILE = {{tile}}u;
const STEPS = {{steps}}u;
// Columns of a row in workgroup memory: a step's and a few more, so that rows lie in different banks.
const STRIDE = {{stride}}u;
const BAND = {{band}}u;

var<workgroup> xs: array<f16, {{x_halves}}>;
var<workgroup> ws: array<f16, {{w_halves}}>;
var<workgroup> sums: array<f32, {{sums}}>;
{{helpers}}
{{weight_rows}}
{{functions}}
@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
    let count = {{count}};
    let tile = group.x;
    let origin = group.y * ROWS;
{{places}}
{{aside}}
{{first}}
    for (var step = 0u; step < STEPS; step++) {
{{store}}
        workgroupBarrier();
        let next = min(step + 1u, STEPS - 1u);
{{next}}
{{multiply}}
        workgroupBarrier();
    }
    // With subgroups of another size than was probed the sums are wrong, and must not look right.
    let broken = subgroups != {{subgroups}}u;
{{bands}}
}
