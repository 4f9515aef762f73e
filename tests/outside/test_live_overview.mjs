// The live page in Chromium: the overview of many sessions, and of a server that is gone.

import assert from "node:assert/strict";
import { closeBrowser } from "./browser.mjs";
import { atPage, item, sessionPage } from "./live_page.mjs";
import { main } from "./ws_story.mjs";

const NARROW = { viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
// A card that isn't in sight yet has no inner text.
const names = (look) => look.page.locator(".card h3").allTextContents();

/** What a page asks of the API about documents: which sessions', and how many at one time at most. */
function watchStates(page) {
  const seen = { asked: [], atOnce: 0 };
  let open = 0;
  const isState = (request) => request.url().endsWith("/state");
  page.on("request", (request) => {
    if (!isState(request)) return;
    seen.asked.push(decodeURIComponent(request.url().split("/").at(-2)));
    seen.atOnce = Math.max(seen.atOnce, ++open);
  });
  for (const end of ["requestfinished", "requestfailed"]) page.on(end, (request) => (open -= isState(request)));
  return seen;
}

atPage("sessions are filtered and sorted, and each says how to join it", async ({ look, member, server }) => {
  const alice = await member("table 10", "alice").joined();
  await alice.table([item("l", "lens", "Lens f=100", 0, 0)]);
  const bob = await member("table 9", "bob").joined();
  await bob.table([item("l", "lens", "L", 0, 0), item("m", "mirror", "M1", 300, 0)]);
  await member("bench", "carol").joined();
  await member("bench", "dan").joined();
  const page = await look();
  await page.until("three cards", () => document.querySelectorAll(".card").length === 3);
  await page.page.mouse.move(5, 5);
  const sort = page.page.getByLabel("Sort by");
  for (const [by, order] of [
    ["items", ["table 9", "table 10", "bench"]],
    ["name", ["bench", "table 9", "table 10"]],
    ["last change", ["table 9", "table 10", "bench"]],
    ["people", ["bench", "table 9", "table 10"]],
  ]) {
    await sort.selectOption({ label: by });
    assert.deepEqual(await names(page), order, by);
  }
  const filter = page.page.getByLabel("Filter");
  await filter.fill("TABLE");
  assert.deepEqual(await names(page), ["table 9", "table 10"]);
  await page.shows("2 sessions", "#spoken");
  await filter.fill("dan");
  assert.deepEqual(await names(page), ["bench"]);
  await filter.fill("nobody like this");
  await page.shows("matches the filter", "#none");
  await filter.fill("");
  const join = page.page.getByRole("button", { name: "Join table 10", exact: true });
  await join.focus();
  await join.press("Enter");
  await page.shows("Join “table 10” from Optiverse", "#how-title");
  assert.equal(await page.page.evaluate(() => document.activeElement.id), "how-title");
  assert.deepEqual(await page.page.evaluate(() => [document.querySelector("#session-name").value, document.querySelector("#page-url").value]), [
    "table 10",
    `http://127.0.0.1:${server.port}/#/session/table%2010`,
  ]);
  await page.page.getByRole("button", { name: "How to join" }).click();
  await page.until("the session to be default again", () => document.querySelector("#session-name").value === "default");
});

atPage("who leaves a session just when its address is noted is at the overview", async ({ look, member }) => {
  await member("bench", "alice").joined();
  const page = await look(sessionPage("bench"));
  await page.isLive();
  await page.page.evaluate(() => {
    // The time is up after the address is another one, and before the browser says so.
    clearTimeout(noting);
    noting = null;
    const wait = window.setTimeout;
    let note = null;
    window.setTimeout = (act) => (note = act);
    noteAddress();
    window.setTimeout = wait;
    location.hash = "#/";
    note();
  });
  await page.shows("bench", ".card");
  assert.match(page.page.url(), /#\/$/);
});

atPage("thumbnails are of the tables in sight, fetched one at a time and after a change", async ({ look, member }) => {
  const many = [];
  for (let n = 0; n < 30; n++) {
    const one = await member(`t${n}`, "alice").joined();
    await one.table([item("l", "lens", "Lens", 0, 0), item("m", "mirror", "M1", 300, 200), item("s", "source", "", -200, 0)]);
    many.push(one);
  }
  const page = await look("#/session/t0");
  await page.isLive();
  const seen = watchStates(page.page);
  await page.page.setViewportSize({ width: 420, height: 700 });
  await page.page.evaluate(() => (location.hash = "#/"));
  const drawn = () => [...cards].filter(([, { picture }]) => picture.children.length > 2).map(([id]) => id);
  const inSight = () => [...cards].filter(([, { node }]) => node.getBoundingClientRect().top < innerHeight && node.getBoundingClientRect().bottom > 0).map(([id]) => id);
  await page.until("the cards", () => document.querySelectorAll(".card").length === 30);
  await page.page.evaluate(() => document.querySelector(".card").scrollIntoView());
  const first = await page.page.evaluate(inSight);
  await page.until("their drawings", (ids) => ids.every((id) => cards.get(id).picture.children.length > 2), first);
  assert.ok(first.length > 1 && (await page.page.evaluate(drawn)).length < 30, "only what is in sight is fetched");
  assert.equal(seen.atOnce, 1);
  assert.equal(new Set(seen.asked).size, seen.asked.length, "each once");
  // What is changed is drawn anew.
  const [id] = first;
  const before = await page.page.evaluate((id) => cards.get(id).drawn, id);
  await many[Number(id.slice(1))].command("move_item", "m", { x_mm: -300, y_mm: 0, angle_deg: 0 });
  await page.until("the new drawing", ([id, before]) => cards.get(id).drawn !== before, [id, before]);
  const twice = seen.asked.filter((each, n) => seen.asked.indexOf(each) !== n);
  assert.deepEqual(twice, [id]);
  // What comes into sight is drawn, too.
  await page.page.evaluate(() => document.querySelector(".card:last-child").scrollIntoView());
  await page.until("the last one's drawing", () => [...cards.values()].at(-1).picture.children.length > 2);
  assert.equal(seen.atOnce, 1);
});

atPage("a hundred sessions can be used on a narrow phone, and enlarged to 200 %", async ({ look, member }) => {
  for (let n = 0; n < 100; n++) await member(`session ${n} ${n === 7 ? "with-a-name-that-is-very-long-and-has-no-space-in-it".repeat(2) : ""}`, `user ${n}`).joined();
  const phone = await look("", NARROW);
  await phone.until("all cards", () => document.querySelectorAll(".card").length === 100);
  const fits = () => document.documentElement.scrollWidth <= innerWidth;
  assert.ok(await phone.page.evaluate(fits), "nothing is wider than the phone");
  const heights = await phone.page.evaluate(() => [...document.querySelectorAll(".card")].map((card) => card.offsetHeight));
  assert.ok(heights.sort((a, b) => a - b)[50] < 150, `a card is ${heights[50]} pixels high`);
  assert.deepEqual(await phone.barriers(), []);
  await phone.page.getByLabel("Filter").fill("session 93");
  await phone.page.getByRole("link", { name: "session 93" }).tap();
  await phone.shows("user 93", "#members");
  assert.ok(await phone.page.evaluate(fits));
  // A window of 1280 pixels at 200 %.
  const enlarged = await look("", { viewport: { width: 640, height: 400 }, deviceScaleFactor: 2 });
  await enlarged.until("all cards", () => document.querySelectorAll(".card").length === 100);
  assert.ok(await enlarged.page.evaluate(fits));
});

atPage("a server that is gone looks gone, with the time since", async ({ look, member, stop, start, server }) => {
  const { port } = server;
  const alice = await member("back", "alice").joined();
  await alice.table([item("l", "lens", "a lens", 0, 0)]);
  const pages = [await look(), await look(sessionPage("back"))];
  for (const page of pages) {
    page.expected.push(/net::ERR_|status of 404|Unexpected response code: 404|WebSocket connection to/);
    await page.isLive();
    assert.ok(!(await page.page.locator("#old").isVisible()));
  }
  await pages[0].shows("back", ".card");
  await stop();
  for (const page of pages) {
    await page.shows("Nothing has come from the server for", "#old");
    await page.shows("What you see is how it was at", "#old");
    assert.deepEqual(await page.barriers(), []);
  }
  assert.match(await pages[0].page.evaluate(() => getComputedStyle(document.querySelector("#sessions")).filter), /grayscale/);
  await start("--port", port);
  await member("back", "alice").joined();
  for (const page of pages) {
    await page.isLive();
    await page.until("it to look alive", () => !document.body.classList.contains("gone") && document.querySelector("#old").hidden);
  }
});

atPage("two editors with one name are told of, once they push each other out", async ({ look, member }) => {
  await member("clash", "bob").joined();
  await member("clash", "alice").joined();
  // A connection that was lost and came back.
  await member("clash", "alice").joined();
  const [overview, table] = [await look(), await look(sessionPage("clash"))];
  await overview.shows("clash", ".card h3");
  await table.until("how they are connected", () => document.querySelector("#members .quality.good"));
  for (const page of [overview, table]) assert.equal(await page.page.locator(".clash:visible").count(), 0);
  for (let n = 0; n < 3; n++) await member("clash", "alice").joined();
  for (const [page, where] of [[overview, ".card .clash"], [table, "#clash"]]) {
    await page.shows("Two editors use the name alice: each pushes the other out. Change Your Name in one of them.", where);
    assert.deepEqual(await page.barriers(), []);
  }
});

await main(closeBrowser);
