// The sum of x over the workgroup, in every thread. All threads call it together. Right for every
// subgroup size: the number of subgroups is asked for, not assumed.
var<workgroup> partial_sums: array<f32, {{partials}}>;
fn workgroup_sum(x: f32, lane: u32, subgroup: u32, subgroups: u32) -> f32 {
    let own = subgroupAdd(x);
    if (lane == 0u) { partial_sums[subgroup] = own; }
    workgroupBarrier();
    let total = {{sum}};
{{barrier}}    return total;
}
