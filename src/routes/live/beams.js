// Beams: the rays of all sources, in their colours, as opaque as they are intense.

const tracer = new Tracer(() => performance.now());
const MOVING_BUDGET = 2.5; // milliseconds of tracing a frame while something glides
const RESTING_BUDGET = 4;
const MOVING_DRAWING = 2; // milliseconds of drawing them
const SLOW_FRAME = 50; // milliseconds from one frame to the next
const SHADES = 12;
const FINE = 400; // legs: of more, each is drawn as a hairline, which is many times faster where no graphics card helps
const beams = {
  on: recall("localStorage", "collabd.beams") !== "off",
  glided: false, // in the frame before
  took: 0, // milliseconds of script to draw them
  dirty: true, // the canvas has something that isn't so any more
};

/** The tracer is told of what is elsewhere than in the frame before. */
function followScene() {
  for (const [id, it] of scene) tracer.set(id, it.data, it);
  if (tracer.items.size > scene.size) for (const id of [...tracer.items.keys()]) if (!scene.has(id)) tracer.remove(id);
}

/**
 * Traces and draws what has changed, so many milliseconds after the frame before; true where more is to be traced. `anew`: the
 * view has changed, or the colours.
 */
function showBeams(anew, since) {
  if (!beams.on) {
    if (beams.dirty) {
      onTable(light);
      light.clearRect(0, 0, view.width, view.height);
      tracer.clear();
      tellThinned();
    }
    return (beams.dirty = false);
  }
  followScene();
  const gliding = [...lively].some(apart);
  const pressed = beams.took > MOVING_DRAWING || (beams.glided && since > SLOW_FRAME);
  const changed = tracer.behind && tracer.trace(gliding ? MOVING_BUDGET : RESTING_BUDGET, !gliding, pressed);
  const began = performance.now();
  if (changed || anew || beams.dirty) drawBeams();
  Object.assign(beams, { dirty: false, glided: gliding, took: performance.now() - began });
  tellThinned();
  // While rays are thinned, there is more to do as soon as all is at rest.
  if (!gliding && tracer.thin > tracer.leastThin) tracer.gone = true;
  return tracer.behind;
}

function tellThinned() {
  const { thin, cut } = tracer;
  const told = [thin > 1 && `Beams are thinned: 1 ray in ${thin}`, cut && `Beams meet the first ${grouped.format(MOST_SURFACES_IN_ALL)} surfaces only`].filter(Boolean);
  $("thinned").hidden = !told.length;
  write($("thinned"), told.join(". "));
}

/** Legs by colour and shade: for each, pixels of both ends, one after the other. `clipped` to the window. */
function beamsByColour() {
  const { width, height, scale } = view;
  const groups = new Map();
  const [left, right, low, high] = [tableX(-40), tableX(width + 40), tableY(height + 40), tableY(-40)];
  const [shiftX, shiftY] = [width / 2 - view.x * scale, height / 2 + view.y * scale];
  for (const { colour, legs } of tracer.rays()) {
    let shades = groups.get(colour);
    if (!shades) groups.set(colour, (shades = Array.from({ length: SHADES + 1 }, () => [])));
    for (const { x1, y1, x2, y2, intensity } of legs) {
      if ((x1 < left && x2 < left) || (x1 > right && x2 > right) || (y1 < low && y2 < low) || (y1 > high && y2 > high)) continue;
      const shade = shades[Math.max(1, Math.min(SHADES, Math.round(intensity * SHADES)))];
      // A canvas isn't exact far outside.
      let [from, to] = [0, 1];
      const [dx, dy] = [x2 - x1, y2 - y1];
      for (const [step, start, end] of [[dx, left - x1, right - x1], [dy, low - y1, high - y1]]) {
        if (step > 0) [from, to] = [Math.max(from, start / step), Math.min(to, end / step)];
        else if (step < 0) [from, to] = [Math.max(from, end / step), Math.min(to, start / step)];
      }
      if (from < to) shade.push((x1 + dx * from) * scale + shiftX, shiftY - (y1 + dy * from) * scale, (x1 + dx * to) * scale + shiftX, shiftY - (y1 + dy * to) * scale);
    }
  }
  return groups;
}

/** Weak rays are a little more opaque than they are intense, to be seen. */
const opacityOf = (shade) => (shade / SHADES) ** 0.7;

function drawBeams() {
  onTable(light);
  light.clearRect(0, 0, view.width, view.height);
  const groups = beamsByColour();
  const legs = [...groups.values()].flat().reduce((sum, { length }) => sum + length / 4, 0);
  light.lineWidth = legs > FINE ? 1 / view.ratio : 1.8;
  for (const [colour, shades] of groups) {
    light.strokeStyle = inkOf(colour);
    shades.forEach((ends, shade) => {
      if (!ends.length) return;
      light.globalAlpha = opacityOf(shade);
      light.beginPath();
      for (let n = 0; n < ends.length; n += 4) {
        light.moveTo(ends[n], ends[n + 1]);
        light.lineTo(ends[n + 2], ends[n + 3]);
      }
      light.stroke();
    });
  }
  light.globalAlpha = 1;
}

function switchBeams(on) {
  Object.assign(beams, { on, dirty: true });
  $("beams-on").setAttribute("aria-pressed", on);
  remember("localStorage", "collabd.beams", on ? "on" : "off");
  redraw();
}
$("beams-on").setAttribute("aria-pressed", beams.on);
$("beams-on").onclick = () => switchBeams(!beams.on);
