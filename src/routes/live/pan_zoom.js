// Panning and zooming.

function fit() {
  let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const { toX, toY, wide } of scene.values()) {
    [left, right] = [Math.min(left, toX - wide), Math.max(right, toX + wide)];
    [low, high] = [Math.min(low, toY - wide), Math.max(high, toY + wide)];
  }
  if (!scene.size) [left, right, low, high] = [-300, 300, -200, 200];
  const scale = Math.min((view.width - 60) / (right - left), (view.height - 100) / (high - low), 4);
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

canvas.onpointerdown = ({ pointerId, offsetX: x, offsetY: y }) => {
  canvas.setPointerCapture(pointerId);
  fingers.set(pointerId, { x, y });
};
canvas.onpointermove = ({ pointerId, offsetX: x, offsetY: y }) => {
  const finger = fingers.get(pointerId);
  if (!finger) return;
  const other = [...fingers.values()].find((each) => each !== finger);
  const apartBy = (from) => Math.max(10, Math.hypot(from.x - other.x, from.y - other.y));
  pan((x - finger.x) / fingers.size, (y - finger.y) / fingers.size);
  if (other) zoom(apartBy({ x, y }) / apartBy(finger), (x + other.x) / 2, (y + other.y) / 2);
  Object.assign(finger, { x, y });
};
canvas.onpointerup = canvas.onpointercancel = ({ pointerId }) => fingers.delete(pointerId);
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
