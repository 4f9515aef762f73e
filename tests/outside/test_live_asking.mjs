// The live page in Chromium: what it says of an item, of who did what, and of what was before.

import assert from "node:assert/strict";
import path from "node:path";
import { closeBrowser } from "./browser.mjs";
import { atPage, item, sessionPage } from "./live_page.mjs";
import { main } from "./ws_story.mjs";

const stored = ({ keys }) => ["--data-dir", path.join(keys.folder, "data")];
const lens = (id, name, x, efl_mm = 50) => {
  const one = item(id, "lens", name, x, 0);
  return { ...one, interfaces: [{ ...one.interfaces[0], efl_mm }] };
};
const lines = (table) => table.page.locator("#changes li p").allInnerTexts();

atPage("what was done is told in the same words when it is seen and after a reload", async ({ look, member, server }) => {
  const alice = await member("words", "alice").joined();
  await alice.table([lens("l", "L1", 0), lens("m", "L2", 100)]);
  const table = await look(sessionPage("words"));
  await table.shows("L1", "#items button");
  const { interfaces } = lens("l", "L1", 0, 60);
  await alice.command("update_item", "l", { interfaces });
  await alice.command("update_item", "l", { interfaces: lens("l", "L1", 0, 75).interfaces, locked: true });
  await table.shows("alice changed L1: locked, focal length 50 → 75 mm", "#changes");
  for (const x_mm of [10, 20]) await alice.command("move_item", "m", { x_mm, y_mm: 0, angle_deg: 0 });
  await table.shows("alice moved L2 to (20.0, 0.0)", "#changes");
  await alice.command("add_item", "n", item("n", "mirror", "M1", 5, 5));
  await alice.command("remove_item", "n", {});
  await table.shows("alice removed M1", "#changes");
  const restored = await fetch(`http://127.0.0.1:${server.port}/api/sessions/words/versions`).then((page) => page.json());
  const to = restored.versions[0].seq;
  const done = await fetch(`http://127.0.0.1:${server.port}/api/sessions/words/restore?to=${to}`, { method: "POST" });
  assert.equal(done.status, 200);
  await table.shows("collabd restored an earlier version", "#changes");
  const before = await lines(table);
  assert.deepEqual(before, [
    "collabd restored an earlier version: 2 items changed",
    "alice removed M1",
    "alice added M1 at (5.0, 5.0)",
    "alice moved L2 to (20.0, 0.0)",
    "alice changed L1: locked, focal length 50 → 75 mm",
    "alice replaced the table: 2 items added",
  ]);
  await table.page.reload();
  await table.shows("alice moved L2", "#changes");
  assert.deepEqual(await lines(table), before);
}, stored);

await main(closeBrowser);
