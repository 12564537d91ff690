// Row kernels: each workgroup computes one row of values, element by element, after the row's
// statistics.
{{bindings}}
{{helpers}}
{{functions}}
@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
{{parts}}}
