// Search over ops, values, kernels, buffers and tensors.

const MOST = 60;
let entries = null;
let results = [];
let active = -1;

// Everything that can be found: what it is, its text, and what finding it does.
function index() {
  const all = [];
  const add = (kind, text, more, act) => all.push({ kind, text, more, key: `${kind} ${text} ${more}`.toLowerCase(), act });
  const users = new Map();
  plan.programs.forEach((of, number) => of.dispatches.forEach((dispatch, at) => {
    if (!users.has(dispatch.kernel)) users.set(dispatch.kernel, [number, at]);
  }));
  plan.kernels.forEach((kernel, id) => {
    const [number, at] = users.get(id) ?? [];
    if (number !== undefined) add('kernel', kernel.name, `${plan.programs[number].name}, ${kernel.variant}`, () => goTo(number, at, null));
  });
  for (const op of plan.ops) {
    const layer = op.layer === null ? '' : `layer ${op.layer}`;
    add('op', `${valueName(op)} = ${op.text}`, [layer, op.shape, ...op.leaves].join(' '), () => goToOp(op.value));
  }
  plan.buffers.forEach((buffer, id) => add('buffer', buffer.name, `${buffer.role}, ${bytes(buffer.bytes)}`, () => chooseBuffer(id)));
  return all;
}

function goTo(number, dispatch, op) {
  if (number !== state.program) openProgram(number);
  choose(dispatch, op, false);
}

function goToOp(value) {
  const here = known().owners.get(value);
  if (here) return choose(here[0], value, false);
  const number = plan.programs.findIndex((of) => of.dispatches.some((dispatch) => dispatch.ops.some(([own]) => own === value)));
  if (number < 0) return undefined;
  openProgram(number);
  return choose(known().owners.get(value)[0], value, false);
}

// The entries that hold every word; those that begin with the text first.
function find(text) {
  entries ??= index();
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const all = entries.filter((entry) => words.every((word) => entry.key.includes(word)));
  const rank = (entry) => (entry.text.toLowerCase().startsWith(words[0]) ? 0 : entry.text.toLowerCase().includes(words[0]) ? 1 : 2);
  return all.map((entry) => [rank(entry), entry]).sort((a, b) => a[0] - b[0]).map(([, entry]) => entry);
}

function listResults() {
  const input = byId('search');
  const list = byId('found');
  const all = find(input.value);
  results = all.slice(0, MOST);
  active = results.length ? 0 : -1;
  const option = (entry, at) => el('li', { role: 'option', id: `found-${at}`, 'aria-selected': 'false', onpointerdown: (event) => { event.preventDefault(); take(at); } },
    el('span', { class: 'kind' }, entry.kind), el('span', { class: 'what' }, entry.text), el('span', { class: 'more' }, entry.more));
  const rest = all.length > MOST ? [el('li', { class: 'rest' }, `and ${all.length - MOST} more`)] : [];
  const none = input.value.trim() && !all.length ? [el('li', { class: 'rest' }, 'nothing found')] : [];
  list.replaceChildren(...results.map(option), ...rest, ...none);
  list.hidden = !input.value.trim();
  input.setAttribute('aria-expanded', String(!list.hidden));
  say(input.value.trim() ? `${all.length} found` : '');
  activate(active);
}

function activate(at) {
  const list = byId('found');
  list.querySelector('[aria-selected="true"]')?.setAttribute('aria-selected', 'false');
  active = at;
  const option = byId(`found-${at}`);
  option?.setAttribute('aria-selected', 'true');
  option?.scrollIntoView({ block: 'nearest' });
  if (option) byId('search').setAttribute('aria-activedescendant', option.id);
  else byId('search').removeAttribute('aria-activedescendant');
}

function closeSearch() {
  byId('found').hidden = true;
  byId('search').setAttribute('aria-expanded', 'false');
}

function take(at) {
  const entry = results[at];
  if (!entry) return;
  closeSearch();
  byId('search').blur();
  entry.act();
  byId('details').focus();
}

function listenToSearch() {
  const input = byId('search');
  input.addEventListener('input', listResults);
  input.addEventListener('focus', () => { if (input.value) listResults(); });
  input.addEventListener('blur', closeSearch);
  input.addEventListener('keydown', (event) => {
    const keys = {
      ArrowDown: () => activate(Math.min(results.length - 1, active + 1)),
      ArrowUp: () => activate(Math.max(0, active - 1)),
      Enter: () => take(active),
      Escape: () => { closeSearch(); input.blur(); canvas.querySelector('[tabindex="0"]')?.focus(); },
    };
    const act = keys[event.key];
    if (!act) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  });
}
