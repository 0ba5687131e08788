'use strict';
// All times are whole milliseconds. The state is a list of edges: from edge.t on edge.c holds, up to
// the next edge; -1 is no label. The edge at the cursor is the one that keys move and remove.
const data = JSON.parse(document.getElementById('data').textContent);
const at = id => document.getElementById(id);
const stills = data.stills, classes = data.classes, model = data.model;
const SECOND = 1000, NEAR = 90 * SECOND, KEPT = 300;
const copy = edges => edges.map(one => ({ t: one.t, c: one.c }));
let edges = copy(data.begun), past = [], ahead = [], cursor = 0, doubt = 0;
let saved = true, kept = true, dragged = null;

function usable(found) {
  return Array.isArray(found) && found.length > 0 && found[0].t === 0 && found.every((one, n) =>
    Number.isInteger(one.t) && Number.isInteger(one.c) && one.c >= -1 && one.c < classes.length &&
    one.t < data.end && (n === 0 || one.t > found[n - 1].t));
}

function restore() {
  try {
    const before = JSON.parse(localStorage.getItem(data.digest));
    if (!before || !usable(before.edges)) return false;
    edges = copy(before.edges);
    past = Array.isArray(before.past) ? before.past.filter(usable) : [];
    ahead = Array.isArray(before.ahead) ? before.ahead.filter(usable) : [];
    saved = Boolean(before.saved);
    return JSON.stringify(edges) !== JSON.stringify(data.begun) || past.length > 0;
  } catch (fault) { return false; }
}

function keep() {
  try {
    localStorage.setItem(data.digest, JSON.stringify({ edges, past, ahead, saved }));
  } catch (fault) { kept = false; }
}

// Words and numbers.

function clock(ms) {
  const whole = Math.floor(ms / SECOND), rest = ms % SECOND;
  const two = number => String(number).padStart(2, '0');
  const told = `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  return told + (rest ? '.' + String(rest).padStart(3, '0').replace(/0+$/, '') : '');
}

const named = c => c < 0 ? 'no label' : classes[c].name;
const ends = (list, n) => n + 1 < list.length ? list[n + 1].t : data.end;

function last(list, when) {  // place of the last one that begins at or before a moment
  let low = 0, high = list.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (list[middle].t <= when) low = middle; else high = middle - 1;
  }
  return low;
}

const atEdge = () => edges.findIndex((one, n) => n > 0 && one.t === cursor);

function say(words, alarm) {
  at('said').textContent = words;
  at('said').classList.toggle('alarm', Boolean(alarm));
}

// Changes.

function merged(list) {
  return list.filter((one, n) => n === 0 || one.c !== list[n - 1].c);
}

function change(next) {
  if (JSON.stringify(next) === JSON.stringify(edges)) return false;
  past.push(edges);
  if (past.length > KEPT) past.shift();
  ahead = [];
  edges = next;
  saved = false;
  return true;
}

function begin(c) {
  const place = last(edges, cursor), next = copy(edges);
  if (next[place].t === cursor) next[place].c = c;
  else next.splice(place + 1, 0, { t: cursor, c });
  const until = ends(next, last(next, cursor));
  const done = change(merged(next));
  say(done ? `${named(c)} from ${clock(cursor)} to ${clock(until)}` : `${named(c)} here already`);
}

function shifted(list, n, by) {  // an edge stays at least a second off its neighbours
  const low = list[n - 1].t + SECOND, high = ends(list, n) - SECOND;
  if (high < low) return list[n].t;
  return Math.min(Math.max(list[n].t + by, low), high);
}

function shift(by) {
  const n = atEdge();
  if (n < 0) return say('no edge at the cursor: , or . goes to one', true);
  const to = shifted(edges, n, by);
  if (to === edges[n].t) return say('its neighbour is too near: remove one of them with Del', true);
  const next = copy(edges);
  next[n].t = to;
  change(next);
  cursor = to;
  say(`edge moved to ${clock(to)}`);
}

function remove() {
  const n = atEdge();
  if (n < 0) return say('no edge at the cursor: , or . goes to one', true);
  change(merged(edges.filter((one, place) => place !== n)));
  say(`edge at ${clock(cursor)} removed`);
}

function undo() {
  if (!past.length) return say('nothing to undo');
  ahead.push(edges);
  edges = past.pop();
  saved = false;
  say('undone');
}

function redo() {
  if (!ahead.length) return say('nothing to redo');
  past.push(edges);
  edges = ahead.pop();
  saved = false;
  say('done again');
}

function reset() {
  say(change(copy(data.begun)) ? 'as it was at first; undo takes that back' : 'as it was at first');
}

// Moves.

function step(by) {
  const place = last(stills, cursor);
  const between = by < 0 && stills[place].t < cursor ? 1 : 0;
  const next = Math.min(Math.max(0, place + by + between), stills.length - 1);
  cursor = by > 0 ? Math.max(cursor, stills[next].t) : Math.min(cursor, stills[next].t);
}

function jump(by) {
  const times = edges.slice(1).map(one => one.t);
  const found = by < 0 ? times.filter(t => t < cursor).pop() : times.find(t => t > cursor);
  if (found === undefined) return say(by < 0 ? 'no edge before' : 'no edge behind');
  cursor = found;
}

function towards(number) {
  if (!model || !model.doubts.length) return say('no model, so no doubtful stretch');
  doubt = number % model.doubts.length;
  cursor = model.doubts[doubt].start;
}

// The file.

const cell = text => '"' + text.replaceAll('"', '""') + '"';

function table() {
  const rows = edges.flatMap((one, n) => one.c < 0 ? [] :
    [[cell(data.name), clock(one.t), clock(ends(edges, n)), cell(classes[one.c].name)].join(',')]);
  return ['case,start,end,' + data.column, ...rows].join('\n') + '\n';
}

function save() {
  const count = edges.filter(one => one.c >= 0).length;
  if (!count) return say('nothing is labelled yet', true);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([table()], { type: 'text/csv' }));
  link.download = data.file;
  document.body.append(link);
  link.click();
  link.remove();
  saved = true;
  const gaps = edges.some(one => one.c < 0) ? '; what has no label is not in it' : '';
  say(`${count} stretches saved as ${data.file}${gaps}`);
}

// Keys and buttons.

const KEYS = { ',': () => jump(-1), '.': () => jump(1), 0: () => begin(-1), u: undo, y: redo, s: save,
  n: () => towards(doubt + 1), Delete: remove, Backspace: remove,
  Home: () => { cursor = stills[0].t; }, End: () => { cursor = stills[stills.length - 1].t; } };

function meant(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const way = { ArrowLeft: -1, ArrowRight: 1 }[key];
  const far = event.shiftKey ? 10 : 1;
  if (event.metaKey && !event.ctrlKey && key !== 'z') return null;
  if (event.ctrlKey || event.metaKey)
    return key === 'y' || (key === 'z' && event.shiftKey) ? redo : key === 'z' ? undo : null;
  if (event.altKey) return way ? () => shift(way * far * SECOND) : null;
  if (way) return () => step(way * far);
  const place = classes.findIndex(one => one.key === key);
  return place >= 0 ? () => begin(place) : KEYS[key] || null;
}

function act(what) {
  say('');
  what();
  keep();
  if (!kept) say('this browser keeps nothing: save before you close the page', true);
  draw();
}

addEventListener('keydown', event => {
  const what = meant(event);
  if (!what) return;
  event.preventDefault();
  act(what);
});

addEventListener('beforeunload', event => { if (!kept && !saved) event.preventDefault(); });
