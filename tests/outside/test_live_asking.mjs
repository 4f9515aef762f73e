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

const PANEL = "#chosen";
const chosenId = (table) => table.page.evaluate(() => session.chosen);

atPage("an item is chosen by search and keyboard alone, and its panel tells all of it", async ({ look, member }) => {
  const alice = await member("asking", "alice").joined();
  const source = item("s", "source", "", 0, 0, 0, 6);
  const both = lens("l2", "L2 f=50", 30);
  both.interfaces.push({ ...both.interfaces[0], element_type: "refractive_interface", n1: 1, n2: 1.5 });
  await alice.table([source, lens("l1", "L1 f=50", -30), both, item("m", "mirror", "M1", 1e5, 5, 45)]);
  const table = await look(sessionPage("asking"));
  await table.shows("M1", "#items button");
  const { keyboard } = table.page;
  await table.page.locator("#lively").focus();
  await keyboard.press("/");
  await keyboard.type("LENS l");
  await table.shows("2 of 4 items found", "#items-more");
  assert.deepEqual(await table.page.locator("#items button").allInnerTexts(), ["L1 f=50", "L2 f=50"]);
  await keyboard.press("ArrowDown");
  await keyboard.press("ArrowDown");
  await keyboard.press("Enter");
  await table.shows("L2 f=50", `${PANEL} h2`);
  for (const text of ["Lens", "(30.0, 0.0) mm", "0.0°", "no", "40 mm", "by alice", "Interface 1: lens", "50 mm", "refracting surface", "1.5", "l2"])
    await table.shows(text, PANEL);
  assert.equal(await table.page.locator("#items [aria-current]").innerText(), "L2 f=50");
  await alice.command("update_item", "l2", { interfaces: lens("l2", "", 0, 75).interfaces, locked: true });
  await table.shows("75 mm", PANEL);
  await table.shows("yes", PANEL);
  await keyboard.press("Escape");
  await table.until("nothing to be chosen", () => session.chosen === undefined && document.querySelector("#chosen").hidden);
  // By kind and by id; what is out of sight comes into it.
  await table.page.evaluate(() => Object.assign(view, { x: 0, y: 0, scale: 1, follows: false }));
  await keyboard.press("/");
  await keyboard.type("mirror");
  await keyboard.press("Enter");
  await table.until("the mirror in view", () => session.chosen === "m" && view.x === 100000);
  await table.page.locator("#search").fill("s");
  await table.page.locator("#search").fill("nothing like this");
  await table.shows("None of 4 items found", "#items-more");
  await table.page.locator("#search").press("Escape");
  assert.equal(await chosenId(table), "m", "the first Escape is the search's");
  await table.until("all of them", () => document.querySelectorAll("#items tr").length === 4);
  // Somebody else removes it.
  await alice.command("remove_item", "m", {});
  await table.shows("alice removed it", PANEL);
  await table.page.getByRole("button", { name: "Let go" }).click();
  await table.page.locator("#search").fill("source");
  await table.page.locator("#search").press("Enter");
  for (const text of ["Source", "633 nm", "1500 mm", "rays"]) await table.shows(text, PANEL);
  assert.deepEqual(await table.barriers(), []);
  await table.page.evaluate(() => (document.execCommand = (what) => (window.copied = what + getSelection())));
  await table.page.getByRole("button", { name: "Copy id" }).click();
  assert.equal(await table.page.evaluate(() => window.copied), "copys");
});

atPage("1,200 items are usable: a part is listed, and the others are found", async ({ look, member }) => {
  const alice = await member("crowd", "alice").joined();
  await alice.table(Array.from({ length: 1200 }, (_, n) => item(`i${n}`, "lens", `item ${n}`, (n % 40) * 60, Math.floor(n / 40) * 60)));
  const table = await look(sessionPage("crowd"));
  await table.shows("The first 500 of 1,200 items are listed", "#items-more");
  assert.equal(await table.page.locator("#items tr").count(), 500);
  await table.page.locator("#search").fill("item 1199");
  await table.page.locator("#search").press("Enter");
  await table.shows("item 1199", `${PANEL} h2`);
  // A click on the table's item does the same, whatever the list shows.
  await table.page.evaluate(() => choose("i7"));
  await table.shows("item 7", `${PANEL} h2`);
});

atPage("a person is followed until somebody moves the view", async ({ look, member }) => {
  const alice = await member("follow", "alice").joined();
  const bob = await member("follow", "bob").joined();
  await alice.table([lens("l", "L1", 0), item("m", "mirror", "M1", 300, 0)]);
  const table = await look(sessionPage("follow"), { viewport: { width: 320, height: 700 } });
  await table.shows("L1", "#items button");
  const button = table.page.getByRole("button", { name: "Follow bob" });
  await button.focus();
  await table.page.keyboard.press("Enter");
  await table.shows("Following bob", "#following");
  const isInSight = (id) => table.until(`${id} in sight`, (id) => inSight(scene.get(id), 0), id);
  await bob.command("move_item", "l", { x_mm: 9000, y_mm: -4000, angle_deg: 0 });
  await isInSight("l");
  // What others do moves nothing.
  const where = await table.page.evaluate(() => [view.x, view.y]);
  await alice.command("move_item", "m", { x_mm: -9000, y_mm: 0, angle_deg: 0 });
  await table.until("the mirror's move", () => scene.get("m").toX === -9000);
  assert.deepEqual(await table.page.evaluate(() => [view.x, view.y]), where);
  bob.send({ type: "cursor", x: -5000, y: 100 });
  await table.until("bob's cursor in sight", () => Math.abs(view.x + 5000) < 1);
  assert.equal(await button.getAttribute("aria-pressed"), "true");
  assert.equal(await table.page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
  assert.deepEqual(await table.barriers(), []);
  await table.page.locator("#lively").press("ArrowLeft");
  await table.until("nobody to be followed", () => document.querySelector("#following").hidden);
  assert.equal(await button.getAttribute("aria-pressed"), "false");
  await button.click();
  await table.page.getByRole("button", { name: "Stop", exact: true }).click();
  await table.until("nobody to be followed", () => document.querySelector("#following").hidden);
  await button.click();
  bob.end();
  await table.until("bob to be gone", () => document.querySelector("#following").hidden && session.members.size === 1);
});

atPage("the past has dates, versions with their reason, and the difference to now in words and outlines", async ({ look, member }) => {
  const alice = await member("past", "alice").joined();
  await alice.table([lens("l", "L1", 0), lens("k", "L2", 60), item("m", "mirror", "M1", 100, 0)]);
  await alice.command("move_item", "l", { x_mm: 10, y_mm: 0, angle_deg: 0 });
  await alice.command("update_item", "k", { interfaces: lens("k", "L2", 60, 75).interfaces });
  await alice.command("remove_item", "m", {});
  await alice.command("add_item", "n", item("n", "source", "", -50, 0));
  const table = await look(sessionPage("past"));
  await table.until("the last change", () => Number(document.querySelector("#moment").max) === 7);
  await table.until("the axis' dates", () => document.querySelectorAll("#ticks text").length >= 1);
  await table.until("the version's mark", () => document.querySelector("#ticks .version title")?.textContent.includes("the table was replaced"));
  assert.match(await table.page.locator("#versions option").nth(1).innerText(), /the table was replaced · alice$/);
  // Moments that are near each other have one label: none lies over another, with days or without.
  for (const span of [1000, 1e8]) {
    const labels = await table.page.evaluate((span) => {
      const wide = document.querySelector("#ticks").clientWidth;
      const places = [0, 130, 260, 390, wide - 130, wide].map((place) => Math.round(place * 10));
      session.times = new Map(places.map((place, n) => [1 + place, Date.parse("2026-10-28T22:22:22Z") + n * span]));
      fillTicks({ versions: [] }, 1, 1 + wide * 10);
      return [...document.querySelectorAll("#ticks text")].map((node) => node.getBoundingClientRect()).map(({ left, right }) => [left, right]);
    }, span);
    assert.ok(labels.length >= 2 && labels.every(([left], n) => !n || left > labels[n - 1][1]), JSON.stringify(labels));
  }
  // Step by step, by keyboard.
  const earlier = table.page.getByRole("button", { name: "One change earlier" });
  await earlier.focus();
  await table.page.keyboard.press("Enter");
  await table.shows("As it was after change 6", "#when");
  await table.shows("by alice: removed M1", "#when");
  await table.shows("1 added", "#since-sum");
  await table.page.keyboard.press("Enter");
  await table.shows("by alice: changed L2: focal length 50 → 75 mm", "#when");
  await table.shows("1 removed, 1 added", "#since-sum");
  await table.page.keyboard.press("Enter");
  await table.shows("by alice: moved L1 to (10.0, 0.0)", "#when");
  await table.page.keyboard.press("Enter");
  await table.shows("As it was after change 3", "#when");
  const since = () => table.page.locator("#since li").allInnerTexts();
  await table.shows("1 removed, 1 added, 1 moved, 1 changed", "#since-sum");
  assert.deepEqual(await since(), ["−removed M1 by alice", "+added Source at (-50.0, 0.0)", "→moved L1 to (10.0, 0.0)", "≠changed L2: focal length 50 → 75 mm"]);
  // Each kind has a line of its own, whatever its colour.
  const dashes = await table.page.evaluate(() => {
    const seen = [];
    const own = quick.setLineDash;
    quick.setLineDash = (dash) => seen.push(String(dash));
    drawDifferences(quick);
    quick.setLineDash = own;
    return seen.filter((_, n) => n % 2 === 0);
  });
  assert.equal(new Set(dashes).size, 4);
  // Cursors belong to now, and what happens now is in the difference.
  alice.send({ type: "cursor", x: 30, y: 40 });
  await table.until("the cursor to be known", () => cursors.has("alice"));
  await table.until("a frame", () => !framed && (redraw(), true));
  const drawn = await table.page.evaluate(() => {
    const seen = [];
    const own = quick.fillText;
    quick.fillText = (text) => seen.push(text);
    drawLively(performance.now());
    quick.fillText = own;
    return seen;
  });
  assert.ok(!drawn.some((text) => text.includes("alice")) && drawn.includes("+"), `${drawn}`);
  await alice.command("update_item", "k", { locked: true });
  await table.shows("changed L2: locked, focal length", "#since");
  assert.deepEqual(await table.barriers(), []);
  await table.page.setViewportSize({ width: 320, height: 700 });
  assert.equal(await table.page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
  // A moment that is typed, in local time: the state of that second, and a future one is now.
  const typed = await table.page.evaluate(() => localTime(session.past.at + 1000));
  const goTo = table.page.getByLabel("Date and time");
  await goTo.fill("2001-01-01T00:00:00");
  await table.shows("can’t be shown", "#when");
  await goTo.fill("2100-01-01T00:00:00");
  await table.shows("Now. Drag to look back", "#when");
  await goTo.fill(typed);
  await table.until("a moment of the past, or now", () => session.past?.items || !session.past);
  await table.page.getByRole("button", { name: "Now", exact: true }).click();
  await table.until("the present", () => document.querySelector("#since-box").hidden && scene.has("n") && !session.past);
  table.expected.push(/status of 404/);
}, stored);

atPage("a link shows the session, the moment, the item and the view; old and bad ones work", async ({ look, member }) => {
  const alice = await member("a link?", "alice").joined();
  await alice.table([lens("l", "L1", 0), item("m", "mirror", "M1", 100, 0)]);
  await alice.command("move_item", "l", { x_mm: 10, y_mm: 0, angle_deg: 0 });
  const table = await look(sessionPage("a link?"));
  await table.shows("L1", "#items button");
  const entries = await table.page.evaluate(() => history.length);
  await table.page.locator("#items button", { hasText: "M1" }).click();
  await table.page.locator("#lively").press("+");
  await table.page.getByRole("button", { name: "One change earlier" }).click();
  await table.until("the address", () => /at=2&view=[^&]+&item=m$/.test(location.hash));
  const shown = () => table.page.evaluate(() => [session.past?.seq, session.chosen, view.x.toFixed(0), view.scale.toPrecision(3)]);
  const before = await shown();
  assert.equal(await table.page.evaluate(() => history.length), entries, "no entry of the history");
  const other = await look(await table.page.evaluate(() => location.hash));
  await other.shows("As it was after change 2", "#when");
  await other.shows("M1", "#chosen h2");
  assert.deepEqual(await other.page.evaluate(() => [session.past?.seq, session.chosen, view.x.toFixed(0), view.scale.toPrecision(3)]), before);
  assert.equal(await other.page.evaluate(() => scene.get("l").toX), 0);
  // Back to now, let go, and fit: the plain address again.
  await other.page.getByRole("button", { name: "Now", exact: true }).click();
  await other.page.getByRole("button", { name: "Fit" }).click();
  await other.page.getByRole("button", { name: "Let go" }).click();
  await other.until("the plain address", () => location.hash === "#/session/a%20link%3F");
  const odd = await look(`${sessionPage("a link?")}?at=99999&view=1,nonsense&item=gone&more=1`);
  odd.expected.push(/status of 404/);
  await odd.shows("L1", "#items button");
  await odd.until("now, all of it in view", () => !session.past && view.follows && scene.size === 2);
  await odd.isLive();
}, stored);

atPage("who removed an item is told, and whoever may brings it back by keyboard", async ({ look, member }) => {
  const alice = await member("back", "alice").joined();
  const bob = await member("back", "bob").joined();
  await alice.table([lens("l", "L1", 0, 75), item("m", "mirror", "M1", 100, 0)]);
  const table = await look(sessionPage("back"));
  await table.page.locator("#items button", { hasText: "L1" }).click();
  await table.shows("L1", "#chosen h2");
  await bob.command("remove_item", "l", {});
  await table.shows("bob removed it", PANEL);
  await table.shows("bob removed L1", "#changes");
  const button = table.page.getByRole("button", { name: "Bring it back L1" });
  await button.focus();
  // Others go on; the focus stays.
  await alice.command("move_item", "m", { x_mm: 90, y_mm: 0, angle_deg: 0 });
  await table.shows("alice moved M1", "#changes");
  assert.deepEqual(await table.barriers(), []);
  await table.page.keyboard.press("Enter");
  await table.until("the lens", () => scene.get("l")?.data.interfaces[0].efl_mm === 75);
  await table.shows("collabd added L1 at (0.0, 0.0)", "#changes");
  assert.equal(await table.page.getByRole("button", { name: "Bring it back" }).count(), 0);
  await table.until("the panel to say no more of it", () => document.querySelector("#chosen-lost").hidden);
  await bob.command("remove_item", "l", {});
  await table.page.locator("#bring-back").click();
  await table.until("the lens again", () => scene.has("l"));
});

atPage(
  "who may only read sees who removed an item, and no button",
  async ({ look, member, reading, writing }) => {
    const alice = await member("guarded", "alice", `/key/${writing}`).joined();
    await alice.table([lens("l", "L1", 0)]);
    await alice.command("remove_item", "l", {});
    const table = await look(sessionPage("guarded"));
    table.expected.push(/status of 401/);
    const field = table.page.locator("#key-dialog").getByLabel("Key");
    await field.fill(reading);
    await field.press("Enter");
    await table.shows("alice removed L1", "#changes");
    await table.until("what the key permits", () => session.may === false);
    assert.equal(await table.page.getByRole("button", { name: "Bring it back" }).count(), 0);
  },
  (desk) => {
    desk.reading = desk.keys.make("reads", "read");
    desk.writing = desk.keys.make("writes", "write");
    return ["--keys", desk.keys.path, "--require-key"];
  },
);

atPage(
  "of a session that nothing was changed in yet the page asks for no versions",
  async ({ look, member }) => {
    const alice = await member("new", "alice").joined();
    const table = await look(sessionPage("new"));
    const asked = () => table.page.waitForResponse((response) => response.url().endsWith("/api/sessions/new"));
    await table.shows("alice", "#members");
    // Each round asks for the session first, and then for the rest. A page complains of what isn't found.
    for (let round = 0; round < 3; round++) await asked();
    assert.ok(!(await table.page.locator("#timeline").isVisible()));
    await alice.command("add_item", "l", lens("l", "L1", 0));
    await table.until("the timeline", () => document.querySelector("#timeline").checkVisibility());
  },
  stored,
);

await main(closeBrowser);
