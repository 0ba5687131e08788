// Behind review.js, as one script with it: what is seen, and the mouse.

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function drawn(name, values, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(values)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

function swatch(c) {
  const svg = drawn('svg', { viewBox: '0 0 10 10', class: 'swatch', 'aria-hidden': 'true' });
  const rect = drawn('rect', { width: 10, height: 10 });
  if (c < 0) rect.setAttribute('class', 'gap'); else rect.setAttribute('fill', classes[c].colour);
  svg.append(rect);
  return svg;
}

function dark(colour) {  // whether white letters are read better on it
  const [r, g, b] = [1, 3, 5].map(n => parseInt(colour.slice(n, n + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b < 140;
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600].map(s => s * SECOND);
const LEFT = 62, YOURS = { y: 10, height: 34 }, THEIRS = { y: 50, height: 14 };
const CURVE = { y: 66, height: 26 };

// How far an edge is from the nearer of its neighbours.
const room = n => Math.min(edges[n].t - edges[n - 1].t, ends(edges, n) - edges[n].t);

// One band of time: yours with its edges, the model's, how sure it was, and the axis.
function band(svg, from, to) {
  const width = svg.clientWidth || 1200, x = t => LEFT + (t - from) / (to - from) * (width - LEFT - 8);
  const base = model ? CURVE.y + CURVE.height : YOURS.y + YOURS.height, height = base + 22;
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('height', height);
  const made = [];
  const row = (list, place, letters) => list.forEach((one, n) => {
    const end = Math.min(ends(list, n), to), start = Math.max(one.t, from);
    if (end <= start) return;
    const box = { x: x(start), y: place.y, width: Math.max(0.5, x(end) - x(start)), height: place.height };
    const kind = one.c < 0 ? { class: 'gap' } : { fill: classes[one.c].colour };
    const rect = drawn('rect', { ...box, ...kind });
    rect.append(drawn('title', {}, `${named(one.c)}, ${clock(one.t)} to ${clock(ends(list, n))}`));
    made.push(rect);
    if (letters && one.c >= 0 && box.width > 7.4 * named(one.c).length + 10) {
      const text = drawn('text', { x: box.x + 6, y: place.y + place.height / 2 + 4 }, named(one.c));
      text.style.fill = dark(classes[one.c].colour) ? '#fff' : '#000';
      made.push(text);
    }
  });
  const title = (words, place) => made.push(drawn('text',
    { x: 0, y: place.y + place.height / 2 + 4, class: 'row' }, words));
  row(edges, YOURS, true);
  title('yours', YOURS);
  if (model) {
    row(model.runs, THEIRS, false);
    title('model', THEIRS);
    made.push(drawn('path', { d: curve(x, from, to), class: 'curve' }));
    title('certain', CURVE);
    const one = model.doubts[doubt];
    if (one && one.end > from && one.start < to) made.push(drawn('rect', { class: 'doubt',
      x: x(Math.max(one.start, from)), y: THEIRS.y - 1, height: base - THEIRS.y + 1,
      width: Math.max(3, x(Math.min(one.end, to)) - x(Math.max(one.start, from))) }));
  }
  const by = STEPS.find(one => x(from + one) - x(from) >= 74) || STEPS[STEPS.length - 1];
  for (let t = Math.ceil(from / by) * by; t <= to; t += by) {
    made.push(drawn('line', { x1: x(t), x2: x(t), y1: base, y2: base + 5, class: 'tick' }));
    const anchor = x(t) > width - 34 ? 'end' : x(t) < LEFT + 24 ? 'start' : 'middle';
    made.push(drawn('text', { x: x(t), y: base + 18, 'text-anchor': anchor, class: 'axis' }, clock(t)));
  }
  edges.forEach((one, n) => {
    if (!n || one.t < from || one.t > to) return;
    const top = YOURS.y - 4, end = YOURS.y + YOURS.height + 3, here = one.t === cursor ? ' at' : '';
    made.push(drawn('line', { x1: x(one.t), x2: x(one.t), y1: top, y2: end, class: 'edge' }));
    if (here || room(n) * (x(SECOND) - x(0)) / SECOND >= 9) made.push(drawn('circle', { cx: x(one.t), cy: top, r: 4, class: 'grip' + here }));
    const grip = drawn('rect', { x: x(one.t) - 6, y: 0, width: 12, height: end, class: 'handle' });
    grip.dataset.edge = n;
    made.push(grip);
  });
  if (cursor >= from && cursor <= to) for (const kind of ['halo', 'cursor'])
    made.push(drawn('line', { x1: x(cursor), x2: x(cursor), y1: 4, y2: base + 3, class: kind }));
  svg.replaceChildren(...made);
  svg.moment = pixel => from + (pixel - LEFT) / (width - LEFT - 8) * (to - from);
}

function curve(x, from, to) {  // the least of each pixel, so that no dip is lost
  const floor = CURVE.y + CURVE.height, least = new Map();
  model.points.forEach((one, n) => {
    if (ends(model.points, n) <= from || one.t >= to) return;
    const first = Math.round(x(Math.max(one.t, from))), past = x(Math.min(ends(model.points, n), to));
    for (let pixel = first; pixel < Math.max(past, first + 1); pixel++)
      least.set(pixel, Math.min(least.has(pixel) ? least.get(pixel) : 100, one.sure));
  });
  return [...least].map(([pixel, sure]) =>
    `M${pixel} ${floor}V${(floor - CURVE.height * sure / 100).toFixed(1)}h1V${floor}Z`).join('');
}

function around() {
  const span = Math.min(2 * NEAR, data.end);
  const from = Math.min(Math.max(0, cursor - span / 2), data.end - span);
  return [from, from + span];
}

function buildModel() {
  model.points = model.starts.map((t, n) => ({ t, sure: model.confidence[n] }));
  model.runs = merged(model.starts.map((t, n) => ({ t: n ? t : 0, c: model.best[n] })));
}

const rowButton = (inside, what) => {
  const row = element('li'), made = element('button');
  made.type = 'button';
  made.append(...inside);
  made.addEventListener('click', () => { act(what); made.blur(); });
  row.append(made);
  return row;
};

function build() {
  if (model) buildModel();
  classes.forEach((one, c) => at('classes').append(rowButton([element('kbd', one.key), swatch(c),
    element('span', one.name, 'name'), element('span', '', 'share')], () => begin(c))));
  at('classes').append(rowButton([element('kbd', '0'), swatch(-1),
    element('span', 'no label', 'name'), element('span', '', 'share')], () => begin(-1)));
  at('lastkey').textContent = classes[classes.length - 1].key;
  stills.forEach(one => {
    const image = element('img'), bar = drawn('svg', { viewBox: '0 0 10 1', preserveAspectRatio: 'none' });
    image.alt = '';
    bar.append(drawn('rect', { width: 10, height: 1 }));
    const row = rowButton([image, bar, element('span', clock(one.t))], () => { cursor = one.t; });
    row.firstChild.tabIndex = -1;
    at('strip').append(row);
  });
  at('strip').parentElement.addEventListener('scroll', fill);
  const buttons = { undo, redo, remove, reset, save, doubtful: () => towards(doubt + 1) };
  for (const [id, what] of Object.entries(buttons)) if (at(id))
    at(id).addEventListener('click', () => { act(what); at(id).blur(); });
  for (const id of ['whole', 'near']) listen(at(id));
  addEventListener('resize', draw);
}

// A mouse: a click puts the cursor there, an edge is dragged; the whole drag is one step of undo.
function listen(svg) {
  const moment = event => svg.moment(event.clientX - svg.getBoundingClientRect().left);
  svg.addEventListener('pointerdown', event => {
    svg.setPointerCapture(event.pointerId);
    const held = event.target.dataset ? event.target.dataset.edge : undefined;
    dragged = held === undefined ? { before: null } : { n: Number(held), before: copy(edges) };
    if (dragged.before) cursor = edges[dragged.n].t;
    else point(moment(event));
    draw();
  });
  svg.addEventListener('pointermove', event => {
    if (!dragged) return;
    if (!dragged.before) point(moment(event));
    else pull(Math.round(moment(event) / SECOND) * SECOND);
    draw();
  });
  const drop = () => {
    if (dragged && dragged.before) {
      const next = edges;
      edges = dragged.before;
      if (change(next)) say(`edge moved to ${clock(cursor)}`);
      keep();
    }
    dragged = null;
    draw();
  };
  svg.addEventListener('pointerup', drop);
  svg.addEventListener('pointercancel', drop);
}

function point(when) {
  const whole = Math.round(when / SECOND) * SECOND;
  cursor = Math.min(Math.max(0, whole), Math.floor((data.end - 1) / SECOND) * SECOND);
}

function pull(when) {
  const next = copy(dragged.before);
  next[dragged.n].t = shifted(next, dragged.n, when - next[dragged.n].t);
  edges = next;
  cursor = next[dragged.n].t;
}

// Pictures of the strip are decoded only where they are seen.
function fill() {
  const strip = at('strip').parentElement, rows = [...at('strip').children];
  rows.forEach((row, n) => {
    const left = row.offsetLeft - strip.scrollLeft;
    const image = row.firstChild.firstChild;
    if (left > -600 && left < strip.clientWidth + 600 && !image.src) image.src = stills[n].src;
  });
}

function drawStrip() {
  const strip = at('strip').parentElement, now = last(stills, cursor);
  [...at('strip').children].forEach((row, n) => {
    const made = row.firstChild, bar = made.children[1].firstChild, c = edges[last(edges, stills[n].t)].c;
    bar.setAttribute('class', c < 0 ? 'gap' : '');
    bar.setAttribute('fill', c < 0 ? 'none' : classes[c].colour);
    made.setAttribute('aria-label', `${clock(stills[n].t)}, ${named(c)}`);
    made.setAttribute('aria-current', String(n === now));
    if (n === now) strip.scrollLeft = row.offsetLeft + row.offsetWidth / 2 - strip.clientWidth / 2;
  });
  fill();
}

function drawClasses() {
  const c = edges[last(edges, cursor)].c, total = classes.map(() => 0).concat(0);
  edges.forEach((one, n) => {
    total[one.c < 0 ? classes.length : one.c] += ends(edges, n) - one.t;
  });
  [...at('classes').children].forEach((row, n) => {
    row.firstChild.setAttribute('aria-pressed', String(n === (c < 0 ? classes.length : c)));
    row.firstChild.lastChild.textContent = total[n] ? clock(Math.round(total[n] / SECOND) * SECOND) : '';
  });
}

function draw() {
  const still = stills[last(stills, cursor)], place = last(edges, cursor), n = atEdge();
  if (at('image').src !== still.src) at('image').src = still.src;
  at('image').alt = `The recording at ${clock(still.t)}`;
  at('now').textContent = clock(cursor);
  at('shown').textContent = `of ${clock(data.end)}` +
    (still.t === cursor ? '' : `, picture of ${clock(still.t)}`);
  at('here').textContent = n > 0
    ? `Edge: ${named(edges[n - 1].c)} ends, ${named(edges[n].c)} begins`
    : `${named(edges[place].c)}, ${clock(edges[place].t)} to ${clock(ends(edges, place))}`;
  at('remove').disabled = n < 0;
  at('undo').disabled = !past.length;
  at('redo').disabled = !ahead.length;
  if (model && model.doubts.length) {
    const one = model.doubts[doubt];
    at('doubt').textContent = `${doubt ? `Doubtful stretch ${doubt + 1} of ${model.doubts.length}` :
      'Opened where the model was least certain'}: ${clock(one.start)} to ${clock(one.end)}, ` +
      `mean confidence ${one.confidence.toFixed(2)}` +
      (one.between.length > 1 ? ` (${one.between.join(' or ')})` : '') + '.';
  }
  drawClasses();
  band(at('whole'), 0, data.end);
  band(at('near'), ...around());
  drawStrip();
}

build();
const again = restore();
if (model && model.doubts.length) towards(0);
draw();
if (again) say('your earlier work on this page is here again; "start over" leaves it');
