// What an item looks like: parts to draw, in millimetres, for the canvas, for SVG and for thumbnails. Pure.
//
// A part is `{ d, tone, colour, fill, line, dash }`: a path in SVG's notation (y down, the item's own place at 0, 0, not turned
// yet), the name of a colour of the theme or a colour of its own, how opaque it is filled (0: not at all), and the width of its
// line in pixels, at any scale. On the screen `angle_deg` turns clockwise, as in the editor.

const MOST_SURFACES = 256; // of one item; an editor's largest part has ten

const finite = (value, otherwise = 0) => (Number.isFinite(value) ? Math.max(-1e9, Math.min(1e9, value)) : otherwise);
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const hasPicture = (data) => isText(data.image_path);
const placeOf = (data) => ({ x: millimetres(data.x_mm), y: millimetres(data.y_mm), angle: degrees(data.angle_deg) });

const DOES = new Map(Object.entries({ lens: "lens", mirror: "mirror", beam_splitter: "splitter", beamsplitter: "splitter", dichroic: "dichroic", waveplate: "waveplate", beam_block: "block" }));

/** What an interface does to light, in one word. The editor takes what it doesn't know for glass. */
function doesOf({ element_type: type, polarizer_subtype: subtype = "waveplate" }) {
  if (type !== "polarizing_interface") return DOES.get(type) ?? "glass";
  return subtype === "waveplate" ? "waveplate" : subtype === "faraday_rotator" ? "rotator" : "polariser";
}

/**
 * An item's interfaces as surfaces about its own place, y up, with all numbers finite. Where it has a picture its place is the
 * middle of its first interface. `radius` is 0 where a surface is straight; its centre lies to the left, seen from the first
 * end to the second, where it is positive.
 */
function surfacesOf(data) {
  const given = (Array.isArray(data.interfaces) ? data.interfaces : []).filter(isObject).slice(0, MOST_SURFACES);
  const surfaces = given.map((of) => {
    const radius = of.is_curved === true && Math.abs(of.radius_of_curvature_mm) > 1e-6 ? finite(of.radius_of_curvature_mm) : 0;
    return { of, does: doesOf(of), x1: finite(of.x1_mm), y1: finite(of.y1_mm), x2: finite(of.x2_mm, 10), y2: finite(of.y2_mm), radius };
  });
  if (!hasPicture(data) || !surfaces.length) return surfaces;
  const [{ x1, y1, x2, y2 }] = surfaces;
  const [dx, dy] = [(x1 + x2) / 2, (y1 + y2) / 2];
  return surfaces.map((each) => ({ ...each, x1: each.x1 - dx, y1: each.y1 - dy, x2: each.x2 - dx, y2: each.y2 - dy }));
}

const isSource = (data) => data._type === "source" || (data._type === undefined && data.item_type === "source");

/** What an item is drawn as. */
function drawnAs(data) {
  if (isSource(data)) return "source";
  const [first] = surfacesOf(data);
  return first?.does ?? (data.category === "background" ? "background" : "other");
}

const short3 = (value) => `${Math.round(value * 1000) / 1000}`;
/** A path through these points, y up; a string between them is a command. */
const pathOf = (...steps) => steps.map((step) => (typeof step === "string" ? step : `${short3(step[0])} ${short3(-step[1])}`)).join(" ");

/** An arc from here to the second end of a surface, or a straight line. */
function edgeTo({ x1, y1, x2, y2, radius }, backwards = false) {
  const to = backwards ? [x1, y1] : [x2, y2];
  const r = Math.abs(radius);
  if (!r || r < Math.hypot(x2 - x1, y2 - y1) / 2 || r > 1e7) return ["L", to];
  return [`A${short3(r)} ${short3(r)} 0 0 ${radius > 0 !== backwards ? 0 : 1}`, to];
}

/**
 * Points by their place along a surface (0 to 1 from end to end) and beside it, in millimetres to its right. `bow` is how far
 * its middle lies to its right.
 */
function along({ x1, y1, x2, y2, radius }) {
  const length = Math.hypot(x2 - x1, y2 - y1);
  const [ux, uy] = length ? [(x2 - x1) / length, (y2 - y1) / length] : [0, 1];
  const r = Math.abs(radius);
  const bow = r >= length / 2 && r <= 1e7 ? Math.sign(radius) * (r - Math.sqrt(r * r - (length * length) / 4)) : 0;
  return { length, bow, at: (share, beside = 0) => [x1 + (x2 - x1) * share + uy * beside, y1 + (y2 - y1) * share - ux * beside] };
}

/** A plate along a surface. */
function plate(at, half) {
  return pathOf("M", at(0, -half), "L", at(1, -half), at(1, half), at(0, half), "Z");
}

/** The parts of one surface. `alone`: it is the only one of its item. `middle` of the picture lies behind a mirror. */
function surfaceParts(surface, alone, middle) {
  const { of, does, x1, y1, x2, y2 } = surface;
  const { length, at, bow } = along(surface);
  const tone = does === "polariser" || does === "rotator" ? "waveplate" : does;
  const line = { d: pathOf("M", [x1, y1], ...edgeTo(surface)), tone, fill: 0, line: 2 };
  const area = (d, fill = 0.2, width = 1.4) => ({ d, tone, fill, line: width });
  if (does === "lens") {
    const focus = of.efl_mm === undefined ? 100 : of.efl_mm;
    if (!Number.isFinite(focus) || focus === 0) return [area(plate(at, length * 0.03)), line];
    const bulge = length * (0.07 + 0.07 * Math.min(1, length / Math.abs(focus)));
    if (focus > 0) return [area(pathOf("M", at(0), "Q", at(0.5, 2 * bulge), at(1), "Q", at(0.5, -2 * bulge), at(0), "Z")), { ...line, line: 1 }];
    const [rim, waist] = [bulge, -0.6 * bulge];
    return [area(pathOf("M", at(0, -rim), "L", at(0, rim), "Q", at(0.5, waist), at(1, rim), "L", at(1, -rim), "Q", at(0.5, -waist), at(0, -rim), "Z")), { ...line, line: 1 }];
  }
  if (does === "mirror") {
    // Its back is hatched: the side of the picture's middle.
    const toMiddle = (middle[0] - (x1 + x2) / 2) * (y2 - y1) - (middle[1] - (y1 + y2) / 2) * (x2 - x1);
    const deep = length * 0.09 * (toMiddle < -1e-6 * length ? -1 : 1);
    // An arc is about a parabola.
    const arc = (share, beside = 0) => at(share, beside + bow * 4 * share * (1 - share));
    const hatch = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((n) => ["M", arc((n + 0.6) / 8), "L", arc((n + 0.1) / 8, deep)]);
    return [{ ...line, d: pathOf(...hatch), line: 1 }, { ...line, line: 2.6 }];
  }
  if (does === "splitter" || does === "dichroic") {
    const [wide, high] = [Math.abs(x2 - x1), Math.abs(y2 - y1)];
    const marks = of.is_polarizing === true ? [{ ...line, d: pathOf("M", at(0.42, -length * 0.09), "L", at(0.42, length * 0.09), "M", at(0.58, -length * 0.09), "L", at(0.58, length * 0.09)), line: 1.4 }] : [];
    // The diagonal of a cube, or a plate.
    const isCube = alone && Math.min(wide, high) > 0.6 * Math.max(wide, high);
    const body = isCube ? pathOf("M", [x1, y1], "L", [x1, y2], [x2, y2], [x2, y1], "Z") : plate(at, length * 0.03);
    const second = does === "dichroic" ? [{ ...line, d: pathOf("M", at(0.06, length * 0.03), "L", at(0.94, length * 0.03)), line: 1, dash: [4, 3] }] : [];
    return [area(body, 0.15), line, ...second, ...marks];
  }
  if (does === "block") return [area(plate(at, Math.min(2, length * 0.06)), 0.85)];
  if (does === "glass") return [{ ...line, line: 1.6 }];
  // What turns or chooses polarisations is a plate, with marks: one for a quarter wave, two for a half; a polariser has a grid.
  const half = length * (does === "rotator" ? 0.12 : 0.045);
  const marks = { polariser: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], rotator: [0.3, 0.7], waveplate: finite(of.phase_shift_deg, 90) === 180 ? [0.44, 0.56] : [0.5] }[does];
  return [area(plate(at, half)), { ...line, d: pathOf(...marks.flatMap((share) => ["M", at(share, -half), "L", at(share, half)])), line: 1.2 }];
}

/** The glass between refracting surfaces: all around them where they are straight, from one to the next where some are curved. */
function glassOf(surfaces) {
  const glass = surfaces.filter(({ does }) => does === "glass");
  const around = (parts) => {
    let [x, y] = [parts[0].x1, parts[0].y1];
    const steps = [];
    for (const each of parts) {
      const backwards = Math.hypot(each.x2 - x, each.y2 - y) < Math.hypot(each.x1 - x, each.y1 - y);
      steps.push(steps.length ? "L" : "M", backwards ? [each.x2, each.y2] : [each.x1, each.y1], ...edgeTo(each, backwards));
      [x, y] = backwards ? [each.x1, each.y1] : [each.x2, each.y2];
    }
    return { d: pathOf(...steps, "Z"), tone: "glass", fill: 0.14, line: 0 };
  };
  if (glass.length < 2) return [];
  if (!glass.some(({ radius }) => radius)) return [around(glass)];
  return glass.slice(1).map((each, n) => around([glass[n], each]));
}

// The editor's tables and breadboards are drawn by a picture whose height is known, and whose width isn't.
const isLaserTable = (data) => /lasertable_1\.5m_3m/.test(data.image_path);

/**
 * What an item looks like: `kind`, `parts`, and `box`, what it covers about its place: left, top, right, bottom in millimetres,
 * y down, not turned.
 */
function shapeOf(data) {
  const kind = drawnAs(data);
  const given = isSource(data) ? finite(data.size_mm, 10) : finite(data.object_height_mm, 25);
  const size = Math.max(0.001, Math.min(1e6, Math.abs(given)));
  if (kind === "source") return sourceShape(data, size / 2);
  const half = size / 2;
  if (kind === "background" || kind === "other") {
    const wide = kind === "background" && isLaserTable(data) ? size : half;
    const d = pathOf("M", [-wide, half], "L", [wide, half], [wide, -half], [-wide, -half], "Z");
    const plain = kind === "background" ? { tone: "plate", fill: 0.5, line: 1.2 } : { tone: "other", fill: 0.15, line: 1.4, dash: [4, 3] };
    return { kind, parts: [{ d, ...plain }], box: [-wide, -half, wide, half] };
  }
  const surfaces = surfacesOf(data);
  // The middle of the picture in the item's own system; without a picture its right is the back.
  const [{ x1, y1 }] = surfaces;
  const first = data.interfaces.find(isObject);
  const middle = hasPicture(data) ? [x1 - finite(first.x1_mm), y1 - finite(first.y1_mm)] : [0, 0];
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  for (const each of surfaces) {
    const { at, length, bow } = along(each);
    const deep = length * 0.05;
    for (const [x, y] of [at(0), at(1), at(0.5, bow + deep), at(0.5, bow - deep)]) {
      [box[0], box[1], box[2], box[3]] = [Math.min(box[0], x), Math.min(box[1], -y), Math.max(box[2], x), Math.max(box[3], -y)];
    }
  }
  return { kind, parts: [...glassOf(surfaces), ...surfaces.flatMap((each) => surfaceParts(each, surfaces.length === 1, middle))], box };
}

const SOURCE_ARROW = 18; // millimetres

/** A bar as long as the source is wide, an arrow along its angle, and the outermost rays where they spread. */
function sourceShape(data, half) {
  const [colour, tone] = [colourOfSource(data), "source"];
  const [end, spread] = [SOURCE_ARROW, (Math.max(-180, Math.min(180, finite(data.spread_deg))) * Math.PI) / 180];
  const parts = [
    { d: pathOf("M", [0, half], "L", [0, -half]), tone, colour, fill: 0, line: 5 },
    { d: pathOf("M", [0, 0], "L", [end, 0], "M", [end - 5, 3], "L", [end, 0], [end - 5, -3]), tone, colour, fill: 0, line: 2.4 },
  ];
  if (spread) {
    const edge = (side) => ["M", [0, side * half], "L", [end * Math.cos(spread), side * (half + end * Math.sin(spread))]];
    parts.push({ d: pathOf(...edge(1), ...edge(-1)), tone, colour, fill: 0, line: 1.2 });
  }
  return { kind: "source", parts, box: [0, -Math.max(half, 3), end, Math.max(half, 3)] };
}

/** The colour of a source's rays: the one it has, or one for its wavelength. */
function colourOfSource({ color_hex: given, wavelength_nm: wave }) {
  if (typeof given === "string" && /^#[\da-f]{6}$/i.test(given)) return given.toLowerCase();
  if (!(wave > 0) || !Number.isFinite(wave)) return "#dc143c";
  // Red, green and blue by where a wavelength lies between colours that people call by a name.
  const stops = [[380, 110, 0, 190], [440, 40, 0, 255], [490, 0, 220, 255], [510, 0, 235, 60], [575, 240, 235, 0], [600, 255, 140, 0], [645, 235, 0, 0], [750, 140, 0, 0]];
  const at = Math.max(380, Math.min(749.9, wave));
  const next = stops.findIndex(([from]) => from > at);
  const [low, high] = [stops[next - 1], stops[next]];
  const share = (at - low[0]) / (high[0] - low[0]);
  return `#${[1, 2, 3].map((n) => Math.round(low[n] + (high[n] - low[n]) * share).toString(16).padStart(2, "0")).join("")}`;
}

/** What an item at this place covers: left, bottom, right, top in millimetres of the table. */
function coveredBy(box, { x, y, angle }) {
  const [cos, sin] = [Math.cos((angle * Math.PI) / 180), Math.sin((angle * Math.PI) / 180)];
  const covered = [Infinity, Infinity, -Infinity, -Infinity];
  for (const left of [box[0], box[2]]) {
    for (const top of [box[1], box[3]]) {
      const [across, up] = [x + left * cos - top * sin, y - left * sin - top * cos];
      [covered[0], covered[1], covered[2], covered[3]] = [Math.min(covered[0], across), Math.min(covered[1], up), Math.max(covered[2], across), Math.max(covered[3], up)];
    }
  }
  return covered;
}

/** Backgrounds first: they lie behind all else. */
const inOrder = (drawn) => [...drawn].sort((a, b) => (b.shape.kind === "background") - (a.shape.kind === "background"));

/**
 * The attributes of SVG's `path` elements that draw a part at this place, at this scale; `paint` gives a tone, or a colour of its own, the colour it is drawn in. An
 * item smaller than `least` pixels is a square of that size.
 */
function pathsOf({ shape, place }, toX, toY, scale, paint, least = 0) {
  const [left, top, right, bottom] = shape.box;
  const where = `translate(${short3(toX(place.x))} ${short3(toY(place.y))})`;
  if (Math.max(right - left, bottom - top) * scale < least) {
    const [{ tone, colour }] = shape.parts;
    return [{ d: `M${-least / 2} ${-least / 2}h${least}v${least}h${-least}z`, transform: where, fill: paint(tone, colour), stroke: "none" }];
  }
  return shape.parts.map(({ d, tone, colour, fill, line, dash }) => {
    const ink = paint(tone, colour);
    const attributes = { d, transform: `${where} rotate(${short3(place.angle)}) scale(${+scale.toPrecision(6)})`, fill: fill ? ink : "none", stroke: line ? ink : "none" };
    if (fill) attributes["fill-opacity"] = fill;
    if (line) attributes["stroke-width"] = +(line / scale).toPrecision(4);
    if (dash) attributes["stroke-dasharray"] = dash.map((each) => +(each / scale).toPrecision(4)).join(" ");
    return attributes;
  });
}

const THUMBNAIL_ITEMS = 400; // at most

/**
 * A small drawing of these items: the attributes of SVG's `path` elements for a `viewBox` of `0 0 width height`. Colours are
 * those of the page's theme.
 */
function thumbnail(items, width, height) {
  const drawn = inOrder([...items].filter(isObject).slice(0, THUMBNAIL_ITEMS).map((data) => ({ shape: shapeOf(data), place: placeOf(data) })));
  if (!drawn.length) return [];
  const bounds = boundsOf(drawn);
  const scale = Math.max(1e-9, Math.min(2, (width - 8) / Math.max(1, bounds[2] - bounds[0]), (height - 8) / Math.max(1, bounds[3] - bounds[1])));
  const [middleX, middleY] = [(bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2];
  const thin = (part) => ({ ...part, line: part.line && Math.max(0.7, part.line * 0.55) });
  return drawn.flatMap(({ shape, place }) => {
    const small = { ...shape, parts: shape.parts.map(thin) };
    return pathsOf({ shape: small, place }, (x) => (x - middleX) * scale + width / 2, (y) => (middleY - y) * scale + height / 2, scale, (tone, colour) => colour ?? `var(--${tone})`, 2.5);
  });
}

/** What these cover together: left, bottom, right, top in millimetres. */
function boundsOf(drawn) {
  const bounds = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { shape, place } of drawn) {
    const [left, low, right, high] = coveredBy(shape.box, place);
    [bounds[0], bounds[1], bounds[2], bounds[3]] = [Math.min(bounds[0], left), Math.min(bounds[1], low), Math.max(bounds[2], right), Math.max(bounds[3], high)];
  }
  return bounds;
}

/** A source's colour as it is drawn on this ground: a dark one is lighter on a dark ground, a bright one darker on a light one. */
function colourOn(colour, ground) {
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const bright = ([red, green, blue]) => (0.21 * red + 0.72 * green + 0.07 * blue) / 255;
  if (!/^#[\da-f]{6}$/i.test(ground)) return colour;
  const [own, below] = [parts(colour), bright(parts(ground))];
  const [light, far] = [bright(own), 0.28];
  if (Math.abs(light - below) >= far) return colour;
  // As much white or black as it takes.
  const to = below < 0.5 ? 255 : 0;
  const mixed = Math.min(1, (below < 0.5 ? below + far - light : light - below + far) / Math.abs(to / 255 - light || 1));
  return `#${own.map((part) => Math.round(part + (to - part) * mixed).toString(16).padStart(2, "0")).join("")}`;
}
