// What is known of the chosen dispatch, op or buffer, or of the whole plan.

const TABS = { overview: 'Overview', code: 'Code', bindings: 'Bindings', decisions: 'Decisions' };

function details() {
  const panel = byId('details');
  if (state.buffer !== null) panel.replaceChildren(...aboutBuffer(state.buffer));
  else if (state.dispatch !== null) panel.replaceChildren(...aboutDispatch(state.dispatch));
  else panel.replaceChildren(...aboutPlan());
  panel.scrollTop = 0;
}

const rows = (...pairs) => el('dl', {}, ...pairs.filter(Boolean).flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));

function table(headings, lines, caption) {
  return el('div', { class: 'wide' }, el('table', {},
    caption ? el('caption', {}, caption) : null,
    el('thead', {}, el('tr', {}, ...headings.map((text) => el('th', { scope: 'col' }, text)))),
    el('tbody', {}, ...lines.map((line) => el('tr', {}, ...line.map((cell) => el('td', {}, cell)))))));
}

const dispatchLink = (index) => link(`${index} ${kernelOf(program().dispatches[index]).name}`, () => choose(index, null, false));
const opLink = (value) => link(valueName(opOf.get(value)), () => choose(known().owners.get(value)?.[0] ?? null, value, false), opOf.get(value).text);
const bufferLink = (index) => link(plan.buffers[index].name, () => chooseBuffer(index));

function aboutDispatch(index) {
  const dispatch = program().dispatches[index];
  const kernel = kernelOf(dispatch);
  const layer = dispatch.layer === null ? 'outside layers' : `layer ${dispatch.layer}`;
  const found = decisionsOf(index);
  const bodies = {
    overview: () => overview(index, dispatch, kernel),
    code: () => codeView(dispatch),
    bindings: () => [bindingsOf(dispatch, kernel)],
    decisions: () => found.length ? found.map(decision) : [el('p', {}, 'No decision is recorded about what it computes.')],
  };
  const tab = (id) => el('button', { type: 'button', role: 'tab', id: `of-${id}`, 'aria-selected': String(state.tab === id), tabindex: state.tab === id ? 0 : -1, 'aria-controls': 'of', onclick: () => openTab(id) },
    id === 'decisions' ? `${TABS[id]} ${found.length}` : TABS[id]);
  return [
    el('h2', {}, kernel.name),
    el('p', { class: 'sub' }, `dispatch ${index} of ${program().dispatches.length}, ${layer}; ${kernel.family}: ${kernel.variant}`),
    el('div', { role: 'tablist', 'aria-label': 'About this kernel', onkeydown: tabKeys }, ...Object.keys(TABS).map(tab)),
    el('div', { role: 'tabpanel', id: 'of', 'aria-labelledby': `of-${state.tab}` }, ...bodies[state.tab]()),
  ];
}

function openTab(id) {
  state.tab = id;
  details();
  byId(`of-${id}`).focus();
}

// Arrow keys go from tab to tab.
function tabKeys(event) {
  const tabs = [...event.currentTarget.querySelectorAll('[role="tab"]')];
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  const next = tabs[(tabs.indexOf(document.activeElement) + by + tabs.length) % tabs.length];
  next.focus();
  next.click();
}

const PLACES = ['loads', 'computes', 'stores'];

function overview(index, dispatch, kernel) {
  const ops = dispatch.ops.filter(([value]) => opOf.has(value));
  const alone = ops.map(([value]) => opOf.get(value).alone[program().name]).filter(Boolean);
  const sum = alone.reduce((total, [moved]) => total + moved, 0);
  const whole = program().dispatches.reduce((total, other) => total + (METRICS[state.metric].of(other) ?? 0), 0);
  const time = dispatch.predicted;
  const own = state.op !== null && opOf.has(state.op) ? [aboutOp(opOf.get(state.op))] : [];
  return [
    ...own,
    dispatch.reason ? el('p', { class: 'reason' }, el('b', {}, 'Why '), dispatch.reason) : null,
    rows(
      ['moves', `${bytes(dispatch.bytes)}, of which weights ${bytes(dispatch.weight_bytes)}`],
      ['computes', `${count(dispatch.flops)}FLOP, ${(dispatch.flops / Math.max(1, dispatch.bytes)).toFixed(2)} a byte`],
      time && ['predicted', `${micros(time[0])}, bound by ${time[1]}`],
      dispatch.measured !== null && ['measured', micros(dispatch.measured) + (time ? `, ${(dispatch.measured / time[0]).toFixed(2)} times the prediction` : '')],
      whole > 0 && ['of the step', `${percent((METRICS[state.metric].of(dispatch) ?? 0) / whole)} of its ${METRICS[state.metric].name}`],
      alone.length > 0 && ['op by op', `${plural(alone.length, 'dispatch')}, ${bytes(sum)}`],
      ['grid', `${dispatch.grid} workgroups of ${kernel.threads} threads, ${bytes(kernel.workgroup_bytes)} of workgroup memory`],
      dispatch.after.length > 0 && ['waits for', el('ul', { class: 'plain' }, ...dispatch.after.map(([from, buffer]) => el('li', {}, dispatchLink(from), ', for ', bufferLink(buffer))))],
    ),
    ops.length ? table(['', 'value', 'op', 'type'], ops.map(([value, place]) => {
      const op = opOf.get(value);
      return [PLACES[place], opLink(value), op.text, op.shape];
    }), 'Ops') : el('p', { class: 'apart' }, 'It computes no op of the graph.'),
  ].filter(Boolean);
}

function aboutOp(op) {
  const alone = op.alone[program().name];
  const owners = known().owners.get(op.value) ?? [];
  return el('section', { class: 'card' }, el('h3', {}, `${valueName(op)} = ${op.text}`), rows(
    ['type', op.shape],
    op.reads.length > 0 && ['reads', el('span', {}, ...op.reads.flatMap((value, at) => [at ? ', ' : '', opLink(value)]))],
    op.leaves.length > 0 && ['and', op.leaves.join('; ')],
    op.line > 0 && ['written in', `line ${op.line} of the architecture file`],
    alone && ['by itself', `${bytes(alone[0])}, ${count(alone[1])}FLOP`],
    ['computed by', el('span', {}, ...owners.flatMap((owner, at) => [at ? ', ' : '', dispatchLink(owner)]))],
  ));
}

function bindingsOf(dispatch, kernel) {
  return table(['', 'name', '', 'buffer', 'holds', 'from byte', 'bytes'], dispatch.bindings.map(([buffer, offset, size, holds], at) => [
    String(at), kernel.bindings[at][0], kernel.bindings[at][1] ? 'writes' : 'reads', bufferLink(buffer), holds, offset.toLocaleString('en'), bytes(size).replace(' ', '\u00a0'),
  ]), 'Bindings of group 0');
}

// Pairs of values that are shown of a decision.
const PAIRS = 6;

function decision(of) {
  const pair = ([a, b]) => (a === b ? [valueOf(a)] : [valueOf(a), ' – ', valueOf(b)]);
  const shown = of.pairs.slice(0, PAIRS).flatMap((values, at) => [at ? ', ' : '', ...pair(values)]);
  const rest = of.pairs.length > PAIRS ? ` and ${of.pairs.length - PAIRS} more` : '';
  return el('section', { class: `decision ${of.taken ? 'taken' : 'declined'}` },
    el('h3', {}, el('span', { class: 'verdict' }, of.taken ? 'taken' : 'declined'), ` ${of.rule}`),
    el('p', { class: 'sub' }, `${of.phase}: `, ...shown, rest),
    el('p', {}, of.reason),
    of.would_change ? el('p', {}, el('b', {}, 'Otherwise: '), of.would_change) : null);
}

const valueOf = (value) => (opOf.has(value) ? opLink(value) : `%${value}`);

function aboutBuffer(index) {
  const buffer = plan.buffers[index];
  const users = program().dispatches.flatMap((dispatch, at) => dispatch.bindings.some(([b]) => b === index) ? [at] : []);
  const here = buffer.tenants.filter((tenant) => tenant.program === program().name);
  return [
    el('h2', {}, buffer.name),
    el('p', { class: 'sub' }, `buffer ${index}: ${buffer.role}, ${bytes(buffer.bytes)}`),
    here.length ? table(['value', 'bytes', 'written by', 'last read by'], here.map((tenant) => [tenant.value, bytes(tenant.bytes), dispatchLink(tenant.first), dispatchLink(tenant.last)]), 'Values that share it, one after another') : null,
    el('h3', {}, `Bound by ${plural(users.length, 'dispatch')}`),
    el('ul', { class: 'many' }, ...users.slice(0, 200).map((at) => el('li', {}, dispatchLink(at)))),
  ].filter(Boolean);
}

function aboutPlan() {
  const { model, device, options } = plan;
  const of = program();
  const sum = (metric) => of.dispatches.reduce((total, dispatch) => total + (METRICS[metric].of(dispatch) ?? 0), 0);
  const role = (name) => plan.buffers.filter((buffer) => buffer.role === name);
  const held = (name) => `${bytes(role(name).reduce((total, buffer) => total + buffer.bytes, 0))} in ${plural(role(name).length, 'buffer')}`;
  const decisions = plan.decisions.filter((one) => one.phase === of.phase);
  const declined = decisions.filter((one) => !one.taken);
  const taken = decisions.filter((one) => one.taken);
  return [
    el('h2', {}, 'The plan'),
    rows(
      ['model', `${plan.title}: ${model.architecture}, ${plural(model.layers, 'layer')}, vocabulary ${model.vocabulary.toLocaleString('en')}`],
      ['device', `${device.name} (${device.backend}), subgroups of ${device.subgroup_size}`],
      ['options', `context ${options.context}, chunk ${options.chunk}, ${options.fuse ? 'fused' : 'op by op'}, ${options.precision === 'f32' ? 'F32 throughout' : 'F16 where matrices multiply'}, weights ${options.weights ?? 'as in the file'}`],
      ['identity', el('code', {}, plan.identity.slice(0, 16))],
    ),
    el('h3', {}, `Program ${of.name}`),
    rows(
      ['step', `${plural(of.tokens, 'token')} with ${plural(of.context, 'position')} each`],
      ['dispatches', `${of.dispatches.length}` + (of.op_by_op ? `; op by op ${of.op_by_op[0]}` : '')],
      ['moves', bytes(sum('bytes')) + (of.op_by_op ? `; op by op ${bytes(of.op_by_op[1])}` : '')],
      ['computes', `${count(sum('flops'))}FLOP`],
      sum('predicted') > 0 && ['predicted', micros(sum('predicted')) + (of.op_by_op?.[2] ? `; op by op ${micros(of.op_by_op[2])}` : '')],
      sum('measured') > 0 && ['measured', micros(sum('measured'))],
    ),
    el('h3', {}, 'Memory'),
    rows(['weights', held('weights')], ['states', held('state')], ['activations', held('activation')], ['inputs, results', held('io')]),
    el('h3', {}, `Decisions: ${declined.length} declined, ${taken.length} taken`),
    ...[...declined, ...taken].map(decision),
  ];
}
