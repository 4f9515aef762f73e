// Node's `ws` as a front end and as a script with a key: the client protocol's exchanges, to the letter.

import assert from "node:assert/strict";
import { Connection, atDesk } from "./front_end.mjs";
import { confideKey, heard, main } from "./ws_story.mjs";

let hosts = 1;

/** An address of this machine nobody has come from yet: refused keys are counted by address. */
const newAddress = () => `127.0.7.${++hosts}`;

atDesk("connected, then authenticated; pings before and after", async ({ open, key }) => {
  const ann = await open("ann 🙂");
  ann.send({ type: "ping" });
  await ann.next("pong");
  ann.connect(key);
  await ann.connected();
  ann.send({ type: "ping" });
  await ann.next("pong");
  await ann.nothingMore();
});

atDesk("a key that is wrong, missing or no string is refused and closed with 4000", async ({ open, key }) => {
  const wrong = confideKey("wrong-0123456789-wrong-0123456789");
  for (const data of [{ api_key: wrong }, { api_key: 7 }, { api_key: null }, {}, key, undefined]) {
    const mallory = await open("mallory", { localAddress: newAddress() });
    mallory.send({ type: "connect", data });
    assert.equal(await mallory.error("invalid_key", 403), "Invalid API key");
    await mallory.next("disconnect", { data: { reason: "Invalid API key" } });
    await mallory.ended(4000, "Invalid API key");
  }
});

atDesk("talking before connect 4003, binary 4003, three unreadable messages 4002", async ({ open, seat }) => {
  const early = await open("early");
  early.send({ type: "chat_message", channel: "table", data: { content: "talks too early" } });
  await early.error("not_authenticated", 403);
  await early.ended(4003);
  for (const bytes of [await open("new"), await seat("seated")]) {
    bytes.socket.send(Buffer.from('{"type":"ping"}'));
    await bytes.ended(4003);
  }
  for (const babbling of [await open("new"), await seat("seated", "table")]) {
    for (const text of ["{", "[]", '{"type":"ping"}', "null", '{"type":1}', "words"]) {
      babbling.send(text);
      if (text.includes("ping")) await babbling.next("pong");
      else await babbling.error("invalid_format", 400);
    }
    await babbling.ended(4002);
  }
});

atDesk("a message goes to every member once, in one order; without a channel it is an echo", async ({ seat }) => {
  const members = [await seat("ann", "table"), await seat("bea", "table"), await seat("cat", "table")];
  const outside = await seat("outside", "graphs");
  for (let n = 0; n < 30; n++) {
    for (const member of members) member.send({ type: "task_update", channel: "table", id: n, data: { n } });
  }
  const orders = [];
  for (const member of members) {
    const order = [];
    for (let n = 0; n < 120; n++) {
      const message = await member.take("90 messages and 30 confirmations");
      if (message.type === "task_update") order.push(`${message.client_id} ${message.id}`);
      else assert.equal(message.type, "message_delivered");
    }
    orders.push(order);
  }
  assert.equal(new Set(orders[0]).size, 90);
  for (const order of orders) assert.deepEqual(order, orders[0]);
  outside.send({ type: "graph_update", id: "e", client_id: "ann", timestamp: "never", more: [1, null] });
  const echo = await outside.next("graph_update", { client_id: "outside", more: [1, null] });
  assert.notEqual(echo.timestamp, "never");
  await outside.delivered("graph_update", "e");
  outside.send({ type: "chat_message", channel: "table", data: { content: "not a member" } });
  await outside.error("channel_error", 403);
  for (const each of [...members, outside]) await each.nothingMore();
});

atDesk("join and leave; a second connect keeps the channels; two tabs are two members", async ({ seat, key }) => {
  const [one, two, bea] = [await seat("ann", "table"), await seat("ann", "table"), await seat("bea", "table")];
  one.connect(key);
  await one.connected();
  await bea.say("table", "chat_message", "first");
  for (const tab of [one, two]) await tab.next("chat_message", { client_id: "bea", id: "first" });
  await one.join("table", "unsubscribe");
  await bea.say("table");
  await two.next("chat_message", { client_id: "bea" });
  await one.nothingMore();
  await one.join("table", "subscribe");
  await one.say("table");
  for (const other of [two, bea]) await other.next("chat_message", { client_id: "ann" });
  one.send({ type: "leave_channel", data: { channel: "graphs" } });
  await one.error("channel_error", 400);
  one.send({ type: "channel_message", channel: "table", data: {} });
  await one.error("message_error", 400);
  one.send({ type: "subscription_success", channel: "table" });
  await one.error("reserved_type", 400);
});

atDesk("threads are told over fetch to whoever has a key", async ({ server, seat, key, reading }) => {
  const ann = await seat("ann", "table");
  for (const thread_id of ["optics", "lunch", "optics"]) {
    ann.send({ type: "chat_message", channel: "table", data: { content: "said in a thread", thread_id } });
    await ann.next("chat_message");
    await ann.delivered("chat_message");
  }
  const ask = (headers) => fetch(`http://127.0.0.1:${server.port}/api/chat/threads?channel=table`, { headers });
  for (const valid of [key, reading]) {
    const { threads, total } = await (await ask({ Authorization: `Bearer ${valid}` })).json();
    const told = threads.map((t) => `${t.thread_id} in ${t.channel}: ${t.messages}`);
    assert.deepEqual(told, ["optics in table: 2", "lunch in table: 1"]);
    assert.equal(total, 2);
  }
  const refused = await ask({});
  assert.equal(refused.status, 401);
  heard(await refused.text());
});

atDesk("too big is 1009, and everybody gets 1001 when the server stops", async ({ server, open, seat }) => {
  const [big, seated, fresh] = [await seat("big", "table"), await seat("seated", "table"), await open("fresh")];
  big.send({ type: "chat_message", channel: "table", data: { content: "x".repeat(2 ** 20) } });
  await big.ended(1009);
  await seated.nothingMore();
  server.process.kill("SIGTERM");
  await seated.ended(1001);
  await fresh.ended(1001);
});

atDesk(
  "a session asks for a key in one of four places, and a reader watches and points",
  async ({ server, key, reading, keys, own }) => {
    const join = (user, { prefix = "", query = "", ...options } = {}) =>
      own(new Connection(`${server.url}${prefix}/ws/room/${user}${query}`, options));
    const ways = (shown) => ({
      bearer: { headers: { Authorization: `Bearer ${shown}` } },
      basic: { auth: `anybody:${shown}` },
      query: { query: `?key=${shown}` },
      prefix: { prefix: `/key/${shown}` },
    });
    const wrong = confideKey("wrong-abcdefghij-wrong-abcdefghij");
    for (const [user, way] of Object.entries(ways(wrong))) {
      assert.equal((await join(user, { ...way, localAddress: newAddress() }).take("a refusal")).refused, 403);
    }
    assert.equal((await join("nobody").take("a refusal")).refused, 403);
    const members = [];
    for (const [user, way] of Object.entries(ways(key))) {
      const member = join(user, way);
      assert.equal((await member.next("connection:ack")).is_host, user === "bearer");
      await member.next("user:joined", { user_id: user });
      await member.arrived();
      for (const earlier of members) await earlier.next("user:joined", { user_id: user });
      members.push(member);
    }
    const reader = join("reader", { prefix: `/key/${reading}` });
    await reader.next("connection:ack");
    await reader.next("user:joined", { user_id: "reader" });
    await reader.arrived();
    for (const member of members) await member.next("user:joined", { user_id: "reader" });
    reader.send({ type: "chat", text: "a reader's words" });
    const refused = await reader.next("error");
    assert.deepEqual([refused.error_type, refused.code, refused.original_type], ["read_only", 403, "chat"]);
    reader.send({ type: "cursor", x: 1 });
    for (const member of members) await member.next("cursor", { user_id: "reader", x: 1 });
    keys.revoke("a reader");
    // Why may be said before it.
    if ((await reader.peek("the end")).type === "error") await reader.next("error");
    await reader.ended(1008);
    for (const member of members) await member.next("user:left", { user_id: "reader" });
  },
  "--require-key",
);

await main();
