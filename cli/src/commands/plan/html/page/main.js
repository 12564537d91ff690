// What is chosen, and the page's controls.

// Chooses a dispatch and perhaps one of its ops; nothing for both is the whole plan. `focus` moves the
// keyboard to it, `stay` leaves the drawing where it is unless the dispatch is out of sight.
function choose(dispatch, op, focus) {
  state.dispatch = dispatch;
  state.op = op;
  state.buffer = null;
  if (dispatch !== null) {
    const place = known().places[dispatch];
    const { layer } = program().dispatches[dispatch];
    if (place && !state.unfolded[state.program] && shownFor(dispatch) !== dispatch) showLayer(layer);
    reveal(dispatch);
    say(spoken(dispatch));
  }
  mark();
  details();
  redrawStep(false);
  if (focus) {
    const at = op === null ? `[data-box="${dispatch}"]` : `[data-op="${op}"]`;
    canvas.querySelector(at)?.focus({ preventScroll: true });
  }
}

function chooseBuffer(index) {
  state.buffer = index;
  details();
}

// Lets a layer stand for those like it.
function showLayer(layer) {
  state.layer[state.program] = layer;
  byId('layer').value = String(layer);
  redraw();
}

function unfold() {
  const all = !state.unfolded[state.program];
  state.unfolded[state.program] = all;
  redraw();
  controls();
  if (state.dispatch !== null) reveal(state.dispatch);
  else home();
  redrawStep(view === 'table');
}

function openProgram(number) {
  state.program = number;
  state.dispatch = null;
  state.op = null;
  state.buffer = null;
  controls();
  redraw();
  home();
  details();
  redrawStep(true);
}

// The controls as the state says.
function controls() {
  const names = Object.fromEntries(plan.programs.map((of, number) => [number, of.name]));
  const programs = choice('Program', names, String(state.program), (number) => {
    openProgram(Number(number));
    document.querySelector(`#programs [data-choice="${number}"]`).focus();
  });
  byId('programs').replaceChildren(el('legend', {}, 'Program'), programs);
  const layers = [...known().layers.keys()].sort((a, b) => a - b);
  const folds = program().sections.some((section) => section.layers.length > 1);
  const all = state.unfolded[state.program];
  byId('layer-label').hidden = !folds || all;
  byId('layer').replaceChildren(...layers.map((layer) => el('option', { value: layer }, String(layer))));
  byId('layer').value = String(state.layer[state.program] ?? layers[0] ?? '');
  byId('unfold').hidden = !folds;
  byId('unfold').setAttribute('aria-pressed', String(all));
  byId('unfold').textContent = all ? 'Fold' : `Unfold ${plural(layers.length, 'layer')}`;
  state.metric = [state.wanted, 'measured', 'predicted', 'bytes'].find(has);
  byId('metric').replaceChildren(...Object.keys(METRICS).filter(has).map((metric) => el('option', { value: metric }, METRICS[metric].name)));
  byId('metric').value = state.metric;
  legend();
}

function legend() {
  const cells = Array.from({ length: LEVELS }, (_, at) => el('span', { class: `cell level-${at}` }));
  const most = known().most[state.metric];
  byId('legend').replaceChildren('0 ', ...cells, ` ${METRICS[state.metric].text(most)}`, el('span', { class: 'keys' }, 'arrows: go · enter: details · + − 0: zoom · u: unfold · /: search · esc: plan'));
}

// The views of the step below the graph.
const VIEWS = { timeline: drawTimeline, memory: drawMemory, table: drawTable };
let view = 'timeline';

function redrawStep(anew) {
  if (anew || view === 'memory') VIEWS[view]();
  else markBars();
}

function openView(id) {
  view = id;
  for (const name of Object.keys(VIEWS)) {
    byId(name).hidden = name !== id;
    byId(`tab-${name}`).setAttribute('aria-selected', String(name === id));
    byId(`tab-${name}`).setAttribute('tabindex', name === id ? '0' : '-1');
  }
  VIEWS[id]();
}

function listenToControls() {
  byId('whole').addEventListener('click', () => choose(null, null, false));
  byId('metric').addEventListener('change', (event) => {
    state.wanted = event.target.value;
    state.metric = state.wanted;
    legend();
    redraw();
    show();
    redrawStep(true);
    details();
  });
  byId('layer').addEventListener('change', (event) => {
    const layer = Number(event.target.value);
    const at = state.dispatch === null ? null : known().places[state.dispatch]?.at;
    const { first } = known().layers.get(layer);
    showLayer(layer);
    if (at !== null && at !== undefined) choose(first + at, null, false);
    else reveal(first);
  });
  byId('unfold').addEventListener('click', unfold);
  byId('zoom-in').addEventListener('click', () => zoom(1.25));
  byId('zoom-out').addEventListener('click', () => zoom(0.8));
  byId('fit').addEventListener('click', fit);
  for (const name of Object.keys(VIEWS)) byId(`tab-${name}`).addEventListener('click', () => openView(name));
  byId('views').addEventListener('keydown', tabKeys);
}

// Light or dark: as the system says, until the reader says otherwise.
function listenToTheme() {
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  const set = (dark) => {
    document.documentElement.dataset.theme = dark ? 'dark' : 'light';
    byId('theme').setAttribute('aria-pressed', String(dark));
  };
  set(system.matches);
  system.addEventListener('change', (event) => set(event.matches));
  byId('theme').addEventListener('click', () => set(document.documentElement.dataset.theme !== 'dark'));
}

// The line between the graph and the details moves by pointer and arrow keys.
function listenToDivider() {
  const divider = byId('divider');
  const main = document.querySelector('main');
  const set = (part) => {
    main.style.setProperty('--graph', `${100 * Math.min(0.8, Math.max(0.25, part))}%`);
    redrawSoon();
  };
  const part = () => canvas.clientWidth / main.clientWidth;
  divider.addEventListener('pointerdown', (event) => divider.setPointerCapture(event.pointerId));
  divider.addEventListener('pointermove', (event) => {
    if (divider.hasPointerCapture(event.pointerId)) set((event.clientX - main.getBoundingClientRect().left) / main.clientWidth);
  });
  divider.addEventListener('keydown', (event) => {
    const by = { ArrowLeft: -0.03, ArrowRight: 0.03 }[event.key];
    if (by) set(part() + by);
  });
}

let soon = 0;
function redrawSoon() {
  cancelAnimationFrame(soon);
  soon = requestAnimationFrame(() => { show(); redrawStep(true); });
}

// On paper everything stands below each other: the whole graph, all views.
function listenToPrinter() {
  window.addEventListener('beforeprint', () => {
    stretch = 1;
    for (const draw of Object.values(VIEWS)) draw();
    byId('step-note').textContent = note();
    fit();
  });
  window.addEventListener('afterprint', () => { home(); openView(view); });
}

function begin() {
  byId('title').textContent = plan.title;
  const { model, device } = plan;
  byId('facts').textContent = `${model.architecture}, ${plural(model.layers, 'layer')}; ${device.name}, ${device.backend}; ${plan.options.fuse ? 'fused' : 'op by op'}`;
  listenToTheme();
  controls();
  redraw();
  home();
  details();
  openView(view);
  listenToPointer();
  listenToKeys();
  listenToSearch();
  listenToControls();
  listenToDivider();
  listenToPrinter();
  window.addEventListener('resize', redrawSoon);
}

begin();
