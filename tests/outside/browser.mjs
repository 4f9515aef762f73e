// Chromium: one for all stories, its pages from wherever they may come, and their WebSockets as if they were ours.

import { EventEmitter, once } from "node:events";
import { createServer } from "node:http";
import { inTime, installed } from "./ws_story.mjs";

const { chromium } = installed("playwright-core");

// So that it makes no connections of its own. Every name that is nobody's is this machine: pages from elsewhere.
const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--host-resolver-rules=MAP *.example 127.0.0.1",
];

let running = null;

export async function closeBrowser() {
  await (await running)?.close();
}

/** Somebody with a browser, and perhaps a phone: the pages they look at, without the memory of earlier stories. */
export async function newVisitor(options = {}) {
  running ??= chromium.launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  const context = await (await running).newContext({ ignoreHTTPSErrors: true, ...options });
  await context.exposeBinding("told", ({ page }, number, event, ...more) => {
    sockets.get(page)?.[number].emit(event, ...more);
  });
  await context.addInitScript(inPage);
  return context;
}

// Of each page, by number.
const sockets = new WeakMap();

/** Runs in every page, before its own scripts: opens WebSockets and tells of them by the binding `told`. */
function inPage() {
  const opened = [];
  window.openSocket = (number, url) => {
    const socket = (opened[number] = new WebSocket(url));
    const told = (...what) => window.told(number, ...what);
    let isOpen = false;
    socket.onopen = () => (isOpen = true);
    socket.onmessage = ({ data }) => told("message", data);
    socket.onclose = ({ code, reason }) => (isOpen ? told("close", code, reason) : told("failed", code));
  };
  window.tellSocket = (number, text) => opened[number].send(text);
  window.closeSocket = (number, code, reason) => opened[number].close(code, reason);
}

/** A page at this address. Whatever it shows, its origin is the address's. */
export async function openPage(visitor, url) {
  const page = await visitor.newPage();
  sockets.set(page, []);
  // A page isn't told why it was refused. Who looks over its shoulder is.
  page.on("websocket", (seen) =>
    seen.on("socketerror", (why) => {
      for (const socket of sockets.get(page)) if (socket.url === seen.url()) socket.emit("socketerror", why);
    }),
  );
  await page.goto(url);
  return { page, open: (address) => new PageSocket(page, address) };
}

/** A WebSocket in a page, with the events of one of `ws`. */
class PageSocket extends EventEmitter {
  constructor(page, url) {
    super();
    this.url = url;
    this.page = page;
    this.number = sockets.get(page).push(this) - 1;
    const why = once(this, "socketerror");
    this.on("failed", async (code) => {
      const [text] = await inTime(why, () => `why the page could not connect to ${url}`);
      const status = /Unexpected response code: (\d+)/.exec(text)?.[1];
      const response = { statusCode: Number(status), statusMessage: text };
      if (status) this.emit("unexpected-response", { destroy() {} }, response);
      this.emit("close", code, text);
    });
    this.do("openSocket", url);
  }

  /** Calls follow one another in the page as they do here. */
  do(name, ...words) {
    const call = ([what, ...given]) => window[what](...given);
    // A page that was closed in the meantime has nothing to do.
    this.page.evaluate(call, [name, this.number, ...words]).catch(() => {});
  }

  send(text) {
    this.do("tellSocket", text);
  }

  close(code, reason) {
    this.do("closeSocket", code, reason);
  }

  // Goes with its page.
  terminate() {}
}

/** A server of pages that has nothing to do with collabd. Those in `/sandbox` have no origin: a browser says `null`. */
export async function servePages() {
  const server = createServer((request, response) => {
    response.setHeader("Content-Type", "text/html; charset=utf-8");
    if (request.url === "/sandbox") response.setHeader("Content-Security-Policy", "sandbox allow-scripts");
    response.end("<!doctype html><title>A front end</title>");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  server.unref();
  return { port: server.address().port, at: (name) => `http://${name}:${server.address().port}` };
}
