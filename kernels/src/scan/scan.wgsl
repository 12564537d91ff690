// Selective state space: each thread takes one channel through the step's tokens, its state in
// registers. A slot's tokens are consecutive; its state is read before the first of them and stored
// after the last, unless the sequence has ended.
{{bindings}}
const CHANNELS = {{channels}}u;
const SIZE = {{size}}u;
const WIDTH = {{width}}u;
const HEADS = {{heads}}u;
const SHARE = {{share}}u;
const GROUPS = {{groups}}u;

@compute @workgroup_size({{threads}})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let channel = id.x;
    if (channel >= CHANNELS) { return; }
    let count = {{count}};
    let head = channel / SIZE;
    let part = head / SHARE;
    var kept: array<f32, {{width}}>;
    for (var n = 0u; n < count; n++) {
        let slot = slots[n];
        let start = (slot * CHANNELS + channel) * WIDTH;
        if (n == 0u || slots[max(n, 1u) - 1u] != slot) {
            for (var s = 0u; s < WIDTH; s++) { kept[s] = state[start + s]; }
        }
        let fresh = positions[n] == 0u;
        let size = steps[n * HEADS + head];
        let scaled = size * x[n * CHANNELS + channel];
        var total = 0.0;
        for (var s = 0u; s < WIDTH; s++) {
            let before = select(kept[s], 0.0, fresh);
            let row = (n * GROUPS + part) * WIDTH + s;
            let now = exp(size * decay[head * {{decays}}u + s % {{decays}}u]) * before + scaled * b[row];
            kept[s] = now;
            total += c[row] * now;
        }
        y[n * CHANNELS + channel] = total;
        if (n + 1u == count || slots[min(n + 1u, count - 1u)] != slot) {
            if (live[slot] != 0u) {
                for (var s = 0u; s < WIDTH; s++) { state[start + s] = kept[s]; }
            }
        }
    }
}
