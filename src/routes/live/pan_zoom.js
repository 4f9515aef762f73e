// Panning and zooming.

function fit() {
  const drawn = [...scene.values()].map(({ shape, toX: x, toY: y, toAngle: angle }) => ({ shape, place: { x, y, angle } }));
  const [left, low, right, high] = drawn.length ? boundsOf(drawn) : [-300, -200, 300, 200];
  const scale = Math.min((view.width - 60) / Math.max(1, right - left), (view.height - 100) / Math.max(1, high - low), 4);
  Object.assign(view, { x: (left + right) / 2, y: (low + high) / 2, scale: Math.max(1e-8, scale), follows: true });
  renew();
}

/** As somebody asks for it. */
function fitAll() {
  stopFollowing();
  fit();
}

function pan(dx, dy) {
  view.x -= dx / view.scale;
  view.y += dy / view.scale;
  view.follows = false;
  stopFollowing();
  renew();
}

/** The place under (x, y) stays where it is. */
function zoom(factor, x = view.width / 2, y = view.height / 2) {
  const [overX, overY] = [tableX(x), tableY(y)];
  view.scale = Math.max(1e-8, Math.min(200, view.scale * factor));
  pan(x - screenX(overX), y - screenY(overY));
}

const fingers = new Map(); // pointers that are down, by id
const canvas = $("lively");

/** The item at this place of the canvas, in pixels: of those under it the smallest; null where there is none. */
function itemAt(x, y) {
  const [across, up, near] = [tableX(x), tableY(y), 6 / view.scale];
  let [found, least] = [null, Infinity];
  for (const it of scene.values()) {
    const [dx, dy] = [across - it.x, up - it.y];
    if (Math.hypot(dx, dy) > it.wide + 2 * near) continue;
    const [cos, sin] = [Math.cos(radians(it.angle)), Math.sin(radians(it.angle))];
    // In the item's own system, y down.
    const [ownX, ownY] = [dx * cos - dy * sin, -dx * sin - dy * cos];
    const [left, top, right, bottom] = it.shape.box;
    const size = (right - left + near) * (bottom - top + near) * (it.kind === "background" ? 1e9 : 1);
    if (ownX < left - near || ownX > right + near || ownY < top - near || ownY > bottom + near || size >= least) continue;
    [found, least] = [it, size];
  }
  return found;
}

function hover(id) {
  if (view.hovered === id) return;
  view.hovered = id;
  canvas.classList.toggle("over", id !== undefined);
  redraw();
}

canvas.onpointerdown = ({ pointerId, offsetX: x, offsetY: y }) => {
  canvas.setPointerCapture(pointerId);
  fingers.set(pointerId, { x, y, fromX: x, fromY: y, taps: fingers.size === 0 });
};
canvas.onpointermove = ({ pointerId, pointerType, offsetX: x, offsetY: y }) => {
  const finger = fingers.get(pointerId);
  if (!finger) return pointerType === "mouse" && session && hover(itemAt(x, y)?.id);
  const other = [...fingers.values()].find((each) => each !== finger);
  // A hand that trembles chooses; it doesn't drag.
  if (finger.taps && !other && Math.hypot(x - finger.fromX, y - finger.fromY) < 5) return;
  finger.taps = false;
  const apartBy = (from) => Math.max(10, Math.hypot(from.x - other.x, from.y - other.y));
  pan((x - finger.x) / fingers.size, (y - finger.y) / fingers.size);
  if (other) zoom(apartBy({ x, y }) / apartBy(finger), (x + other.x) / 2, (y + other.y) / 2);
  Object.assign(finger, { x, y });
};
canvas.onpointerup = canvas.onpointercancel = ({ type, pointerId, offsetX: x, offsetY: y }) => {
  const finger = fingers.get(pointerId);
  fingers.delete(pointerId);
  if (type === "pointerup" && finger?.taps && session) choose(itemAt(x, y)?.id);
};
canvas.onpointerleave = () => hover(undefined);
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const turned = event.deltaY * [1, 30, 300][event.deltaMode] * (event.ctrlKey ? 4 : 1);
  zoom(Math.exp(-Math.max(-400, Math.min(400, turned)) / 600), event.offsetX, event.offsetY);
}, { passive: false });

$("in").onclick = () => zoom(1.4);
$("out").onclick = () => zoom(1 / 1.4);
$("fit").onclick = fitAll;
const KEYS = {
  ArrowLeft: () => pan(80, 0), ArrowRight: () => pan(-80, 0), ArrowUp: () => pan(0, 80), ArrowDown: () => pan(0, -80),
  "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: fitAll,
};
canvas.onkeydown = (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
};
