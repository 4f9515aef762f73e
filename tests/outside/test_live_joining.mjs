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

await main(closeBrowser);
