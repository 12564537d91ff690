// Where everything lies: strips of dispatches one below the other, and for each dispatch a band that
// holds the ops it computes on the left and its box on the right.

const NODE = { width: 138, height: 36, gapX: 14, gapY: 18 };
const BOX = { width: 330, height: 86 };
const BAND = { pad: 12, gap: 16 };
const STRIP = { head: 34, gap: 30 };
// Between the lanes, and beside them for what goes far.
const AISLE = 90;
const GUTTER = 56;

// The strips that are shown: ranges of dispatches with a heading.
function strips() {
  const of = program();
  const all = [];
  const sections = of.sections;
  for (let at = 0; at < sections.length; at += 1) {
    const section = sections[at];
    if (!section.layers.length) {
      all.push({ first: section.first, end: section.end, title: '', layers: [] });
      continue;
    }
    let next = at;
    while (next + 1 < sections.length && sections[next + 1].layers.length) next += 1;
    const group = sections.slice(at, next + 1);
    at = next;
    all.push(...(state.unfolded[state.program] ? eachLayer(group) : group.map(onceFor)));
  }
  return all;
}

// A section that one layer stands for.
function onceFor(section) {
  const layer = shownLayer(section);
  const { first } = known().layers.get(layer);
  const { length } = section.layers;
  const title = length === 1 ? `layer ${layer}` : `layers ${cut(spans(section.layers), 28)}, × ${length}`;
  return { first, end: first + section.end - section.first, title, layers: section.layers, layer };
}

function eachLayer(group) {
  const numbers = group.flatMap((section) => section.layers).sort((a, b) => a - b);
  return numbers.map((layer) => {
    const { first, section } = known().layers.get(layer);
    const { first: start, end } = program().sections[section];
    return { first, end: first + end - start, title: `layer ${layer}`, layers: [layer], layer };
  });
}

// Places everything: strips with their tops, bands and nodes.
function layOut() {
  const placed = strips();
  const ops = new Map();
  let columns = 1;
  for (const strip of placed) {
    strip.bands = [];
    for (let index = strip.first; index < strip.end; index += 1) {
      const band = arrange(index);
      strip.bands.push(band);
      columns = Math.max(columns, band.columns);
    }
  }
  const left = GUTTER;
  const laneWidth = columns * (NODE.width + NODE.gapX) - NODE.gapX + 2 * BAND.pad;
  const right = left + laneWidth + AISLE;
  const column = right + BOX.width + GUTTER;
  const most = columnHeight(placed, column);
  let y = 20;
  let dx = 0;
  let height = 0;
  for (const strip of placed) {
    if (y + stripHeight(strip) > most && y > 20) {
      y = 20;
      dx += column;
    }
    strip.y = y;
    strip.dx = dx;
    y += strip.title ? STRIP.head : 0;
    for (const band of strip.bands) {
      band.y = y;
      band.dx = dx;
      for (const node of band.nodes) {
        node.dx = dx;
        node.x = dx + left + BAND.pad + node.column * (NODE.width + NODE.gapX);
        node.y = y + BAND.pad + node.rank * (NODE.height + NODE.gapY);
        ops.set(node.value, node);
      }
      y += band.height + BAND.gap;
    }
    strip.height = y - BAND.gap - strip.y;
    y += STRIP.gap - BAND.gap;
    height = Math.max(height, y);
  }
  const boxes = new Map(placed.flatMap((strip) => strip.bands.map((band) => [band.index, band])));
  return { strips: placed, ops, boxes, left, right, laneWidth, column, width: dx + column, height };
}

const stripHeight = (strip) => (strip.title ? STRIP.head : 0) + strip.bands.reduce((sum, band) => sum + band.height + BAND.gap, 0) + STRIP.gap - BAND.gap;

// How high columns become so that all of an unfolded program has the shape of the panel.
function columnHeight(placed, column) {
  if (!state.unfolded[state.program]) return Infinity;
  const all = placed.reduce((sum, strip) => sum + stripHeight(strip), 0);
  const columns = Math.max(1, Math.round(Math.sqrt(all * canvas.clientWidth / column / Math.max(1, canvas.clientHeight))));
  return all / columns + Math.max(...placed.map(stripHeight)) / 2;
}

// The ops that this dispatch is the first to compute, by rank and column.
function arrange(index) {
  const dispatch = program().dispatches[index];
  const { owners } = known();
  const own = dispatch.ops.filter(([value]) => owners.get(value)[0] === index && opOf.has(value));
  const nodes = own.map(([value, place]) => ({ value, place, index, rank: 0, column: 0 }));
  const at = new Map(nodes.map((node) => [node.value, node]));
  const taken = [];
  for (const node of nodes) {
    const parents = opOf.get(node.value).reads.map((value) => at.get(value)).filter(Boolean);
    node.rank = Math.max(-1, ...parents.map((parent) => parent.rank)) + 1;
    const middle = parents.reduce((sum, parent) => sum + parent.column, 0) / (parents.length || 1);
    node.column = Math.floor(middle);
    taken[node.rank] ??= new Set();
    while (taken[node.rank].has(node.column)) node.column += 1;
    taken[node.rank].add(node.column);
  }
  const ranks = taken.length;
  const columns = Math.max(1, ...nodes.map((node) => node.column + 1));
  const inner = ranks * (NODE.height + NODE.gapY) - NODE.gapY + 2 * BAND.pad;
  return { index, nodes, columns, height: Math.max(BOX.height, ranks ? inner : 0) };
}

// The place of a value's op, or of its like in the layer that stands for its own.
function placeOf(layout, value) {
  const node = layout.ops.get(value);
  if (node) return { node, like: false };
  const index = known().owners.get(value)?.[0];
  const shown = index === undefined ? undefined : shownFor(index);
  if (shown === undefined || shown === index) return null;
  const of = program();
  const at = of.dispatches[index].ops.findIndex(([other]) => other === value);
  const other = of.dispatches[shown].ops[at];
  const like = other && layout.ops.get(other[0]);
  return like ? { node: like, like: true } : null;
}

// The dispatch that is drawn for this one.
function shownFor(index) {
  const place = known().places[index];
  if (!place || state.unfolded[state.program]) return index;
  const section = program().sections[place.section];
  return known().layers.get(shownLayer(section)).first + place.at;
}
