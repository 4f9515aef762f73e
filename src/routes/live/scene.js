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

const LOOKS = ["_type", "item_type", "category", "interfaces", "image_path", "object_height_mm", "size_mm", "spread_deg", "color_hex", "wavelength_nm"];
/** Whether two states of an item look the same. */
const looksSame = (one, other) => LOOKS.every((field) => one[field] === other[field] || JSON.stringify(one[field]) === JSON.stringify(other[field]));

/** An item as it is drawn; a known one glides to its new place. */
function sprite(id, data) {
  const { x: toX, y: toY, angle: toAngle } = placeOf(data);
  const old = scene.get(id) ?? { id, x: toX, y: toY, angle: toAngle, glow: -GLOW };
  if (!old.shape || !looksSame(old.data, data)) {
    const shape = shapeOf(data);
    const [left, top, right, bottom] = shape.box;
    // Its longer side, and how far it reaches from its place, in millimetres.
    Object.assign(old, { shape, kind: shape.kind, paths: null, size: Math.max(right - left, bottom - top), wide: Math.hypot(Math.max(-left, right), Math.max(-top, bottom)) });
  }
  const title = titleOf(data);
  if (old.title !== title) Object.assign(old, { label: forCanvas(title), width: 0 });
  return Object.assign(old, { data, toX, toY, toAngle, title });
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
