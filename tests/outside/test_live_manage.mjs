// The live page in Chromium for an operator: uploading, restoring, renaming, copying, deleting, ending a connection.

import assert from "node:assert/strict";
import path from "node:path";
import { closeBrowser } from "./browser.mjs";
import { atPage, item, sessionPage } from "./live_page.mjs";
import { main } from "./ws_story.mjs";

const durable = ({ keys }) => ["--data-dir", path.join(keys.folder, "data")];

/** A file as the editor saves it. */
const saved = (name, items, more = {}) => ({
  name,
  mimeType: "application/json",
  buffer: Buffer.from(JSON.stringify({ version: "2.0", items, rulers: [], texts: [], rectangles: [], path_measures: [], groups: [], ...more })),
});
const LENS = item("l", "lens", "Lens f=100", 0, 0);
const MIRROR = item("m", "mirror", "M1", 300, 0);

const state = async (server, id) => (await fetch(`http://127.0.0.1:${server.port}/api/sessions/${encodeURIComponent(id)}/state`)).json();
const focused = (page) => page.page.evaluate(() => document.activeElement.id || document.activeElement.innerText);

/** Chooses a file by the button of this name. */
async function choose(page, button, file) {
  const chooser = page.page.waitForEvent("filechooser");
  await page.page.getByRole("button", { name: button }).click();
  await (await chooser).setFiles(file);
}

/** Drops files on the page. */
const drop = (page, ...files) =>
  page.page.evaluate((files) => {
    const dataTransfer = new DataTransfer();
    for (const { name, text } of files) dataTransfer.items.add(new File([text], name));
    const over = new DragEvent("dragover", { dataTransfer, bubbles: true, cancelable: true });
    document.querySelector("main").dispatchEvent(over);
    const kept = over.defaultPrevented && document.body.classList.contains("dropping");
    document.querySelector("main").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    return kept && !document.body.classList.contains("dropping");
  }, files.map(({ name, buffer }) => ({ name, text: String(buffer) })));

atPage(
  "a saved file becomes a session; one that is there is replaced only after another question",
  async ({ look, server }) => {
    const page = await look();
    page.expected.push(/status of 409|status of 400/);
    const dialog = page.page.locator("#ask-dialog");
    await choose(page, "Upload a file…", saved("my design.json", [LENS, MIRROR]));
    await page.shows("A new session is made of my design.json", "#ask-text");
    assert.equal(await dialog.getByLabel("Session ID").inputValue(), "my design");
    assert.deepEqual(await page.barriers(), []);
    await dialog.getByRole("button", { name: "Cancel" }).click();
    assert.equal(await focused(page), "upload-any");
    await choose(page, "Upload a file…", saved("my design.json", [LENS, MIRROR]));
    await dialog.getByLabel("Session ID").fill("bench 1");
    await dialog.getByRole("button", { name: "Upload" }).click();
    await page.shows("my design.json is in bench 1: 2 items.", "#done");
    assert.deepEqual(await page.barriers(), []);
    assert.deepEqual((await state(server, "bench 1")).items.map(({ name }) => name), ["Lens f=100", "M1"]);
    // Again: it is there.
    assert.ok(await drop(page, saved("other.json", [MIRROR])));
    await dialog.getByLabel("Session ID").fill("bench 1");
    await dialog.getByLabel("Session ID").press("Enter");
    await page.shows("There is a session of that name.", "#ask-why");
    assert.equal((await state(server, "bench 1")).items.length, 2);
    // Another name is asked about anew.
    await dialog.getByLabel("Session ID").fill("bench 2");
    await dialog.getByRole("button", { name: "Upload" }).waitFor();
    await dialog.getByLabel("Session ID").fill("bench 1");
    await dialog.getByRole("button", { name: "Upload" }).click();
    await dialog.getByRole("button", { name: "Replace the table" }).click();
    await page.shows("other.json is in bench 1: 1 item.", "#done");
    assert.equal((await state(server, "bench 1")).items.length, 1);
    // What can't be taken is told.
    await choose(page, "Upload a file…", saved("odd.json", [LENS, { ...MIRROR, x_mm: "far" }]));
    await dialog.getByRole("button", { name: "Upload" }).click();
    await page.shows("1 item left out", "#done");
    for (const file of [saved("none.json", 7), { name: "photo.json", mimeType: "image/png", buffer: Buffer.from([137, 80, 78, 71, 255]) }]) {
      await choose(page, "Upload a file…", file);
      await dialog.getByRole("button", { name: "Upload" }).click();
      await page.until("the refusal", () => document.querySelector("#ask-why").textContent);
      await page.page.keyboard.press("Escape");
      assert.equal(await focused(page), "upload-any");
    }
    await drop(page, saved("a.json", []), saved("b.json", []));
    await page.shows("Drop one file at a time.", "#done");
  },
  durable,
);

atPage(
  "a session is replaced, restored, copied, renamed and deleted, and a connection ended, by keyboard as well",
  async ({ look, member, server }) => {
    const alice = await member("bench", "alice").joined();
    await alice.table([LENS, MIRROR]);
    const page = await look(sessionPage("bench"));
    page.expected.push(/status of 409|status of 404|WebSocket connection to/);
    const dialog = page.page.locator("#ask-dialog");
    const button = (name) => page.page.locator("#manage").getByRole("button", { name });
    await page.shows("Manage this session", "#manage");
    assert.deepEqual(await page.barriers(), []);

    await choose(page, "Upload a file…", saved("new.json", [MIRROR]));
    await page.shows("take the place of those in bench", "#ask-text");
    await dialog.getByRole("button", { name: "Replace the table" }).click();
    await page.shows("new.json is in bench: 1 item.", "#done");
    await page.until("the new table", () => scene.size === 1);
    // Alice's canvas isn't wiped: she is told of the change.
    assert.equal((await alice.next("command")).command.action, "remove_item");

    await button("Restore…").focus();
    await button("Restore…").press("Enter");
    await dialog.getByLabel("Version").waitFor();
    // Which one is meant is told by why it was kept, too.
    assert.match(await dialog.getByLabel("Version").locator("option").first().innerText(), / · the table was replaced · alice$/);
    assert.deepEqual(await page.barriers(), []);
    await dialog.getByRole("button", { name: "Restore" }).click();
    await page.shows("bench was restored: 2 items.", "#done");
    await page.until("the old table", () => scene.size === 2);
    assert.equal(await focused(page), "restore");

    await button("Copy…").click();
    assert.equal(await dialog.getByLabel("Session ID of the copy").inputValue(), "bench copy");
    await dialog.getByLabel("Session ID of the copy").press("Enter");
    await page.shows("bench was copied to bench copy: 2 items.", "#done");
    assert.equal((await state(server, "bench copy")).items.length, 2);
    assert.equal(await focused(page), "copy");

    // While somebody is in, the server refuses, and the page says why.
    for (const [name, yes] of [["Rename…", "Rename"], ["Delete…", "Delete"]]) {
      await button(name).click();
      if (name === "Rename…") await dialog.getByLabel("New Session ID").fill("bench 2");
      await dialog.getByRole("button", { name: yes }).click();
      await page.until("the refusal", () => document.querySelector("#ask-why").textContent);
      await dialog.getByRole("button", { name: "Cancel" }).click();
    }

    await page.until("alice's connection to be known", () => document.querySelector("#members .quality.good"));
    await button("End a connection…").click();
    assert.deepEqual(await dialog.getByLabel("Whose").locator("option").allInnerTexts(), ["alice"]);
    await dialog.getByRole("button", { name: "End it" }).click();
    await page.shows("The connection of alice was ended.", "#done");
    await page.shows("Nobody is in", "#members");
    assert.equal(await focused(page), "end");

    await button("Rename…").click();
    await dialog.getByLabel("New Session ID").fill("bench 2");
    await dialog.getByRole("button", { name: "Rename" }).click();
    await page.shows("bench is called bench 2 now.", "#done");
    await page.shows("bench 2", "#session-title");
    await page.isLive();
    assert.equal(await focused(page), "session-title");
    await page.until("the table", () => scene.size === 2);

    await button("Delete…").click();
    await page.shows("bench 2, 2 items, and all its versions are deleted.", "#ask-text");
    // What destroys is not what Enter does by itself.
    assert.equal(await focused(page), "ask-no");
    await dialog.getByRole("button", { name: "Delete" }).click();
    await page.shows("bench 2 was deleted.", "#done");
    await page.shows("bench copy", "body");
    assert.equal((await fetch(`http://127.0.0.1:${server.port}/api/sessions/bench%202/state`)).status, 404);
  },
  durable,
);

atPage(
  "who may not change things isn't offered to, and is told so when a file is dropped",
  async ({ look, member, reading, ruling, one, server }) => {
    const alice = await member("bench", "alice", `/key/${ruling}`).joined();
    await alice.table([LENS]);
    const shown = (page) => page.page.evaluate(() => ["manage", "end", "upload-any"].filter((id) => document.getElementById(id).checkVisibility()));
    const reader = await look(`#/session/bench?key=${reading}`);
    await reader.shows("Lens f=100", "#items button");
    await reader.until("what it may", () => document.querySelector("#members .quality.good"));
    assert.deepEqual(await shown(reader), []);
    await drop(reader, saved("a.json", [MIRROR]));
    await reader.shows("You may not upload a file here", "#done");
    assert.ok(!(await reader.page.locator("#ask-dialog").isVisible()));
    const admin = await look(`#/session/bench?key=${ruling}`);
    await admin.shows("Manage this session", "#manage");
    assert.deepEqual(await shown(admin), ["manage", "end"]);
    await admin.page.getByRole("link", { name: "All sessions" }).click();
    await admin.shows("Upload a file…", "#upload-any");
    // A key for one session.
    const part = await look(`#/session/bench?key=${one}`);
    await part.shows("Manage this session", "#manage");
    assert.deepEqual(await shown(part), ["manage"]);
    // A key that is taken away meanwhile: the server refuses.
    await admin.page.close();
    assert.equal((await fetch(`http://127.0.0.1:${server.port}/api/sessions/bench`, { method: "DELETE", headers: { Authorization: `Bearer ${reading}` } })).status, 403);
  },
  (desk) => {
    const { keys } = desk;
    Object.assign(desk, { reading: keys.make("a reader", "read"), ruling: keys.make("an admin", "admin"), one: keys.make("an admin of one", "admin", "--sessions", "bench") });
    return ["--keys", keys.path, "--require-key", ...durable(desk)];
  },
);

await main(closeBrowser);
