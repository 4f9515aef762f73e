// A line to a server that carries so many bytes a second, all connections together, and counts them.

import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as after } from "node:timers/promises";

const STEP = 20; // milliseconds between what is let through

export class SlowLine {
  /** `rate`: bytes a second from the server; what is sent to it isn't held up. */
  static async to(port, rate) {
    const line = Object.assign(new SlowLine(), { rate, passed: 0, free: Promise.resolve(), sockets: new Set() });
    line.listener = createServer((client) => line.join(client, connect(port, "127.0.0.1")));
    line.listener.listen(0, "127.0.0.1");
    await once(line.listener, "listening");
    line.port = line.listener.address().port;
    return line;
  }

  join(client, server) {
    for (const [one, other] of [[client, server], [server, client]]) {
      this.sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        this.sockets.delete(one);
        other.end();
      });
    }
    client.pipe(server);
    (async () => {
      const most = Math.ceil((this.rate * STEP) / 1000);
      for await (const chunk of server)
        for (let at = 0; at < chunk.length; at += most) {
          const part = chunk.subarray(at, at + most);
          // One after the other, whichever connection they are of.
          const turn = this.free.then(() => after((part.length / this.rate) * 1000));
          this.free = turn;
          await turn;
          if (client.destroyed) return;
          this.passed += part.length;
          client.write(part);
        }
      client.end();
    })().catch(() => client.destroy());
  }

  end() {
    this.listener.close();
    for (const socket of this.sockets) socket.destroy();
  }
}
