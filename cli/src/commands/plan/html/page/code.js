// Kernel text, with the op behind each line beside it.

const LANGUAGES = { wgsl: 'WGSL', msl: 'MSL', spirv: 'SPIR-V' };
const LINE = 17;
const ANCHOR = -1;
const NONE = -2;
const sources = new Map();

// The text of a kernel: read when it is first wanted.
function source(kernel, language) {
  if (!sources.has(kernel)) {
    sources.set(kernel, JSON.parse(byId(`code-${kernel}`).textContent));
  }
  return sources.get(kernel)[language];
}

function codeView(dispatch) {
  const of = source(dispatch.kernel, state.language);
  const lines = of.text.split('\n');
  const values = dispatch.ops.map(([value]) => value);
  const anchors = dispatch.ops.filter(([, place]) => place === 1).map(([value]) => value);
  const behind = (line) => {
    const at = of.ops[line] ?? NONE;
    return at === NONE ? [] : at === ANCHOR ? anchors : values[at] === undefined ? [] : [values[at]];
  };
  const labels = lines.map((_, line) => label(behind(line)));
  // Said once for lines that follow each other.
  const shown = labels.map((text, line) => (line > 0 && labels[line - 1] === text ? '' : text));
  const gutter = (kind, texts) => el('pre', { class: kind, 'aria-hidden': kind === 'numbers' ? 'true' : null }, texts.join('\n'));
  const code = el('pre', { class: 'text' }, lines.map((line) => line.replace(/ \/\/ \[\d+\] \w+$/, '')).join('\n'));
  const behindThem = gutter('behind-lines', shown);
  const marks = el('div', { class: 'marks', 'aria-hidden': 'true' });
  const body = el('div', { class: 'code', tabindex: 0, role: 'group', 'aria-label': `${LANGUAGES[state.language]} of ${kernelOf(dispatch).name}` }, marks, gutter('numbers', lines.map((_, line) => line + 1)), behindThem, code);
  const emphasise = (value) => highlight(marks, lines.length, (line) => value !== null && behind(line).includes(value));
  emphasise(state.op);
  const lineAt = (event) => Math.floor((event.clientY - code.getBoundingClientRect().top) / LINE);
  body.addEventListener('pointermove', (event) => {
    const at = behind(lineAt(event));
    if (at.length === 1) light(null, at[0]);
    else light(state.dispatch === null ? null : shownFor(state.dispatch), null);
  });
  body.addEventListener('pointerleave', () => light(null, null));
  behindThem.addEventListener('click', (event) => {
    const at = behind(lineAt(event));
    if (at.length) press(at[0]);
  });
  const present = new Set(lines.flatMap((_, line) => behind(line)));
  const chips = el('div', { class: 'chips', role: 'group', 'aria-label': 'Lines of an op' }, ...values.filter((value) => opOf.has(value)).map((value) => {
    const op = opOf.get(value);
    return el('button', { type: 'button', 'data-chip': value, 'aria-pressed': String(state.op === value), disabled: !present.has(value), onclick: () => press(value) }, `${op.op} ${valueName(op)}`);
  }));
  const press = (value) => {
    state.op = state.op === value ? null : value;
    for (const chip of chips.children) chip.setAttribute('aria-pressed', String(chip.dataset.chip === String(state.op)));
    emphasise(state.op);
    mark();
    const line = lines.findIndex((_, at) => state.op !== null && behind(at).includes(state.op));
    if (line >= 0) body.scrollTop = Math.max(0, (line - 4) * LINE);
  };
  return [languages(), chips, body];
}

const label = (values) => {
  if (!values.length) return '';
  const [first] = values.map((value) => opOf.get(value));
  if (!first) return '';
  return cut(values.length === 1 ? `${first.op} ${first.name ?? `%${first.value}`}` : `${first.op} × ${values.length}`, 22);
};

function languages() {
  return choice('Language', LANGUAGES, state.language, (language) => {
    state.language = language;
    details();
    document.querySelector(`#details [data-choice="${language}"]`)?.focus();
  });
}

// Bars behind the lines that `holds` says.
function highlight(marks, lines, holds) {
  const bars = [];
  for (let line = 0; line < lines; line += 1) {
    if (!holds(line)) continue;
    let end = line;
    while (end < lines && holds(end)) end += 1;
    const bar = el('div', {});
    bar.style.top = `${line * LINE}px`;
    bar.style.height = `${(end - line) * LINE}px`;
    bars.push(bar);
    line = end;
  }
  marks.replaceChildren(...bars);
}

// Buttons of which one is pressed; arrow keys go from one to the next.
function choice(name, all, chosen, act) {
  const ids = Object.keys(all);
  const move = (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const at = ids.indexOf(document.activeElement.dataset.choice);
    act(ids[(at + by + ids.length) % ids.length]);
  };
  return el('div', { role: 'radiogroup', 'aria-label': name, class: 'choice', onkeydown: move }, ...ids.map((id) => el('button', {
    type: 'button', role: 'radio', 'data-choice': id, 'aria-checked': String(id === chosen), tabindex: id === chosen ? 0 : -1, onclick: () => act(id),
  }, all[id])));
}
