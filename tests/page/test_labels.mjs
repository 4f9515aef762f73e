// Names beside items: none covers another.

import assert from "node:assert/strict";
import { main, story } from "../outside/ws_story.mjs";
import { pure } from "./sources.mjs";

const { placeLabels } = pure(["labels"], ["placeLabels"]);
const item = (x, y, width = 80, size = 30) => ({ box: [x - size / 2, y - size / 2, x + size / 2, y + size / 2], width });
const area = ({ x, y }, { width }) => [x - width / 2, y - 11, x + width / 2, y + 3];
const apart = (one, other) => one[2] <= other[0] || other[2] <= one[0] || one[3] <= other[1] || other[3] <= one[1];

story("no two names overlap, all are whole, and where there is room all are there", () => {
  let seed = 5;
  const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
  for (let round = 0; round < 60; round++) {
    const wanted = Array.from({ length: 200 }, () => item(random(1000) - 50, random(700) - 50, 20 + random(180), 1 + random(90)));
    const placed = placeLabels(wanted, 900, 600);
    assert.equal(placed.length, wanted.length);
    const areas = placed.flatMap((spot, n) => (spot ? [area(spot, wanted[n])] : []));
    assert.ok(areas.length > 20);
    for (const [n, one] of areas.entries()) {
      assert.ok(one[0] >= 0 && one[1] >= 0 && one[2] <= 900 && one[3] <= 600);
      for (const other of areas.slice(n + 1)) assert.ok(apart(one, other), `${one} and ${other}`);
    }
  }
  const row = [100, 300, 500].map((x) => item(x, 300));
  assert.deepEqual(placeLabels(row, 900, 600), row.map(({ box }) => ({ x: (box[0] + box[2]) / 2, y: 329 })));
});

story("a name stands beside its item where another is below", () => {
  const [below, above] = placeLabels([item(100, 100), item(100, 100)], 900, 600);
  assert.ok(below.y > 115 && above.y < 85);
  // Items in sight of it are left free, if that is possible.
  const [first] = placeLabels([item(100, 100), item(100, 130, 10)], 900, 600);
  assert.ok(first.y < 100 || first.x !== 100, JSON.stringify(first));
});

story("the name of a table that fills the window is in sight; what is out of sight has none", () => {
  const [table, far] = placeLabels([{ box: [-5000, -5000, 5000, 5000], width: 60 }, item(2000, 100)], 900, 600);
  assert.ok(table.x > 0 && table.x < 200 && table.y > 400 && table.y < 600);
  assert.equal(far, null);
  assert.deepEqual(placeLabels([{ box: [-1e12, -1e12, 1e12, 1e12], width: 60 }], 900, 600).length, 1);
});

main();
