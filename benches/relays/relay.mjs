// The same relay on Node's ws, one process, as its documentation writes a broadcast.

import { createRequire } from "node:module";
import { createServer } from "node:http";

// Argument: the folder whose node_modules has ws.
const { WebSocketServer } = createRequire(`${process.argv[2]}/`)("ws");
const sessions = new Map();

const server = createServer();
const sockets = new WebSocketServer({ server, perMessageDeflate: false });

sockets.on("connection", (socket, request) => {
  const [, , session] = request.url.split("/");
  if (!sessions.has(session)) sessions.set(session, new Set());
  const members = sessions.get(session);
  members.add(socket);
  socket.on("message", (message, isBinary) => {
    for (const other of members) {
      if (other !== socket) other.send(message, { binary: isBinary });
    }
  });
  socket.on("close", () => members.delete(socket));
  socket.on("error", () => {});
});

server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
