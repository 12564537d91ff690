// The sum of x over the workgroup, in every thread. All threads call it together. Right for every
// subgroup size: the number of subgroups is asked for, not assumed.
var<workgroup> partial_sums: array<f32, {{partials}}>;
fn workgroup_sum(x: f32, lane: u32, subgroup: u32, subgroups: u32) -> f32 {
    let own = subgroupAdd(x);
    if (subgroups == 1u) { return own; }
    if (lane == 0u) { partial_sums[subgroup] = own; }
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < subgroups; i++) { total += partial_sums[i]; }
    workgroupBarrier();
    return total;
}
