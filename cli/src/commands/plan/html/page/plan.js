// The plan's data, what follows from it, and what the reader has chosen.

const plan = JSON.parse(document.getElementById('plan').textContent);

const opOf = new Map(plan.ops.map((op) => [op.value, op]));

// Filled once for each program: who computes what, which layers are alike, what is dearest.
const facts = plan.programs.map(() => null);

const state = {
  program: 0,
  dispatch: null,
  op: null,
  buffer: null,
  // What the reader wants kernels coloured by, and what this program can be coloured by.
  wanted: 'measured',
  metric: 'bytes',
  tab: 'overview',
  language: 'wgsl',
  // By program: whether all layers are drawn, and the layer that stands for those like it.
  unfolded: plan.programs.map(() => false),
  layer: plan.programs.map(() => null),
};

const program = () => plan.programs[state.program];
const kernelOf = (dispatch) => plan.kernels[dispatch.kernel];

// What is known of the program that is shown.
function known() {
  facts[state.program] ??= learn(program());
  return facts[state.program];
}

function learn(of) {
  const owners = new Map();
  of.dispatches.forEach((dispatch, index) => {
    for (const [value] of dispatch.ops) {
      if (!owners.has(value)) owners.set(value, []);
      owners.get(value).push(index);
    }
  });
  // For each dispatch in layers: its section and its place in the layer.
  const places = of.dispatches.map(() => null);
  const layers = new Map();
  of.sections.forEach((section, number) => {
    if (!section.layers.length) return;
    const length = section.end - section.first;
    const alike = new Set(section.layers);
    let at = 0;
    for (let index = section.first; index < of.dispatches.length; index += 1) {
      const { layer } = of.dispatches[index];
      if (layer === null && index >= section.end) break;
      at = index > 0 && of.dispatches[index - 1].layer === layer ? at + 1 : 0;
      if (!alike.has(layer) || at >= length) continue;
      places[index] = { section: number, at };
      if (at === 0) layers.set(layer, { section: number, first: index });
    }
  });
  const most = {};
  for (const metric of Object.keys(METRICS)) {
    most[metric] = Math.max(0, ...of.dispatches.map((dispatch) => METRICS[metric].of(dispatch) ?? 0));
  }
  const costs = plan.ops.map((op) => op.alone[of.name]).filter(Boolean);
  const mostAlone = [0, 1].map((which) => Math.max(0, ...costs.map((cost) => cost[which])));
  return { owners, places, layers, most, mostAlone };
}

// What kernels can be coloured by.
const METRICS = {
  predicted: { name: 'predicted time', of: (d) => d.predicted?.[0] ?? null, text: (n) => micros(n) },
  measured: { name: 'measured time', of: (d) => d.measured, text: (n) => micros(n) },
  bytes: { name: 'bytes', of: (d) => d.bytes, text: (n) => bytes(n) },
  flops: { name: 'FLOPs', of: (d) => d.flops, text: (n) => `${count(n)}FLOP` },
};

// Whether anything is known by this metric: measured is one program, predicted may be none.
const has = (metric) => program().dispatches.some((d) => METRICS[metric].of(d) !== null);

// The share of the dearest dispatch, from 0 to 1.
function share(dispatch) {
  const most = known().most[state.metric];
  return most > 0 ? (METRICS[state.metric].of(dispatch) ?? 0) / most : 0;
}

// The same for an op in a kernel of its own: by operations where those are asked for, else by bytes.
function shareAlone(op) {
  const which = state.metric === 'flops' ? 1 : 0;
  const most = known().mostAlone[which];
  return most > 0 ? (op.alone[program().name]?.[which] ?? 0) / most : 0;
}

// One of six levels of colour, by cube roots, as most dispatches are small beside the dearest.
const LEVELS = 6;
const level = (of) => Math.min(LEVELS - 1, Math.floor(Math.cbrt(of) * LEVELS));

// The decisions about what a dispatch computes, each with the pairs of values that are meant.
function decisionsOf(index) {
  const values = new Set(program().dispatches[index].ops.map(([value]) => value));
  const of = plan.decisions.filter((decision) => decision.phase === program().phase);
  return of.map((decision) => ({ ...decision, pairs: decision.pairs.filter((pair) => pair.some((value) => values.has(value))) }))
    .filter((decision) => decision.pairs.length);
}

// The layer that is shown for a section while layers are folded.
function shownLayer(section) {
  const chosen = state.layer[state.program];
  return section.layers.includes(chosen) ? chosen : section.layers[0];
}
