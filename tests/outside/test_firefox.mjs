// The live page in Firefox: that what is told of it in Chromium isn't Chromium's alone.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { closeFirefox, FirefoxLook } from "./firefox.mjs";
import { atPage as atAnyPage, item, sessionPage } from "./live_page.mjs";
import { main } from "./ws_story.mjs";

const ENTER = "\uE007";
const tables = JSON.parse(readFileSync(fileURLToPath(new URL("../page/fixtures/tables.json", import.meta.url)), "utf8"));
const settled = (page) => page.until("the picture", () => !framed && !tracer.behind && !view.stale && !lively.size);

/** A story at the live page in Firefox. */
const atPage = (title, tell, options) =>
  atAnyPage(title, (desk) => {
    desk.look = async (...where) => desk.own(await FirefoxLook.open(desk.server, ...where));
    return tell(desk);
  }, options);

/** Where an item is in the window. */
const placeOf = (page, id) =>
  page.evaluate((id) => {
    const { left, top } = document.querySelector("#lively").getBoundingClientRect();
    const { x, y } = scene.get(id);
    return [left + view.width / 2 + (x - view.x) * view.scale, top + view.height / 2 - (y - view.y) * view.scale];
  }, id);

/** How many dots of a canvas are drawn at all. */
const dots = (page, canvas) =>
  page.evaluate((canvas) => {
    const { width, height } = document.getElementById(canvas);
    const { data } = document.getElementById(canvas).getContext("2d").getImageData(0, 0, width, height);
    return data.filter((value, n) => n % 4 === 3 && value).length;
  }, canvas);

atPage("ten tables are drawn with all their items and beams", async ({ look, member }) => {
  const alice = await member("tables", "alice").joined();
  const page = await look(sessionPage("tables"));
  for (const { name, items } of tables) {
    await alice.table(items);
    await page.until(name, (ids) => scene.size === ids.length && ids.every((id) => scene.has(id)), items.map(({ item_uuid }) => item_uuid));
    await settled(page);
    assert.ok((await dots(page, "still")) > 100, name);
    assert.ok((await dots(page, "beams")) > 100, name);
  }
});

atPage("what others do is seen at once, and told", async ({ look, member }) => {
  const alice = await member("bench", "alice").joined();
  await alice.table([{ ...item("s", "source", "", 0, 0), size_mm: 4 }, item("l", "lens", "L1", 200, 0), item("m", "mirror", "M1", 400, 0)]);
  const page = await look(sessionPage("bench"));
  await page.isLive();
  await page.shows("alice", "#members");
  await alice.command("move_item", "l", { x_mm: 260, y_mm: 0, angle_deg: 0 });
  await page.until("the lens in its new place", () => scene.get("l").x === 260);
  await alice.command("update_item", "l", { interfaces: [{ ...item("l", "lens", "L1", 0, 0).interfaces[0], efl_mm: 75 }] });
  await page.shows("focal length 100 → 75 mm", "#changes");
  await alice.command("remove_item", "m", {});
  await page.shows("alice removed M1", "#changes");
  await page.click("#changes button");
  await page.until("the mirror to be back", () => scene.has("m"));
});

atPage("an item is chosen by a click and by keyboard, and the view is moved by a drag", async ({ look, member }) => {
  const alice = await member("bench", "alice").joined();
  await alice.table([item("l", "lens", "L1", 0, 0), item("m", "mirror", "M1", 300, 100)]);
  const page = await look(sessionPage("bench"));
  await page.until("the table", () => scene.size === 2);
  await settled(page);
  await page.drag(await placeOf(page, "l"));
  await page.shows("L1", "#chosen h2");
  await page.shows("100 mm", "#chosen");
  await page.type("/", "M1", ENTER);
  await page.shows("M1", "#chosen h2");
  const [x, y] = await placeOf(page, "m");
  const before = await page.evaluate(() => view.x);
  await page.drag([x - 60, y + 60], [x - 30, y + 60], [x + 20, y + 60]);
  await page.until("the view to move", (before) => view.x < before, before);
});

atPage(
  "a saved file is uploaded, and what it replaced is looked at and restored",
  async ({ look, member, keys, server }) => {
    const alice = await member("bench", "alice").joined();
    await alice.table([item("l", "lens", "L1", 0, 0), item("m", "mirror", "M1", 300, 0)]);
    const page = await look(sessionPage("bench"));
    await page.shows("Manage this session", "#manage");
    const file = path.join(keys.folder, "design.json");
    const nothing = { rulers: [], texts: [], rectangles: [], path_measures: [], groups: [] };
    writeFileSync(file, JSON.stringify({ version: "2.0", items: [item("n", "mirror", "M2", 100, 0)], ...nothing }));
    await page.setFiles("#file", file);
    await page.shows("take the place of those in bench", "#ask-text");
    await page.click("#ask-yes");
    await page.shows("design.json is in bench: 1 item.", "#done");
    await page.until("the uploaded table", () => scene.size === 1 && scene.has("n"));
    // Three changes: two items went, one came.
    await page.until("the timeline", () => document.querySelector("#moment").value === "5");
    await page.click("#earlier");
    await page.shows("As it was after change 4", "#when");
    await page.shows("From then to now", "#since-box");
    await page.click("#now");
    await page.until("the table as it is", () => scene.size === 1);
    await page.click("#restore");
    await page.until("the question", () => document.querySelector("#ask-dialog select"));
    await page.click("#ask-yes");
    await page.shows("bench was restored: 2 items.", "#done");
    const { items } = await (await fetch(`http://127.0.0.1:${server.port}/api/sessions/bench/state`)).json();
    assert.deepEqual(items.map(({ uuid }) => uuid).sort(), ["l", "m"]);
  },
  ({ keys }) => ["--data-dir", path.join(keys.folder, "data")],
);

await main(closeFirefox);
