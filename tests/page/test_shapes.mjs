// What items look like: real items in the editor's shape, and what a client could send instead.

import assert from "node:assert/strict";
import { main, story } from "../outside/ws_story.mjs";
import { pure } from "./sources.mjs";

const { colourOfSource, colourOn, coveredBy, drawnAs, placeOf, shapeOf, surfacesOf, thumbnail } = pure(
  ["text", "shapes"],
  ["colourOfSource", "colourOn", "coveredBy", "drawnAs", "placeOf", "shapeOf", "surfacesOf", "thumbnail"],
);

const component = (...interfaces) => ({
  _type: "component", item_uuid: "i", x_mm: 100, y_mm: 50, angle_deg: 0, locked: false, z_value: 0, name: "I", category: "misc",
  object_height_mm: 50, mm_per_pixel: 0.05, image_path: "", notes: null, interfaces,
});
const upright = (does, more) => ({ x1_mm: 0, y1_mm: 25, x2_mm: 0, y2_mm: -25, element_type: does, name: "", ...more });
const source = { _type: "source", item_uuid: "s", x_mm: 0, y_mm: 0, angle_deg: 0, size_mm: 6, n_rays: 5, color_hex: "#00ff00", wavelength_nm: 532 };

/** Every number in the paths of a shape. */
const numbers = ({ parts }) => parts.flatMap(({ d }) => d.match(/-?[\d.]+(e[-+]?\d+)?|NaN|Infinity|undefined|null/g));

story("an item is drawn as what its interface is", () => {
  const kinds = {
    lens: upright("lens", { efl_mm: 100 }),
    mirror: upright("mirror", { reflectivity: 99 }),
    splitter: upright("beam_splitter", { split_T: 50, split_R: 50, is_polarizing: false }),
    dichroic: upright("dichroic", { cutoff_wavelength_nm: 550 }),
    waveplate: upright("polarizing_interface", { polarizer_subtype: "waveplate", phase_shift_deg: 90 }),
    polariser: upright("polarizing_interface", { polarizer_subtype: "linear_polarizer" }),
    rotator: upright("polarizing_interface", { polarizer_subtype: "faraday_rotator" }),
    glass: upright("refractive_interface", { n1: 1, n2: 1.5 }),
    block: upright("beam_block"),
  };
  const pictures = new Set();
  for (const [kind, does] of Object.entries(kinds)) {
    assert.equal(drawnAs(component(does)), kind);
    pictures.add(JSON.stringify(shapeOf(component(does)).parts.map(({ d }) => d)));
  }
  assert.equal(pictures.size, Object.keys(kinds).length, "no two look the same");
  assert.equal(drawnAs(source), "source");
  assert.equal(drawnAs({ ...component(), category: "background" }), "background");
  assert.equal(drawnAs(component()), "other");
});

story("a lens looks as the sign of its focal length says, a cube as its diagonal", () => {
  const wide = (efl_mm) => {
    const shape = shapeOf(component(upright("lens", { efl_mm })));
    return shape.parts[0].d;
  };
  assert.match(wide(100), /^M 0 -25 Q -[1-9]\S* \S+ 0 25 Q [1-9]/, "bulges outward, and ends in a point");
  assert.match(wide(-100), /^M [1-9.]+ -25 L -[1-9.]+ -25 Q [1-9]/, "has a rim, and is narrow in the middle");
  assert.notEqual(wide(100), wide(20));
  assert.match(wide(Infinity), /Z$/);
  const diagonal = { x1_mm: -12.7, y1_mm: 12.7, x2_mm: 12.7, y2_mm: -12.7, element_type: "beam_splitter" };
  assert.equal(shapeOf(component(diagonal)).parts[0].d, "M -12.7 -12.7 L -12.7 12.7 12.7 12.7 12.7 -12.7 Z");
  const polarizing = shapeOf(component({ ...diagonal, is_polarizing: true })).parts.length;
  assert.equal(polarizing, shapeOf(component(diagonal)).parts.length + 1, "a polarising one has a mark");
});

story("with a picture the place is the middle of the first interface, and a mirror's back is where its picture is", () => {
  const mirror = { x1_mm: -18.5, y1_mm: -13.6, x2_mm: -18.5, y2_mm: 13.6, element_type: "mirror" };
  const [bare] = surfacesOf(component(mirror));
  assert.deepEqual([bare.x1, bare.y1, bare.x2, bare.y2], [-18.5, -13.6, -18.5, 13.6]);
  const pictured = { ...component(mirror), image_path: "images/mirror.png" };
  const [surface] = surfacesOf(pictured);
  assert.deepEqual([surface.x1, surface.y1, surface.x2, surface.y2], [0, -13.6, 0, 13.6]);
  const hatched = (item) => Math.sign(numbers(shapeOf(item)).map(Number)[2]);
  assert.equal(hatched(pictured), 1);
  const other = { ...mirror, x1_mm: 18.5, x2_mm: 18.5 };
  assert.equal(hatched({ ...component(other), image_path: "images/mirror.png" }), -1);
});

story("angles turn clockwise on the screen, as in the editor", () => {
  const shape = shapeOf(source);
  // The arrow of a source points along its angle: at 90° down.
  const [left, low, right, high] = coveredBy(shape.box, placeOf({ x_mm: 10, y_mm: 20, angle_deg: 90 })).map((each) => +each.toFixed(6));
  assert.deepEqual([left, low, right, high], [7, 2, 13, 20]);
});

story("a curved surface is an arc on the side of its centre", () => {
  const arc = (radius_of_curvature_mm) => shapeOf(component(upright("refractive_interface", { n1: 1, n2: 1.5, is_curved: true, radius_of_curvature_mm }))).parts[0].d;
  // From the upper end to the lower; the centre of a positive radius lies to the left of that way: at positive x.
  assert.equal(arc(60), "M 0 -25 A60 60 0 0 0 0 25");
  assert.equal(arc(-60), "M 0 -25 A60 60 0 0 1 0 25");
  for (const straight of [10, 0, Infinity, NaN, "60", null]) assert.equal(arc(straight), "M 0 -25 L 0 25", `${straight}`);
  const lens = component(
    upright("refractive_interface", { is_curved: true, radius_of_curvature_mm: 60 }),
    { ...upright("refractive_interface", { is_curved: true, radius_of_curvature_mm: -60 }), x1_mm: 8, x2_mm: 8 },
  );
  assert.equal(shapeOf(lens).parts[0].d, "M 0 -25 A60 60 0 0 0 0 25 L 8 25 A60 60 0 0 0 8 -25 Z", "glass between two of them");
});

story("a source has its colour, or one for its wavelength", () => {
  assert.equal(colourOfSource(source), "#00ff00");
  assert.equal(colourOfSource({}), "#dc143c");
  for (const color_hex of ["red", "url(#x)", "#12", 5, null, "#00ff00;x"]) assert.equal(colourOfSource({ color_hex }), "#dc143c", `${color_hex}`);
  for (const wavelength_nm of [1e-9, 200, 380, 440, 532, 633, 749.95, 750, 1064, 1e300]) assert.match(colourOfSource({ wavelength_nm }), /^#[\da-f]{6}$/);
  assert.match(colourOfSource({ wavelength_nm: 450 }), /^#.{4}f/);
  assert.equal(colourOfSource({ wavelength_nm: Infinity }), "#dc143c");
});

story("whatever a client sends is drawn with finite numbers", () => {
  const odd = [undefined, null, NaN, Infinity, -Infinity, 1e308, -1e308, 1e-308, 0, "12", "", "constructor", "__proto__", [], [[]], {}, true];
  let seed = 7;
  const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
  const any = () => odd[random(odd.length)];
  const types = ["lens", "mirror", "beam_splitter", "dichroic", "polarizing_interface", "refractive_interface", "beam_block", "constructor", "toString"];
  for (let n = 0; n < 4000; n++) {
    const item = random(2) ? component() : { ...source };
    for (const field of ["_type", "x_mm", "y_mm", "angle_deg", "object_height_mm", "size_mm", "spread_deg", "image_path", "color_hex", "wavelength_nm"]) if (!random(3)) item[field] = any();
    const interfaces = () => ({ ...upright(random(4) ? types[random(types.length)] : any()), [["x1_mm", "y1_mm", "x2_mm", "y2_mm"][random(4)]]: any(), efl_mm: any(), is_curved: any(), radius_of_curvature_mm: any(), phase_shift_deg: any(), polarizer_subtype: any(), is_polarizing: any() });
    item.interfaces = random(5) ? Array.from({ length: random(4) }, () => (random(6) ? interfaces() : any())) : any();
    const shape = shapeOf(item);
    assert.ok([...numbers(shape), ...shape.box, ...coveredBy(shape.box, placeOf(item))].every((each) => Number.isFinite(Number(each))), JSON.stringify(item));
    assert.ok(shape.parts.length > 0);
    if (n % 10 === 0) assert.ok(!/NaN|Infinity|undefined/.test(JSON.stringify(thumbnail([item, any(), source], 200, 100))), JSON.stringify(item));
  }
});

story("a thumbnail shows the table, backgrounds behind, within its size", () => {
  const table = { ...component(), category: "background", name: "Laser Table", object_height_mm: 1500, image_path: "images/lasertable_1.5m_3m.png" };
  const paths = thumbnail([source, table, component(upright("lens", { efl_mm: 100 }))], 200, 100);
  assert.equal(paths[0].fill, "var(--plate)");
  assert.ok(paths.every(({ d, transform }) => d.startsWith("M") && transform.startsWith("translate(")));
  // What would be too small to see is a small square.
  assert.ok(paths.some(({ d }) => /^M-1.25 -1.25h2.5/.test(d)));
  assert.deepEqual(thumbnail([], 200, 100), []);
  assert.ok(thumbnail(Array.from({ length: 5000 }, () => source), 200, 100).length < 2000);
});

story("a source's colour is seen on a light and on a dark ground", () => {
  const bright = (hex) => [0.21, 0.72, 0.07].reduce((sum, share, n) => sum + share * parseInt(hex.slice(1 + 2 * n, 3 + 2 * n), 16), 0) / 255;
  for (const ground of ["#fbfcfd", "#10161c"]) {
    for (const colour of ["#000000", "#ffffff", "#dc143c", "#00ff00", "#0000ff", "#ffff00", "#226622", "#8800aa", "#808080"]) {
      const drawn = colourOn(colour, ground);
      assert.ok(/^#[\da-f]{6}$/.test(drawn) && Math.abs(bright(drawn) - bright(ground)) > 0.27, `${colour} on ${ground}: ${drawn}`);
    }
    assert.equal(colourOn("#dc143c", "#fbfcfd"), "#dc143c");
    assert.equal(colourOn("#00ff00", "#10161c"), "#00ff00");
  }
  assert.equal(colourOn("#00ff00", "rgb(1, 2, 3)"), "#00ff00");
});

main();
