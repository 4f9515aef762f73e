// What Node's stories are told with: a server, the keys to it, one bounded way to wait, and a record of what was said.

import { execFileSync, spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, rmSync } from "node:fs";
import { once } from "node:events";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { setTimeout as after } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import path from "node:path";
import assert from "node:assert/strict";

const repo = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
export const installed = createRequire(path.join(repo, ".deps/node/"));
export const { WebSocket } = installed("ws");
export const python = path.join(repo, ".deps/venv/bin/python");
const binary = process.env.COLLABD_BIN ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(repo, "target"), "ci/collabd");
const DEADLINE = 20_000; // milliseconds; only a failing story ever waits this long

// The record of the run, which record.py searches in the end: what is confidential, and what servers wrote.
const folder = process.env.STORIES_RECORD;
const SHOWN = 400; // of a longer text that much gives it away
let servers = 0;

function keep(name, text) {
  if (folder) appendFileSync(path.join(folder, `${name}-${process.pid}`), text);
}

/** Remember a key that somebody shows to a server. */
export function confideKey(key) {
  keep("confidential", `${JSON.stringify(["key", key])}\n`);
  return key;
}

/** Remember what a message says. */
export function said(text) {
  const cut = (_, value) => (typeof value === "string" ? value.slice(0, SHOWN) : value);
  let kept = text.slice(0, SHOWN);
  try {
    kept = JSON.stringify(JSON.parse(text), cut);
  } catch {
    // What is not JSON is kept as it is.
  }
  keep("confidential", `${JSON.stringify(["message", kept])}\n`);
}

/** Keep what a server told a client in an error, a close reason or a plain answer. */
export function heard(text) {
  keep("heard", `${text}\n`);
}

export function heardMessage(message) {
  if (message.type === "error" || message.type === "disconnect") heard(JSON.stringify(message));
}

/** Rejects when a promise is not settled in time; `what` says what was waited for. */
export function inTime(promise, what, milliseconds = DEADLINE) {
  const settled = new AbortController();
  const late = after(milliseconds, null, { signal: settled.signal }).then(() => {
    throw new Error(`waited ${milliseconds / 1000} s for ${what()}`);
  });
  return Promise.race([promise, late]).finally(() => settled.abort());
}

/** One collabd process; resolves when it listens. */
export async function startServer(...options) {
  const server = spawn(binary, ["--host", "127.0.0.1", "--port", "0", "--debug", ...options], {
    stdio: ["ignore", "pipe", "pipe"],
    // Without what is meant for these tests: collabd remarks on variables that it doesn't know. It stores
    // nothing where it is not told to.
    env: {
      ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("COLLABD_"))),
      COLLABD_IN_MEMORY: "1",
    },
  });
  const number = ++servers;
  let printed = "";
  let complaint = "";
  server.stderr.on("data", (chunk) => {
    keep(`output-${number}-err`, chunk);
    if (`${chunk}`.includes("panicked")) complaint += chunk;
  });
  const port = await inTime(
    new Promise((resolve, reject) => {
      server.once("error", reject);
      server.stdout.on("data", (chunk) => {
        keep(`output-${number}`, chunk);
        printed += chunk;
        const found = /listening on \S+:(\d+)/.exec(printed);
        if (found) resolve(Number(found[1]));
      });
    }),
    () => `the server to listen; it printed ${JSON.stringify(printed)}`,
  );
  const inspect = () => assert.equal(complaint, "", "the server panicked");
  return { process: server, port, url: `ws://127.0.0.1:${port}`, exited: once(server, "exit"), inspect };
}

/** nginx or Caddy in front of a server, as `proxies.py` starts it. */
export async function startProxy(kind, { port }) {
  const words = [path.join(repo, "tests/outside/proxies.py"), kind, port];
  const proxy = spawn(python, words, { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(proxy, "exit");
  const close = () => {
    proxy.stdin.end();
    return inTime(exited, () => `${kind} to end`);
  };
  const url = await inTime(once(proxy.stdout, "data"), () => `${kind} to start`);
  return { url: `${url}`.trim(), close };
}

/** A key file, and keys made by `collabd key` as an operator does it. */
export class KeyRing {
  constructor() {
    this.folder = mkdtempSync(path.join(tmpdir(), "keys-"));
    this.path = path.join(this.folder, "keys.json");
  }

  make(name, level, ...more) {
    const words = ["key", "new", "--name", name, "--level", level, "--file", this.path, ...more];
    const printed = execFileSync(binary, words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    const alone = printed.split("\n").filter((line) => line && !/\s/.test(line));
    assert.equal(alone.length, 1, "the key alone on its line");
    return confideKey(alone[0]);
  }

  revoke(name) {
    execFileSync(binary, ["key", "revoke", name, "--file", this.path], { stdio: "pipe" });
  }

  close() {
    rmSync(this.folder, { recursive: true });
  }
}

const stories = [];

/** Register a story that can be told with this title. */
export const story = (title, tell) => stories.push({ title, tell });

/** Tells the stories whose title has one of the command line's words in it; all, without any. `end` comes last. */
export async function main(end = async () => {}) {
  const words = process.argv.slice(2);
  const chosen = stories.filter(({ title }) => words.length === 0 || words.some((word) => title.includes(word)));
  let failed = 0;
  for (const { title, tell } of chosen) {
    const started = performance.now();
    let problem = null;
    try {
      await tell();
    } catch (error) {
      problem = error;
    }
    console.log(`${problem ? "✗" : "✓"} ${title} (${((performance.now() - started) / 1000).toFixed(2)} s)`);
    if (problem) {
      failed += 1;
      console.log(String(problem.stack ?? problem).replace(/^/gm, "    "));
    }
  }
  await end();
  console.log(`${chosen.length - failed} passed, ${failed} failed`);
  process.exit(failed || !chosen.length ? 1 : 0);
}
