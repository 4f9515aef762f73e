// The live page in Chromium: what it shows while people edit, to whom, and what it never does.

import assert from "node:assert/strict";
import path from "node:path";
import { closeBrowser } from "./browser.mjs";
import { atPage } from "./live_page.mjs";
import { main } from "./ws_story.mjs";

const item = (uuid, item_type, name, x_mm, y_mm, angle_deg = 0, more = {}) => ({ uuid, item_type, name, x_mm, y_mm, angle_deg, object_height_mm: 40, ...more });
const session = (id) => `#/session/${encodeURIComponent(id)}`;
const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
const REDUCED = { reducedMotion: "reduce" };

atPage("the page is one small file, and its policy lets nothing else in", async ({ server }) => {
  const response = await fetch(`http://127.0.0.1:${server.port}/`);
  const page = await response.text();
  assert.ok(Buffer.byteLength(page) < 60_000, `${Buffer.byteLength(page)} bytes`);
  assert.match(response.headers.get("content-security-policy"), /^default-src 'none'; script-src 'sha256-[^ ]+'; style-src 'sha256-[^ ]+'; connect-src 'self';/);
  const count = (pattern) => page.match(pattern)?.length ?? 0;
  assert.deepEqual([count(/<style/g), count(/<script/g), count(/ style=/g), count(/<[^>]* on\w+=/g)], [1, 1, 0, 0]);
  // No markup is ever made of text.
  assert.equal(count(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function/g), 0);
});

atPage("a session that an editor is editing is on the overview, and what is done in it on its table", async ({ look, editor }) => {
  const overview = await look();
  await overview.shows("Nobody is here yet");
  const alice = await editor("lab bench", "alice", "host", 3);
  await overview.shows("lab bench", ".card h3");
  await overview.shows("alice", ".card .person");
  await overview.shows("host", ".card .tag");
  await overview.shows("3 items", ".card");
  await overview.page.getByRole("link", { name: "lab bench" }).click();
  const table = overview;
  const [first] = alice.canvas;
  for (const { name } of alice.canvas) await table.shows(name, "#items button");
  await table.shows("3 items · 1 person");
  await alice.do("place", first.item_uuid, 123.4, -56.7, 30);
  await table.shows("123.4", "#items td");
  await table.shows(`alice moved ${first.name} to (123.4, -56.7)`, "#changes");
  await alice.do("edit", first.item_uuid, { name: "Lens f=250" });
  await table.shows("Lens f=250", "#items button");
  const added = await alice.do("add", { name: "the fourth", _type: "mirror", item_type: "mirror", x_mm: 1, y_mm: 2 });
  await table.shows("alice added the fourth at (1.0, 2.0)", "#changes");
  await alice.do("remove", added);
  await table.shows("alice removed the fourth", "#changes");
  await table.until("the item to be gone", () => scene.size === 3 && !document.querySelector("#items").innerText.includes("the fourth"));
  // After all of that the drawing is the document.
  for (const { item_uuid, x_mm } of alice.canvas.slice(1)) assert.equal((await table.drawn(item_uuid)).x, x_mm);
  await alice.do("leave");
  await table.shows("alice left", "#changes");
  await table.shows("Nobody is in", "#members");
  await table.page.getByRole("link", { name: "All sessions" }).click();
  await overview.shows("nobody is in", ".card");
});

atPage("a drag is seen moving, glows in the colour of who drags, and ends where it ended", async ({ look, editor }) => {
  const alice = await editor("drags", "alice", "host", 2);
  const bob = await editor("drags", "bob", "client");
  const [{ item_uuid: id }] = alice.canvas;
  await bob.do("place", id, 0, 0, 0);
  const table = await look(session("drags"));
  await table.isLive();
  await table.until("the item to have come to rest", (id) => scene.get(id)?.x === 0, id);
  const before = await table.picture("still");
  const drag = bob.do("drag", id, Array.from({ length: 150 }, (_, n) => [n * 2, n, 0]));
  const places = [];
  const glimpses = new Set();
  await table.until("the glow", (id) => scene.get(id).by === "bob" && lively.has(scene.get(id)), id);
  for (let ended = false; !ended; ended = await Promise.race([drag.then(() => true), table.page.waitForTimeout(20)])) {
    places.push((await table.drawn(id)).x);
    glimpses.add(await table.picture());
  }
  assert.ok(new Set(places).size > 5 && glimpses.size > 5, `it is seen in ${new Set(places).size} places`);
  assert.deepEqual(places, [...places].sort((a, b) => a - b), "it glides one way");
  await table.until("the end of the drag", (id) => scene.get(id).x === 298 && scene.get(id).y === 149 && !lively.size, id);
  assert.notEqual(await table.picture("still"), before);
  // One drag is one line.
  await table.shows("(298.0, 149.0)", "#changes");
  assert.equal(await table.page.locator("#changes li", { hasText: "moved" }).count(), 1);
});

atPage("only the place of a move_item counts, and what the server settles is no news", async ({ look, member }) => {
  const alice = await member("settles", "alice").joined();
  await alice.table([item("l", "lens", "Lens f=100", 10, 20)]);
  const table = await look(session("settles"));
  await table.shows("Lens f=100", "#items button");
  await alice.command("move_item", "l", { name: "", object_height_mm: 1, x_mm: 11, y_mm: 21, angle_deg: 0 });
  await table.until("the move", () => scene.get("l").x === 11);
  assert.equal((await table.drawn("l")).title, "Lens f=100");
  // It is still for 300 ms, and the server tells all of it again.
  await table.until("the settled item", () => !lively.size);
  assert.deepEqual(await table.page.locator("#changes li p").allInnerTexts(), ["alice moved Lens f=100 to (11.0, 21.0)"]);
  await alice.command("update_item", "l", { angle_deg: 350 });
  await table.shows("alice turned Lens f=100 to 350.0°", "#changes");
  await table.until("the short way around", () => scene.get("l").angle === 350);
});

atPage("500 items are drawn and listed", async ({ look, member }) => {
  const alice = await member("many", "alice").joined();
  const kinds = ["lens", "mirror", "source", "beamsplitter", "waveplate"];
  await alice.table(Array.from({ length: 500 }, (_, n) => item(`i${n}`, kinds[n % 5], `item ${n}`, (n % 25) * 80, Math.floor(n / 25) * 80, n * 7)));
  const table = await look(session("many"));
  await table.until("500 rows", () => document.querySelectorAll("#items tr").length === 500);
  assert.deepEqual(await table.page.evaluate(() => [...new Set([...scene.values()].map((each) => each.kind))]), ["lens", "mirror", "source", "splitter", "other"]);
  // Each is to be seen: where it stands the picture isn't as it would be without it.
  const unseen = () => table.page.evaluate(() => {
    const marks = () => {
      const { width, height } = still.canvas;
      const { data } = still.getImageData(0, 0, width, height);
      return [...scene.values()].map(({ x, y }) => {
        const [middleX, middleY] = [Math.round(screenX(x) * view.ratio), Math.round(screenY(y) * view.ratio)];
        let sum = 0;
        for (let dy = -6; dy <= 6; dy++) for (let dx = -6; dx <= 6; dx++) sum += data[4 * ((middleY + dy) * width + middleX + dx)] ?? 0;
        return sum;
      });
    };
    drawStill();
    const drawn = marks();
    const kept = [...scene];
    scene.clear();
    drawStill();
    for (const [id, each] of kept) scene.set(id, each);
    const bare = marks.call(null);
    drawStill();
    return drawn.filter((sum, n) => sum === bare[n]).length;
  });
  assert.equal(await unseen(), 0);
});

atPage("names are text, however hostile they are", async ({ look, member }) => {
  const hostile = ["<img src=x onerror=alert(1)>", "\u202Eabc\u202D ‮ right to left", "ש".repeat(128), "🙂👩‍🔬 أليس", "</script><script>alert(2)</script>", "__proto__", "a\u2028b"];
  const people = [];
  for (const name of hostile) people.push(await member(hostile[0], name).joined());
  await people[0].table(hostile.map((name, n) => item(n === 5 ? "__proto__" : `<b>${n}`, n === 1 ? "<i>x</i>" : "lens", name, n * 60, 0)));
  const overview = await look();
  await overview.until("all their names", (names) => names.every((name) => [...document.querySelectorAll(".card bdi")].some((node) => node.textContent === name)), hostile);
  const table = await look(session(hostile[0]));
  const listed = (names) => ["#members bdi", "#items bdi"].every((where) => names.every((name) => [...document.querySelectorAll(where)].some((node) => node.textContent === name.trim())));
  await table.until("all their names", listed, hostile);
  await people[4].command("update_item", "<b>0", { name: "<b>bold</b>", notes: "<img src=x onerror=alert(3)>" });
  await table.shows("<b>bold</b>", "#items bdi");
  await table.shows(`${hostile[4]} changed <b>bold</b>: name "<b>bold</b>", notes "<img src=x onerror=alert(3)>"`, "#changes");
  people[2].send({ type: "cursor", x: 1, y: 1 });
  await table.until("a cursor with a name", (name) => cursors.has(name), hostile[2]);
  for (const each of [overview, table]) {
    assert.equal(await each.page.locator("main img, main script, main i:not(.small i), main :is(h1, bdi, td, th, p) b").count(), 0);
    // Whatever is written, nothing is wider than the page.
    assert.equal(await each.page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
  }
});

atPage("people come and go, the host changes, cursors have names; a viewer is none of them", async ({ look, member, server }) => {
  const alice = await member("room", "alice").joined();
  const table = await look(session("room"));
  await table.isLive();
  await table.shows("alice", "#members");
  const bob = await member("room", "bob").joined();
  // Nobody but the two has ever been told of.
  assert.deepEqual(bob.ack.users.map((user) => user.user_id), ["alice", "bob"]);
  assert.equal((await alice.next("user:joined")).user_id, "bob");
  await table.shows("bob joined", "#changes");
  bob.send({ type: "cursor", x_mm: 30, y_mm: 40 });
  await table.until("bob's cursor", () => cursors.get("bob")?.x === 30 && cursors.get("bob")?.y === 40);
  assert.equal((await alice.next("cursor")).user_id, "bob");
  await table.until("how they are connected", () => document.querySelectorAll("#members .quality.good").length === 2);
  await table.shows(" ms", "#members");
  alice.end();
  await table.shows("alice left", "#changes");
  await table.shows("bob is the host now", "#changes");
  await table.shows("host", "#members");
  await table.shows("0 items · 1 person");
  const overview = await look();
  await overview.shows("1 viewer", ".card");
  await table.page.close();
  await overview.until("the viewer to be gone", () => document.querySelector(".card") && !document.querySelector(".card").innerText.includes("viewer"));
  bob.send({ type: "ping" });
  assert.equal((await bob.next("user:left")).user_id, "alice");
  await bob.next("host:changed");
  await bob.next("pong");
});

atPage("it comes back by itself after the server was away, and says so meanwhile", async ({ look, member, stop, start, server }) => {
  const { port } = server;
  const alice = await member("back", "alice").joined();
  await alice.table([item("l", "lens", "before", 0, 0)]);
  const [overview, table] = [await look(), await look(session("back"))];
  for (const each of [overview, table]) each.expected.push(/net::ERR_|status of 404|Unexpected response code: 404|WebSocket connection to/);
  await table.shows("before", "#items button");
  await overview.shows("back", ".card");
  await stop();
  for (const each of [overview, table]) {
    await each.shows("Trying again in", "#line");
    await each.shows("Try now", "#line button");
  }
  // What was seen last is still to be seen.
  await table.shows("before", "#items button");
  await start("--port", port);
  await overview.isLive();
  await overview.shows("Nobody is here yet");
  await table.shows("This session isn’t open", "#line");
  const again = await member("back", "alice").joined();
  await again.table([item("m", "mirror", "after", 5, 5)]);
  await table.isLive();
  await table.shows("after", "#items button");
  await table.until("the old item to be gone", () => scene.size === 1);
  await overview.shows("back", ".card");
});

atPage("with keys it asks for one, keeps it in the tab and shows it to nobody else", async ({ look, member, reading, writing }) => {
  const alice = await member("guarded", "alice", `/key/${writing}`).joined();
  await alice.table([item("l", "lens", "a secret lens", 0, 0)]);
  const page = await look();
  page.expected.push(/status of 403/);
  const dialog = page.page.locator("#key-dialog");
  await dialog.waitFor();
  const give = async (key) => {
    await dialog.getByLabel("Key").fill(key);
    await dialog.getByLabel("Key").press("Enter");
  };
  await give("wrong-0123456789-wrong-0123456789");
  await page.shows("That key doesn’t open this", "#key-why");
  await dialog.getByRole("button", { name: "Not now" }).click();
  await page.shows("A key is needed", "#line");
  await page.page.getByRole("button", { name: "Try now" }).click();
  await give(reading);
  await page.isLive();
  await page.shows("guarded", ".card");
  await page.page.getByRole("link", { name: "guarded" }).click();
  await page.shows("a secret lens", "#items button");
  assert.deepEqual(await page.page.evaluate(() => [Object.values(sessionStorage).length, localStorage.length, document.cookie]), [1, 0, ""]);
  assert.ok(!(await page.page.content()).includes(reading) && !page.page.url().includes(reading));
  await page.page.reload();
  await page.isLive();
}, (desk) => {
  const { keys } = desk;
  Object.assign(desk, { reading: keys.make("a reader", "read"), writing: keys.make("a writer", "write") });
  return ["--keys", keys.path, "--require-key"];
});

atPage("all of it can be done by keyboard", async ({ look, member }) => {
  const alice = await member("keys of a board", "alice").joined();
  await alice.table([item("l", "lens", "Lens f=100", 0, 0), item("m", "mirror", "M1", 300, 0)]);
  const { page, ...rest } = await look();
  const table = Object.assign(Object.create(Object.getPrototypeOf(rest)), { page });
  const until = async (what, condition) => {
    for (let tries = 0; tries < 60; tries++) {
      if (await page.evaluate(condition)) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`Tab doesn't reach ${what}`);
  };
  await page.locator(".card").waitFor();
  await until("the session", () => document.activeElement.matches(".card a"));
  await page.keyboard.press("Enter");
  await page.locator("#items tr").nth(1).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "session-title");
  await until("the drawing", () => document.activeElement.id === "lively");
  // Where the focus is can be seen.
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none");
  const seen = () => page.evaluate(() => [view.x, view.scale]);
  const [x, scale] = await seen();
  for (const key of ["+", "ArrowRight", "ArrowRight"]) await page.keyboard.press(key);
  const [movedX, larger] = await seen();
  assert.ok(larger > scale && movedX > x);
  await page.keyboard.press("0");
  assert.deepEqual(await seen(), [x, scale]);
  await until("an item", () => document.activeElement.innerText === "M1");
  await page.keyboard.press("Enter");
  await page.locator("#items .chosen", { hasText: "M1" }).waitFor();
  await until("the way back", () => document.activeElement.innerText === "← All");
  await page.keyboard.press("Enter");
  await page.locator("#overview").waitFor();
});

atPage("it fits a phone, and is moved by fingers", async ({ look, member }) => {
  const alice = await member("on a phone", "alice").joined();
  await alice.table([item("l", "lens", "Lens f=100", 0, 0), item("m", "mirror", "M1", 300, 200)]);
  const phone = await look("", PHONE);
  await phone.shows("on a phone", ".card");
  const narrow = () => document.documentElement.scrollWidth <= 390;
  assert.ok(await phone.page.evaluate(narrow));
  await phone.page.getByRole("link", { name: "on a phone" }).tap();
  await phone.shows("M1", "#items button");
  assert.ok(await phone.page.evaluate(narrow));
  const drawing = await phone.page.locator("#lively").boundingBox();
  assert.ok(drawing.width === 390 && drawing.height > 300 && drawing.y < 200, JSON.stringify(drawing));
  // Buttons are large enough for a finger.
  for (const button of await phone.page.locator("#bar button").all()) assert.ok((await button.boundingBox()).height >= 38);
  const touch = await phone.visitor.newCDPSession(phone.page);
  const fingers = (type, ...points) => touch.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
  const seen = () => phone.page.evaluate(() => [view.x, view.scale]);
  const [x, scale] = await seen();
  await fingers("touchStart", [200, 400]);
  await fingers("touchMove", [120, 400]);
  await fingers("touchEnd");
  const [movedX] = await seen();
  assert.ok(movedX > x, "one finger moves the view");
  await fingers("touchStart", [150, 400], [250, 400]);
  await fingers("touchMove", [100, 400], [300, 400]);
  await fingers("touchEnd");
  assert.ok((await seen())[1] > scale * 1.5, "two fingers zoom");
});

atPage("axe-core finds nothing serious, in light and dark", async ({ look, member }) => {
  const alice = await member("for everybody", "alice").joined();
  await member("for everybody", "bob").joined();
  await alice.table([item("l", "lens", "Lens f=100", 0, 0), item("m", "mirror", "M1", 300, 200)]);
  await alice.command("move_item", "l", { x_mm: 3, y_mm: 4, angle_deg: 5 });
  for (const colorScheme of ["light", "dark"]) {
    const overview = await look("", { colorScheme });
    await overview.shows("for everybody", ".card");
    assert.deepEqual(await overview.barriers(), []);
    const table = await look(session("for everybody"), { colorScheme });
    await table.shows("M1", "#items button");
    await table.until("how they are connected", () => document.querySelector("#members .quality.good"));
    await table.page.locator("summary").click();
    assert.deepEqual(await table.barriers(), []);
    const phone = await look(session("for everybody"), { ...PHONE, colorScheme });
    await phone.shows("M1", "#items button");
    assert.deepEqual(await phone.barriers(), []);
  }
});

atPage("who wants less motion gets none", async ({ look, member }) => {
  const alice = await member("calm", "alice").joined();
  await alice.table([item("l", "lens", "Lens f=100", 0, 0)]);
  const table = await look(session("calm"), REDUCED);
  await table.shows("Lens f=100", "#items button");
  await table.page.evaluate(() => {
    window.places = new Set();
    (function watch() {
      places.add(scene.get("l").x);
      requestAnimationFrame(watch);
    })();
  });
  await alice.command("move_item", "l", { x_mm: 200, y_mm: 0, angle_deg: 0 });
  await table.until("the item to be there", () => places.has(200));
  assert.deepEqual(await table.page.evaluate(() => [...places]), [0, 200]);
});

atPage("what is stored can be looked back at, and is listed when nobody is in", async ({ look, member, start, stop, server }) => {
  const { port } = server;
  const alice = await member("history", "alice").joined();
  await alice.table([item("l", "lens", "Lens f=100", 0, 0)]);
  for (let x = 10; x <= 50; x += 10) await alice.command("move_item", "l", { x_mm: x, y_mm: 0, angle_deg: 0 });
  await alice.command("add_item", "m", item("m", "mirror", "M1", 5, 5));
  const table = await look(session("history"));
  table.expected.push(/net::ERR_|WebSocket connection to/);
  const slider = table.page.getByLabel("Look back in time");
  await slider.waitFor();
  await table.until("the last change to be known", () => Number(document.querySelector("#moment").max) === 7);
  await slider.focus();
  // The first change was the table, the second moved the lens to 10.
  for (let change = 7; change > 2; change--) await slider.press("ArrowLeft");
  await table.shows("As it was after change 2", "#when");
  await table.shows("by alice", "#when");
  await table.until("the lens where it was", () => scene.get("l").x === 10 && scene.size === 1);
  // What happens meanwhile is for later.
  await alice.command("move_item", "l", { x_mm: 60, y_mm: 0, angle_deg: 0 });
  await table.shows("(60.0, 0.0)", "#changes");
  assert.equal((await table.drawn("l")).x, 10);
  await table.page.getByRole("button", { name: "Now" }).click();
  await table.until("the present", () => scene.get("l").x === 60 && scene.size === 2);
  const versions = table.page.getByLabel("Versions");
  await versions.selectOption({ index: 1 });
  await table.shows("As it was after change", "#when");
  alice.end();
  await stop();
  await start("--port", port);
  await table.page.goto(table.home);
  await table.shows("history", "#stored");
  await table.page.getByRole("link", { name: "history" }).click();
  // Looking at it is enough to have it read.
  await table.until("the table as it was left", () => scene.get("l")?.x === 60 && scene.size === 2);
  await table.shows("Nobody is in", "#members");
}, ({ keys }) => ["--data-dir", path.join(keys.folder, "data")]);

await main(closeBrowser);
