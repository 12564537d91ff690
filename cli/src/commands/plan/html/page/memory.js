// Activations over the step: a lane for each buffer, in it the values that live there one after
// another; above, how many bytes live at a time.

const LANE = { gap: 5, least: 9, all: 190 };
const CURVE = 46;

function drawMemory() {
  const panel = byId('memory');
  const of = program();
  const pool = plan.buffers.map((buffer, index) => ({ ...buffer, index })).filter((buffer) => buffer.role === 'activation');
  const lanes = pool.map((buffer) => ({ ...buffer, lives: buffer.tenants.filter((tenant) => tenant.program === of.name) }));
  const number = of.dispatches.length;
  const width = roomForStep();
  const inner = width - MARGIN.left - 90;
  const x = (at) => MARGIN.left + at / number * inner;
  const live = living(lanes, number);
  const allocated = pool.reduce((sum, buffer) => sum + buffer.bytes, 0);
  const scale = LANE.all / Math.max(1, allocated);
  let y = CURVE + 34;
  const root = svg('svg', { width, role: 'group', 'aria-label': 'Activations over the step' });
  root.append(curveOf(live, x));
  for (const lane of lanes) {
    const height = Math.max(LANE.least, lane.bytes * scale);
    root.append(drawLane(lane, y, height, x, inner));
    y += height + LANE.gap;
  }
  root.append(svg('text', { x: 4, y: y + 12, class: 'cost' }, 'dispatch'), svg('text', { x: x(0), y: y + 12, class: 'cost' }, '0'), svg('text', { x: x(number), y: y + 12, class: 'cost', 'text-anchor': 'end' }, `${number - 1}`));
  if (state.dispatch !== null) root.append(svg('path', { d: `M${x(state.dispatch + 0.5)} ${20}V${y}`, class: 'now' }));
  root.setAttribute('height', y + 18);
  root.setAttribute('viewBox', `0 0 ${width} ${y + 18}`);
  panel.replaceChildren(el('div', { class: 'scrolls', tabindex: 0, role: 'group', 'aria-label': 'Memory' }, root));
  panel.onclick = chooseLife;
  panel.onpointermove = lightBar;
  panel.onpointerleave = () => light(null, null);
  const [most, at] = peak(live);
  byId('step-note').textContent = lanes.every((lane) => !lane.lives.length) ? 'this program keeps no activations'
    : `sizes for ${plan.options.chunk} tokens: peak ${bytes(most)} at dispatch ${at}; ${bytes(allocated)} in ${plural(pool.length, 'buffer')} for all programs; without reuse ${bytes(lanes.flatMap((lane) => lane.lives).reduce((sum, life) => sum + life.bytes, 0))}`;
}

// Bytes that live at each dispatch.
function living(lanes, number) {
  const live = new Array(number).fill(0);
  for (const { lives } of lanes) {
    for (const life of lives) {
      for (let at = life.first; at <= Math.min(life.last, number - 1); at += 1) live[at] += life.bytes;
    }
  }
  return live;
}

function peak(live) {
  const most = Math.max(0, ...live);
  return [most, Math.max(0, live.indexOf(most))];
}

function curveOf(live, x) {
  const [most, at] = peak(live);
  const bottom = CURVE + 22;
  const y = (n) => bottom - n / Math.max(1, most) * CURVE;
  const path = live.map((n, index) => `L${x(index)} ${y(n)}H${x(index + 1)}`).join('');
  const middle = x(at + 0.5);
  const right = middle > x(live.length * 0.7);
  return svg('g', {},
    svg('path', { d: `M${x(0)} ${bottom}${path}V${bottom}Z`, class: 'live' }),
    svg('path', { d: `M${middle} ${y(most) - 10}v8m-4 -5l4 5l4 -5`, class: 'peak' }),
    svg('text', { x: middle + (right ? -8 : 8), y: 12, class: 'heading', 'text-anchor': right ? 'end' : 'start' }, `peak ${bytes(most)}`),
    svg('text', { x: 4, y: bottom - 16, class: 'heading' }, 'live'));
}

function drawLane(lane, y, height, x, inner) {
  const group = svg('g', {},
    svg('rect', { x: x(0), y, width: inner, height, class: 'track' }),
    svg('text', { x: 4, y: y + height / 2 + 4, class: 'cost' }, lane.name.replace('activations', 'buffer')),
    svg('text', { x: x(0) + inner + 8, y: y + height / 2 + 4, class: 'cost' }, bytes(lane.bytes)));
  lane.lives.forEach((life, number) => {
    const high = Math.max(2, height * life.bytes / Math.max(1, lane.bytes));
    const wide = x(life.last + 1) - x(life.first);
    const node = svg('g', { class: `life ${number % 2 ? 'odd' : 'even'}`, 'data-bar': life.first, 'data-buffer': lane.index },
      svg('rect', { x: x(life.first), y: y + height - high, width: Math.max(1, wide - 0.5), height: high, class: 'face' }),
      svg('title', {}, `${life.value}: ${bytes(life.bytes)}, dispatches ${life.first} to ${life.last}`));
    if (wide > 60 && high > 12) node.append(svg('text', { x: x(life.first) + 4, y: y + height - high / 2 + 4, class: 'ops' }, cut(life.value, Math.floor(wide / 7))));
    group.append(node);
  });
  return group;
}

function chooseLife(event) {
  const index = barAt(event);
  if (index !== null) choose(index, null, false, true);
}
