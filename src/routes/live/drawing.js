// Drawing. `still` has the table and the items at rest; `lively` has what moves or glows, and the cursors. A frame is drawn
// only after a change.

const still = $("still").getContext("2d");
const quick = $("lively").getContext("2d");
const view = {
  x: 0, y: 0, scale: 1, // the middle in millimetres, and pixels a millimetre
  width: 0, height: 0, ratio: 1, // of the canvas in CSS pixels, and device pixels a CSS pixel
  follows: true, // everything is kept in sight, until somebody moves the view
  stale: true, // `still` has to be drawn anew
};
const FONT = "12px system-ui, 'Segoe UI', Roboto, sans-serif";
const ARROW = new Path2D("M0 0v17l4.6-4 3.4 7 3-1.5-3.2-6.7 5.2-.3z");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const TONES = ["ink", "panel", "accent", "table", "hole", "rule", "axis", "lens", "mirror", "splitter", "source", "other"];
let colours = null; // of the theme, by tone
let framed = false; // a frame has been asked for
let lastFrame = 0;

matchMedia("(prefers-color-scheme: dark)").onchange = () => {
  colours = null;
  renew();
};

new ResizeObserver(([{ contentRect: { width, height } }]) => {
  Object.assign(view, { width, height, ratio: Math.min(3, devicePixelRatio) });
  for (const { canvas } of [still, quick]) Object.assign(canvas, { width: width * view.ratio, height: height * view.ratio });
  if (view.follows) fit();
  renew();
}).observe($("table"));

function redraw() {
  if (framed || !session || !view.width) return;
  framed = true;
  requestAnimationFrame(frame);
}

function renew() {
  view.stale = true;
  noteAddress();
  redraw();
}

function frame(now) {
  framed = false;
  if (!session) return;
  // The first step after a rest is as long as any other.
  const step = now - lastFrame > 100 ? 16 : now - lastFrame;
  lastFrame = now;
  for (const each of lively) {
    glide(each, step, 55);
    if (apart(each) || now - each.glow < GLOW) continue;
    lively.delete(each);
    view.stale = true;
  }
  if (view.stale) drawStill();
  view.stale = false;
  let moving = lively.size > 0;
  for (const cursor of cursors.values()) {
    glide(cursor, step, 45);
    moving ||= apart(cursor);
  }
  drawLively(now);
  // Without motion a glow is there and then gone.
  if (moving) calm.matches ? setTimeout(redraw, 150) : redraw();
}

function glide(it, step, pace) {
  const share = calm.matches ? 1 : 1 - Math.exp(-step / pace);
  const enough = 0.2 / view.scale;
  const toward = (from, to) => (Math.abs(to - from) < enough ? to : from + (to - from) * share);
  it.x = toward(it.x, it.toX);
  it.y = toward(it.y, it.toY);
  // The short way around.
  const rest = ((it.toAngle - it.angle + 540) % 360) - 180;
  it.angle = Math.abs(rest) < 0.2 ? it.toAngle : it.angle + rest * share;
}

// In the editor y points up and angles turn counter-clockwise; on a canvas neither.
const screenX = (x) => (x - view.x) * view.scale + view.width / 2;
const screenY = (y) => (view.y - y) * view.scale + view.height / 2;
const tableX = (x) => (x - view.width / 2) / view.scale + view.x;
const tableY = (y) => view.y - (y - view.height / 2) / view.scale;

/** Half of an item's drawn size, in pixels. */
const reach = (sprite) => Math.max(5, sprite.wide * view.scale);
const onTable = (context) => context.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);

function inSight({ toX, toY, wide }, margin = wide) {
  return Math.abs(toX - view.x) - margin < view.width / 2 / view.scale && Math.abs(toY - view.y) - margin < view.height / 2 / view.scale;
}

function drawStill() {
  if (!colours) {
    const style = getComputedStyle(document.documentElement);
    colours = Object.fromEntries(TONES.map((tone) => [tone, style.getPropertyValue(`--${tone}`).trim()]));
  }
  onTable(still);
  still.clearRect(0, 0, view.width, view.height);
  drawGrid();
  const standing = [...scene.values()].filter((each) => !lively.has(each));
  for (const each of standing) drawItem(still, each);
  const taken = new Set();
  for (const each of standing) drawLabel(still, each, taken);
  drawScaleBar();
}

/** The first of 1, 2, 5, 10, 20, 50 … that is at least this long. */
function roundUp(length) {
  const power = 10 ** Math.floor(Math.log10(length));
  return power * [1, 2, 5, 10].find((step) => step * power >= length * 0.9999);
}

/** A hole every 25 mm; lines where those would lie too close. */
function drawGrid() {
  const { width, height, scale } = view;
  const holes = 25 * scale > 12;
  const step = holes ? 100 : roundUp(25 / scale);
  const rule = (colour, gap, across) => {
    still.strokeStyle = colour;
    still.beginPath();
    for (let n = Math.ceil(tableY(height) / gap); n * gap <= tableY(0); n++) {
      still.moveTo(screenX(Math.floor(tableX(0) / gap) * gap), Math.round(screenY(n * gap)) + 0.5);
      still.lineTo(width, Math.round(screenY(n * gap)) + 0.5);
    }
    for (let n = Math.ceil(tableX(0) / gap); across && n * gap <= tableX(width); n++) {
      still.moveTo(Math.round(screenX(n * gap)) + 0.5, 0);
      still.lineTo(Math.round(screenX(n * gap)) + 0.5, height);
    }
    still.stroke();
  };
  still.lineWidth = 1;
  rule(colours.rule, step, true);
  if (holes) {
    // Dots are dashes without length and with round ends.
    still.lineCap = "round";
    still.lineWidth = Math.min(6, 3.5 * scale);
    still.setLineDash([0, 25 * scale]);
    rule(colours.hole, 25, false);
    still.lineCap = "butt";
    still.lineWidth = 1;
    still.setLineDash([]);
  }
  rule(colours.axis, 1e12, true);
}

function drawScaleBar() {
  const length = roundUp(70 / view.scale);
  const [wide, y] = [length * view.scale, view.height - 15];
  const text = length < 1000 ? `${+length.toPrecision(1)} mm` : `${grouped.format(length / 1000)} m`;
  still.strokeStyle = still.fillStyle = colours.ink;
  still.beginPath();
  for (const [dx, dy] of [[0, -5], [0, 0], [wide, 0], [wide, -5]]) still.lineTo(16.5 + dx, y + 0.5 + dy);
  still.stroke();
  still.font = FONT;
  still.textAlign = "left";
  still.fillText(text, 21, y - 7);
}

/** A component's line is drawn along x; in the editor it lies along y. */
const turnOf = ({ kind, angle }) => ((kind === "source" ? 0 : -90) - angle) * (Math.PI / 180);

/** The outline of an item in millimetres about its own place. */
function outline({ kind, size }) {
  const [h, deep, rim, bulge] = [size / 2, size * 0.1, size * 0.03, size * 0.33];
  const hatch = [0, 1, 2, 3, 4, 5, 6].map((n) => `M${((n + 0.7) / 7) * size - h} 0l${-deep} ${deep}`);
  const [body, lines] = {
    lens: [`M${-h} ${-rim}Q0 ${-bulge} ${h} ${-rim}V${rim}Q0 ${bulge} ${-h} ${rim}Z`, ""],
    mirror: ["", `M${-h} 0H${h}${hatch.join("")}`], // its back is hatched, as on paper
    splitter: [`M${-h} 0L0 ${-h} ${h} 0 0 ${h}Z`, `M${-h} 0H${h}`], // a cube whose diagonal is the line
    source: [`M-46 ${-Math.max(h, 7)}H0V${Math.max(h, 7)}H-46Z`, "M0 0H26l-8-5m8 5-8 5"],
    other: [`M${-h} ${-deep}H${h}V${deep}H${-h}Z`, ""],
  }[kind];
  return { body: new Path2D(body), lines: new Path2D(body + lines) };
}

function drawItem(context, it) {
  if (!inSight(it, 2 * it.wide + 20 / view.scale) && !lively.has(it)) return;
  it.shape ??= outline(it);
  const scale = Math.max(view.scale, 10 / it.size);
  context.translate(screenX(it.x), screenY(it.y));
  context.rotate(turnOf(it));
  context.scale(scale, scale);
  context.fillStyle = colours[it.kind];
  context.globalAlpha = 0.2;
  context.fill(it.shape.body);
  context.globalAlpha = 1;
  context.strokeStyle = colours[it.kind];
  context.lineWidth = 1.7 / scale;
  context.setLineDash(it.kind === "other" ? [4 / scale, 2.5 / scale] : []);
  context.stroke(it.shape.lines);
  context.setLineDash([]);
  onTable(context);
}

/** A name below its item; none where it would cover another (`taken`) or the item is tiny. */
function drawLabel(context, it, taken) {
  if (!inSight(it) || (taken && it.size * view.scale < 18 && scene.size > 40)) return;
  context.font = FONT;
  it.width ||= context.measureText(it.label).width;
  const steep = taken ? Math.max(it.kind === "splitter" ? 1 : 0.35, Math.abs(Math.sin(turnOf(it)))) : 1;
  const [x, y] = [screenX(it.x), screenY(it.y) + reach(it) * steep + (taken ? 15 : 24)];
  if (taken) {
    const cells = [];
    for (const row of [y - 11, y + 3]) for (let at = x - it.width / 2; at < x + it.width / 2 + 20; at += 20) cells.push(`${Math.round(at / 20)} ${Math.round(row / 14)}`);
    if (cells.some((cell) => taken.has(cell))) return;
    for (const cell of cells) taken.add(cell);
  }
  context.textAlign = "center";
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeStyle = colours.table;
  context.strokeText(it.label, x, y);
  context.fillStyle = colours.ink;
  context.fillText(it.label, x, y);
}

function drawLively(now) {
  onTable(quick);
  quick.clearRect(0, 0, view.width, view.height);
  const glowing = [...lively].filter((each) => now - each.glow < GLOW);
  for (const each of glowing) {
    const strength = calm.matches ? 1 : Math.min(1, 2 - (2 * (now - each.glow)) / GLOW);
    quick.beginPath();
    quick.arc(screenX(each.x), screenY(each.y), reach(each) + 9, 0, 7);
    quick.fillStyle = quick.strokeStyle = colourOf(each.by);
    quick.lineWidth = 2.5;
    quick.globalAlpha = 0.2 * strength;
    quick.fill();
    quick.globalAlpha = strength;
    quick.stroke();
    quick.globalAlpha = 1;
  }
  const few = lively.size < 60;
  for (const each of lively) drawItem(quick, each);
  if (few) for (const each of lively) drawLabel(quick, each);
  const chosen = scene.get(session.chosen);
  if (chosen) {
    const half = reach(chosen) + 6;
    quick.strokeStyle = colours.accent;
    quick.lineWidth = 2;
    quick.setLineDash([5, 4]);
    quick.strokeRect(screenX(chosen.x) - half, screenY(chosen.y) - half, 2 * half, 2 * half);
    quick.setLineDash([]);
  }
  // Whoever points is named there.
  for (const each of glowing) if (few && !cursors.has(each.by)) drawTag(each.by, screenX(each.x), screenY(each.y) - reach(each) - 14);
  drawDifferences(quick);
  // Nobody pointed there then.
  for (const [user, cursor] of session.past ? [] : cursors) {
    const [x, y] = [screenX(cursor.x), screenY(cursor.y)];
    quick.translate(x, y);
    quick.fillStyle = colourOf(user);
    quick.fill(ARROW);
    onTable(quick);
    drawTag(user, x, y + 30);
  }
}

/** A name with its colour and shape. */
function drawTag(user, x, y) {
  const text = forCanvas(user);
  quick.font = FONT;
  const width = quick.measureText(text).width + 25;
  quick.translate(x - width / 2, y - 10);
  quick.fillStyle = colours.panel;
  quick.strokeStyle = colourOf(user);
  quick.lineWidth = 1.5;
  quick.beginPath();
  quick.roundRect(0, 0, width, 20, 6);
  quick.fill();
  quick.stroke();
  quick.textAlign = "left";
  quick.fillStyle = colours.ink;
  quick.fillText(text, 20, 14);
  quick.translate(5, 4.5);
  quick.scale(0.7, 0.7);
  quick.fillStyle = colourOf(user);
  quick.fill(new Path2D(SHAPES[lookOf(user)]));
  onTable(quick);
}
