// The live page in Chromium behind a slow line: the first state comes packed, says how far it is, and is followed from there.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { closeBrowser } from "./browser.mjs";
import { pure } from "../page/sources.mjs";
import { Look, atPage, item, sessionPage } from "./live_page.mjs";
import { SlowLine } from "./slow_line.mjs";
import { main } from "./ws_story.mjs";

const { bytes } = pure(["text"], ["bytes"]);
const KINDS = ["lens", "mirror", "splitter", "waveplate", "source", "dichroic"];
const many = (count) =>
  Array.from({ length: count }, (_, n) => ({
    ...item(randomUUID(), KINDS[n % 6], `item ${n}`, ((n * 7919) % 30011) / 10, ((n * 104729) % 20011) / 10, (n * 37) % 360),
    ...(n % 6 === 4 ? { color_hex: "#dc143c", polarization_type: "horizontal", spread_deg: 0 } : { notes: null, mm_per_pixel: 0.0559 }),
  }));

atPage("a table of 2,000 items appears behind a line of 30 kB a second, and says how much of it has come", async ({ look, own, member, server }) => {
  const alice = await member("large", "alice").joined();
  const items = many(2000);
  await alice.table(items);
  const state = await fetch(`http://127.0.0.1:${server.port}/api/sessions/large/state`);
  const length = Number(state.headers.get("collabd-length"));
  assert.equal(length, Buffer.byteLength(await state.text()), "the answer says how long it is unpacked");
  const line = own(await SlowLine.to(server.port, 30_000));
  const began = performance.now();
  const page = own(await Look.open({ port: line.port }));
  await page.isLive();
  const [loaded, before] = [performance.now(), line.passed];
  await page.page.evaluate(() => {
    window.lines = new Set();
    new MutationObserver(() => lines.add(document.querySelector("#line-text").textContent)).observe(document.querySelector("#line-text"), { childList: true, characterData: true, subtree: true });
    location.hash = "#/session/large";
  });
  await page.until("the table", () => scene.size === 2000);
  const [seconds, carried] = [((performance.now() - loaded) / 1000).toFixed(1), line.passed - before];
  await page.isLive();
  console.log(`    the page took ${((loaded - began) / 1000).toFixed(1)} s, the table ${seconds} s and ${carried} bytes of ${length}`);
  // A socket would have brought all of it unpacked; the thumbnail that was on its way is given up.
  assert.ok(carried < length / 5, `${carried} bytes of ${length}`);
  const told = await page.page.evaluate(() => [...lines].filter((text) => text.startsWith("Loading")));
  assert.ok(told.length > 3 && told.every((text) => text.endsWith(` of ${bytes(length)}`)), told.join("\n"));
  const parts = told.map((text) => parseFloat(text.slice("Loading: ".length)));
  assert.deepEqual(parts, [...parts].sort((a, b) => a - b));
  // It is followed from there.
  await alice.command("move_item", items[0].item_uuid, { x_mm: 12.5, y_mm: 1, angle_deg: 0 });
  await page.until("the move", (id) => scene.get(id).toX === 12.5, items[0].item_uuid);
});

atPage("what happens while the state is on its way is not missed, and after an outage only that is fetched", async ({ look, member, own, server }) => {
  const alice = await member("busy", "alice").joined();
  const items = many(300);
  await alice.table(items);
  const line = own(await SlowLine.to(server.port, 300_000));
  const page = own(await Look.open({ port: line.port }));
  await page.isLive();
  page.expected.push(/net::ERR_|WebSocket connection to/);
  // The answer is made, and held back until something has happened.
  let hold = null;
  const held = new Promise((done) => (hold = done));
  let release = null;
  await page.page.route("**/state", async (route) => {
    const response = await route.fetch();
    hold();
    await new Promise((done) => (release = done));
    await route.fulfill({ response });
  });
  const frames = [];
  page.page.on("websocket", (socket) => {
    frames.push(socket.url());
    socket.on("framereceived", ({ payload }) => frames.push(JSON.parse(payload).type));
  });
  await page.page.evaluate(() => (location.hash = "#/session/busy"));
  await held;
  await alice.command("move_item", items[0].item_uuid, { x_mm: 77, y_mm: 1, angle_deg: 0 });
  await alice.command("remove_item", items[1].item_uuid, {});
  await alice.command("add_item", "late", item("late", "mirror", "the late one", 5, 5));
  release();
  await page.shows("the late one", "#items button");
  await page.isLive();
  const ids = await page.page.evaluate(() => [...scene].map(([id, { toX }]) => [id, toX]));
  const document = (await (await fetch(`http://127.0.0.1:${server.port}/api/sessions/busy/state`)).json()).items;
  assert.deepEqual(ids, document.map(({ item_uuid, x_mm }) => [item_uuid, x_mm]));
  assert.match(frames[0], /\/view\/busy\?epoch=\w+&since=300$/);
  assert.ok(frames.includes("sync:done") && !frames.includes("sync:state"), frames.join(" "));
  // The line is cut; what happens meanwhile is fetched, and no more.
  frames.length = 0;
  for (const socket of line.sockets) socket.destroy();
  await alice.command("move_item", "late", { x_mm: 99, y_mm: 1, angle_deg: 0 });
  await page.until("what was missed", () => scene.get("late").toX === 99);
  await page.isLive();
  assert.match(frames.find((text) => text.includes("/view/")), /since=303$/);
  assert.ok(frames.includes("sync:done") && !frames.includes("sync:state"), frames.join(" "));
});

atPage("where the state can't be fetched the socket brings it", async ({ look, member }) => {
  const alice = await member("odd", "alice").joined();
  await alice.table([item("l", "lens", "Lens f=100", 0, 0)]);
  const page = await look();
  page.expected.push(/net::ERR_/);
  await page.isLive();
  await page.page.route("**/state", (route) => route.abort());
  await page.page.evaluate(() => (location.hash = "#/session/odd"));
  await page.shows("Lens f=100", "#items button");
  await page.isLive();
});

await main(closeBrowser);
