// The drawing: ops on the left, dispatches on the right, what belongs together in one band. Only the
// strips in sight are in the document, and those far away without their text.

const canvas = byId('canvas');
let layout = null;
let world = null;
const drawn = new Map();
const FAR = 0.32;

// Lays out the program anew; whoever calls it says what of it is in sight, which draws it.
function redraw() {
  layout = layOut();
  drawn.clear();
  world = svg('g', {});
  world.edges = svg('g', { class: 'edges', 'aria-hidden': 'true' });
  world.back = svg('g', { 'aria-hidden': 'true' });
  world.strips = svg('g', {});
  world.append(world.back, world.edges, world.strips);
  canvas.replaceChildren(arrowHeads(), world);
}

function arrowHeads() {
  const head = (id) => svg('marker', { id, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto' },
    svg('path', { d: 'M0 0.5 L8 4 L0 7.5 z' }));
  return svg('defs', {}, head('arrow'));
}

// Draws what is in sight and removes what is not.
function show() {
  const { k, x, y } = camera;
  world.setAttribute('transform', `translate(${x} ${y}) scale(${k})`);
  const far = k < FAR;
  const top = -y / k - 200;
  const bottom = (canvas.clientHeight - y) / k + 200;
  const [left, right] = [-x / k, (canvas.clientWidth - x) / k];
  const focused = state.dispatch === null ? null : shownFor(state.dispatch);
  let changed = false;
  layout.strips.forEach((strip, number) => {
    const holds = focused !== null && focused >= strip.first && focused < strip.end;
    const beside = strip.dx < right && strip.dx + layout.column > left;
    const seen = (beside && strip.y < bottom && strip.y + strip.height > top) || holds;
    const known = drawn.get(number);
    if (known && (!seen || known.far !== far)) {
      known.node.remove();
      known.back.remove();
      drawn.delete(number);
      changed = true;
    }
    if (seen && !drawn.has(number)) {
      const node = far ? drawFar(strip) : drawNear(strip);
      const back = background(strip, far);
      world.back.append(back);
      world.strips.append(node);
      drawn.set(number, { far, node, back, strip });
      changed = true;
    }
  });
  if (changed) {
    drawEdges(far);
    mark();
  }
}

function drawNear(strip) {
  const group = svg('g', { class: 'strip' });
  for (const band of strip.bands) group.append(...drawBand(band));
  return group;
}

// What is behind a strip: its layer, and those that it stands for.
function background(strip, far) {
  const group = svg('g', { class: 'strip' });
  if (!strip.title) return group;
  const x = strip.dx + layout.left - 20;
  const width = layout.column - layout.left - GUTTER + 40;
  const back = { x, y: strip.y, width, height: strip.height + 14, rx: 6 };
  if (strip.layers.length > 1) {
    for (const by of [10, 5]) group.append(svg('rect', { ...back, x: x + by, y: strip.y + by, class: 'behind' }));
  }
  group.append(svg('rect', { ...back, class: 'layer' }));
  if (!far) group.append(svg('text', { x: x + 12, y: strip.y + 23, class: 'heading' }, strip.title));
  return group;
}

function drawBand(band) {
  const dispatch = program().dispatches[band.index];
  const nodes = [];
  if (band.nodes.length) {
    nodes.push(svg('rect', { x: band.dx + layout.left, y: band.y, width: layout.laneWidth, height: band.height, rx: 5, class: 'band', 'data-d': band.index }));
    nodes.push(svg('path', { d: ribbon(band), class: 'ribbon', 'data-d': band.index }));
  }
  nodes.push(drawBox(band, dispatch), ...band.nodes.map(drawOp));
  return nodes;
}

// From the band of ops to the box of the dispatch that computes them.
function ribbon(band) {
  const [a, b] = [band.dx + layout.left + layout.laneWidth, band.dx + layout.right];
  const box = boxTop(band);
  const bend = (b - a) / 2;
  return `M${a} ${band.y + 4} C${a + bend} ${band.y + 4} ${b - bend} ${box + 4} ${b} ${box + 4}`
    + `V${box + BOX.height - 4} C${b - bend} ${box + BOX.height - 4} ${a + bend} ${band.y + band.height - 4} ${a} ${band.y + band.height - 4}Z`;
}

const boxTop = (band) => band.y + (band.height - BOX.height) / 2;

function drawBox(band, dispatch) {
  const { index } = band;
  const [x, y] = [band.dx + layout.right, boxTop(band)];
  const of = share(dispatch);
  const inner = BOX.width - 24;
  const metric = METRICS[state.metric];
  const cost = [bytes(dispatch.bytes), `${count(dispatch.flops)}FLOP`];
  if (dispatch.predicted) cost.push(`${micros(dispatch.predicted[0])} ${dispatch.predicted[1]}`);
  if (dispatch.measured !== null) cost.push(`→ ${micros(dispatch.measured)}`);
  const text = (dy, kind, words) => svg('text', { x: x + 12, y: y + dy, class: kind }, words);
  return svg('g', { class: `box level-${level(of)}`, 'data-d': index, 'data-box': index, role: 'button', tabindex: -1, 'aria-label': spoken(index), 'aria-pressed': 'false' },
    svg('rect', { x, y, width: BOX.width, height: BOX.height, rx: 5, class: 'face' }),
    text(20, 'name', `${kernelOf(dispatch).name}`),
    svg('text', { x: x + BOX.width - 12, y: y + 20, class: 'number', 'text-anchor': 'end' }, `${metric.text(metric.of(dispatch) ?? 0)}`),
    text(39, 'ops', cut(summary(dispatch) || 'no ops of the graph', 45)),
    text(56, 'cost', cut(cost.join(' '), 48)),
    svg('rect', { x: x + 12, y: y + 67, width: inner, height: 7, class: 'track' }),
    svg('rect', { x: x + 12, y: y + 67, width: Math.max(1, inner * of), height: 7, class: 'share' }));
}

function drawOp(node) {
  const op = opOf.get(node.value);
  const of = shareAlone(op);
  const { x, y } = node;
  const shape = op.shape.replace(/^f32/, '');
  return svg('g', { class: `op level-${level(of)}`, 'data-op': node.value, 'data-d': node.index, role: 'button', tabindex: -1, 'aria-label': `Op ${op.text}, value ${valueName(op)}, ${op.shape}` },
    svg('rect', { x, y, width: NODE.width, height: NODE.height, rx: 3, class: 'face' }),
    svg('rect', { x, y: y + NODE.height - 3, width: Math.max(0.5, NODE.width * of), height: 3, class: 'share' }),
    svg('text', { x: x + 7, y: y + 15, class: 'name' }, cut(op.op, 20)),
    svg('text', { x: x + 7, y: y + 28, class: 'ops' }, cut(`${valueName(op)} ${shape}`, 24)));
}

// A strip that is too small to be read: shapes only.
function drawFar(strip) {
  const group = svg('g', { class: 'strip far' });
  const faces = Array.from({ length: LEVELS }, () => '');
  for (const band of strip.bands) {
    for (const { x, y, value } of band.nodes) {
      faces[level(shareAlone(opOf.get(value)))] += `M${x} ${y}h${NODE.width}v${NODE.height}h${-NODE.width}z`;
    }
    const dispatch = program().dispatches[band.index];
    group.append(svg('g', { class: `box level-${level(share(dispatch))}`, 'data-d': band.index, 'data-box': band.index, role: 'button', tabindex: -1 },
      svg('rect', { x: band.dx + layout.right, y: boxTop(band), width: BOX.width, height: BOX.height, class: 'face' })));
  }
  faces.forEach((d, at) => { if (d) group.append(svg('path', { d, class: `face level-${at}` })); });
  if (strip.title) {
    const size = Math.min(150, 13 / camera.k);
    const many = strip.layers.length;
    const text = svg('text', { x: strip.dx + layout.right - 20, y: strip.y + 8 + size, class: 'heading', 'text-anchor': 'end', 'stroke-width': size / 4 }, many > 1 ? `× ${many}` : strip.title);
    text.style.fontSize = `${size}px`;
    group.append(text);
  }
  return group;
}

// Edges between what is drawn: values on the left, waiting on the right.
function drawEdges(far) {
  const edges = [];
  if (!far) {
    for (const { strip } of drawn.values()) {
      for (const band of strip.bands) {
        edges.push(...opEdges(band), ...dispatchEdges(band));
      }
    }
  }
  world.edges.replaceChildren(...edges);
}

function opEdges(band) {
  const edges = [];
  const line = (d, from, to, kind) => edges.push(svg('path', { d, class: `edge ${kind}`, 'data-from': from, 'data-to': to, 'marker-end': 'url(#arrow)' }));
  for (const node of band.nodes) {
    for (const read of opOf.get(node.value).reads) {
      const source = placeOf(layout, read);
      if (!source || (source.node.dx === node.dx && source.node.y >= node.y)) continue;
      line(curve(source.node, node), read, node.value, source.like ? 'like' : '');
    }
  }
  // Ops that are drawn in the band of the dispatch that computes them first.
  for (const [value] of program().dispatches[band.index].ops) {
    if (band.nodes.some((node) => node.value === value)) continue;
    const source = placeOf(layout, value);
    if (!source) continue;
    const [x, y] = [source.node.x + NODE.width, source.node.y + NODE.height / 2];
    const [bx, by] = [band.dx + layout.right, boxTop(band) + 12];
    line(`M${x} ${y} C${x + 60} ${y} ${bx - 50} ${by} ${bx} ${by}`, value, null, 'again');
  }
  return edges;
}

function curve(from, to) {
  const [x1, y1] = [from.x + NODE.width / 2, from.y + NODE.height];
  const [x2, y2] = [to.x + NODE.width / 2, to.y];
  const down = y2 - y1;
  if (from.dx !== to.dx) return across([from.x + NODE.width, from.y + NODE.height / 2], [to.x, to.y + NODE.height / 2]);
  if (down < 150) return `M${x1} ${y1} C${x1} ${y1 + down / 2} ${x2} ${y2 - down / 2} ${x2} ${y2}`;
  // Far: down the left side, the farther the farther out.
  const out = from.dx + layout.left - 4 - Math.min(14, down / 60);
  const [left, into] = [from.x, to.x];
  return `M${left} ${y1 - 12} C${out} ${y1 - 12} ${out} ${y1} ${out} ${y1 + 30} V${y2 - 10} C${out} ${y2 + 16} ${into - 10} ${y2 + 16} ${into} ${y2 + 16}`;
}

// From one column of an unfolded program to another: only its ends.
const across = ([x1, y1], [x2, y2]) => `M${x1} ${y1}h22M${x2 - 22} ${y2}H${x2}`;

function dispatchEdges(band) {
  const edges = [];
  const bx = band.dx + layout.right + BOX.width;
  for (const [from, buffer] of program().dispatches[band.index].after) {
    const source = layout.boxes.get(shownFor(from));
    if (!source || (source.dx === band.dx && source.y >= band.y)) continue;
    const [top, bottom] = [boxTop(source) + BOX.height, boxTop(band)];
    const kind = shownFor(from) === from ? '' : ' like';
    const near = source.index + 1 === band.index;
    const x = band.dx + layout.right + BOX.width / 2;
    const out = bx + Math.min(GUTTER - 14, 12 + (bottom - top) / 24);
    const d = source.dx !== band.dx
      ? across([source.dx + layout.right + BOX.width, top - 20], [band.dx + layout.right, bottom + 20])
      : near
      ? `M${x} ${top} V${bottom}`
      : `M${bx} ${top - 20} C${out} ${top - 20} ${out} ${top} ${out} ${top + 20} V${bottom} C${out} ${bottom + 24} ${out} ${bottom + 24} ${bx} ${bottom + 24}`;
    edges.push(svg('path', { d, class: `edge wait${kind}`, 'data-wait': `${source.index} ${band.index}`, 'marker-end': 'url(#arrow)' },
      svg('title', {}, `waits for ${plan.buffers[buffer].name}`)));
  }
  return edges;
}

// Shows what is chosen and what belongs to it.
function mark() {
  for (const node of canvas.querySelectorAll('.chosen')) {
    node.classList.remove('chosen');
    if (node.hasAttribute('aria-pressed')) node.setAttribute('aria-pressed', 'false');
  }
  for (const node of canvas.querySelectorAll('.op.this')) node.classList.remove('this');
  for (const node of canvas.querySelectorAll('[tabindex="0"]')) node.setAttribute('tabindex', '-1');
  const index = state.dispatch === null ? null : shownFor(state.dispatch);
  const first = index ?? layout.strips[0]?.first;
  const box = canvas.querySelector(`[data-box="${first}"]`);
  box?.setAttribute('tabindex', '0');
  // Those that are far away have none until they are reached.
  box?.setAttribute('aria-label', spoken(first));
  if (index === null) return;
  for (const node of canvas.querySelectorAll(`[data-d="${index}"]`)) node.classList.add('chosen');
  box?.setAttribute('aria-pressed', 'true');
  if (state.op !== null) {
    canvas.querySelector(`[data-op="${state.op}"]`)?.classList.add('this');
  }
}

// Lights up a dispatch and its ops, or an op and the dispatches that compute it.
let lit = [];
function light(index, value) {
  for (const node of lit) node.classList.remove('lit');
  const found = new Set();
  const add = (selector) => { for (const node of canvas.querySelectorAll(selector)) found.add(node); };
  if (index !== null) {
    add(`[data-d="${index}"]`);
    for (const [op] of program().dispatches[index].ops) add(`[data-op="${op}"]`);
    add(`[data-wait$=" ${index}"],[data-wait^="${index} "]`);
  }
  if (value !== null) {
    add(`[data-op="${value}"],[data-from="${value}"],[data-to="${value}"]`);
    for (const owner of known().owners.get(value) ?? []) add(`[data-box="${owner}"]`);
  }
  lit = [...found];
  for (const node of lit) node.classList.add('lit');
}
