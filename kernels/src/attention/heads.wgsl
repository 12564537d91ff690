// What all attention kernels say of heads and how they read them.
{{bindings}}
const HEADS = {{heads}}u;
const ALL_HEADS = {{all_heads}}u;
const SHARE = {{share}}u;
const KV_HEADS = {{kv_heads}}u;
const KEY4 = {{key4}}u;
const VALUE4 = {{value4}}u;
const KEY_ROW = {{key_row}}u;
const VALUE_ROW = {{value_row}}u;
const LOWEST = -1e30f;

struct Eight { low: vec4<f32>, high: vec4<f32> }
{{loads}}{{cache_row}}