'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const canvas = document.getElementById('view'), ink = canvas.getContext('2d');
const MOST = 4, KEPT = 400, STEP = 0.2;  // screen pixels a pixel of the scan; pictures in memory
const pictures = new Map();
let x = 0, y = 0, scale = 1, asked = false, telling = 0;  // of the middle, px of the scan; screen px a px of it

const wide = () => canvas.clientWidth, tall = () => canvas.clientHeight;
const whole = () => Math.min(wide() / data.width, tall() / data.height);

function showAll() { x = data.width / 2; y = data.height / 2; scale = whole(); }

function keepInside() {
  scale = Math.min(MOST, Math.max(whole() / 2, scale));
  x = Math.min(data.width, Math.max(0, x));
  y = Math.min(data.height, Math.max(0, y));
}

function picture(level, column, row) {
  const name = `slide_files/${level}/${column}_${row}.jpg`;
  let found = pictures.get(name);
  if (!found) {
    found = new Image();
    found.onload = redraw;
    found.src = name;
  }
  pictures.delete(name);  // the last asked for stands last
  pictures.set(name, found);
  while (pictures.size > KEPT) pictures.delete(pictures.keys().next().value);
  return found;
}

function drawLevel(level) {
  const ratio = 2 ** (data.levels - 1 - level), side = data.side_px * ratio;
  const left = x - wide() / 2 / scale, top = y - tall() / 2 / scale;
  const columns = Math.ceil(data.width / side), rows = Math.ceil(data.height / side);
  const first = [Math.max(0, Math.floor(left / side)), Math.max(0, Math.floor(top / side))];
  const last = [Math.min(columns, Math.ceil((left + wide() / scale) / side)),
    Math.min(rows, Math.ceil((top + tall() / scale) / side))];
  for (let row = first[1]; row < last[1]; row++) {
    for (let column = first[0]; column < last[0]; column++) {
      const image = picture(level, column, row);
      if (!image.complete || !image.naturalWidth) continue;
      const across = Math.min(side, data.width - column * side);
      const down = Math.min(side, data.height - row * side);
      ink.drawImage(image, (column * side - left) * scale, (row * side - top) * scale,
        across * scale, down * scale);
    }
  }
}

function draw() {
  asked = false;
  const dense = window.devicePixelRatio || 1;
  canvas.width = Math.round(wide() * dense);
  canvas.height = Math.round(tall() * dense);
  ink.setTransform(dense, 0, 0, dense, 0, 0);
  const fine = data.levels - 1 + Math.ceil(Math.log2(Math.min(1, scale * dense)));
  const level = Math.min(data.levels - 1, Math.max(0, fine));
  drawLevel(Math.max(0, level - 3));  // until the finer ones are there
  drawLevel(level);
  drawMarks();
  drawBar();
  clearTimeout(telling);
  telling = setTimeout(tell, 300);  // once it stands still
}

function tell() {
  document.getElementById('said').textContent =
    `x ${Math.round(x)}, y ${Math.round(y)}, ${Math.round(scale * 1000) / 10} % of the scan's pixels`;
}

function redraw() {
  if (!asked) { asked = true; requestAnimationFrame(draw); }
}

function drawMarks() {
  ink.lineWidth = 2;
  ink.font = '600 14px sans-serif';
  for (const one of data.marks) {
    const left = (one.x - x) * scale + wide() / 2, top = (one.y - y) * scale + tall() / 2;
    const across = Math.max(6, one.width * scale), down = Math.max(6, one.height * scale);
    ink.strokeStyle = '#ffffff';
    ink.strokeRect(left - 2, top - 2, across + 4, down + 4);
    ink.strokeStyle = data.colour;
    ink.strokeRect(left, top, across, down);
    ink.strokeStyle = '#ffffff';
    ink.lineWidth = 4;
    ink.strokeText(String(one.rank), left, top - 5);
    ink.lineWidth = 2;
    ink.fillStyle = '#15181c';
    ink.fillText(String(one.rank), left, top - 5);
  }
}

function drawBar() {
  if (!data.um_per_px) return;
  const most = wide() / 5 / scale * data.um_per_px, power = 10 ** Math.floor(Math.log10(most));
  const um = [5, 2, 1].map(n => n * power).find(n => n <= most) || power;
  const long = um / data.um_per_px * scale, low = tall() - 18;
  ink.fillStyle = 'rgba(255, 255, 255, 0.8)';
  ink.fillRect(12, low - 22, long + 16, 34);
  ink.fillStyle = '#15181c';
  ink.fillRect(20, low, long, 3);
  ink.fillText(um >= 1000 ? `${um / 1000} mm` : `${um} \u00b5m`, 20, low - 6);
}

function change(act) { act(); keepInside(); redraw(); }

function scaleAt(factor, atX, atY) {  // what lies under a place of the screen stays there
  const before = scale;
  scale = Math.min(MOST, Math.max(whole() / 2, scale * factor));
  x += (atX - wide() / 2) * (1 / before - 1 / scale);
  y += (atY - tall() / 2) * (1 / before - 1 / scale);
}

const middle = factor => () => scaleAt(factor, wide() / 2, tall() / 2);
const KEYS = { ArrowLeft: () => { x -= STEP * wide() / scale; }, ArrowRight: () => { x += STEP * wide() / scale; },
  ArrowUp: () => { y -= STEP * tall() / scale; }, ArrowDown: () => { y += STEP * tall() / scale; },
  '+': middle(1.5), '=': middle(1.5), '-': middle(1 / 1.5), '0': showAll, '1': () => { scale = 1; } };

function show(rank) {
  const one = data.marks.find(mark => mark.rank === rank);
  if (!one) return change(showAll);
  change(() => {
    x = one.x + one.width / 2;
    y = one.y + one.height / 2;
    scale = Math.min(1, wide() / 2 / one.width, tall() / 2 / one.height);
  });
}

addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  change(KEYS[event.key]);
  event.preventDefault();
});
canvas.addEventListener('wheel', event => {
  event.preventDefault();
  change(() => scaleAt(2 ** (-event.deltaY / 300), event.offsetX, event.offsetY));
}, { passive: false });
canvas.addEventListener('pointerdown', event => { canvas.setPointerCapture(event.pointerId); });
canvas.addEventListener('pointermove', event => {
  if (event.buttons) change(() => { x -= event.movementX / scale; y -= event.movementY / scale; });
});
for (const one of document.querySelectorAll('[data-mark]'))
  one.addEventListener('click', () => show(Number(one.dataset.mark)));
new ResizeObserver(redraw).observe(canvas);
addEventListener('hashchange', fromHash);

function fromHash() { show(Number(location.hash.slice(1))); }  // #3: the mark of that rank

fromHash();
