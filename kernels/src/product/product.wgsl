// Products of rows of x with merged weight matrices: y[n, i] = Σ_j x[n, j] · w[i, j].
//
// A workgroup computes TOKENS rows of x with TILE rows of weights, which its subgroups or threads
// share out. The sums meet in workgroup memory, from where the epilogue reads them. Right for every
// subgroup size.
{{bindings}}
const TOKENS = {{tokens}}u;
const TILE = {{tile}}u;
const BLOCKS = {{blocks}}u;
const VECTORS = {{vectors}}u;

var<workgroup> sums: array<f32, {{sums}}>;
{{stage}}
{{helpers}}
{{rows}}
{{functions}}
@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
    let count = {{count}};
    let tile = group.x;
    let first = {{origin}};
{{take_tile}}
{{ahead}}
{{prologue}}
{{blocks_text}}
{{close}}
    workgroupBarrier();
{{meet}}
{{epilogue}}
}
