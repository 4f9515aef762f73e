// Rays through the table, in the plane, by the editor's rules. Pure.
//
// A ray is traced as legs from one surface to the next. It ends below 2 % of intensity, after 80 hits, or when its length is
// used up: the source's for the first leg, 1,000 mm after each hit. Polarisation is kept as far as intensity depends on it, as
// a Jones vector in the axes of the table.

const LEAST_INTENSITY = 0.02;
const MOST_HITS = 80;
const LENGTH_AFTER_HIT = 1000; // millimetres
const NEAR = 1e-3; // millimetres: a ray starts this far behind what it left, and meets nothing nearer
const MOST_RAYS = 2001; // of one source, as in the editor
const MOST_LEGS = 600; // of one ray; a hostile table of splitters would have 2 to the power of 80
const MOST_RAYS_IN_ALL = 16384;
const MOST_LEGS_IN_ALL = 100_000;
const MOST_SURFACES_IN_ALL = 5000; // rays pass through what is more
const MOST_THINNED = 256;

const radians = (value) => (value * Math.PI) / 180;
const share = (percent, otherwise) => Math.max(0, Math.min(1, finite(percent, otherwise) / 100));
/** Counter-clockwise from 0 to below a whole turn. */
const wholeAngle = (y, x) => {
  const angle = Math.atan2(y, x);
  return angle < 0 ? angle + 2 * Math.PI : angle;
};

/** What a surface does to light, as numbers. The editor passes over the rest of an item after a polariser or a rotator. */
function lawOf({ of, does }) {
  const known = of.element_type === "beam_splitter" || of.element_type === "polarizing_interface" ? of : {};
  if (does === "lens") return { focus: of.efl_mm === Infinity || of.efl_mm === -Infinity ? 0 : finite(of.efl_mm, 100) };
  if (does === "mirror") return { reflects: share(of.reflectivity, 100) };
  if (does === "splitter") return { passes: share(known.split_T, 50), reflects: share(known.split_R, 50), polarising: known.is_polarizing === true, axis: radians(finite(known.pbs_transmission_axis_deg)) };
  if (does === "dichroic") return { cutoff: finite(of.cutoff_wavelength_nm, 550), width: Math.max(1, finite(of.transition_width_nm, 50)), short: of.pass_type === "shortpass" };
  if (does === "waveplate") return { shift: radians(finite(known.phase_shift_deg, 90)), axis: radians(finite(known.fast_axis_deg)) };
  if (does === "block") return {};
  const plain = of.element_type === "refractive_interface" ? of : {};
  return { n1: Math.max(0.01, finite(plain.n1, 1)), n2: Math.max(0.01, finite(plain.n2, 1.5)) };
}

/** The surfaces of an item at this place that light meets. */
function elementsOf(data, { x, y, angle }) {
  if (isSource(data)) return [];
  const [cos, sin] = [Math.cos(radians(angle)), Math.sin(radians(angle))];
  const surfaces = surfacesOf(data);
  const unknown = surfaces.findIndex(({ does }) => does === "polariser" || does === "rotator");
  return (unknown < 0 ? surfaces : surfaces.slice(0, unknown)).map((surface) => {
    const { x1, y1, x2, y2, does } = surface;
    const [ax, ay, bx, by] = [x + x1 * cos + y1 * sin, y - x1 * sin + y1 * cos, x + x2 * cos + y2 * sin, y - x2 * sin + y2 * cos];
    const length = Math.hypot(ax - bx, ay - by);
    const [tx, ty] = length ? [(ax - bx) / length, (ay - by) / length] : [0, 0];
    // The middle of the surface and half its length; `ox`, `oy` is the centre of the circle that an arc belongs to.
    const element = { does, law: lawOf(surface), ax, ay, bx, by, tx, ty, cx: (ax + bx) / 2, cy: (ay + by) / 2, half: length / 2, r: Math.abs(surface.radius), ox: 0, oy: 0, from: 0, to: 0 };
    if (element.r && length) {
      const away = element.r < length / 2 ? 0 : Math.sqrt(element.r ** 2 - length ** 2 / 4) * Math.sign(surface.radius);
      element.ox = element.cx + away * ty;
      element.oy = element.cy - away * tx;
      [element.from, element.to] = [wholeAngle(ay - element.oy, ax - element.ox), wholeAngle(by - element.oy, bx - element.ox)];
    }
    return element;
  });
}

/** Of the two arcs between the ends: the one that is at most half a circle. */
function onArc({ from, to }, angle) {
  const [span, inside] = to >= from ? [to - from, from - 1e-9 <= angle && angle <= to + 1e-9] : [2 * Math.PI - from + to, angle >= from - 1e-9 || angle <= to + 1e-9];
  return span > Math.PI ? !inside : inside;
}

/** How far a ray from (x, y) along the unit vector (vx, vy) goes until it meets a surface; 0 where it doesn't. */
function distanceTo(element, x, y, vx, vy) {
  const [dx, dy, half] = [element.cx - x, element.cy - y, element.half];
  const beside = dx * vy - dy * vx;
  if (beside > half + 1e-6 || -beside > half + 1e-6 || half < 5e-10) return 0;
  if (!element.r) {
    const { tx, ty } = element;
    const across = vy * tx - vx * ty;
    if (across < 1e-9 && across > -1e-9) return 0;
    const t = (dy * tx - dx * ty) / across;
    if (t <= 1e-9) return 0;
    const s = (x + t * vx - element.cx) * tx + (y + t * vy - element.cy) * ty;
    return s > half + 1e-7 || -s > half + 1e-7 ? 0 : t;
  }
  const [px, py] = [x - element.ox, y - element.oy];
  const b = px * vx + py * vy;
  const root = b * b - (px * px + py * py - element.r ** 2);
  if (root < 0) return 0;
  for (const t of [-b - Math.sqrt(root), -b + Math.sqrt(root)]) if (t > 1e-9 && onArc(element, wholeAngle(py + t * vy, px + t * vx))) return t;
  return 0;
}

/** The rays of a source, at its place: what each starts with. Every `step`th of them. */
function raysOf(data, { x, y, angle }, step = 1) {
  const size = finite(data.size_mm, 10);
  const count = size === 0 ? 1 : Math.max(1, Math.min(MOST_RAYS, Math.floor(finite(data.n_rays, 9))));
  const spread = data.n_rays <= 1 ? 0 : radians(finite(data.spread_deg));
  const base = -radians(angle);
  const start = { length: finite(data.ray_length_mm, 1000), wave: finite(data.wavelength_nm, 633), jones: jonesOf(data) };
  const rays = [];
  for (let n = 0; n < count; n += step) {
    const along = count > 1 ? n / (count - 1) : 0;
    const beside = count > 1 ? size * (along - 0.5) : 0;
    const turned = base + spread * (2 * along - 1);
    const [vx, vy] = [Math.cos(turned), Math.sin(turned)];
    rays.push({ ...start, n, x: x - beside * vy, y: y + beside * vx, vx, vy });
  }
  return rays;
}

/** Real and imaginary parts of the field along x and along y. */
function jonesOf(data) {
  if (data.use_custom_jones === true) {
    const part = (field, otherwise) => Math.max(-1e3, Math.min(1e3, finite(data[`custom_jones_${field}`], otherwise)));
    return [part("ex_real", 1), part("ex_imag", 0), part("ey_real", 0), part("ey_imag", 0)];
  }
  const half = Math.SQRT1_2;
  const angle = radians(finite(data.polarization_angle_deg));
  const type = isText(data.polarization_type) ? data.polarization_type.toLowerCase() : "";
  if (type === "vertical") return [0, 0, 1, 0];
  if (type === "+45" || type === "-45") return [half, 0, type === "+45" ? half : -half, 0];
  if (type === "circular_right" || type === "circular_left") return [half, 0, 0, type === "circular_right" ? half : -half];
  return type === "linear" ? [Math.cos(angle), 0, Math.sin(angle), 0] : [1, 0, 0, 0];
}

const reflected = ([xr, xi, yr, yi]) => [-xr, -xi, yr, yi];

/** A field through a plate that delays what is across its fast axis. */
function delayed([xr, xi, yr, yi], axis, shift) {
  const [c, s] = [Math.cos(axis), Math.sin(axis)];
  const [fr, fi, sr, si] = [c * xr + s * yr, c * xi + s * yi, c * yr - s * xr, c * yi - s * xi];
  const [dc, ds] = [Math.cos(shift), Math.sin(shift)];
  const [lr, li] = [sr * dc - si * ds, sr * ds + si * dc];
  return [c * fr - s * lr, c * fi - s * li, s * fr + c * lr, s * fi + c * li];
}

/** The part of a field along an axis, as a field of intensity 1, and the intensity it has. */
function projected([xr, xi, yr, yi], axis) {
  const [c, s] = [Math.cos(axis), Math.sin(axis)];
  const [r, i] = [c * xr + s * yr, c * xi + s * yi];
  const intensity = r * r + i * i;
  const scale = intensity > 1e-12 ? 1 / Math.sqrt(intensity) : 0;
  return [[r * c * scale, i * c * scale, r * s * scale, i * s * scale], intensity];
}

/** What leaves a surface: for each ray [vx, vy, intensity, jones]. */
function leaving({ does, law, tx, ty, cx, cy, r, ox, oy }, x, y, ray) {
  const { vx, vy, intensity, jones, wave } = ray;
  if (does === "block") return [];
  // The normal, and along the surface.
  const [nx, ny] = r ? [(x - ox) / r, (y - oy) / r] : [-ty, tx];
  const [ux, uy] = r ? [-ny, nx] : [tx, ty];
  const across = vx * nx + vy * ny;
  const mirrored = (part) => [vx - 2 * across * nx, vy - 2 * across * ny, intensity * part, reflected(jones)];
  const through = (part) => [vx, vy, intensity * part, jones];
  if (does === "mirror") return [mirrored(law.reflects)];
  if (does === "lens") {
    const side = across < 0 ? -1 : 1;
    const height = (x - cx) * ux + (y - cy) * uy;
    const angle = Math.atan2(vx * ux + vy * uy, across * side) - (Math.abs(law.focus) > 1e-12 ? height / law.focus : 0);
    const [cos, sin] = [Math.cos(angle) * side, Math.sin(angle)];
    return [[cos * nx + sin * ux, cos * ny + sin * uy, intensity, jones]];
  }
  // Rays to the right are delayed, those to the left the other way round, however the plate is turned.
  if (does === "waveplate") return [[vx, vy, intensity, delayed(jones, law.axis, -vx + Math.cos(Math.PI / 2) * vy < 0 ? law.shift : -law.shift)]];
  const least = LEAST_INTENSITY / intensity;
  if (does === "splitter" && law.polarising) {
    const [passing, passes] = projected(jones, law.axis);
    const [turned, reflects] = projected(jones, law.axis + Math.PI / 2);
    const back = mirrored(reflects);
    back[3] = turned.map((part) => -part);
    return [...(passes > least ? [[vx, vy, intensity * passes, passing]] : []), ...(reflects > least ? [back] : [])];
  }
  if (does === "splitter") return both(law.passes, law.reflects);
  if (does === "dichroic") {
    const reflects = wave > 0 ? 1 / (1 + Math.exp(((wave - law.cutoff) / law.width) * (law.short ? -1 : 1))) : 0.5;
    return both(1 - reflects, reflects);
  }
  // Snell and Fresnel, for light that is not polarised.
  const [from, into] = across < 0 ? [law.n1, law.n2] : [law.n2, law.n1];
  const [eta, cosine] = [from / into, Math.min(1, Math.abs(across))];
  const sine2 = eta * eta * (1 - cosine * cosine);
  if (sine2 > 1) return [mirrored(1)];
  const inner = Math.sqrt(1 - sine2);
  const part = (one, other) => ((one - other) / (one + other)) ** 2;
  const reflects = Math.min(1, 0.5 * (part(from * cosine, into * inner) + part(into * cosine, from * inner)));
  const bend = (eta * cosine - inner) * (across < 0 ? 1 : -1);
  const [bx, by] = [eta * vx + bend * nx, eta * vy + bend * ny];
  const length = Math.hypot(bx, by) || 1;
  return [...(1 - reflects > least ? [[bx / length, by / length, intensity * (1 - reflects), jones]] : []), ...(reflects > least ? [mirrored(reflects)] : [])];

  function both(passes, reflects) {
    return [...(passes > least ? [through(passes)] : []), ...(reflects > least ? [mirrored(reflects)] : [])];
  }
}

/** Middles and half lengths of these, three numbers each: most are passed over by these alone. */
function outlinesOf(elements) {
  const outlines = new Float64Array(3 * elements.length);
  elements.forEach(({ cx, cy, half }, n) => outlines.set([cx, cy, half + 1e-6], 3 * n));
  return outlines;
}

/**
 * The way of one ray: its legs `{ x1, y1, x2, y2, vx, vy, intensity, before, hit }`, where `before` is the number of the leg
 * that it goes on from (-1: it comes from the source), and its ends, each the number of its last leg and an intensity.
 */
function traceRay(start, elements, outlines = outlinesOf(elements)) {
  const [legs, ends] = [[], []];
  const stack = [{ ...start, intensity: 1, hits: 0, before: -1, last: null }];
  while (stack.length && legs.length < MOST_LEGS) {
    const ray = stack.pop();
    const { x, y, vx, vy, before, intensity } = ray;
    if (ray.hits >= MOST_HITS || !(intensity >= LEAST_INTENSITY) || ray.length <= 0) {
      if (before >= 0) ends.push([before, intensity]);
      continue;
    }
    let [nearest, way] = [null, ray.length];
    for (let n = 0, at = 0; n < elements.length; n++, at += 3) {
      const beside = (outlines[at] - x) * vy - (outlines[at + 1] - y) * vx;
      if (beside > outlines[at + 2] || -beside > outlines[at + 2]) continue;
      const element = elements[n];
      if (element === ray.last) continue;
      const t = distanceTo(element, x, y, vx, vy);
      if (t > NEAR && (nearest ? t < way : t <= way)) [nearest, way] = [element, t];
    }
    const [x2, y2] = [x + vx * way, y + vy * way];
    const leg = legs.push({ x1: x, y1: y, x2, y2, vx, vy, intensity, before, hit: nearest }) - 1;
    const next = nearest ? leaving(nearest, x2, y2, ray) : [];
    if (!next.length) ends.push([leg, intensity]);
    for (const [wx, wy, left, jones] of next) {
      stack.push({ x: x2 + wx * NEAR, y: y2 + wy * NEAR, vx: wx, vy: wy, intensity: left, jones, wave: ray.wave, length: LENGTH_AFTER_HIT, hits: ray.hits + 1, before: leg, last: nearest });
    }
  }
  return { legs, ends };
}

/** What of an item matters to light. */
const lightOf = (data, place) =>
  isSource(data) ? JSON.stringify([place, ...raysOf({ ...data, n_rays: 2 }, place), data.n_rays, colourOfSource(data)]) : JSON.stringify(elementsOf(data, place));

/**
 * All rays of a table, kept up to date: after a change only those are traced again that it can have to do with. `clock` gives
 * milliseconds.
 */
class Tracer {
  constructor(clock) {
    this.clock = clock;
    this.clear();
  }

  clear() {
    this.items = new Map(); // by id: what it was set to, its elements, and its rays where it is a source
    this.elements = [];
    this.moved = new Set(); // elements that are new or elsewhere, or are no more
    this.thin = this.leastThin = 1; // one ray in so many is traced
    this.late = 0; // how many times in a row time has run out
    this.stale = 0; // rays that are still to be traced
    this.unsorted = true; // `elements` is to be made anew
    this.cut = false; // there are more surfaces than rays are traced through
    this.gone = true; // rays that were there are no more
  }

  /** An item is like this now. */
  set(id, data, place) {
    const old = this.items.get(id);
    if (old && old.data === data && old.x === place.x && old.y === place.y && old.angle === place.angle) return;
    const { x, y, angle } = place;
    const source = isSource(data);
    if (old && old.data !== data && old.light === undefined) old.light = lightOf(old.data, old);
    const light = old && old.data !== data ? lightOf(data, { x, y, angle }) : undefined;
    const item = { data, x, y, angle, light, source, elements: old?.elements ?? [], rays: old?.rays ?? [] };
    this.items.set(id, item);
    if (light !== undefined && light === old.light && old.x === x && old.y === y && old.angle === angle) return;
    const elements = elementsOf(data, place);
    if (elements.length === item.elements.length) elements.forEach((each, n) => this.moved.add(Object.assign(item.elements[n], each)));
    else {
      for (const each of item.elements) this.moved.add(Object.assign(each, { half: 0 }));
      for (const each of elements) this.moved.add(each);
      item.elements = elements;
      this.unsorted = true;
    }
    if (!source && !old?.source) return;
    item.rays = this.newRays(item);
    this.stale += item.rays.length;
    this.gone = true;
  }

  /** The rays of a source; until they are traced they stay where they were. */
  newRays({ source, data, x, y, angle, rays }) {
    if (!source) return [];
    const [colour, old] = [colourOfSource(data), new Map(rays.map((ray) => [ray.start.n, ray]))];
    return raysOf(data, { x, y, angle }, this.thin).map((start) => ({ start, colour, legs: old.get(start.n)?.legs ?? [], stale: true }));
  }

  remove(id) {
    for (const each of this.items.get(id)?.elements ?? []) this.moved.add(Object.assign(each, { half: 0 }));
    this.unsorted = this.gone = this.items.delete(id) || this.unsorted;
  }

  /** Rays are thinned, or no longer. */
  setThin(thin) {
    if (thin === this.thin) return;
    this.thin = thin;
    for (const item of this.items.values()) {
      const old = new Map(item.rays.map((ray) => [ray.start.n, ray]));
      item.rays = this.newRays(item).map((ray) => old.get(ray.start.n) ?? ray);
    }
  }

  /** The rays, as far as they have been traced. */
  *rays() {
    for (const { rays } of this.items.values()) yield* rays;
  }

  /** Whether something is still to be traced. */
  get behind() {
    return this.moved.size > 0 || this.stale > 0 || this.unsorted || this.gone;
  }

  /**
   * Traces for at most about so many milliseconds. At rest all rays are traced, in several steps if need be; else they are
   * thinned where there is no time for all of them, or to draw them (`pressed`). True where a ray has changed.
   */
  trace(budget, atRest = true, pressed = false) {
    const end = this.clock() + budget;
    if (this.unsorted) {
      const all = [...this.items.values()].flatMap(({ elements }) => elements);
      this.cut = all.length > MOST_SURFACES_IN_ALL;
      this.elements = all.slice(0, MOST_SURFACES_IN_ALL);
    }
    if (this.unsorted || this.moved.size) this.outlines = outlinesOf(this.elements);
    this.unsorted = false;
    this.sift();
    if (atRest) this.setThin(this.leastThin);
    let [changed, total, legs] = [this.gone, 0, 0];
    this.gone = false;
    this.stale = 0;
    for (const ray of this.rays()) {
      total++;
      if (ray.stale && this.clock() < end) {
        ray.legs = traceRay(ray.start, this.elements, this.outlines).legs;
        ray.stale = false;
        changed = true;
      }
      legs += ray.legs.length;
      this.stale += ray.stale;
    }
    if (total > MOST_RAYS_IN_ALL || legs > MOST_LEGS_IN_ALL) this.leastThin = Math.min(MOST_THINNED, this.thin * 2);
    this.late = (this.stale || pressed) && !atRest ? this.late + 1 : 0;
    const sources = [...this.items.values()].reduce((sum, { source }) => sum + source, 0);
    // Of every source one ray is left.
    if ((this.late >= 3 || this.leastThin > this.thin) && total > sources) {
      this.late = 0;
      this.setThin(Math.max(this.leastThin, Math.min(MOST_THINNED, this.thin * 2)));
      this.stale = 1;
    }
    return changed;
  }

  /** Marks the rays that what has moved was hit by, or stands in the way of now. */
  sift() {
    const moved = [...this.moved];
    this.moved.clear();
    if (!moved.length) return;
    const all = moved.length > 200;
    for (const ray of this.rays()) {
      ray.stale ||= all || ray.legs.some(({ x1, y1, x2, y2, vx, vy, hit }) => {
        for (const each of moved) {
          if (each === hit) return true;
          const t = distanceTo(each, x1, y1, vx, vy);
          if (t > 0 && (x1 + vx * t - x2) * vx + (y1 + vy * t - y2) * vy < NEAR) return true;
        }
        return false;
      });
    }
  }
}
