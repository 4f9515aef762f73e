// Firefox, by WebDriver BiDi: one for all stories, and what they need of it to look at the live page.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Look } from "./live_page.mjs";
import { WebSocket, inTime } from "./ws_story.mjs";

const START = 60_000; // milliseconds; a first start makes a profile

/** One browser without a screen, with a profile of its own, and the connection that commands it. */
class Firefox {
  static async start() {
    const firefox = new Firefox();
    firefox.profile = mkdtempSync(path.join(tmpdir(), "firefox-"));
    const words = ["--headless", "--no-remote", "--profile", firefox.profile, "--remote-debugging-port", "0"];
    firefox.process = spawn("firefox", words, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, HOME: firefox.profile } });
    firefox.exited = once(firefox.process, "exit");
    let printed = "";
    const address = new Promise((resolve, reject) => {
      firefox.process.once("error", reject);
      firefox.process.stderr.on("data", (text) => {
        printed += text;
        const found = /WebDriver BiDi listening on (ws:\S+)/.exec(printed);
        if (found) resolve(found[1]);
      });
    });
    firefox.socket = new WebSocket(`${await inTime(address, () => `Firefox to start; it printed ${printed}`, START)}/session`);
    await inTime(once(firefox.socket, "open"), () => "Firefox to take a connection");
    Object.assign(firefox, { asked: 0, answers: new Map(), pages: new Map() });
    firefox.socket.on("message", (text) => firefox.hear(JSON.parse(text)));
    await firefox.call("session.new", { capabilities: {} });
    await firefox.call("session.subscribe", { events: ["log.entryAdded", "network.beforeRequestSent", "network.responseCompleted", "network.fetchError"] });
    return firefox;
  }

  call(method, params) {
    const id = ++this.asked;
    const answer = new Promise((resolve, reject) => this.answers.set(id, { resolve, reject }));
    this.socket.send(JSON.stringify({ id, method, params }));
    return inTime(answer, () => `Firefox to answer ${method}`);
  }

  hear({ id, type, result, error, message, method, params }) {
    if (id) {
      const { resolve, reject } = this.answers.get(id);
      this.answers.delete(id);
      return type === "success" ? resolve(result) : reject(new Error(`${error}: ${message}`));
    }
    this.pages.get(params.context ?? params.source?.context)?.(method, params);
  }

  async end() {
    await this.call("browser.close", {}).catch(() => {});
    this.socket.terminate();
    const late = setTimeout(() => this.process.kill("SIGKILL"), 10_000);
    await this.exited;
    clearTimeout(late);
    rmSync(this.profile, { recursive: true, force: true });
  }
}

let running = null;

export async function closeFirefox() {
  await (await running)?.end();
}

/** The live page in Firefox. What `Look` asks of a page is asked in the same way. */
export class FirefoxLook extends Look {
  static async open(server, where = "", { width = 1280, height = 800 } = {}) {
    const firefox = await (running ??= Firefox.start());
    const look = Object.assign(new FirefoxLook(), { firefox, home: `http://127.0.0.1:${server.port}/`, complaints: [], strays: [], expected: [] });
    const { userContext } = await firefox.call("browser.createUserContext", {});
    const { context } = await firefox.call("browsingContext.create", { type: "tab", userContext });
    Object.assign(look, { userContext, context });
    firefox.pages.set(context, (...what) => look.hear(...what));
    look.page = {
      evaluate: (what, argument) => look.evaluate(what, argument),
      locator: (selector) => ({ allInnerTexts: () => look.evaluate((selector) => [...document.querySelectorAll(selector)].map((node) => node.innerText), selector) }),
    };
    await firefox.call("browsingContext.setViewport", { context, viewport: { width, height } });
    await look.goTo(look.home + where);
    return look;
  }

  goTo(url) {
    return this.firefox.call("browsingContext.navigate", { context: this.context, url, wait: "complete" });
  }

  hear(method, { level, text, type, request, response, errorText }) {
    if (method === "log.entryAdded" && ["error", "warn"].includes(level)) this.complaints.push(`${type}: ${text}`);
    if (method === "network.beforeRequestSent" && !/^(data|blob):/.test(request.url) && new URL(request.url).host !== new URL(this.home).host) this.strays.push(request.url);
    if (method === "network.responseCompleted" && response.status >= 400) this.complaints.push(`${response.status}: ${request.url}`);
    if (method === "network.fetchError" && errorText !== "NS_BINDING_ABORTED") this.complaints.push(`${errorText}: ${request.url}`);
  }

  async evaluate(what, argument) {
    const expression = `(async () => JSON.stringify((await (${what})(${JSON.stringify(argument) ?? ""})) ?? null))()`;
    const { type, result, exceptionDetails } = await this.firefox.call("script.evaluate", { expression, target: { context: this.context }, awaitPromise: true });
    if (type !== "success") throw new Error(exceptionDetails.text);
    return JSON.parse(result.value);
  }

  /** Presses these keys one after the other; a longer word is typed. */
  type(...words) {
    const actions = [...words.join("")].flatMap((value) => [{ type: "keyDown", value }, { type: "keyUp", value }]);
    return this.firefox.call("input.performActions", { context: this.context, actions: [{ type: "key", id: "keys", actions }] });
  }

  /** Presses the mouse at a place of the window, moves it to others, and lets it go. */
  drag([x, y], ...to) {
    const moves = to.map(([x, y]) => ({ type: "pointerMove", x: Math.round(x), y: Math.round(y) }));
    const actions = [{ type: "pointerMove", x: Math.round(x), y: Math.round(y) }, { type: "pointerDown", button: 0 }, ...moves, { type: "pointerUp", button: 0 }];
    return this.firefox.call("input.performActions", { context: this.context, actions: [{ type: "pointer", id: "mouse", parameters: { pointerType: "mouse" }, actions }] });
  }

  /** A click in the middle of what a selector finds first. */
  async click(selector) {
    const where = await this.evaluate((selector) => {
      const node = document.querySelector(selector);
      node.scrollIntoView({ block: "center" });
      const { x, y, width, height } = node.getBoundingClientRect();
      return [x + width / 2, y + height / 2];
    }, selector);
    await this.drag(where);
  }

  /** Gives files to a file input. */
  async setFiles(selector, ...files) {
    const { result } = await this.firefox.call("script.evaluate", { expression: `document.querySelector(${JSON.stringify(selector)})`, target: { context: this.context }, awaitPromise: false });
    await this.firefox.call("input.setFiles", { context: this.context, element: { sharedId: result.sharedId }, files });
  }

  async end() {
    this.firefox.pages.delete(this.context);
    await this.firefox.call("browser.removeUserContext", { userContext: this.userContext });
  }
}
