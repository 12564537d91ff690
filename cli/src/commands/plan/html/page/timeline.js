// One step as a timeline: each dispatch as wide as it takes, predicted and, where it was, measured.

const ROW = 34;
const MARGIN = { left: 86, right: 12, top: 30 };
let stretch = 1;

// How wide the views of the step may be, whether they are shown or not.
const roomForStep = () => Math.max(300, byId('step').clientWidth - 4);

// What widths mean: time where it is known, else bytes.
function widths() {
  const rowsOf = ['predicted', 'measured'].filter(has);
  return rowsOf.length ? rowsOf : ['bytes'];
}

function drawTimeline() {
  const panel = byId('timeline');
  const shown = widths();
  const of = program();
  const room = roomForStep();
  const width = room * stretch;
  const inner = width - MARGIN.left - MARGIN.right;
  const totals = shown.map((metric) => of.dispatches.reduce((sum, d) => sum + (METRICS[metric].of(d) ?? 0), 0));
  const whole = Math.max(...totals, 1e-9);
  const height = MARGIN.top + shown.length * (ROW + 8) + 22;
  const root = svg('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'group', 'aria-label': `The step by ${shown.map((metric) => METRICS[metric].name).join(' and ')}` });
  root.append(ticks(whole, inner, height, METRICS[shown[0]]));
  shown.forEach((metric, row) => {
    const y = MARGIN.top + row * (ROW + 8);
    root.append(svg('text', { x: 4, y: y + 15, class: 'heading' }, metric), svg('text', { x: 4, y: y + 29, class: 'cost' }, METRICS[metric].text(totals[row])));
    root.append(bars(metric, y, inner / whole));
  });
  root.append(layerMarks(METRICS[shown[0]], inner / whole));
  const stretches = el('span', { class: 'zoom over' },
    el('button', { type: 'button', 'aria-label': 'Narrower timeline', onclick: () => widen(0.5) }, '−'),
    el('button', { type: 'button', 'aria-label': 'Wider timeline', onclick: () => widen(2) }, '+'));
  panel.replaceChildren(stretches, el('div', { class: 'scrolls', tabindex: 0, role: 'group', 'aria-label': 'Timeline' }, root));
  panel.onclick = chooseBar;
  panel.onpointermove = lightBar;
  panel.onpointerleave = () => light(null, null);
  byId('step-note').textContent = shown[0] === 'bytes' ? 'the device’s speed is not known: widths are bytes' : note();
  markBars();
}

const note = () => `${plural(program().tokens, 'token')}, ${plural(program().context, 'position')}`;

function widen(by) {
  stretch = Math.min(16, Math.max(1, stretch * by));
  drawTimeline();
}

function bars(metric, y, scale) {
  const group = svg('g', {});
  const names = [];
  let at = 0;
  program().dispatches.forEach((dispatch, index) => {
    const size = METRICS[metric].of(dispatch) ?? 0;
    const wide = size * scale;
    group.append(svg('rect', { x: MARGIN.left + at * scale, y, width: Math.max(0.5, wide - (wide > 3 ? 1 : 0)), height: ROW, class: `bar-of face level-${level(share(dispatch))}`, 'data-bar': index, 'data-by': metric }));
    if (wide > 70) names.push(svg('text', { x: MARGIN.left + at * scale + 5, y: y + 21, class: 'ops' }, cut(kernelOf(dispatch).name, Math.floor(wide / 7))));
    at += size;
  });
  return svg('g', {}, group, svg('g', { 'pointer-events': 'none' }, ...names));
}

// Where layers begin, every so many.
function layerMarks(metric, scale) {
  const group = svg('g', { class: 'layers' });
  let at = 0;
  let last = null;
  let free = 0;
  for (const dispatch of program().dispatches) {
    if (dispatch.layer !== last && dispatch.layer !== null) {
      const x = MARGIN.left + at * scale;
      if (x >= free) {
        group.append(svg('path', { d: `M${x} ${MARGIN.top - 12}v8` }), svg('text', { x: x + 3, y: MARGIN.top - 4, class: 'cost' }, `${dispatch.layer}`));
        free = x + 28;
      }
    }
    last = dispatch.layer;
    at += metric.of(dispatch) ?? 0;
  }
  group.append(svg('text', { x: 4, y: MARGIN.top - 4, class: 'cost' }, 'layer'));
  return group;
}

function ticks(whole, inner, height, metric) {
  const group = svg('g', { class: 'ticks' });
  const rough = whole / Math.max(2, Math.floor(inner / 110));
  const power = 10 ** Math.floor(Math.log10(rough));
  const by = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  for (let at = 0; at <= whole; at += by) {
    const x = MARGIN.left + at / whole * inner;
    group.append(svg('path', { d: `M${x} ${MARGIN.top - 2}V${height - 16}` }), svg('text', { x, y: height - 4, class: 'cost', 'text-anchor': 'middle' }, metric.text(at)));
  }
  return group;
}

function barAt(event) {
  const node = event.target.closest?.('[data-bar]');
  return node ? Number(node.dataset.bar) : null;
}

function chooseBar(event) {
  const index = barAt(event);
  if (index !== null) choose(index, null, false, true);
}

// Lights up what a bar stands for, and says what it is.
function lightBar(event) {
  const index = barAt(event);
  const { by } = event.target.dataset ?? {};
  if (by && !event.target.firstChild) {
    const dispatch = program().dispatches[index];
    event.target.append(svg('title', {}, `${index} ${kernelOf(dispatch).name}: ${METRICS[by].text(METRICS[by].of(dispatch))}`));
  }
  light(index === null ? null : shownFor(index), null);
}

// Shows which bars, or which line of the table, are those of the chosen dispatch, and brings them into
// sight.
function markBars() {
  for (const node of document.querySelectorAll('#step .chosen')) node.classList.remove('chosen');
  if (state.dispatch === null) return;
  const shown = view === 'table' ? shownFor(state.dispatch) : state.dispatch;
  for (const node of document.querySelectorAll(`#step [data-bar="${shown}"]`)) {
    node.classList.add('chosen');
    // On top of its neighbours.
    if (node.matches('.bar-of')) node.parentNode.append(node);
  }
  const panel = document.querySelector('#step [role="tabpanel"]:not([hidden]) .scrolls');
  const bar = panel?.querySelector(`rect[data-bar="${state.dispatch}"]`);
  if (bar && panel.scrollWidth > panel.clientWidth) panel.scrollLeft = Number(bar.getAttribute('x')) - panel.clientWidth / 2;
}
