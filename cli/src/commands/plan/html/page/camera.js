// Zooming, panning, and moving about by pointer and keys.

const camera = { k: 1, x: 0, y: 0 };
const SMALLEST = 0.02;
const LARGEST = 4;

function zoom(by, at) {
  const k = Math.min(LARGEST, Math.max(SMALLEST, camera.k * by));
  const x = at?.x ?? canvas.clientWidth / 2;
  const y = at?.y ?? canvas.clientHeight / 2;
  camera.x = x - (x - camera.x) * (k / camera.k);
  camera.y = y - (y - camera.y) * (k / camera.k);
  camera.k = k;
  show();
}

function pan(dx, dy) {
  camera.x += dx;
  camera.y += dy;
  keepInSight();
  show();
}

// Some of the drawing stays in sight.
function keepInSight() {
  const [w, h] = [layout.width * camera.k, layout.height * camera.k];
  camera.x = Math.min(canvas.clientWidth - 60, Math.max(60 - w, camera.x));
  camera.y = Math.min(canvas.clientHeight - 60, Math.max(60 - h, camera.y));
}

// A column as wide as the panel, from the top.
function home() {
  camera.k = Math.min(1.1, canvas.clientWidth / layout.column);
  camera.x = Math.max(0, (canvas.clientWidth - layout.width * camera.k) / 2);
  camera.y = 0;
  show();
}

// All of it.
function fit() {
  camera.k = Math.max(SMALLEST, Math.min(1.1, canvas.clientWidth / layout.width, canvas.clientHeight / layout.height));
  camera.x = (canvas.clientWidth - layout.width * camera.k) / 2;
  camera.y = (canvas.clientHeight - layout.height * camera.k) / 2;
  show();
}

// Moves so that a dispatch can be seen.
function reveal(index) {
  const band = layout.boxes.get(shownFor(index));
  if (!band) return;
  if (camera.k < FAR) camera.k = Math.min(1, Math.max(FAR, canvas.clientWidth / layout.column));
  const { k } = camera;
  const margin = Math.min(60, canvas.clientHeight / 8);
  const [top, bottom] = [band.y * k + camera.y, (band.y + band.height) * k + camera.y];
  if (top < margin) camera.y += margin - top;
  else if (bottom > canvas.clientHeight - margin) camera.y -= bottom - canvas.clientHeight + margin;
  const [left, right] = [(band.dx + layout.left - 20) * k + camera.x, (band.dx + layout.right + BOX.width + 20) * k + camera.x];
  if (right - left < canvas.clientWidth) {
    if (left < 0) camera.x -= left;
    else if (right > canvas.clientWidth) camera.x -= right - canvas.clientWidth;
  } else if (left + 80 > canvas.clientWidth || right < canvas.clientWidth / 2 || (band.dx + layout.right) * k + camera.x > canvas.clientWidth - 80) {
    camera.x = canvas.clientWidth - right + camera.x - 10;
  }
  show();
}

// Which dispatch and op an element belongs to.
function target(element) {
  const node = element.closest?.('[data-op],[data-d]');
  if (!node) return null;
  return {
    dispatch: node.dataset.d === undefined ? null : Number(node.dataset.d),
    op: node.dataset.op === undefined ? null : Number(node.dataset.op),
  };
}

function listenToPointer() {
  let held = null;
  canvas.addEventListener('pointerdown', (event) => {
    if (event.button === 0) held = { x: event.clientX, y: event.clientY, moved: false };
  });
  canvas.addEventListener('pointermove', (event) => {
    if (held) {
      const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
      if (!held.moved && Math.hypot(dx, dy) < 4) return;
      if (!held.moved) canvas.setPointerCapture(event.pointerId);
      held = { x: event.clientX, y: event.clientY, moved: true };
      canvas.classList.add('held');
      pan(dx, dy);
      return;
    }
    const at = target(event.target);
    if (at?.op !== null && at?.op !== undefined) light(null, at.op);
    else light(at?.dispatch ?? null, null);
  });
  const release = () => {
    canvas.classList.remove('held');
    setTimeout(() => { held = null; });
  };
  canvas.addEventListener('pointerup', release);
  canvas.addEventListener('pointercancel', release);
  canvas.addEventListener('pointerleave', () => light(null, null));
  canvas.addEventListener('click', (event) => {
    if (held?.moved) return;
    const at = target(event.target);
    if (at) choose(at.dispatch, at.op, false);
  });
  canvas.addEventListener('wheel', (event) => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey) {
      zoom(Math.exp(-event.deltaY / 300), { x: event.clientX - box.left, y: event.clientY - box.top });
    } else {
      pan(-event.deltaX, -event.deltaY);
    }
  }, { passive: false });
}

// Dispatches in the order in which they are drawn.
const order = () => layout.strips.flatMap((strip) => strip.bands.map((band) => band.index));

// The neighbour of the chosen dispatch, or of the chosen op, in the order of the drawing.
function step(by) {
  if (state.op !== null && state.dispatch !== null) {
    const ops = program().dispatches[state.dispatch].ops.map(([value]) => value);
    const next = ops[ops.indexOf(state.op) + by];
    if (next !== undefined) choose(state.dispatch, next, true);
    return;
  }
  const all = order();
  const at = state.dispatch === null ? (by > 0 ? -1 : all.length) : all.indexOf(shownFor(state.dispatch));
  const next = all[Math.min(all.length - 1, Math.max(0, at + by))];
  if (next !== undefined) choose(next, null, true);
}

const CANVAS_KEYS = {
  ArrowDown: () => step(1),
  ArrowUp: () => step(-1),
  ArrowLeft: () => {
    const first = state.dispatch === null ? null : program().dispatches[state.dispatch].ops[0];
    if (first && state.op === null) choose(state.dispatch, first[0], true);
  },
  ArrowRight: () => { if (state.op !== null) choose(state.dispatch, null, true); },
  Home: () => choose(order()[0], null, true),
  End: () => choose(order().at(-1), null, true),
  PageDown: () => pan(0, -canvas.clientHeight * 0.8),
  PageUp: () => pan(0, canvas.clientHeight * 0.8),
  Enter: () => enter(),
  ' ': () => enter(),
};

// Chooses what has the focus and goes to its details.
function enter() {
  const at = target(document.activeElement);
  if (at) choose(at.dispatch, at.op, false);
  byId('details').focus();
}

function listenToKeys() {
  canvas.addEventListener('keydown', (event) => {
    const act = CANVAS_KEYS[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
  const anywhere = { '/': () => byId('search').focus(), '+': () => zoom(1.25), '=': () => zoom(1.25), '-': () => zoom(0.8), 0: () => fit(), u: () => unfold(), Escape: () => choose(null, null, false) };
  document.addEventListener('keydown', (event) => {
    const act = anywhere[event.key];
    const writes = event.target.closest?.('input, select, textarea');
    if (!act || writes || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  });
}
