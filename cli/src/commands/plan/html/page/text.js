// Numbers and elements: everything that is shown is made here, of text and never of markup.

const scaled = (number, steps) => {
  const [size, unit] = steps.find(([least]) => number >= least) ?? steps[steps.length - 1];
  const n = number / size;
  return `${n >= 100 || Number.isInteger(n) ? Math.round(n) : n >= 10 ? n.toFixed(1) : n.toFixed(2)} ${unit}`;
};
const bytes = (n) => scaled(n, [[1e9, 'GB'], [1e6, 'MB'], [1e3, 'kB'], [1, 'B']]);
const count = (n) => scaled(n, [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k'], [1, '']]);
const micros = (n) => (n === null || n === undefined ? '–' : scaled(n, [[1e6, 's'], [1e3, 'ms'], [1, 'µs']]));
const percent = (n) => `${n >= 0.1 ? Math.round(100 * n) : (100 * n).toFixed(1)} %`;
const plural = (n, word) => `${n} ${word}${n === 1 ? '' : word.endsWith('ch') ? 'es' : 's'}`;

// `0–2, 4`
function spans(numbers) {
  const runs = [];
  for (const n of numbers) {
    const last = runs[runs.length - 1];
    if (last && last[1] + 1 === n) last[1] = n;
    else runs.push([n, n]);
  }
  return runs.map(([a, b]) => (a === b ? `${a}` : `${a}–${b}`)).join(', ');
}

// `%17 q`, or `%17` where the author gave no name.
const valueName = (op) => (op.name ? `%${op.value} ${op.name}` : `%${op.value}`);

// An element with attributes and children; strings become text.
function make(space, tag, attributes, children) {
  const node = space ? document.createElementNS(space, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}
const el = (tag, attributes, ...children) => make(null, tag, attributes, children);
const SVG = 'http://www.w3.org/2000/svg';
const svg = (tag, attributes, ...children) => make(SVG, tag, attributes, children);

const byId = (id) => document.getElementById(id);

// A button that looks like a link.
const link = (text, act, title) => el('button', { type: 'button', class: 'link', onclick: act, title }, text);

// Text that ends in … where it is longer than this.
const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// Says something to those who do not see it.
const say = (text) => { byId('said').textContent = text; };

// The ops of a dispatch in short: `rms_normalize · linear q k v · rope q k · append`.
function summary(dispatch) {
  const groups = [];
  for (const [value] of dispatch.ops) {
    const op = opOf.get(value);
    if (!op) continue;
    let group = groups.find(([kind]) => kind === op.op);
    if (!group) groups.push(group = [op.op, []]);
    if (op.name && !group[1].includes(op.name)) group[1].push(op.name);
  }
  return groups.map(([kind, names]) => [kind, ...names].join(' ')).join(' · ');
}

// The same for those who hear it.
function spoken(index) {
  const dispatch = program().dispatches[index];
  const layer = dispatch.layer === null ? '' : `, layer ${dispatch.layer}`;
  const time = dispatch.predicted ? `, predicted ${micros(dispatch.predicted[0])}` : '';
  return `Dispatch ${index}, ${kernelOf(dispatch).name}${layer}: ${summary(dispatch) || 'no ops of the graph'}; ${bytes(dispatch.bytes)}${time}`;
}
