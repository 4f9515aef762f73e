// Chromium as a front end: which pages may connect, and the protocols as a page speaks them.

import assert from "node:assert/strict";
import { closeBrowser, newVisitor, openPage, servePages } from "./browser.mjs";
import { Connection, FrontEnd, atDesk } from "./front_end.mjs";
import { confideKey, main, startProxy } from "./ws_story.mjs";

const pages = await servePages();
const others = await servePages();
const LAB = pages.at("lab.example");

/** A story with a browser. `visit(url)` opens a page; `joins` and `talks` say what became of its connections. */
function inBrowser(title, tell, ...options) {
  atDesk(
    title,
    async (desk) => {
      const visitor = await newVisitor();
      const visit = (url) => openPage(visitor, url);
      let users = 0;
      const outcome = async ({ open }, path, first, url = desk.server.url) => {
        const connection = desk.own(new Connection(`${url}${path}${++users}`, { open }));
        const answer = await connection.take(first);
        return answer.refused ?? answer.type ?? answer;
      };
      /** What a page's WebSockets are told first, or the status that refuses them: in a session, in a channel. */
      const tried = async (page, url) => [
        await outcome(page, "/ws/room/user", "connection:ack", url),
        await outcome(page, "/client_", "connection_established", url),
      ];
      try {
        await tell({ ...desk, visit, tried });
      } finally {
        await visitor.close();
      }
    },
    ...options,
  );
}

const REFUSED = [403, 403];
const IN = ["connection:ack", "connection_established"];

inBrowser("a page of another origin is refused with 403, and so is one without an origin", async ({ visit, tried }) => {
  assert.deepEqual(await tried(await visit(LAB)), REFUSED);
  assert.deepEqual(await tried(await visit(`${LAB}/sandbox`)), REFUSED);
});

inBrowser(
  "a page of an origin that is listed may connect, its neighbours may not",
  async ({ visit, tried }) => {
    assert.deepEqual(await tried(await visit(LAB)), IN);
    assert.deepEqual(await tried(await visit(`${LAB}/any/path?at#all`)), IN);
    assert.deepEqual(await tried(await visit(others.at("lab.example"))), REFUSED);
    assert.deepEqual(await tried(await visit(pages.at("other.example"))), REFUSED);
    assert.deepEqual(await tried(await visit(pages.at("www.lab.example"))), REFUSED);
  },
  "--allow-origin",
  "https://front.example",
  "--allow-origin",
  LAB,
);

inBrowser(
  "with * every page may connect",
  async ({ visit, tried }) => {
    assert.deepEqual(await tried(await visit(LAB)), IN);
    assert.deepEqual(await tried(await visit(`${LAB}/sandbox`)), IN);
  },
  "--allow-origin",
  "*",
);

inBrowser("a page of this machine may connect to this machine", async ({ visit, tried }) => {
  for (const name of ["localhost", "127.0.0.1"]) {
    assert.deepEqual(await tried(await visit(pages.at(name))), IN);
  }
});

inBrowser(
  "a page of the server's own may connect to it, by a name that it was given",
  async ({ server, visit, tried }) => {
    const own = `lab.example:${server.port}`;
    const page = await visit(`http://${own}/healthz`);
    assert.deepEqual(await tried(page, `ws://${own}`), IN);
    assert.deepEqual(await tried(page, server.url), REFUSED);
    // The name is right, the port is not.
    assert.deepEqual(await tried(await visit(LAB), `ws://${own}`), REFUSED);
  },
  "--allow-host",
  "lab.example",
);

inBrowser("a page whose own name is made to lead here may not, though its browser takes it for one of ours", async (desk) => {
  const own = `lab.example:${desk.server.port}`;
  const page = await desk.visit(`http://${own}/healthz`);
  assert.deepEqual(await desk.tried(page, `ws://${own}`), [421, 421]);
});

inBrowser("two pages talk through a channel, to the letter", async ({ open, visit, key }) => {
  const home = pages.at("localhost");
  const [first, second] = [await visit(home), await visit(home)];
  const seat = async (clientId, { open: socket }) => {
    const frontEnd = await open(clientId, { open: socket });
    frontEnd.connect(key);
    await frontEnd.connected();
    await frontEnd.join("table");
    return frontEnd;
  };
  const [ann, bea] = [await seat("ann 🙂", first), await seat("bea", second)];
  for (let n = 0; n < 5; n++) {
    await ann.say("table", "chat_message", `a${n}`);
    await bea.next("chat_message", { channel: "table", client_id: "ann 🙂", id: `a${n}` });
    await bea.say("table", "agent_status", `b${n}`);
    await ann.next("agent_status", { channel: "table", client_id: "bea", id: `b${n}` });
  }
  // Two connections of one page are two members.
  const twin = await seat("bea", second);
  await ann.say("table");
  for (const other of [bea, twin]) await other.next("chat_message", { client_id: "ann 🙂" });
  await bea.join("table", "leave_channel");
  await twin.say("table");
  await ann.next("chat_message", { client_id: "bea" });
  bea.send({ type: "ping" });
  await bea.next("pong");
  for (const each of [ann, bea, twin]) await each.nothingMore();
  // A page that is left takes its connections along; the others talk on.
  await second.page.close();
  await ann.say("table");
  await ann.nothingMore();
});

inBrowser("pages read why they were closed", async ({ server, key, open, visit }) => {
  const page = await visit(pages.at("localhost"));
  const enter = () => open("mallory", { open: page.open });
  const wrong = await enter();
  wrong.connect(confideKey("wrong-9876543210-wrong-9876543210"));
  assert.equal(await wrong.error("invalid_key", 403), "Invalid API key");
  await wrong.next("disconnect", { data: { reason: "Invalid API key" } });
  await wrong.ended(4000, "Invalid API key");
  const early = await enter();
  early.send({ type: "join_channel", data: { channel: "table" } });
  await early.error("not_authenticated", 403);
  await early.ended(4003);
  const babbling = await enter();
  for (const text of ["{", "[]", "words"]) {
    babbling.send(text);
    await babbling.error("invalid_format", 400);
  }
  await babbling.ended(4002);
  const content = "x".repeat(2 ** 20);
  const [big, bored, last] = [await enter(), await enter(), await enter()];
  big.connect(key);
  await big.connected();
  big.send({ type: "chat_message", data: { content } });
  await big.ended(1009);
  bored.socket.close(3000, "enough");
  await bored.ended(3000, "enough");
  server.process.kill("SIGTERM");
  await last.ended(1001);
});

for (const kind of ["nginx", "caddy"]) {
  inBrowser(
    `${kind}: a page from behind it talks through it, over TLS; a page from elsewhere doesn't`,
    async ({ server, key, own, visit, tried }) => {
      const proxy = await startProxy(kind, server);
      try {
        const page = await visit(proxy.url.replace("wss:", "https:"));
        assert.deepEqual(await tried(page, proxy.url), IN);
        assert.deepEqual(await tried(await visit(LAB), proxy.url), REFUSED);
        const ann = own(new FrontEnd(proxy, "ann", page));
        await ann.established();
        ann.connect(key);
        await ann.connected();
        await ann.join("table");
        await ann.say("table");
        await ann.nothingMore();
      } finally {
        await proxy.close();
      }
    },
    "--trust-proxy",
    "127.0.0.1",
  );
}

inBrowser("a page joins a session beside a script; each sees what the other does", async ({ server, own, visit }) => {
  const { open } = await visit(pages.at("localhost"));
  const script = own(new Connection(`${server.url}/ws/room/script`));
  await script.next("connection:ack", { is_host: true });
  await script.next("user:joined", { user_id: "script" });
  await script.arrived();
  const page = own(new Connection(`${server.url}/ws/room/page`, { open }));
  await page.next("connection:ack", { is_host: false });
  await page.next("user:joined", { user_id: "page" });
  await page.arrived();
  await script.next("user:joined", { user_id: "page" });
  for (const [from, to, user] of [[script, page, "script"], [page, script, "page"]]) {
    const data = { item_uuid: user, _type: "component", x_mm: 1.5, y_mm: 0, angle_deg: 0 };
    from.send({ type: "command", command: { action: "add_item", item_type: "component", item_id: user, data } });
    await to.next("command", { user_id: user });
    from.send({ type: "chat", text: "seen by the other" });
    await to.next("chat", { user_id: user, text: "seen by the other" });
  }
}, "--no-settle");

await main(closeBrowser);
