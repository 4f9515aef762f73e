// Drawing, on four canvases, one above the other: `still` has the table and the items at rest, `light` the beams, `written` the names
// and the scale, and `quick` what moves or glows, and the cursors. A frame is drawn only after a change.

const still = $("still").getContext("2d");
const quick = $("lively").getContext("2d");
const light = $("beams").getContext("2d");
const written = $("labels").getContext("2d");
const LAYERS = [still, light, written, quick];
const view = {
  x: 0, y: 0, scale: 1, // the middle in millimetres, and pixels a millimetre
  width: 0, height: 0, ratio: 1, // of the canvas in CSS pixels, and device pixels a CSS pixel
  follows: true, // everything is kept in sight, until somebody moves the view
  stale: true, // `still` has to be drawn anew
};
const FONT = "12px system-ui, 'Segoe UI', Roboto, sans-serif";
const ARROW = new Path2D("M0 0v17l4.6-4 3.4 7 3-1.5-3.2-6.7 5.2-.3z");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const TONES = ["ink", "panel", "accent", "table", "hole", "rule", "axis", "lens", "mirror", "splitter", "dichroic", "waveplate", "glass", "block", "plate", "source", "other"];
let colours = null; // of the theme, by tone
let framed = false; // a frame has been asked for
let lastFrame = 0;

/** After the theme has changed. */
function recolour() {
  colours = null;
  renew();
}
addEventListener("themechange", recolour);

new ResizeObserver(([{ contentRect: { width, height } }]) => {
  // Nothing of it is to be seen: it is on paper, say.
  if (!width || !height) return;
  Object.assign(view, { width, height, ratio: Math.min(3, devicePixelRatio) });
  for (const { canvas } of LAYERS) Object.assign(canvas, { width: width * view.ratio, height: height * view.ratio });
  if (view.follows) fit();
  view.stale = true;
  // A canvas of another size is empty: the browser would show it so until the next frame.
  frame(performance.now());
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
  const since = now - lastFrame;
  const step = since > 100 ? 16 : since;
  lastFrame = now;
  for (const each of lively) {
    glide(each, step, 55);
    if (apart(each) || now - each.glow < GLOW) continue;
    lively.delete(each);
    view.stale = true;
  }
  if (view.stale) drawStill();
  const behind = showBeams(view.stale, since);
  view.stale = false;
  let moving = lively.size > 0;
  for (const cursor of cursors.values()) {
    glide(cursor, step, 45);
    moving ||= apart(cursor);
  }
  drawLively(now);
  // Without motion a glow is there and then gone.
  if (behind) redraw();
  else if (moving) calm.matches ? setTimeout(redraw, 150) : redraw();
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

/** What an item covers, in pixels about its place: left, top, right, bottom, not turned. */
const pixelBox = ({ shape }) => shape.box.map((side) => side * view.scale);
/** The same on the screen, turned. */
function screenBox(it) {
  const [left, low, right, high] = coveredBy(it.shape.box, it);
  return [screenX(left), screenY(high), screenX(right), screenY(low)];
}
const onTable = (context) => context.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);

function inSight({ toX, toY, wide }, margin = wide) {
  return Math.abs(toX - view.x) - margin < view.width / 2 / view.scale && Math.abs(toY - view.y) - margin < view.height / 2 / view.scale;
}

function drawStill() {
  if (!colours) {
    const style = getComputedStyle(document.documentElement);
    colours = Object.fromEntries(TONES.map((tone) => [tone, style.getPropertyValue(`--${tone}`).trim()]));
  }
  for (const layer of [still, written]) {
    onTable(layer);
    layer.clearRect(0, 0, view.width, view.height);
  }
  const standing = inOrder(scene.values()).filter((each) => !lively.has(each));
  const front = standing.findIndex(({ kind }) => kind !== "background");
  const behind = front < 0 ? standing.length : front;
  for (const each of standing.slice(0, behind)) drawItem(still, each);
  drawGrid();
  for (const each of standing.slice(behind)) drawItem(still, each);
  drawLabels(standing);
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

/** The length of the scale in pixels, and what it says. */
function scaleBar() {
  const length = roundUp(70 / view.scale);
  return { wide: length * view.scale, text: length < 1000 ? `${+length.toPrecision(1)} mm` : `${grouped.format(length / 1000)} m` };
}

function drawScaleBar() {
  const [{ wide, text }, y] = [scaleBar(), view.height - 15];
  written.strokeStyle = written.fillStyle = colours.ink;
  written.beginPath();
  for (const [dx, dy] of [[0, -5], [0, 0], [wide, 0], [wide, -5]]) written.lineTo(16.5 + dx, y + 0.5 + dy);
  written.stroke();
  written.font = FONT;
  written.textAlign = "left";
  written.fillText(text, 21, y - 7);
}

/** A source's colour on this theme's table. */
function inkOf(colour, ink = colours) {
  ink.inks ??= new Map();
  if (ink.inks.size > 500) ink.inks.clear();
  if (!ink.inks.has(colour)) ink.inks.set(colour, colourOn(colour, ink.table));
  return ink.inks.get(colour);
}

/** Draws in millimetres about an item's place, turned as it is. */
function onItem(context, { x, y, angle }) {
  const [step, turned] = [view.ratio * view.scale, radians(angle)];
  const [cos, sin] = [step * Math.cos(turned), step * Math.sin(turned)];
  context.setTransform(cos, sin, -sin, cos, view.ratio * screenX(x), view.ratio * screenY(y));
}

const TINY = 7; // pixels: what is smaller gets a mark

function drawItem(context, it) {
  if (!inSight(it, it.wide + 20 / view.scale)) return;
  const pixels = it.size * view.scale;
  it.paths ??= it.shape.parts.map(({ d }) => new Path2D(d));
  if (pixels > 1) {
    onItem(context, it);
    // Lines are as wide at any scale, but thinner on small items.
    const thin = Math.max(0.5, Math.min(1, pixels / 40)) / view.scale;
    it.shape.parts.forEach(({ tone, colour, fill, line, dash }, n) => {
      const ink = colour ? inkOf(colour) : colours[tone];
      if (fill) {
        context.fillStyle = ink;
        context.globalAlpha = fill;
        context.fill(it.paths[n]);
        context.globalAlpha = 1;
      }
      if (!line) return;
      context.strokeStyle = ink;
      context.lineWidth = line * thin;
      if (dash) context.setLineDash(dash.map((each) => each * thin));
      context.stroke(it.paths[n]);
      if (dash) context.setLineDash([]);
    });
    onTable(context);
  }
  if (pixels >= TINY) return;
  // A small flag beside it.
  const [x, y] = [screenX(it.x), screenY(it.y)];
  const [{ colour, tone }] = it.shape.parts;
  context.fillStyle = colour ? inkOf(colour) : colours[tone];
  context.beginPath();
  for (const [dx, dy] of [[0, 0], [1, 0], [1, -4], [8, -7], [0, -10]]) context.lineTo(x + dx, y + dy);
  context.fill();
}

/** The rectangle around an item, with a rim of so many pixels. */
function around(context, it, rim) {
  const [left, top, right, bottom] = pixelBox(it);
  context.translate(screenX(it.x), screenY(it.y));
  context.rotate(radians(it.angle));
  context.beginPath();
  context.roundRect(left - rim, top - rim, right - left + 2 * rim, bottom - top + 2 * rim, Math.min(rim, 8));
  onTable(context);
}

const labelWidth = (it) => (it.width ||= still.measureText(it.label).width);

/** The names of items in sight: of the largest first. */
function labelsFor(items) {
  still.font = FONT;
  return items
    .filter((it) => inSight(it) && (items.length < 60 || it.size * view.scale > 9))
    .sort((a, b) => (a.kind === "background") - (b.kind === "background") || b.size - a.size)
    .slice(0, 600)
    .map((it) => ({ it, box: screenBox(it), width: labelWidth(it) }));
}

function drawLabels(items) {
  const wanted = labelsFor(items);
  placeLabels(wanted, view.width, view.height - 24).forEach((spot, n) => spot && writeLabel(written, wanted[n].it.label, spot.x, spot.y));
}

function writeLabel(context, label, x, y) {
  context.font = FONT;
  context.textAlign = "center";
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeStyle = colours.table;
  context.strokeText(label, x, y);
  context.fillStyle = colours.ink;
  context.fillText(label, x, y);
}

/** A name on a ground of its own, over whatever is there. */
function drawPill(it) {
  quick.font = FONT;
  const half = labelWidth(it) / 2 + 6;
  const [left, top, right, bottom] = screenBox(it);
  const x = Math.max(half + 2, Math.min(view.width - half - 2, (left + right) / 2));
  const y = Math.max(18, Math.min(view.height - 12, bottom > view.height - 24 ? Math.max(top - 10, 18) : bottom + 18));
  quick.beginPath();
  quick.roundRect(x - half, y - 13, 2 * half, 18, 5);
  quick.fillStyle = colours.panel;
  quick.fill();
  quick.textAlign = "center";
  quick.fillStyle = colours.ink;
  quick.fillText(it.label, x, y);
}

function drawLively(now) {
  onTable(quick);
  quick.clearRect(0, 0, view.width, view.height);
  const glowing = [...lively].filter((each) => now - each.glow < GLOW);
  for (const each of glowing) {
    const strength = calm.matches ? 1 : Math.min(1, 2 - (2 * (now - each.glow)) / GLOW);
    around(quick, each, 9);
    quick.fillStyle = quick.strokeStyle = colourOf(each.by);
    quick.lineWidth = 2.5;
    quick.globalAlpha = 0.2 * strength;
    quick.fill();
    quick.globalAlpha = strength;
    quick.stroke();
    quick.globalAlpha = 1;
  }
  const few = lively.size < 60;
  for (const each of inOrder(lively)) drawItem(quick, each);
  if (few) for (const each of lively) if (each.kind !== "background") drawPill(each);
  const chosen = scene.get(session.chosen);
  if (chosen) {
    around(quick, chosen, 6);
    quick.strokeStyle = colours.accent;
    quick.lineWidth = 2;
    quick.setLineDash([5, 4]);
    quick.stroke();
    quick.setLineDash([]);
  }
  for (const it of new Set([chosen, scene.get(view.hovered)])) if (it && !lively.has(it)) drawPill(it);
  // Whoever points is named there.
  for (const each of glowing) if (few && !cursors.has(each.by)) drawTag(each.by, screenX(each.x), Math.max(14, screenBox(each)[1] - 18));
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
