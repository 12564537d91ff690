// Products of rows of x with merged weight matrices by cooperative matrices: y[n, i] = Σ_j x[n, j] ·
// w[i, j], with x and w rounded to F16 and the sums in F32.
//
// A workgroup computes ROWS rows of x with TILE rows of weights, some columns a step. Each thread
// reads its part of the next step, or of the one after it, while the subgroups multiply this one, and
// unpacks it when it stores it; where workgroup memory holds two steps, nobody waits between
// multiplying one and storing the other. The sums meet in workgroup memory, BAND rows of x at a time,
// from where the epilogue reads them.
enable f16;
enable wgpu_cooperative_matrix;
{{bindings}}
const ROWS = {{rows}}u;
const TILE = {{tile}}u;
const STEPS = {{steps}}u;
// Elements of a row in workgroup memory: a step's and a few more, so that rows lie in different banks.
const STRIDE = {{stride}}u;
// Elements of a step in workgroup memory.
const X_STEP = {{x_step}}u;
const W_STEP = {{w_step}}u;
const BAND = {{band}}u;

var<workgroup> xs: array<{{halves}}, {{x_halves}}>;
var<workgroup> ws: array<{{halves}}, {{w_halves}}>;
var<workgroup> sums: array<f32, {{sums}}>;
{{helpers}}
{{weight_rows}}
{{functions}}
@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
{{share}}    let count = {{count}};
    let tile = {{tile_id}};
    let origin = {{origin}};
{{take_tile}}
{{places}}
{{aside}}
{{first}}
    for (var step = 0u; step < STEPS; step += {{ahead}}u) {
{{phases}}
    }
    // With subgroups of another size than was probed the sums are wrong, and must not look right.
    let broken = subgroups != {{subgroups}}u;
{{bands}}
}
