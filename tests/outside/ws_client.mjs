// Node's `ws` as one more client: connects, talks, is refused and is closed like every script in JavaScript.

import { once } from "node:events";
import assert from "node:assert/strict";
import { WebSocket, heard, heardMessage, inTime, main, said, startServer, story } from "./ws_story.mjs";

const MIB = 2 ** 20;

// A command nobody applies, confirmed like every command with an id. Only the first of a user's is relayed, since its
// id is repeated. A ping would not do: its answer may overtake what the session still has to say.
const BARRIER = {
  type: "command",
  id: "barrier",
  command: { action: "barrier", item_type: "none", item_id: "none", data: {} },
};

const ARRIVAL = { type: "ping", id: "arrival" };

/** A member of a session: keeps all it received and wakes whoever waits for some of it. */
class Member {
  constructor(server, session, user, options = {}) {
    this.user = user;
    this.messages = [];
    this.closed = null; // { code, reason } once it is over
    this.refused = null; // { status, reason, body } when the handshake was refused
    this.wake = new Set();
    const address = `${server.url}/ws/${encodeURIComponent(session)}/${encodeURIComponent(user)}`;
    this.socket = new WebSocket(options.address ?? address, options);
    this.barriers = { sent: 0, confirmed: 0 };
    this.pongs = 0; // answers to its pings on arrival
    this.socket.on("message", (data, isBinary) => {
      const message = isBinary ? { type: "binary" } : JSON.parse(data);
      const confirmed = message.type === "message_delivered" && message.id === BARRIER.id;
      if (confirmed) this.barriers.confirmed += 1;
      else if (message.type === "pong" && message.id === ARRIVAL.id) this.pongs += 1;
      else if (message.command?.action !== BARRIER.command.action) this.messages.push(message);
      heardMessage(message);
      this.news();
    });
    this.socket.on("close", (code, reason) => {
      this.closed = { code, reason: reason.toString() };
      heard(this.closed.reason);
      this.news();
    });
    this.socket.on("unexpected-response", (request, response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => (body += chunk));
      response.on("end", () => {
        this.refused = { status: response.statusCode, reason: response.statusMessage, body };
        heard(`${response.statusCode} ${response.statusMessage} ${body}`);
        request.destroy();
        this.news();
      });
    });
    // An error is always followed by a close, which is what the stories look at.
    this.socket.on("error", () => {});
  }

  news() {
    for (const look of this.wake) look();
  }

  /** Waits until `condition()` is true and resolves to its value. */
  until(condition, what) {
    let look;
    const reached = new Promise((resolve) => {
      look = () => {
        const value = condition();
        if (value) resolve(value);
      };
      this.wake.add(look);
      look();
    });
    const kinds = () => this.messages.slice(-8).map((m) => m.type);
    return inTime(
      reached,
      () => `${what} at ${this.user}; closed: ${JSON.stringify(this.closed)}; it has ${kinds()}`,
    ).finally(() => this.wake.delete(look));
  }

  all(type) {
    return this.messages.filter((m) => m.type === type);
  }

  expect(type, fields = {}) {
    const good = (m) => m.type === type && Object.entries(fields).every(([k, v]) => m[k] === v);
    return this.until(() => this.messages.find(good), `${type} ${JSON.stringify(fields)}`);
  }

  async expectClosed(code, reason) {
    await this.until(() => this.closed, `the close with ${code}`);
    assert.equal(this.closed.code, code);
    if (reason !== undefined) assert.equal(this.closed.reason, reason);
  }

  send(message) {
    const text = typeof message === "string" ? message : JSON.stringify(message);
    said(text);
    this.socket.send(text);
  }

  command(action, item_id, data, more = {}) {
    this.send({ type: "command", command: { action, item_type: "component", item_id, data }, ...more });
  }

  /** Resolves when the server knows that this is no host. */
  async arrived() {
    // The answer to its Ping may be on its way behind the first of these, but not behind the second.
    for (const count of [1, 2]) {
      this.send(ARRIVAL);
      await this.until(() => this.pongs >= count, "a pong");
    }
  }

  /** Everything sent before has been dealt with when this resolves, and what it led to here has come. */
  roundTrip() {
    const wanted = ++this.barriers.sent;
    this.send(BARRIER);
    return this.until(() => this.barriers.confirmed >= wanted, "the barrier's confirmation");
  }
}

const item = (id, more = {}) => ({ item_uuid: id, _type: "component", x_mm: 0, y_mm: 0, angle_deg: 0, ...more });

/** A server and a way to join it; everything ends with the story. */
async function withRoom(tell, ...options) {
  const server = await startServer(...options);
  const members = [];
  const join = async (user, session = "room") => {
    const member = new Member(server, session, user);
    members.push(member);
    await member.expect("user:joined", { user_id: user });
    await member.arrived();
    return member;
  };
  try {
    await tell({ server, join, members });
    server.inspect();
  } finally {
    for (const member of members) member.socket.terminate();
    server.process.kill("SIGKILL");
    await inTime(server.exited, () => "the server to be gone");
  }
}
const inRoom = (title, tell, ...options) => story(title, () => withRoom(tell, ...options));

inRoom("acknowledged first, then joined; compression is offered and not taken", async ({ join }) => {
  const ann = await join("ann");
  const bea = await join("bea 🙂");
  assert.deepEqual(bea.messages.slice(0, 2).map((m) => m.type), ["connection:ack", "user:joined"]);
  assert.deepEqual(bea.messages[0].users.map((u) => [u.user_id, u.is_host]), [["ann", true], ["bea 🙂", false]]);
  assert.equal(bea.socket.extensions, "");
  await ann.expect("user:joined", { user_id: "bea 🙂" });
});

inRoom("pings of either kind are answered", async ({ join }) => {
  const ann = await join("ann");
  ann.send({ type: "ping", id: 7, t: 1.25 });
  const pong = await ann.expect("pong", { id: 7, t: 1.25 });
  assert.match(pong.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  ann.socket.ping("payload");
  const [payload] = await inTime(once(ann.socket, "pong"), () => "a protocol pong");
  assert.equal(payload.toString(), "payload");
});

inRoom("commands, cursors and chats go to the others, never back", async ({ join }) => {
  const [ann, bea, cat] = [await join("ann"), await join("bea"), await join("cat")];
  ann.command("add_item", "a", item("a", { name: "lens" }), { user_id: "cat", timestamp: "now" });
  ann.send({ type: "cursor", x: 1, y: 2, user_id: "cat" });
  ann.send({ type: "chat", text: "hello", extra: [null, 1.5] });
  for (const other of [bea, cat]) {
    const command = await other.expect("command", { user_id: "ann" });
    assert.equal(command.seq, 1);
    assert.equal(command.command.data.name, "lens");
    assert.notEqual(command.timestamp, "now");
    await other.expect("cursor", { user_id: "ann", x: 1, y: 2 });
    assert.deepEqual((await other.expect("chat", { user_id: "ann" })).extra, [null, 1.5]);
  }
  await ann.roundTrip();
  assert.deepEqual(new Set(ann.messages.map((m) => m.type)), new Set(["connection:ack", "user:joined"]));
});

inRoom("binary is closed with 1003, too long a message with 1009", async ({ join }) => {
  const [ann, bea, cat] = [await join("ann"), await join("bea"), await join("cat")];
  ann.socket.send(Buffer.from([1, 2, 3]));
  await ann.expectClosed(1003);
  bea.send({ type: "chat", text: "x".repeat(MIB) });
  await bea.expectClosed(1009);
  await cat.expect("user:left", { user_id: "ann" });
  await cat.expect("user:left", { user_id: "bea" });
  assert.equal(cat.all("chat").length, 0);
});

inRoom("a message in fragments is one message", async ({ join }) => {
  const [ann, bea] = [await join("ann"), await join("bea")];
  for (const [part, fin] of [['{"type":', false], ['"chat","text":"ü', false], ['🙂"}', true]]) {
    ann.socket.send(part, { fin });
  }
  assert.equal((await bea.expect("chat")).text, "ü🙂");
});

inRoom("close codes a client ends with are answered, others hear user:left", async ({ join }) => {
  const onlooker = await join("onlooker");
  for (const code of [1000, 1001, 3000, 4999]) {
    const guest = await join(`guest ${code}`);
    guest.socket.close(code, "bye");
    await guest.until(() => guest.closed, "the end");
    assert.ok([code, 1000].includes(guest.closed.code), `${guest.closed.code} for ${code}`);
    await onlooker.expect("user:left", { user_id: guest.user });
  }
  (await join("cut off")).socket.terminate();
  await onlooker.expect("user:left", { user_id: "cut off" });
});

/** Resolves to the status line of the refusal of this address. */
async function refusal(server, members, address) {
  const member = new Member(server, "room", "x", { address: server.url + address });
  members.push(member);
  await member.until(() => member.refused ?? member.closed, `a refusal of ${address}`);
  assert.ok(member.refused, `${address} was not refused but ${JSON.stringify(member.closed)}`);
  assert.equal(member.refused.body.trim().split("\n").length, 1);
  return `${member.refused.status} ${member.refused.reason}`;
}

inRoom("an address that is none of ours is refused in plain HTTP", async ({ server, members }) => {
  assert.equal(await refusal(server, members, "/nowhere"), "404 Not Found");
  assert.equal(await refusal(server, members, `/ws/room/${"x".repeat(129)}`), "404 Not Found");
});

inRoom(
  "a full server refuses in plain HTTP",
  async ({ server, join, members }) => {
    await join("ann");
    assert.equal(await refusal(server, members, "/ws/room/bea"), "503 Service Unavailable");
  },
  "--max-connections",
  "1",
);

inRoom("an address asked for without an upgrade says so", async ({ server }) => {
  const page = (method, at) => fetch(`http://127.0.0.1:${server.port}${at}`, { method });
  assert.equal((await page("GET", "/ws/room/bea")).status, 426);
  assert.equal((await page("POST", "/ws/room/bea")).status, 405);
  assert.equal((await page("GET", "/nowhere")).status, 404);
});

inRoom("everyone gets 1001 when the server stops, and it exits with 0", async ({ server, join }) => {
  const [ann, bea] = [await join("ann"), await join("bea", "elsewhere")];
  server.process.kill("SIGTERM");
  await ann.expectClosed(1001, "server shutting down");
  await bea.expectClosed(1001, "server shutting down");
  assert.deepEqual(await inTime(server.exited, () => "the server to end", 3000), [0, null]);
});

await main();
