// Attention over cached keys and values, with the softmax taken along the way (Milakov & Gimelshein
// 2018), a token for each thread.
//
// A thread holds HEADS query heads of its token that share one key and value head, and their sums. All
// threads go through the positions together, so nothing is shared but what they read. Right for every
// subgroup size.
{{of_heads}}
const THREADS = {{threads}}u;

{{store}}
@compute @workgroup_size({{threads}})
fn main(
{{entry}}
) {
    let count = {{count}};
    let head = group.x * HEADS;
    let kv = head / SHARE;
    let first = group.y * THREADS;
    let slot = slots[first];
    let newest = positions[min(first + THREADS, count) - 1u];
    let n = min(first + tid, count - 1u);
    let at = positions[n];
{{queries}}
    for (var position = {{oldest}}; position <= newest; position++) {
        let row = cache_row(slot, position) * KV_HEADS + kv;
        let seen = {{seen}};
{{scores}}
{{weights}}
{{sums}}
    }
    if (first + tid < count) {
{{finish}}
    }
}
