// A session: its items as they are drawn, now or as they were.

let session = null;
const scene = new Map(); // sprites, by item id
const lively = new Set(); // of those, the ones that move or glow
const cursors = new Map(); // by user

const GLOW = 2600; // milliseconds

function forCanvas(text) {
  const letters = [...text.replace(/\s+/g, " ")];
  return `\u2068${letters.length > 36 ? `${letters.slice(0, 35).join("")}…` : text}\u2069`;
}

/** An item as it is drawn; a known one glides to its new place. */
function sprite(id, data) {
  const [toX, toY, toAngle] = [millimetres(data.x_mm), millimetres(data.y_mm), degrees(data.angle_deg)];
  const old = scene.get(id) ?? { id, x: toX, y: toY, angle: toAngle, glow: -GLOW };
  const kind = kindOf(typeOf(data));
  const given = kind === "source" ? data.size_mm ?? 10 : data.object_height_mm;
  const size = Math.max(1, Math.min(1e6, given > 0 ? given : 25)) || 25;
  if (old.kind !== kind || old.size !== size) old.shape = null;
  const title = titleOf(data);
  if (old.title !== title) Object.assign(old, { label: forCanvas(title), width: 0 });
  return Object.assign(old, { data, toX, toY, toAngle, kind, size, title, wide: Math.max(kind === "source" ? 46 : 0, size / 2) });
}

const apart = (s) => s.x !== s.toX || s.y !== s.toY || s.angle !== s.toAngle;

/** The scene becomes this document, in its order. */
function setScene(items) {
  const old = new Map(scene);
  for (const [id, data] of items) {
    const known = old.get(id)?.data === data ? old.get(id) : sprite(id, data);
    scene.delete(id);
    scene.set(id, known);
    if (apart(known)) lively.add(known);
  }
  for (const [id, gone] of old) if (!items.has(id)) scene.delete(id) && lively.delete(gone);
  panels.items = true;
  if (view.follows) fit();
  renew();
}

/** An item after a change by somebody; `null`: settled by the server. */
function touch(id, data, by) {
  if (!scene.has(id)) panels.items = true;
  const touched = sprite(id, data);
  scene.set(id, touched);
  if (by !== null) Object.assign(touched, { by, glow: performance.now() });
  if (lively.has(touched)) redraw();
  else {
    if (by !== null || apart(touched)) lively.add(touched);
    renew();
  }
  if (view.follows && !inSight(touched)) fit();
  panels.touched.add(id);
}

function lose(id) {
  lively.delete(scene.get(id));
  scene.delete(id);
  panels.items = true;
  renew();
}
