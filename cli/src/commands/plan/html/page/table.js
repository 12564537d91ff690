// All dispatches of the program as a table, for those who read rather than look, and for paper.

function drawTable() {
  const of = program();
  const timed = ['predicted', 'measured'].filter(has);
  const headings = ['', 'kernel', 'layer', 'ops', 'grid', 'bytes', 'FLOPs', ...timed];
  const row = (role, cells) => cells.map((text, at) => el('span', { role, class: at === 0 || at > 4 ? 'number' : null }, text));
  const line = (index) => {
    const dispatch = of.dispatches[index];
    return el('div', { role: 'row', 'data-bar': index }, ...row('cell', [
      String(index), kernelOf(dispatch).name, layersOf(index), summary(dispatch), dispatch.grid, bytes(dispatch.bytes), count(dispatch.flops),
      ...timed.map((metric) => METRICS[metric].text(METRICS[metric].of(dispatch))),
    ]));
  };
  const whole = el('div', { role: 'table', 'aria-label': 'Dispatches', class: `timed-${timed.length}` },
    el('div', { role: 'row', class: 'head' }, ...row('columnheader', headings)), ...order().map(line));
  const panel = byId('table');
  panel.replaceChildren(el('div', { class: 'scrolls', tabindex: 0, role: 'group', 'aria-label': 'Dispatches' }, whole));
  panel.onclick = chooseBar;
  panel.onpointermove = lightBar;
  panel.onpointerleave = () => light(null, null);
  byId('step-note').textContent = state.unfolded[state.program] ? note() : `${note()}; layers that are alike stand once`;
  markBars();
}

function layersOf(index) {
  const place = known().places[index];
  if (!place) return '';
  const { layers } = program().sections[place.section];
  return state.unfolded[state.program] || layers.length === 1 ? String(program().dispatches[index].layer) : cut(spans(layers), 12);
}
