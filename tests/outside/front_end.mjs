// Front ends in JavaScript: connections that read what they are told one by one, whatever their sockets are.

import assert from "node:assert/strict";
import { KeyRing, WebSocket, heard, heardMessage, inTime, said, startServer, story } from "./ws_story.mjs";

const TIMESTAMP = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
const SERVERS_OWN = new Set([
  "connection_established", "connection_success", "message_delivered", "subscription_success",
  "unsubscription_success", "error", "disconnect", "pong",
]);

/** A connection that reads message for message what it is told; `open` makes its socket, if it isn't one of `ws`. */
export class Connection {
  constructor(address, { open, ...options } = {}) {
    this.waiting = []; // what has come and was not read; in the end { closed } or { refused }
    this.socket = open ? open(address) : new WebSocket(address, options);
    const arrived = (what) => {
      this.waiting.push(what);
      this.wake?.();
    };
    this.socket.on("message", (data, isBinary) => {
      const message = isBinary ? { type: "binary" } : JSON.parse(data);
      heardMessage(message);
      arrived(message);
    });
    this.socket.on("close", (code, reason) => {
      heard(reason.toString());
      arrived({ closed: code, reason: reason.toString() });
    });
    this.socket.on("unexpected-response", (request, response) => {
      heard(`${response.statusCode} ${response.statusMessage}`);
      arrived({ refused: response.statusCode });
      request.destroy();
    });
    // An error is always followed by a close, which is what the stories look at.
    this.socket.on("error", () => {});
  }

  async take(what) {
    while (this.waiting.length === 0) {
      await inTime(new Promise((resolve) => (this.wake = resolve)), () => what);
    }
    return this.waiting.shift();
  }

  async peek(what) {
    const next = await this.take(what);
    this.waiting.unshift(next);
    return next;
  }

  /** The next message has to be of this type. */
  async next(type, fields = {}) {
    const message = await this.take(type);
    assert.equal(message.type, type, JSON.stringify(message));
    for (const [name, value] of Object.entries(fields)) assert.deepEqual(message[name], value, name);
    return message;
  }

  /** Of a member of a session: resolves when the server knows that it is no host. */
  async arrived() {
    // The answer to its Ping may be on its way behind the first of these, but not behind the second.
    for (let count = 0; count < 2; count++) {
      this.send({ type: "ping" });
      await this.next("pong");
    }
  }

  /** Nothing more comes, and the connection is closed with this code. */
  async ended(code, reason) {
    const end = await this.take(`a close with ${code}`);
    assert.equal(end.closed, code, JSON.stringify(end));
    if (reason !== undefined) assert.equal(end.reason, reason);
  }

  send(message) {
    const text = typeof message === "string" ? message : JSON.stringify(message);
    said(text);
    this.socket.send(text);
  }
}

/** A client of the client protocol, which it knows to the letter. */
export class FrontEnd extends Connection {
  constructor(server, clientId, options = {}) {
    super(`${server.url}/client_${encodeURIComponent(clientId)}`, options);
    this.clientId = clientId;
  }

  async next(type, fields) {
    const message = await super.next(type, fields);
    assert.match(message.timestamp, TIMESTAMP);
    if (SERVERS_OWN.has(type)) assert.equal(message.client_id, this.clientId);
    return message;
  }

  established() {
    const message = "Connection established, waiting for authentication";
    return this.next("connection_established", { data: { message } });
  }

  connect(api_key) {
    const data = { api_key, connection_type: "agents", domain: "lab", workspace: "bench" };
    this.send({ type: "connect", data });
  }

  async connected() {
    assert.equal((await this.next("connection_success")).data.message, "Connected");
    const message = "Authentication message received and processed";
    await this.next("message_delivered", { data: { message, original_type: "connect", status: "success" } });
  }

  async error(error_type, code) {
    const { data } = await this.next("error");
    assert.deepEqual([data.error_type, data.code, typeof data.message], [error_type, code, "string"]);
    return data.message;
  }

  async join(channel, type = "join_channel") {
    const joins = type === "join_channel" || type === "subscribe";
    this.send({ type, data: { channel } });
    const { data } = await this.next("message_delivered");
    const message = `${joins ? "Join" : "Leave"} channel request received`;
    assert.deepEqual([data.message, data.original_type, data.status], [message, type, "success"]);
    const answer = await this.next(joins ? "subscription_success" : "unsubscription_success", { channel });
    assert.equal(answer.data.channel, channel);
  }

  async delivered(original_type, id) {
    const { data } = await this.next("message_delivered");
    assert.deepEqual([data.original_type, data.status, data.id], [original_type, "success", id]);
  }

  async say(channel, type = "chat_message", id = undefined) {
    this.send({ type, channel, id, data: { content: "said by a front end" } });
    await this.next(type, { channel, client_id: this.clientId, data: { content: "said by a front end" } });
    await this.delivered(type, id);
  }

  /** Nothing waits: what comes next is the answer to a message sent now, which passes the hub behind all else. */
  async nothingMore() {
    this.send({ type: "fence", id: "fence" });
    await this.next("fence", { client_id: this.clientId });
    await this.delivered("fence", "fence");
  }
}

/** A server with a key file, and whoever connects to it; everything ends with the story. */
export function atDesk(title, tell, ...options) {
  story(title, async () => {
    const keys = new KeyRing();
    const connections = [];
    let server;
    try {
      const key = keys.make("a writer", "write");
      const reading = keys.make("a reader", "read");
      server = await startServer("--keys", keys.path, ...options);
      const own = (connection) => {
        connections.push(connection);
        return connection;
      };
      const open = async (clientId, more) => {
        const frontEnd = own(new FrontEnd(server, clientId, more));
        await frontEnd.established();
        return frontEnd;
      };
      const seat = async (clientId, ...channels) => {
        const frontEnd = await open(clientId);
        frontEnd.connect(key);
        await frontEnd.connected();
        for (const channel of channels) await frontEnd.join(channel);
        return frontEnd;
      };
      await tell({ server, keys, key, reading, open, seat, own });
      server.inspect();
    } finally {
      for (const { socket } of connections) socket.terminate();
      server?.process.kill("SIGKILL");
      if (server) await inTime(server.exited, () => "the server to be gone");
      keys.close();
    }
  });
}
