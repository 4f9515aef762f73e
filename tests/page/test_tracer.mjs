// The page's ray tracer beside the editor's own: ten tables, in the shape that the editor saves, with the paths that its ray
// tracer makes of them (points in millimetres, opacity of 255, colour).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { main, story } from "../outside/ws_story.mjs";
import { pure } from "./sources.mjs";

const { Tracer, colourOfSource, elementsOf, isSource, placeOf, raysOf, traceRay } = pure(
  ["text", "shapes", "tracer"],
  ["Tracer", "colourOfSource", "elementsOf", "isSource", "placeOf", "raysOf", "traceRay"],
);
const tables = JSON.parse(readFileSync(new URL("fixtures/tables.json", import.meta.url), "utf8"));

const FAR = 0.1; // millimetres that a point may be off
const LEAST = 0.03; // of intensity: what is compared

/** All paths of a table as the editor counts them: from the source to each end. */
function pathsOf(items) {
  const elements = items.flatMap((item) => elementsOf(item, placeOf(item)));
  return items.filter(isSource).flatMap((source) =>
    raysOf(source, placeOf(source)).flatMap((start) => {
      const { legs, ends } = traceRay(start, elements);
      return ends.map(([last, intensity]) => {
        const points = [legs[last].x2, legs[last].y2];
        for (let leg = legs[last]; leg; leg = legs[leg.before]) {
          const from = legs[leg.before];
          // The editor's points are those where surfaces are met.
          points.unshift(...(from ? [from.x2, from.y2] : [leg.x1, leg.y1]));
        }
        return { points, intensity, colour: colourOfSource(source) };
      });
    }),
  );
}

const same = (one, other) =>
  one.points.length === other.points.length &&
  one.colour === other.colour &&
  Math.abs(one.intensity - other.intensity) < 0.006 &&
  one.points.every((_, n) => n % 2 || Math.hypot(one.points[n] - other.points[n], one.points[n + 1] - other.points[n + 1]) <= FAR);

/** The paths of `some` above 3 % that none of `others` is like; each is like one at most. */
function missing(some, others) {
  const left = new Set(others);
  return some.filter((path) => {
    if (path.intensity <= LEAST) return false;
    const found = [...left].find((other) => same(path, other));
    return !left.delete(found);
  });
}

const told = (paths) => paths.map(({ points, intensity, colour }) => `${colour} ${intensity.toFixed(4)} ${points.map((each) => each.toFixed(3)).join(" ")}`).join("\n");

for (const { name, items, paths } of tables)
  story(`the rays of the table "${name}" are the editor's`, () => {
    const theirs = paths.map(([points, alpha, colour]) => ({ points, intensity: (alpha + 0.5) / 255, colour }));
    const ours = pathsOf(items);
    assert.ok(theirs.filter(({ intensity }) => intensity > LEAST).length > 5);
    const [lost, added] = [missing(theirs, ours), missing(ours, theirs)];
    assert.ok(!lost.length && !added.length, `the editor alone has\n${told(lost)}\nthe page alone has\n${told(added)}`);
  });

story("the tables have every kind of element", () => {
  const types = new Set(tables.flatMap(({ items }) => items.flatMap(({ interfaces = [] }) => interfaces.map((each) => each.element_type))));
  for (const type of ["lens", "mirror", "beam_splitter", "dichroic", "polarizing_interface", "refractive_interface", "beam_block"]) assert.ok(types.has(type), type);
  assert.equal(tables.length, 10);
});

/** What a tracer draws, without what it is drawn by. */
const drawnBy = (tracer) => [...tracer.rays()].map(({ colour, legs }) => [colour, ...legs.map(({ x1, y1, x2, y2, intensity }) => [x1, y1, x2, y2, intensity])]);
const still = () => 0; // a clock by which no time passes

function fresh(items) {
  const tracer = new Tracer(still);
  for (const item of items) tracer.set(item.item_uuid, item, placeOf(item));
  tracer.trace(1);
  return tracer;
}

story("after any change the rays are those of the table as it is now", () => {
  let seed = 11;
  const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
  for (const { items } of tables) {
    const now = new Map(items.map((item) => [item.item_uuid, item]));
    const tracer = fresh(items);
    for (let step = 0; step < 60; step++) {
      const item = items[random(items.length)];
      const id = item.item_uuid;
      if (random(8) === 0) now.delete(id);
      else {
        const changed = { ...(now.get(id) ?? item), x_mm: item.x_mm + random(200) - 100, angle_deg: random(360) };
        if (random(4) === 0 && changed.interfaces?.length) changed.interfaces = [...changed.interfaces, { ...changed.interfaces[0], y2_mm: random(9) }].slice(random(2));
        if (random(5) === 0) Object.assign(changed, { n_rays: 1 + random(9), color_hex: "#00ff00", wavelength_nm: 400 + random(300) });
        now.set(id, changed);
      }
      now.has(id) ? tracer.set(id, now.get(id), placeOf(now.get(id))) : tracer.remove(id);
      tracer.trace(1);
      assert.equal(tracer.behind, false);
      const order = ([one], [other]) => (one < other ? -1 : 1);
      const [ours, theirs] = [drawnBy(tracer), drawnBy(fresh(now.values()))].map((rays) => rays.map((ray) => [JSON.stringify(ray)]).sort(order));
      assert.deepEqual(ours, theirs);
    }
  }
});

story("only what a change can have to do with is traced again, and nothing after a change that light doesn't see", () => {
  const { items } = tables.find(({ name }) => name === "laser table");
  const tracer = fresh(items);
  const whole = [...tracer.rays()];
  const before = whole.map(({ legs }) => legs);
  const lens = items.find(({ category }) => category === "lenses");
  tracer.set(lens.item_uuid, { ...lens, name: "another name", notes: "n", z_value: 4 }, placeOf(lens));
  assert.equal(tracer.behind, false, "nothing to do");
  assert.equal(tracer.trace(1), false);
  const far = { ...lens, item_uuid: "far", x_mm: 5000, y_mm: 5000 };
  tracer.set("far", far, placeOf(far));
  assert.equal(tracer.trace(1), false, "far from every ray");
  assert.ok(whole.every(({ legs }, n) => legs === before[n]));
  // A block just behind one source is met by its rays alone.
  const source = items.find(isSource);
  const { x, y, vx, vy } = whole[1].start;
  const block = { _type: "component", item_uuid: "b", x_mm: x + vx, y_mm: y + vy, angle_deg: source.angle_deg, interfaces: [{ x1_mm: 0, y1_mm: 1, x2_mm: 0, y2_mm: -1, element_type: "beam_block" }] };
  tracer.set("b", block, placeOf(block));
  assert.equal(tracer.trace(1), true);
  assert.deepEqual(whole.flatMap(({ legs }, n) => (legs === before[n] ? [] : [n])), [1]);
  // A source that is new or gone is all there is to do.
  tracer.set("new", { ...source, item_uuid: "new", y_mm: 9000 }, { x: 0, y: 9000, angle: 0 });
  assert.equal(tracer.behind, true);
  assert.equal(tracer.trace(1), true);
  tracer.remove("new");
  assert.equal(tracer.behind, true);
  assert.equal(tracer.trace(1), true);
  assert.equal(tracer.behind, false);
});

const plate = (element_type, x_mm, more) => ({ _type: "component", item_uuid: `${element_type} ${x_mm}`, x_mm, y_mm: 0, angle_deg: 0, interfaces: [{ x1_mm: 0, y1_mm: 50, x2_mm: 0, y2_mm: -50, element_type, ...more }] });
const lamp = { _type: "source", item_uuid: "s", x_mm: 0, y_mm: 0, angle_deg: 0, size_mm: 6, n_rays: 5, ray_length_mm: 1500, spread_deg: 0, color_hex: "#dc143c", wavelength_nm: 633 };

story("a table whose rays multiply without end is traced to a bound", () => {
  const splitters = Array.from({ length: 40 }, (_, n) => plate("beam_splitter", 10 + n, { split_T: 1e300, split_R: 100 }));
  const elements = splitters.flatMap((item) => elementsOf(item, placeOf(item)));
  const [ray] = raysOf(lamp, placeOf(lamp));
  assert.equal(traceRay(ray, elements).legs.length, 600);
  const tracer = fresh([...splitters, ...Array.from({ length: 60 }, (_, n) => ({ ...lamp, item_uuid: `s${n}` }))]);
  for (let step = 0; step < 20; step++) tracer.trace(1);
  assert.ok(tracer.thin > 1, "it is thinned, and says so");
  assert.ok([...tracer.rays()].reduce((sum, { legs }) => sum + legs.length, 0) <= 100_000 * 2.5);
  assert.equal(raysOf({ ...lamp, n_rays: 1e9 }, placeOf(lamp)).length, 2001);
});

story("a table of more surfaces than anybody has is traced through the first of them, and says so", () => {
  const many = (count) => Array.from({ length: count }, (_, n) => ({ ...plate("lens", 10 + n), item_uuid: `${n}` }));
  const crowded = fresh([lamp, ...many(6000)]);
  assert.deepEqual([crowded.cut, crowded.elements.length], [true, 5000]);
  assert.equal(fresh([lamp, ...many(4999)]).cut, false);
});

story("whatever a client sends, rays have finite places", () => {
  const odd = [undefined, null, NaN, Infinity, -Infinity, 1e308, -1e308, 1e-308, 0, -1, "12", "", "__proto__", [], {}, true];
  let seed = 3;
  const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
  const any = () => odd[random(odd.length)];
  const types = ["lens", "mirror", "beam_splitter", "dichroic", "polarizing_interface", "refractive_interface", "beam_block", "x"];
  const fields = ["x1_mm", "y1_mm", "x2_mm", "y2_mm", "efl_mm", "reflectivity", "split_T", "split_R", "is_polarizing", "pbs_transmission_axis_deg", "cutoff_wavelength_nm", "transition_width_nm", "pass_type", "n1", "n2", "is_curved", "radius_of_curvature_mm", "phase_shift_deg", "fast_axis_deg"];
  const places = ["x_mm", "y_mm", "angle_deg"];
  const beams = ["size_mm", "n_rays", "ray_length_mm", "spread_deg", "wavelength_nm", "polarization_type", "polarization_angle_deg", "use_custom_jones", "custom_jones_ex_real"];
  let legs = 0;
  for (let n = 0; n < 1000; n++) {
    const source = { ...lamp, use_custom_jones: random(2) === 0 };
    for (const field of [...places, ...beams]) if (random(12) === 0) source[field] = any();
    if (!(source.n_rays <= 9)) source.n_rays = 9;
    const parts = Array.from({ length: 4 }, (_, k) => {
      const part = plate(random(9) ? types[random(types.length)] : any(), 50 + 40 * k, { is_curved: random(2) === 0, radius_of_curvature_mm: 80 });
      for (const field of fields) if (random(12) === 0) part.interfaces[0][field] = any();
      for (const field of places) if (random(20) === 0) part[field] = any();
      return part;
    });
    const tracer = fresh([source, ...parts.map((part, k) => ({ ...part, item_uuid: `${k}` }))]);
    for (const ray of tracer.rays())
      for (const { x1, y1, x2, y2, intensity } of ray.legs) {
        assert.ok([x1, y1, x2, y2, intensity].every(Number.isFinite), JSON.stringify([source, parts]));
        legs++;
      }
  }
  assert.ok(legs > 5000);
});

story("where time runs out rays are thinned, and at rest all of them are traced", () => {
  const lenses = Array.from({ length: 20 }, (_, n) => plate("lens", 10 + 20 * n, { efl_mm: 500 }));
  let now = 0;
  const tracer = new Tracer(() => (now += 0.1)); // each look at this clock takes 0.1 ms
  const sources = Array.from({ length: 30 }, (_, n) => ({ ...lamp, item_uuid: `s${n}`, n_rays: 10 }));
  for (const item of [...lenses, ...sources]) tracer.set(item.item_uuid, item, placeOf(item));
  for (let step = 0; step < 200; step++) {
    tracer.set("lens 10", lenses[0], { x: 10, y: step, angle: 0 });
    const began = now;
    tracer.trace(2, false);
    // It looks at the clock once for each ray that is still to be traced.
    assert.ok(now - began < 2 + 0.1 * 300);
  }
  assert.ok(tracer.thin >= 8, `${tracer.thin}`);
  const few = [...tracer.rays()].length;
  assert.ok(few <= 60 && few >= 30, `${few}: some of every source`);
  let steps = 0;
  do {
    tracer.trace(4);
    steps++;
  } while (tracer.behind);
  assert.ok(steps > 5 && tracer.thin === 1);
  assert.ok([...tracer.rays()].length === 300 && [...tracer.rays()].every(({ stale }) => !stale));
});

main();
