// What somebody did, in words: the same whether the page saw it or the API told of it later.

import assert from "node:assert/strict";
import { main, story } from "../outside/ws_story.mjs";
import { pure } from "./sources.mjs";

const { changesBetween, goesOn, listed, together, wordsFor } = pure(
  ["text", "items", "properties", "words"],
  ["changesBetween", "goesOn", "listed", "together", "wordsFor"],
);

const lens = (efl_mm, more = {}) => ({ name: "L", interfaces: [{ element_type: "lens", efl_mm }], ...more });
const update = (before, after, place = {}) => ({ action: "update_item", changes: changesBetween(before, after), ...place });
const said = (change) => {
  const words = wordsFor(change);
  return words && words.text + words.tail;
};

story("a property has its name, its unit and both values", () => {
  assert.equal(said(update(lens(50), lens(75))), "changed: focal length 50 → 75 mm");
  for (const [field, before, after, words] of [
    ["wavelength_nm", 633, 532.5, "wavelength 633 → 532.5 nm"],
    ["spread_deg", 0, 2, "spread 0 → 2°"],
    ["locked", false, true, "locked"],
    ["locked", true, false, "unlocked"],
    ["notes", null, "new", "notes none → “new”"],
    ["notes", undefined, "new", "notes “new”"],
    ["object_height_mm", -0.1234567891, Infinity, "height -0.1234568 → ∞ mm"],
    ["is_polarizing", false, true, "polarising no → yes"],
    ["reference_line_mm", [0, 1], [0, 2], "reference line 0, 1 → 0, 2 mm"],
    ["constructor", 1, 2, "constructor 1 → 2"],
    ["__made_up__", { a: 1 }, { a: 2 }, '__made_up__ {"a":1} → {"a":2}'],
    ["notes", "x".repeat(41), "y", "notes changed"],
    ["image_path", "a.png", "b.png", "picture changed"],
  ]) {
    const old = before === undefined ? {} : { [field]: before };
    assert.equal(said(update(old, { [field]: after })), `changed: ${words}`);
  }
  assert.equal(said({ action: "update_item", changes: [{ field: "notes", not_kept: true }] }), "changed: notes changed");
  assert.equal(said({ action: "update_item", changes: [{ field: "zoom", before: 2 }] }), "changed: zoom removed");
});

story("interfaces are compared one by one, and a further one says so", () => {
  const two = (n1) => ({ interfaces: [{ efl_mm: 1 }, { n1, n2: 1 }] });
  assert.equal(said(update(two(1), two(1.5))), "changed: interface 2: refractive index n1 1 → 1.5");
  assert.equal(said(update(lens(1), { ...lens(1), interfaces: [] })), "changed: interfaces 1 → 0");
  assert.equal(said(update({ interfaces: "nonsense" }, { interfaces: [1] })), "changed: interfaces “nonsense” → 1");
  assert.equal(said(update({ interfaces: [1] }, { interfaces: [null] })), "changed: interfaces[0] 1 → none");
});

story("a property may be called like what every object inherits", () => {
  for (const field of ["constructor", "toString", "hasOwnProperty", "__proto__"]) {
    const made = (value) => JSON.parse(`{"${field}":${value}}`);
    assert.equal(said(update({}, made(1))), `changed: ${field} 1`);
    assert.equal(said(update(made(1), {})), `changed: ${field} removed`);
    assert.equal(said(update(made(1), made('"a"'))), `changed: ${field} 1 → “a”`);
    const interfaces = [made(1), { element_type: field }];
    assert.equal(said(update({ interfaces: [{}, {}] }, { interfaces })), `changed: interface 2: element “${field}”, ${field} 1`);
    const [one, other] = listed({ interfaces });
    assert.deepEqual(one, { title: "Interface 1: interface", lines: [[field, "1"]] });
    assert.equal(other.title, `Interface 2: ${field.replaceAll("_", " ")}`);
    assert.equal(said({ action: field }), null);
  }
});

story("a property's name is cut where it is no name that people read", () => {
  const long = "n".repeat(100_000);
  assert.ok(said(update({}, { [long]: 1 })) === `changed: ${"n".repeat(60)} 1`);
  assert.equal(listed({ [long]: 1 })[0].lines[0][0].length, 60);
});

story("of many properties the first three are told, in one order however they came", () => {
  const [before, after] = [{ b: 1, a: 1, n_rays: 1, wavelength_nm: 1 }, { wavelength_nm: 2, a: 2, n_rays: 2, b: 2 }];
  const words = "changed: wavelength 1 → 2 nm, rays 1 → 2, a 1 → 2, …";
  assert.equal(said(update(before, after)), words);
  const change = update(before, after);
  assert.equal(said({ ...change, changes: change.changes.reverse() }), words);
  assert.equal(said({ action: "update_item", changes: [{ field: "a", before: 1, after: 2 }], more_changes: true }), "changed: a 1 → 2, …");
});

story("places, whole tables and what is no change", () => {
  const at = { x_mm: 12.34, y_mm: -5, angle_deg: 30 };
  assert.equal(said({ action: "add_item", ...at }), "added at (12.3, -5.0)");
  assert.equal(said({ action: "remove_item", ...at }), "removed");
  assert.equal(said({ action: "move_item", ...at, changes: changesBetween({ x_mm: 1 }, at) }), "moved to (12.3, -5.0)");
  assert.equal(said({ action: "update_item", ...at, changes: changesBetween({ ...at, angle_deg: 0 }, at) }), "turned to 30.0°");
  assert.equal(said({ ...update(lens(1), lens(2, at)), ...at }), "changed: focal length 1 → 2 mm, moved to (12.3, -5.0)");
  assert.equal(said({ action: "move_item", ...at, changes: [] }), null);
  assert.equal(said({ action: "made_up" }), null);
  assert.equal(said({ action: "restore", added: 1, changed: 0, removed: 2 }), "restored an earlier version: 1 item added, 2 items removed");
  assert.equal(said({ action: "import", added: 0, changed: 0, removed: 0 }), "imported a file: nothing differs");
  assert.equal(said({ action: "replace" }), "replaced the table");
});

story("what somebody goes on doing is one change, from the first value to the last", () => {
  const step = (from, to, at) => ({ ...update(lens(from), lens(to)), user_id: "a", at: new Date(at).toISOString() });
  const [one, two, three] = [step(50, 60, 0), step(60, 75, 2000), step(75, 50, 3000)];
  assert.ok(goesOn(one, two));
  assert.equal(said(together(one, two)), "changed: focal length 50 → 75 mm");
  assert.equal(said(together(together(one, two), three)), null, "back where it was");
  assert.ok(!goesOn(one, { ...three, at: new Date(2001).toISOString() }));
  assert.ok(!goesOn(one, { ...two, user_id: "b" }) && !goesOn({ ...one, action: "add_item" }, two));
  assert.equal(together({ ...one, action: "move_item" }, two).action, "move_item");
});

story("an item's panel lists its properties with their units, interface by interface", () => {
  const item = {
    uuid: "i", item_type: "component", name: "Cube", x_mm: 1, locked: false, object_height_mm: 25.4, z_value: 0, made_up: "x",
    interfaces: [
      { x1_mm: 0, y1_mm: 3, x2_mm: 4, y2_mm: 0, element_type: "beam_splitter", split_T: 50, name: "" },
      { element_type: "refractive_interface", radius_of_curvature_mm: Infinity, name: "back" },
      null,
    ],
  };
  assert.deepEqual(listed(item), [
    { title: "", lines: [["height", "25.4 mm"], ["layer", "0"], ["made_up", "x"]] },
    { title: "Interface 1: beam splitter", lines: [["transmission", "50 %"], ["from, to", "(0, 3), (4, 0) mm"], ["length", "5 mm"]] },
    { title: "Interface 2: refracting surface", lines: [["name", "back"], ["radius of curvature", "∞ mm"]] },
  ]);
  assert.deepEqual(listed({ interfaces: { 0: 1 } }), []);
  assert.equal(listed({ notes: "n".repeat(1000) })[0].lines[0][1].length, 300);
});

main();
