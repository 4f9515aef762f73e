// The live page in Chromium: what it shows of a table while people edit it, and of what it was before.

import assert from "node:assert/strict";
import path from "node:path";
import { closeBrowser } from "./browser.mjs";
import { atPage, item, sessionPage } from "./live_page.mjs";
import { main } from "./ws_story.mjs";

atPage(
  "a session that an editor is editing is on the overview, and what is done in it on its table",
  async ({ look, editor }) => {
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
    const added = await alice.do("add", { name: "the fourth", x_mm: 1, y_mm: 2 });
    await table.shows("alice added the fourth at (1.0, 2.0)", "#changes");
    await alice.do("remove", added);
    await table.shows("alice removed the fourth", "#changes");
    await table.until(
      "the item to be gone",
      () => scene.size === 3 && !document.querySelector("#items").innerText.includes("the fourth"),
    );
    // After all of that the drawing is the document.
    for (const { item_uuid, x_mm } of alice.canvas.slice(1)) assert.equal((await table.drawn(item_uuid)).x, x_mm);
    await alice.do("leave");
    await table.shows("alice left", "#changes");
    await table.shows("Nobody is in", "#members");
    await table.page.getByRole("link", { name: "All sessions" }).click();
    await overview.shows("nobody is in", ".card");
  },
);

atPage("a drag is seen moving, glows in the colour of who drags, and ends where it ended", async ({ look, editor }) => {
  const alice = await editor("drags", "alice", "host", 2);
  const bob = await editor("drags", "bob", "client");
  const [{ item_uuid: id }] = alice.canvas;
  await alice.do("place", id, 0, 0, 0);
  const table = await look(sessionPage("drags"));
  await table.isLive();
  await table.until("the item to have come to rest", (id) => scene.get(id)?.x === 0, id);
  const before = await table.picture("still");
  const drag = bob.do(
    "drag",
    id,
    Array.from({ length: 300 }, (_, n) => [n, n / 2]),
  );
  const places = [];
  const glimpses = new Set();
  await table.until("the glow", (id) => scene.get(id).by === "bob" && lively.has(scene.get(id)), id);
  for (let ended = false; !ended; ended = await Promise.race([drag.then(() => true), table.page.waitForTimeout(20)])) {
    places.push((await table.drawn(id)).x);
    glimpses.add(await table.picture());
  }
  assert.ok(new Set(places).size > 5 && glimpses.size > 5, `it is seen in ${new Set(places).size} places`);
  assert.deepEqual(
    places,
    [...places].sort((a, b) => a - b),
    "it glides one way",
  );
  await table.until(
    "the end of the drag",
    (id) => scene.get(id).x === 299 && scene.get(id).y === 149.5 && !lively.size,
    id,
  );
  assert.notEqual(await table.picture("still"), before);
  // One drag is one line.
  await table.shows("(299.0, 149.5)", "#changes");
  assert.equal(await table.page.locator("#changes li", { hasText: "bob moved" }).count(), 1);
});

atPage("only the place of a move_item counts, and what the server settles is no news", async ({ look, member }) => {
  const alice = await member("settles", "alice").joined();
  await alice.table([item("l", "lens", "Lens f=100", 10, 20)]);
  const table = await look(sessionPage("settles"));
  await table.shows("Lens f=100", "#items button");
  // What was done before is told, too.
  await table.shows("alice replaced the table: 1 item added", "#changes");
  await alice.command("move_item", "l", { name: "", object_height_mm: 1, x_mm: 11, y_mm: 21, angle_deg: 0 });
  await table.until("the move", () => scene.get("l").x === 11);
  assert.equal((await table.drawn("l")).title, "Lens f=100");
  // It is still for 300 ms, and the server tells all of it again.
  await table.until("the settled item", () => !lively.size);
  assert.deepEqual(await table.page.locator("#changes li p").allInnerTexts(), [
    "alice moved Lens f=100 to (11.0, 21.0)",
    "alice replaced the table: 1 item added",
  ]);
  await alice.command("update_item", "l", { angle_deg: 350 });
  await table.shows("alice turned Lens f=100 to 350.0°", "#changes");
  await table.until("the short way around", () => scene.get("l").angle === 350);
});

atPage("500 items are drawn and listed", async ({ look, member }) => {
  const alice = await member("many", "alice").joined();
  const kinds = ["lens", "mirror", "source", "splitter", "waveplate"];
  await alice.table(
    Array.from({ length: 500 }, (_, n) =>
      item(`i${n}`, kinds[n % 5], `item ${n}`, (n % 25) * 80, Math.floor(n / 25) * 80, n * 7),
    ),
  );
  const table = await look(sessionPage("many"));
  await table.until("500 rows", () => document.querySelectorAll("#items tr").length === 500);
  assert.deepEqual(await table.page.evaluate(() => [...new Set([...scene.values()].map((each) => each.kind))]), [
    "lens",
    "mirror",
    "source",
    "splitter",
    "waveplate",
  ]);
  await table.shows("Beam splitter", "#items span");
  await table.shows("Waveplate", "#items span");
  // Each is to be seen: where it stands the picture isn't as it would be without it.
  const unseen = () =>
    table.page.evaluate(() => {
      const marks = () => {
        const { width, height } = still.canvas;
        const { data } = still.getImageData(0, 0, width, height);
        return [...scene.values()].map(({ x, y }) => {
          const [middleX, middleY] = [Math.round(screenX(x) * view.ratio), Math.round(screenY(y) * view.ratio)];
          let sum = 0;
          for (let dy = -6; dy <= 6; dy++)
            for (let dx = -6; dx <= 6; dx++)
              // All channels and their places: sums of one may be equal by chance.
              for (let c = 0; c < 4; c++) sum = (sum * 31 + (data[4 * ((middleY + dy) * width + middleX + dx) + c] ?? 0)) % 4294967291;
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

atPage("an interface lies where the editor has it, and angles turn clockwise", async ({ look }) => {
  const table = await look();
  const ends = (item) => table.page.evaluate((item) => elementsOf(item, placeOf(item)).map(({ ax, ay, bx, by }) => [ax, ay, bx, by].map((n) => n.toFixed(3)).join(" "))[0], item);
  assert.equal(await ends(item("l", "lens", "L", 10, 20)), "10.000 40.000 10.000 0.000");
  // What the editor's own canvas says: an interface from (0, 0) to (100, 0), turned by 30, ends at (86.603, -50).
  const line = item("l", "lens", "L", 0, 0, 30);
  Object.assign(line.interfaces[0], { x1_mm: 0, y1_mm: 0, x2_mm: 100, y2_mm: 0 });
  assert.equal(await ends(line), "0.000 0.000 86.603 -50.000");
});

atPage(
  "people come and go, the host changes, cursors have names; a viewer is none of them",
  async ({ look, member, server }) => {
    const alice = await member("room", "alice").joined();
    const table = await look(sessionPage("room"));
    await table.isLive();
    await table.shows("alice", "#members");
    const bob = await member("room", "bob").joined();
    // Nobody but the two has ever been told of.
    assert.deepEqual(
      bob.ack.users.map((user) => user.user_id),
      ["alice", "bob"],
    );
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
    await overview.until(
      "the viewer to be gone",
      () => document.querySelector(".card") && !document.querySelector(".card").innerText.includes("viewer"),
    );
    bob.send({ type: "ping" });
    assert.equal((await bob.next("user:left")).user_id, "alice");
    await bob.next("host:changed");
    await bob.next("pong");
  },
);

atPage(
  "what is stored can be looked back at, and is listed when nobody is in",
  async ({ look, member, start, stop, server }) => {
    const { port } = server;
    const alice = await member("history", "alice").joined();
    await alice.table([item("l", "lens", "Lens f=100", 0, 0)]);
    for (let x = 10; x <= 50; x += 10) await alice.command("move_item", "l", { x_mm: x, y_mm: 0, angle_deg: 0 });
    await alice.command("add_item", "m", item("m", "mirror", "M1", 5, 5));
    const table = await look(sessionPage("history"));
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
    // Whoever went on looking would have it read.
    await table.page.getByRole("link", { name: "All sessions" }).click();
    alice.end();
    await stop();
    await start("--port", port);
    await table.shows("history", "#stored");
    await table.page.getByRole("link", { name: "history" }).click();
    // Looking at it is enough to have it read.
    await table.until("the table as it was left", () => scene.get("l")?.x === 60 && scene.size === 2);
    await table.shows("Nobody is in", "#members");
  },
  ({ keys }) => ["--data-dir", path.join(keys.folder, "data")],
);

await main(closeBrowser);
