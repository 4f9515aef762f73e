// The table on the live page, in Chromium: what is drawn of real items, beams, what the pointer asks, and pictures of it.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { closeBrowser } from "./browser.mjs";
import { atPage, item, sessionPage } from "./live_page.mjs";
import { main } from "./ws_story.mjs";

const tables = JSON.parse(readFileSync(new URL("../page/fixtures/tables.json", import.meta.url), "utf8"));

/** The colour of one pixel of a canvas, at a place of the table: red, green, blue, opacity. */
const pixel = (table, canvas, x, y) =>
  table.page.evaluate(
    ([canvas, x, y]) => {
      const context = document.getElementById(canvas).getContext("2d");
      const [across, down] = [screenX(x) * view.ratio, screenY(y) * view.ratio].map(Math.floor);
      // A line lies between pixels, too.
      const { data } = context.getImageData(across - 1, down - 1, 3, 3);
      const most = [...data.keys()].filter((n) => n % 4 === 3).reduce((best, n) => (data[n] > data[best] ? n : best), 3);
      return [...data.slice(most - 3, most + 1)];
    },
    [canvas, x, y],
  );

/** Where a place of the table is in the window. */
async function inWindow(table, x, y) {
  const box = await table.page.locator("#lively").boundingBox();
  const [dx, dy] = await table.page.evaluate(([x, y]) => [screenX(x), screenY(y)], [x, y]);
  return [box.x + dx, box.y + dy];
}

const traced = (table) => table.until("the rays to be traced", () => !tracer.behind && !view.stale && !framed);

/** Starts a download, and reads it. */
async function downloaded(table, button) {
  await table.page.getByText("Download", { exact: true }).click();
  const [file] = await Promise.all([table.page.waitForEvent("download"), table.page.getByRole("button", { name: button }).click()]);
  return { name: file.suggestedFilename(), bytes: readFileSync(await file.path()) };
}

atPage("every kind of item is drawn as what it is, and can be seen", async ({ look, member }) => {
  const kinds = ["lens", "concave", "mirror", "splitter", "polarizing", "dichroic", "waveplate", "polariser", "glass", "block", "source", "misc", "background"];
  const drawnAs = { concave: "lens", polarizing: "splitter", misc: "other" };
  const alice = await member("kinds", "alice").joined();
  await alice.table(kinds.map((kind, n) => item(kind, kind, `the ${kind}`, (n % 5) * 90, Math.floor(n / 5) * 90, 10 * n)));
  const table = await look(sessionPage("kinds"));
  await table.until("all of them", (count) => scene.size === count, kinds.length);
  for (const kind of kinds) assert.equal((await table.drawn(kind)).kind, drawnAs[kind] ?? kind);
  await table.page.getByRole("button", { name: "Beams" }).click();
  // Each changes the picture where it stands.
  const unseen = await table.page.evaluate(() => {
    const spot = ({ x, y }) => {
      const [across, down] = [screenX(x) * view.ratio, screenY(y) * view.ratio].map(Math.round);
      return still.getImageData(across - 15, down - 15, 30, 30).data.join();
    };
    const all = [...scene];
    drawStill();
    const whole = all.map(([, it]) => spot(it));
    const missed = all.filter(([id, it], n) => {
      scene.delete(id);
      drawStill();
      scene.set(id, it);
      return spot(it) === whole[n];
    });
    return missed.map(([id]) => id);
  });
  assert.deepEqual(unseen, []);
});

atPage("ten tables in the editor's own shape are drawn with all their items, light and dark", async ({ look, member }) => {
  const alice = await member("tables", "alice").joined();
  const [light, dark] = [await look(sessionPage("tables"), { colorScheme: "light" }), await look(sessionPage("tables"), { colorScheme: "dark" })];
  for (const { name, items } of tables) {
    await alice.table(items);
    for (const table of [light, dark]) {
      await table.until(name, (ids) => scene.size === ids.length && ids.every((id) => scene.has(id)), items.map(({ item_uuid }) => item_uuid));
      const kinds = await table.page.evaluate(() => Object.fromEntries([...scene].map(([id, { kind }]) => [id, kind])));
      for (const { item_uuid, _type, category, interfaces } of items) {
        if (_type === "source") assert.equal(kinds[item_uuid], "source");
        else if (category === "background") assert.equal(kinds[item_uuid], "background");
        else assert.equal(kinds[item_uuid] === "other", !interfaces.length, `${name} ${item_uuid}`);
      }
      await traced(table);
      const legs = await table.page.evaluate(() => [...tracer.rays()].reduce((sum, { legs }) => sum + legs.length, 0));
      assert.ok(legs > 5, `${legs} legs of ${name}`);
    }
  }
  assert.notDeepEqual(await light.page.evaluate(() => colours), await dark.page.evaluate(() => colours));
  assert.deepEqual(await dark.barriers(), []);
});

atPage("beams are in the source's colour, end at a block, and are switched off for good", async ({ look, member }) => {
  const alice = await member("beams", "alice").joined();
  await alice.table([{ ...item("s", "source", "", 0, 0, 0, 4), n_rays: 1, color_hex: "#2040ff" }, item("m", "mirror", "M", 300, 0, 0)]);
  const table = await look(sessionPage("beams"));
  await table.until("the table", () => scene.size === 2);
  await traced(table);
  const [red, green, blue, opacity] = await pixel(table, "beams", 150, 0);
  assert.ok(Math.abs(red - 0x20) < 16 && Math.abs(green - 0x40) < 16 && blue > 230 && opacity > 100, `${red} ${green} ${blue} ${opacity}`);
  // At 90° the editor's sources send down.
  await alice.command("update_item", "s", { angle_deg: 90 }, "source");
  await table.until("the source to have turned", () => scene.get("s").angle === 90);
  await traced(table);
  assert.equal((await pixel(table, "beams", 150, 0))[3], 0);
  assert.ok((await pixel(table, "beams", 0, -15))[3] > 100);
  await alice.command("update_item", "s", { angle_deg: 0 }, "source");
  await alice.command("add_item", "b", item("b", "block", "Block", 100, 0));
  await table.until("the block", () => scene.has("b") && scene.get("s").angle === 0 && !lively.size);
  await traced(table);
  assert.ok((await pixel(table, "beams", 60, 0))[3] > 100);
  assert.equal((await pixel(table, "beams", 150, 0))[3], 0);
  await alice.command("remove_item", "b");
  await table.until("the block to be gone", () => !scene.has("b"));
  await traced(table);
  assert.ok((await pixel(table, "beams", 150, 0))[3] > 100);
  const button = table.page.getByRole("button", { name: "Beams" });
  assert.equal(await button.getAttribute("aria-pressed"), "true");
  await button.click();
  await table.until("no beam", () => !light.getImageData(0, 0, light.canvas.width, light.canvas.height).data.some((each) => each));
  assert.equal(await button.getAttribute("aria-pressed"), "false");
  await table.page.reload();
  await table.until("the table", () => scene.size === 2);
  assert.equal(await button.getAttribute("aria-pressed"), "false");
  assert.equal((await pixel(table, "beams", 150, 0))[3], 0);
  await button.click();
  await table.until("the beam", () => light.getImageData(0, 0, light.canvas.width, light.canvas.height).data.some((each) => each));
});

atPage("a table of more rays than can be drawn is thinned, and the page says so", async ({ look, member }) => {
  const alice = await member("crowd", "alice").joined();
  await alice.table(Array.from({ length: 20 }, (_, n) => ({ ...item(`s${n}`, "source", "", 0, n * 20, 0, 10), n_rays: 2001 })));
  const table = await look(sessionPage("crowd"));
  await table.shows("Beams are thinned: 1 ray in 4");
  await table.until("the rest to be traced", () => !tracer.behind && [...tracer.rays()].length === 20 * 501);
  await alice.command("update_item", "s0", { n_rays: 5 }, "source");
  for (let n = 1; n < 20; n++) await alice.command("remove_item", `s${n}`);
  await table.page.getByRole("button", { name: "Beams" }).click();
  await table.until("nothing to be thinned", () => document.querySelector("#thinned").hidden);
});

atPage("the pointer names an item, a click or a tap chooses it, and a drag moves the view", async ({ look, member }) => {
  const alice = await member("room", "alice").joined();
  const tiny = item("tiny", "lens", "Tiny", 60, 0, 0, 4);
  await alice.table([{ ...item("table", "background", "Laser Table", 0, 0), object_height_mm: 900 }, item("l", "lens", "Lens f=100", 0, 0, 30), item("m", "mirror", "M1", 200, 100), tiny]);
  const table = await look(sessionPage("room"));
  await table.until("the table", () => scene.size === 4);
  const at = async (x, y) => table.page.mouse.move(...(await inWindow(table, x, y)));
  const hovered = (id) => table.until(`${id} to be named`, (id) => (view.hovered ?? null) === id && !framed, id);
  const named = () => table.page.evaluate(() => quick.getImageData(0, 0, quick.canvas.width, quick.canvas.height).data.some((each) => each));
  await table.until("rest", () => !lively.size && !framed);
  await at(-2000, 2000);
  assert.equal(await named(), false);
  const chosen = (id) => table.until(`${id} to be chosen`, (id) => (session.chosen ?? null) === id, id);
  await at(200, 100);
  await hovered("m");
  assert.equal(await named(), true);
  // Of what lies one upon the other the smallest, the table last.
  await at(60, 0);
  await hovered("tiny");
  await at(-300, 200);
  await hovered("table");
  await at(0, 0);
  await hovered("l");
  await table.page.mouse.down();
  await table.page.mouse.up();
  await chosen("l");
  const before = await table.page.evaluate(() => view.x);
  await at(200, 100);
  await table.page.mouse.down();
  await at(120, 100);
  await table.page.mouse.up();
  assert.notEqual(await table.page.evaluate(() => view.x), before);
  await chosen("l");
  const phone = await look(sessionPage("room"), { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
  await phone.until("the table", () => scene.size === 4);
  await phone.page.touchscreen.tap(...(await inWindow(phone, 200, 100)));
  await phone.until("the mirror to be chosen", () => session.chosen === "m");
});

atPage(
  "the drawing and the editor's file are downloaded, of the moment that is shown",
  async ({ look, member, server }) => {
    const id = "../lab: <one>";
    const alice = await member(id, "alice").joined();
    const hostile = "<b>&\"'\u0007\ud800 L";
    await alice.table([{ ...item("s", "source", "", 0, 0, 0, 4), ray_length_mm: 5000 }, item("l", "lens", hostile, 100, 0), { ...item("g", "glass", "G", 200, 0) }]);
    const table = await look(sessionPage(id));
    await table.until("the table", () => scene.size === 3);
    await traced(table);
    const png = await downloaded(table, "Picture (PNG)");
    assert.equal(png.name, "lab-one.png");
    assert.equal(png.bytes.subarray(1, 4).toString(), "PNG");
    assert.deepEqual([png.bytes.readUInt32BE(16), png.bytes.readUInt32BE(20)], await table.page.evaluate(() => [still.canvas.width, still.canvas.height]));
    const svg = await downloaded(table, "Drawing (SVG)");
    assert.equal(svg.name, "lab-one.svg");
    const text = svg.bytes.toString();
    const seen = await table.page.evaluate((text) => {
      const drawing = new DOMParser().parseFromString(text, "image/svg+xml");
      const [paths, texts] = ["path", "text"].map((tag) => [...drawing.querySelectorAll(tag)]);
      return { root: drawing.documentElement.tagName, beams: paths.filter((each) => each.getAttribute("stroke") === "#dc143c").length, texts: texts.map((each) => each.textContent), tags: [...new Set([...drawing.querySelectorAll("*")].map(({ tagName }) => tagName))] };
    }, text);
    assert.equal(seen.root, "svg");
    assert.ok(seen.beams > 2);
    assert.ok(seen.texts.some((each) => each.includes("<b>&\"'")) && seen.texts.some((each) => each.includes("Source")), `${seen.texts}`);
    assert.ok(seen.tags.every((tag) => ["svg", "rect", "path", "text", "defs", "pattern", "circle"].includes(tag)), `${seen.tags}`);
    assert.ok(!/NaN|undefined|Infinity/.test(text));
    await alice.command("move_item", "l", { x_mm: 150, y_mm: 0, angle_deg: 0 });
    await table.until("the move", () => scene.get("l").x === 150);
    const state = async (at = "") => (await fetch(`http://127.0.0.1:${server.port}/api/sessions/${encodeURIComponent(id)}/state${at}`)).json();
    const withoutTime = ({ timestamp, ...rest }) => rest;
    const file = await downloaded(table, "Editor’s file");
    assert.equal(file.name, "lab-one.json");
    assert.deepEqual(withoutTime(JSON.parse(file.bytes)), withoutTime(await state()));
    assert.equal(JSON.parse(file.bytes).items.find(({ uuid, item_uuid }) => (uuid ?? item_uuid) === "l").x_mm, 150);
    const slider = table.page.getByLabel("Look back in time");
    await slider.waitFor();
    await table.until("the change to be known", () => !document.querySelector("#moment").disabled);
    await slider.focus();
    await slider.press("ArrowLeft");
    await table.until("the lens where it was", () => scene.get("l").x === 100 && session.past.shown === session.past.wanted);
    const past = await downloaded(table, "Editor’s file");
    assert.deepEqual(withoutTime(JSON.parse(past.bytes)), withoutTime(await state(`?at=${await slider.inputValue()}`)));
    assert.equal(JSON.parse(past.bytes).items.find(({ item_uuid }) => item_uuid === "l").x_mm, 100);
    // Without a server there is a word for it.
    table.expected.push(/./);
    await table.page.route("**/api/sessions/**", (route) => route.abort());
    await table.page.getByText("Download", { exact: true }).click();
    await table.page.getByRole("button", { name: "Editor’s file" }).click();
    await table.shows("There is no file", "#picture-told");
  },
  ({ keys }) => ["--data-dir", path.join(keys.folder, "data")],
);

atPage("on paper there is the table alone, in light colours", async ({ look, member }) => {
  const alice = await member("paper", "alice").joined();
  await alice.table([item("s", "source", "", 0, 0, 0, 4), item("l", "lens", "Lens f=100", 100, 0)]);
  const table = await look(sessionPage("paper"), { colorScheme: "dark" });
  await table.until("the table", () => scene.size === 2);
  await traced(table);
  await table.page.emulateMedia({ media: "print" });
  // The canvases have no size now, and are the same again afterwards.
  await table.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await table.page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  const visible = await table.page.evaluate(() => [...document.body.children].filter((each) => each.checkVisibility()).map(({ id, tagName }) => id || tagName));
  assert.deepEqual(visible, ["printed"]);
  const text = await table.page.locator("#printed").innerText();
  assert.match(text, /^paper\s/);
  assert.match(text, /20\d\d/);
  assert.equal(await table.page.locator("#printed rect").first().getAttribute("fill"), "#fbfcfd");
  await table.page.evaluate(() => dispatchEvent(new Event("afterprint")));
  assert.equal(await table.page.locator("#printed svg").count(), 0);
  const before = await table.page.evaluate(() => view.scale);
  await table.page.emulateMedia({ media: "screen" });
  await table.until("the table", () => document.querySelector("#lively").checkVisibility() && !framed);
  assert.equal(await table.page.evaluate(() => view.scale), before);
  assert.ok((await pixel(table, "still", 100, 0))[3] > 0);
});

await main(closeBrowser);
