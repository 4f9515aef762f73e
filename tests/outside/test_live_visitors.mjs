// The live page in Chromium for whoever looks at it: with a key, by keyboard, on a phone, after an outage, and never harmed.

import assert from "node:assert/strict";
import { closeBrowser } from "./browser.mjs";
import { atPage, item, sessionPage } from "./live_page.mjs";
import { main } from "./ws_story.mjs";

const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };

atPage("the page is one file of a bounded size, and its policy lets nothing else in", async ({ server }) => {
  const response = await fetch(`http://127.0.0.1:${server.port}/`);
  const page = await response.text();
  assert.ok(Buffer.byteLength(page) < 250_000, `${Buffer.byteLength(page)} bytes`);
  // As it is sent; what a test packs by itself may be smaller.
  const sent = Number(response.headers.get("content-length"));
  assert.equal(response.headers.get("content-encoding"), "gzip");
  assert.ok(sent > 10_000 && sent < 70_000, `${sent} bytes on the wire`);
  assert.match(
    response.headers.get("content-security-policy"),
    /^default-src 'none'; script-src 'sha256-[^ ]+'; style-src 'sha256-[^ ]+'; connect-src 'self';/,
  );
  const count = (pattern) => page.match(pattern)?.length ?? 0;
  assert.deepEqual([count(/<style/g), count(/<script/g), count(/ style=/g), count(/<[^>]* on\w+=/g)], [1, 1, 0, 0]);
  // It says how to join in the words of the editor's own menus and dialog.
  for (const words of [
    "View → Magnetic snap", "Collaboration → Connect/Host Session…", "Connect to server", "Host server",
    "Server URL", "Session ID", "Your Name", "Start Server", "collabd sessions import", "collabd forward",
  ])
    assert.ok(page.includes(`<b>${words}</b>`) || page.includes(`${words}</label>`) || page.includes(`not ${words}`), words);
  // No markup is ever made of text.
  assert.equal(count(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function/g), 0);
});

atPage("names are text, however hostile they are", async ({ look, member }) => {
  const hostile = [
    "<img src=x onerror=alert(1)>",
    "\u202Eabc\u202D ‮ right to left",
    "ש".repeat(128),
    "🙂👩‍🔬 أليس",
    "</script><script>alert(2)</script>",
    "constructor",
    "a\u2028b",
  ];
  const people = [];
  for (const name of hostile) people.push(await member(hostile[0], name).joined());
  // What people are called is in the server's log, what is on their table never is.
  const things = hostile.map((name) => `${name}'s lens`);
  await people[0].table(
    things.map((name, n) => item(n === 5 ? "__proto__" : `<b>${n}`, n === 1 ? "<i>x</i>" : "lens", name, n * 60, 0)),
  );
  const overview = await look();
  await overview.until(
    "all their names",
    (names) =>
      names.every((name) => [...document.querySelectorAll(".card bdi")].some((node) => node.textContent === name)),
    hostile,
  );
  const table = await look(sessionPage(hostile[0]));
  const listed = ([people, things]) =>
    Object.entries({ "#members bdi": people, "#items bdi": things }).every(([where, names]) =>
      names.every((name) => [...document.querySelectorAll(where)].some((node) => node.textContent === name)),
    );
  await table.until("all their names", listed, [hostile, things]);
  await people[4].command("update_item", "<b>0", { name: "<b>bold</b>", notes: "<img src=x onerror=alert(3)>" });
  await table.shows("<b>bold</b>", "#items bdi");
  await table.shows(
    `${hostile[4]} changed <b>bold</b>: name “<img src=x onerror=alert(1)>'s lens” → “<b>bold</b>”, notes none → “<img src=x onerror=alert(3)>”`,
    "#changes",
  );
  people[2].send({ type: "cursor", x: 1, y: 1 });
  await table.until("a cursor with a name", (name) => cursors.has(name), hostile[2]);
  for (const each of [overview, table]) {
    assert.equal(
      await each.page.locator("main img, main script, main i:not(.small i), main :is(h1, bdi, td, th, p:not(#join p)) b").count(),
      0,
    );
    // Whatever is written, nothing is wider than the page.
    assert.equal(await each.page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
  }
});

atPage(
  "it comes back by itself after the server was away, and says so meanwhile",
  async ({ look, member, stop, start, server }) => {
    const { port } = server;
    const alice = await member("back", "alice").joined();
    await alice.table([item("l", "lens", "before", 0, 0)]);
    const [overview, table] = [await look(), await look(sessionPage("back"))];
    for (const each of [overview, table])
      each.expected.push(/net::ERR_|status of 404|Unexpected response code: 404|WebSocket connection to/);
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
  },
);

atPage(
  "with keys it asks for one, keeps it in the tab and shows it to nobody else",
  async ({ look, member, reading, writing }) => {
    const alice = await member("guarded", "alice", `/key/${writing}`).joined();
    await alice.table([item("l", "lens", "a secret lens", 0, 0)]);
    const page = await look();
    page.expected.push(/status of 401/);
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
    assert.deepEqual(
      await page.page.evaluate(() => [Object.values(sessionStorage).length, localStorage.length, document.cookie]),
      [1, 0, ""],
    );
    assert.ok(!(await page.page.content()).includes(reading) && !page.page.url().includes(reading));
    await page.page.reload();
    await page.isLive();
  },
  (desk) => {
    const { keys } = desk;
    Object.assign(desk, { reading: keys.make("a reader", "read"), writing: keys.make("a writer", "write") });
    return ["--keys", keys.path, "--require-key"];
  },
);

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
  await phone.page.getByText("Download", { exact: true }).tap();
  for (const button of await phone.page.locator("#bar button:visible, #bar summary").all())
    assert.ok((await button.boundingBox()).height >= 38);
  assert.ok(await phone.page.evaluate(narrow));
  await phone.page.getByText("Download", { exact: true }).tap();
  const touch = await phone.visitor.newCDPSession(phone.page);
  const fingers = (type, ...points) =>
    touch.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
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
    const table = await look(sessionPage("for everybody"), { colorScheme });
    await table.shows("M1", "#items button");
    await table.until("how they are connected", () => document.querySelector("#members .quality.good"));
    for (const each of await table.page.locator("summary").all()) await each.click();
    assert.deepEqual(await table.barriers(), []);
    const phone = await look(sessionPage("for everybody"), { ...PHONE, colorScheme });
    await phone.shows("M1", "#items button");
    assert.deepEqual(await phone.barriers(), []);
  }
});

atPage("who wants less motion gets none", async ({ look, member }) => {
  const alice = await member("calm", "alice").joined();
  await alice.table([item("l", "lens", "Lens f=100", 0, 0)]);
  const table = await look(sessionPage("calm"), { reducedMotion: "reduce" });
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
atPage("numbers, fields and sizes that no editor sends break nothing", async ({ look, member }) => {
  const eve = await member("odd", "eve\u202E\u2066").joined();
  const words = ["constructor", "__proto__", "toString", "</style><b>", "url(x)", "\u202Eabc", "w".repeat(3000)];
  const values = [1e308, -1e308, 1e15, 5e-324, 0, -1, "12", null, true, [], {}, "x"];
  const fields = ["x_mm", "y_mm", "angle_deg", "size_mm", "n_rays", "spread_deg", "ray_length_mm", "wavelength_nm", "object_height_mm", "z_value"];
  const ends = ["x1_mm", "y1_mm", "x2_mm", "y2_mm", "efl_mm", "radius_of_curvature_mm", "reflectivity", "n1", "n2", "split_T", "phase_shift_deg"];
  const types = ["lens", "mirror", "beam_splitter", "dichroic", "polarizing_interface", "refractive_interface", "beam_block", ...words];
  const own = (name, value) => JSON.parse(`{${JSON.stringify(name)}:${JSON.stringify(value)}}`);
  const items = types.flatMap((type, t) =>
    values.map((value, n) => {
      // What the editor reads as numbers the server takes as numbers alone, up to 1e150 where they are places.
      const number = typeof value === "number" ? value : n;
      const odd = (names) => Object.fromEntries(names.map((name) => [name, /^[xy]/.test(name) ? Math.max(-1e150, Math.min(1e150, number)) : number]));
      const element = { is_curved: n % 2 === 0, polarizer_subtype: words[t % words.length], ...odd(ends), element_type: type, ...own(type, value) };
      const data = { ...own(words[t % words.length], value), ...odd(fields), color_hex: type, category: type, name: n % 3 ? "" : type, interfaces: n === 3 ? [] : [element, {}, element] };
      return { ...data, item_uuid: `${t} ${n}`, _type: n % 4 ? "component" : "source", item_type: type };
    }),
  );
  const many = { ...item("many", "lens", "many", 5, 5), interfaces: Array.from({ length: 10000 }, (_, n) => ({ element_type: "lens", x1_mm: n, y1_mm: 0, x2_mm: n, y2_mm: 5, efl_mm: 9 })) };
  await eve.table([...items, many]);
  const table = await look(sessionPage("odd"));
  await table.isLive();
  await table.until("all of them", (n) => scene.size === n, items.length + 1);
  for (const { item_uuid } of [...items.filter((_, n) => n % 3 === 0), many]) {
    const told = await table.page.evaluate((id) => (choose(id), flush(), document.getElementById("chosen-id").textContent), item_uuid);
    assert.equal(told, item_uuid);
  }
  for (const word of words) {
    for (const value of [1, "x", null]) await eve.command("update_item", "0 0", own(word, value));
    await eve.command("update_item", "0 0", { interfaces: [{ element_type: word, ...own(word, 1) }] });
    await eve.command("update_item", "0 0", { interfaces: [{}] });
  }
  await eve.command("update_item", "0 1", { name: "the last one" });
  await table.shows("the last one", "#changes");
  await table.page.evaluate(() => drawingAsSvg(colours));
  await table.page.evaluate(() => fit());
  assert.equal(await table.page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
  const overview = await look();
  await overview.until("a thumbnail", () => document.querySelectorAll(".thumbnail path").length > 50);
});

atPage("an item that is called like a folder can't have another path asked for", async ({ look, member }) => {
  const eve = await member("folders", "eve").joined();
  await eve.command("add_item", "..", item("..", "lens", "dots", 0, 0));
  await eve.command("add_item", "l", item("l", "lens", "a lens", 0, 0));
  const table = await look(sessionPage("folders"));
  const posts = [];
  table.page.on("request", (request) => request.method() === "POST" && posts.push(new URL(request.url()).pathname));
  await table.shows("dots", "#items button");
  for (const id of ["..", "l"]) await eve.command("remove_item", id);
  const button = (name) => table.page.getByRole("button", { name: `Bring it back ${name}` });
  await button("dots").click();
  await table.shows("can’t be brought back: A browser can’t ask for the names", "#changes");
  await button("a lens").click();
  await table.shows("a lens", "#items button");
  assert.deepEqual(posts, ["/api/sessions/folders/items/l/restore"]);
});

atPage("a browser that stores nothing shows the page, and forgets", async ({ look, member, server }) => {
  await (await member("private", "alice").joined()).table([item("l", "lens", "a lens", 0, 0)]);
  const page = await look();
  await page.visitor.addInitScript(() => {
    for (const name of ["localStorage", "sessionStorage"])
      Object.defineProperty(window, name, { get() { throw new DOMException("denied", "SecurityError"); } });
  });
  await page.page.goto(`http://127.0.0.1:${server.port}/?again#/session/private?key=ck_1`);
  await page.isLive();
  await page.shows("a lens", "#items button");
  await page.page.locator("#theme").click();
  await page.page.locator("#beams-on").click();
  assert.ok(!page.page.url().includes("ck_1"));
});

await main(closeBrowser);
