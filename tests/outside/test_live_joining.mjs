// The live page in Chromium: how it tells people to join, with which addresses, and what becomes of a key.

import assert from "node:assert/strict";
import { closeBrowser } from "./browser.mjs";
import { atPage, item, sessionPage } from "./live_page.mjs";
import { installed, main } from "./ws_story.mjs";

const read = installed("jsqr");

/** What the fields of the joining panel say. */
const fields = (look) =>
  look.page.evaluate(() =>
    Object.fromEntries(["server-url", "session-name", "forward", "page-url"].map((id) => [id, document.getElementById(id).value])),
  );

/** The text of the QR code, read from a picture of it by a reader that isn't ours. */
async function qrText(look) {
  const picture = await look.page.locator("#qr svg").screenshot();
  const { data, width, height } = await look.page.evaluate(async (base64) => {
    const image = new Image();
    image.src = `data:image/png;base64,${base64}`;
    await image.decode();
    const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
    canvas.drawImage(image, 0, 0);
    return { data: [...canvas.getImageData(0, 0, image.width, image.height).data], width: image.width, height: image.height };
  }, picture.toString("base64"));
  return read(new Uint8ClampedArray(data), width, height)?.data;
}

/** Says of the server that it has these addresses: a test can't give its machine any. */
const withAddresses = async (look, addresses) => {
  await look.page.route("**/api/server", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: { ...(await response.json()), addresses } });
  });
  await look.page.reload();
};

atPage("the fields hold what an editor needs, and are copied without TLS", async ({ look, member, server }) => {
  await member("lab bench", "alice").joined();
  const page = await look("", { permissions: ["clipboard-read"] });
  const own = `127.0.0.1:${server.port}`;
  await page.isLive();
  assert.deepEqual(await fields(page), {
    "server-url": `ws://${own}`,
    "session-name": "default",
    forward: `collabd forward ws://${own}`,
    "page-url": `http://${own}/`,
  });
  await page.page.getByRole("link", { name: "lab bench" }).click();
  await page.page.getByText("Join this session from Optiverse").click();
  assert.deepEqual(await fields(page), {
    "server-url": `ws://${own}`,
    "session-name": "lab bench",
    forward: `collabd forward ws://${own}`,
    "page-url": `http://${own}/#/session/lab%20bench`,
  });
  for (const [name, text] of [
    ["Copy Server URL", `ws://${own}`],
    ["Copy Session ID", "lab bench"],
    ["Copy To share your canvas from another machine", `collabd forward ws://${own}`],
    ["Copy This page", `http://${own}/#/session/lab%20bench`],
  ]) {
    const button = page.page.getByRole("button", { name, exact: true });
    await button.focus();
    await button.press("Enter");
    await page.shows("Copied", "#join button");
    assert.equal(await page.page.evaluate(() => navigator.clipboard.readText()), text);
    // The focus is where it was.
    assert.equal(await page.page.evaluate(() => document.activeElement.getAttribute("aria-label")), name);
  }
  assert.equal(await qrText(page), `http://${own}/#/session/lab%20bench`);
});

atPage("on the server's own machine the page offers the addresses that others reach", async ({ look, server }) => {
  const page = await look();
  await page.isLive();
  await withAddresses(page, [`ws://192.0.2.20:${server.port}`, `ws://[2001:db8::7]:${server.port}`, `ws://127.0.0.1:${server.port}`]);
  await page.until("an address of the network", () => document.querySelector("#server-url").value.includes("192.0.2.20"));
  const choice = page.page.getByLabel("This machine’s address");
  assert.deepEqual(await choice.locator("option").allInnerTexts(), [`192.0.2.20:${server.port}`, `[2001:db8::7]:${server.port}`]);
  assert.equal(await qrText(page), `http://192.0.2.20:${server.port}/`);
  await choice.selectOption({ index: 1 });
  assert.deepEqual(await fields(page), {
    "server-url": `ws://[2001:db8::7]:${server.port}`,
    "session-name": "default",
    forward: `collabd forward ws://[2001:db8::7]:${server.port}`,
    "page-url": `http://[2001:db8::7]:${server.port}/`,
  });
  assert.equal(await qrText(page), `http://[2001:db8::7]:${server.port}/`);
  // The choice stays when another session is looked at.
  await page.page.evaluate(() => (location.hash = "#/session/other"));
  await page.until("the other session's address", () => document.querySelector("#page-url").value.endsWith("/#/session/other"));
  assert.ok((await fields(page))["server-url"].includes("2001:db8::7"));
  page.expected.push(/status of 404|WebSocket connection to/);
});

/** With two keys, that read and that write; sessions ask for one. */
const withKeys = (desk) => {
  const { keys } = desk;
  Object.assign(desk, { reading: keys.make("a reader", "read"), writing: keys.make("a writer", "write") });
  return ["--keys", keys.path, "--require-key"];
};

/** Nothing of a page shows this key: not its address, its history, its elements, its fields or its QR code. */
async function hides(page, key) {
  assert.ok(!page.page.url().includes(key), "the address");
  assert.ok(!(await page.page.content()).includes(key), "its elements");
  const kept = await page.page.evaluate(() => [
    ...[...document.querySelectorAll("input, select, option")].map((field) => field.value),
    JSON.stringify(history.state), document.title, document.cookie, JSON.stringify(localStorage),
  ]);
  assert.ok(!kept.join(" ").includes(key), "its fields");
  if (await page.page.locator("#qr svg").isVisible()) assert.ok(!(await qrText(page)).includes(key), "its QR code");
}

atPage(
  "a key behind the # opens the page, and is taken out of the address at once",
  async ({ look, member, reading, writing, server }) => {
    const alice = await member("wall", "alice", `/key/${writing}`).joined();
    await alice.table([item("l", "lens", "a lens", 0, 0)]);
    const home = `http://127.0.0.1:${server.port}/`;
    for (const [where, left, shown] of [
      [`#key=${reading}`, "", ".card"],
      [`#/?key=${reading}`, "#/", ".card"],
      [`#/session/wall?key=${reading}`, "#/session/wall", "#items"],
      // As some programs change a link.
      [`#/session/wall%3Fkey%3D${reading}`, "#/session/wall", "#items"],
      [`?key=${reading}#/session/wall`, "#/session/wall", "#items"],
    ]) {
      const page = await look(where);
      await page.isLive();
      await page.shows(shown === ".card" ? "wall" : "a lens", shown);
      assert.equal(page.page.url(), home + left);
      if (shown === "#items") await page.page.getByText("Join this session from Optiverse").click();
      await page.until("the fields", () => document.querySelector("#page-url").value);
      await hides(page, reading);
      await page.page.reload();
      await page.isLive();
      // Back in history there is no key either.
      assert.equal(await page.page.evaluate(() => history.length), 2);
    }
    // In a page that is open already.
    const page = await look();
    page.expected.push(/status of 401|status of 403|WebSocket connection to/);
    await page.page.getByRole("button", { name: "Not now" }).click();
    await page.page.evaluate((hash) => (location.hash = hash), `#/session/wall?key=${reading}`);
    await page.shows("a lens", "#items");
    assert.equal(page.page.url(), `${home}#/session/wall`);
    await hides(page, reading);
    const asked = [];
    page.page.on("request", (request) => asked.push(request.url()));
    await page.page.reload();
    await page.isLive();
    assert.ok(asked.length && asked.every((url) => !url.includes(reading)), "no request has it in its address");
  },
  withKeys,
);

atPage(
  "a key can be changed and forgotten",
  async ({ look, member, reading, writing }) => {
    await member("guarded", "alice", `/key/${writing}`).joined();
    const page = await look(`#key=${reading}`);
    page.expected.push(/status of 401/);
    await page.shows("guarded", ".card");
    const menu = page.page.getByRole("button", { name: "Key…" });
    const dialog = page.page.locator("#key-dialog");
    await menu.click();
    await page.shows("A key is in use.", "#key-dialog");
    assert.deepEqual(await page.barriers(), []);
    await dialog.getByRole("button", { name: "Not now" }).click();
    await page.shows("guarded", ".card");
    await menu.click();
    await dialog.getByLabel("Key", { exact: true }).fill(writing);
    await dialog.getByRole("button", { name: "Continue" }).click();
    await page.isLive();
    assert.equal(await page.page.evaluate(() => sessionStorage.getItem("collabd.key")), writing);
    await hides(page, writing);
    await menu.click();
    await dialog.getByRole("button", { name: "Forget the key" }).click();
    await page.shows("A key is needed", "#line");
    assert.equal(await page.page.evaluate(() => sessionStorage.length), 0);
    assert.ok(!(await dialog.isVisible()), "it isn't asked for at once");
    await page.page.getByRole("button", { name: "Try now" }).click();
    await page.shows("No key is in use.", "#key-dialog");
    await dialog.getByLabel("Key", { exact: true }).fill(reading);
    await dialog.getByLabel("Key", { exact: true }).press("Enter");
    await page.isLive();
  },
  withKeys,
);

atPage("light, dark or as the system has it: chosen by hand, remembered, and readable", async ({ look, member }) => {
  const alice = await member("themes", "alice").joined();
  await alice.table([item("l", "lens", "a lens", 0, 0), item("m", "mirror", "M1", 300, 200)]);
  for (const colorScheme of ["light", "dark"]) {
    const page = await look(sessionPage("themes"), { colorScheme });
    await page.shows("a lens", "#items");
    const shown = () =>
      page.page.evaluate(() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.documentElement).colorScheme, colours?.table]);
    const settled = (table) => page.until("the drawing's colours", (table) => colours?.table === table, table);
    const [LIGHT, DARK] = [["rgb(242, 244, 247)", "light", "#fbfcfd"], ["rgb(13, 18, 23)", "dark", "#10161c"]];
    const system = colorScheme === "dark" ? DARK : LIGHT;
    const button = page.page.getByRole("button", { name: "Theme:" });
    for (const [name, expected] of [["system", system], ["light", LIGHT], ["dark", DARK], ["system", system], ["light", LIGHT]]) {
      await page.shows(`Theme: ${name}`, "header");
      await settled(expected[2]);
      assert.deepEqual(await shown(), expected, name);
      assert.deepEqual(await page.barriers(), []);
      if (name !== "light" || system === DARK) await page.page.reload().then(() => page.shows("a lens", "#items"));
      await settled(expected[2]);
      await button.click();
    }
    // As the system changes.
    await page.shows("Theme: dark", "header");
    await button.click();
    const other = colorScheme === "dark" ? LIGHT : DARK;
    await page.page.emulateMedia({ colorScheme: other[1] });
    await settled(other[2]);
    assert.deepEqual(await shown(), other);
  }
});

await main(closeBrowser);
