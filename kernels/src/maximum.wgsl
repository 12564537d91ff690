// The largest x of the workgroup, in every thread, as the sum is taken.
fn workgroup_max(x: f32, lane: u32, subgroup: u32, subgroups: u32) -> f32 {
    let own = subgroupMax(x);
    if (subgroups == 1u) { return own; }
    if (lane == 0u) { partial_sums[subgroup] = own; }
    workgroupBarrier();
    var most = partial_sums[0];
    for (var i = 1u; i < subgroups; i++) { most = max(most, partial_sums[i]); }
    workgroupBarrier();
    return most;
}
