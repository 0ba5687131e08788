'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const at = id => document.getElementById(id);
const empty = () => ({ place: 0, answers: {}, history: [] });
let state = empty(), saved = true, kept = true;

function restore() {
  try {
    const before = JSON.parse(localStorage.getItem(data.digest));
    if (before && before.answers && Array.isArray(before.history)) state = before;
    state.place = Math.min(Math.max(0, state.place | 0), data.items.length - 1);
  } catch (fault) { state = empty(); }
}

function keep() {
  try { localStorage.setItem(data.digest, JSON.stringify(state)); } catch (fault) { kept = false; }
}

const LARGEST = 8;  // times its pixels: more shows only blur

const item = () => data.items[state.place];
const answer = id => state.answers[id] || { chosen: [], status: '' };
const ids = status => data.items.filter(one => answer(one.id).status === status);

// One change of one sample's answer, which undo takes back.
function change(next) {
  state.history.push({ id: item().id, before: state.answers[item().id] || null });
  state.answers[item().id] = next;
  saved = false;
}

function press(name) {
  if (data.exclusive) {
    change({ chosen: [name], status: 'labelled' });
    return forward();
  }
  const chosen = answer(item().id).chosen;
  const next = chosen.includes(name) ? chosen.filter(one => one !== name) : [...chosen, name];
  change({ chosen: next, status: 'begun' });
}

function confirm() {
  if (data.exclusive) return forward();
  change({ chosen: answer(item().id).chosen, status: 'labelled' });
  forward();
}

function skip() {
  change({ chosen: [], status: 'skipped' });
  forward();
}

function undo() {
  const last = state.history.pop();
  if (!last) return say('nothing to undo');
  if (last.before) state.answers[last.id] = last.before; else delete state.answers[last.id];
  state.place = data.items.findIndex(one => one.id === last.id);
  saved = false;
}

function move(by) {
  state.place = Math.min(Math.max(0, state.place + by), data.items.length - 1);
}

// The next sample that has no answer yet, from here on and then from the beginning.
function forward() {
  const count = data.items.length;
  for (let step = 1; step <= count; step++) {
    const place = (state.place + step) % count;
    if (['', 'begun'].includes(answer(data.items[place].id).status)) { state.place = place; return; }
  }
  move(1);
  say('every sample has an answer: save the labels (w)');
}

function cell(text) { return '"' + text.replaceAll('"', '""') + '"'; }

function table() {
  const names = data.classes.map(one => one.name);
  const head = ['sample', 'task', ...(data.exclusive ? ['label'] : names)];
  const rows = ids('labelled').map(one => {
    const chosen = answer(one.id).chosen;
    const told = data.exclusive ? [cell(chosen[0])] : names.map(n => String(chosen.includes(n)));
    return [cell(one.id), cell(data.task), ...told].join(',');
  });
  return [head.map(cell).join(','), ...rows].join('\n') + '\n';
}

function save() {
  const count = ids('labelled').length, begun = ids('begun').length;
  if (!count) return say('nothing is labelled yet', true);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([table()], { type: 'text/csv' }));
  link.download = data.file;
  document.body.append(link);
  link.click();
  link.remove();
  saved = true;
  say(`${count} labels saved as ${data.file}` +
    (begun ? `; ${begun} begun without Enter are not in it` : ''), begun > 0);
}

function say(words, alarm) {
  at('said').textContent = words;
  at('said').classList.toggle('alarm', Boolean(alarm));
}

const KEYS = { ArrowLeft: () => move(-1), ArrowRight: () => move(1), s: skip, u: undo,
  Backspace: undo, w: save, Enter: confirm };

function act(what) {
  say('');
  what();
  keep();
  if (!kept) say('this browser keeps nothing: save the labels before you close the page', true);
  draw();
}

addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const named = data.classes.find(one => one.key === key);
  const what = named ? () => press(named.name) : KEYS[key];
  if (!what) return;
  event.preventDefault();
  act(what);
});

addEventListener('beforeunload', event => { if (!kept && !saved) event.preventDefault(); });

function button(inside, what) {
  const made = document.createElement('button');
  made.type = 'button';
  made.append(...inside);
  made.addEventListener('click', () => { act(what); made.blur(); });
  return made;
}

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function swatch(colour) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const box = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
  svg.setAttribute('viewBox', '0 0 10 10');
  svg.setAttribute('class', 'swatch');
  svg.setAttribute('aria-hidden', 'true');
  for (const [name, value] of [['width', 10], ['height', 10], ['fill', colour]])
    box.setAttribute(name, value);
  svg.append(box);
  return svg;
}

function build() {
  for (const one of data.classes) {
    const inside = [element('kbd', one.key), swatch(one.colour), element('span', one.name, 'name')];
    const row = element('li');
    row.append(button(inside, () => press(one.name)));
    at('classes').append(row);
  }
  data.items.forEach((one, place) => {
    const image = element('img');
    image.src = one.image;
    image.alt = '';
    const row = element('li');
    row.append(button([image, element('span')], () => { state.place = place; }));
    at('strip').append(row);
  });
  const named = { confirm, skip, undo, save, previous: () => move(-1), next: () => move(1) };
  for (const [id, what] of Object.entries(named))
    at(id).addEventListener('click', () => { act(what); at(id).blur(); });
}

// In the strip alone: scrollIntoView would move the page as well.
function centre(row) {
  const strip = at('strip').parentElement;
  strip.scrollLeft = row.offsetLeft + row.offsetWidth / 2 - strip.clientWidth / 2;
}

const WORDS = { '': '', labelled: 'labelled', skipped: 'cannot tell',
  begun: 'not confirmed: press Enter' };

function draw() {
  const one = item(), told = answer(one.id);
  at('image').src = one.image;
  at('image').style.width = `${one.width * LARGEST}px`;
  at('image').alt = `Sample ${state.place + 1}`;
  at('surroundings').hidden = !one.context;
  if (one.context) at('context').src = one.context;
  at('rank').textContent = `Sample ${state.place + 1} of ${data.items.length}`;
  at('status').textContent = WORDS[told.status];
  at('facts').replaceChildren(...Object.entries(one.facts).map(([name, text]) => {
    const line = element('div');
    line.append(element('dt', name), element('dd', text));
    return line;
  }));
  [...at('classes').children].forEach((row, place) => row.firstChild.setAttribute(
    'aria-pressed', String(told.chosen.includes(data.classes[place].name))));
  const done = ids('labelled').length, passed = ids('skipped').length;
  at('done').textContent = String(done);
  at('rest').textContent = passed ? `, ${passed} that cannot be told` : '';
  at('filled').setAttribute('width', String(100 * done / data.items.length));
  at('bar').setAttribute('aria-valuenow', String(done));
  [...at('strip').children].forEach((row, place) => {
    const theirs = answer(data.items[place].id), made = row.firstChild;
    const keys = data.classes.filter(kind => theirs.chosen.includes(kind.name)).map(k => k.key);
    const none = theirs.status === 'labelled' ? 'none' : theirs.status === 'skipped' ? '?' : '';
    made.className = theirs.status;
    made.lastChild.textContent = keys.join(' ') || none;
    made.setAttribute('aria-label', `Sample ${place + 1} ${WORDS[theirs.status]}`);
    made.setAttribute('aria-current', String(place === state.place));
    if (place === state.place) centre(row);
  });
}

restore();
build();
draw();
