// Pictures of ten tables, the editor's canvas beside the live page, for docs/. The editor is nobody's but its authors': it has to
// be at hand as a checkout (OPTIVERSE), with a Python that has what it needs (LAB_PYTHON), and Xvfb.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { deflateSync } from "node:zlib";
import { closeBrowser, newVisitor } from "./browser.mjs";
import { Look, Member, sessionPage } from "./live_page.mjs";
import { startServer } from "./ws_story.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const DOCS = path.join(HERE, "../../docs/side-by-side");
const [WIDTH, HEIGHT] = [620, 440];
const MOST_BYTES = 100_000; // of one picture
const { OPTIVERSE, LAB_PYTHON } = process.env;

const lacks = [];
if (!OPTIVERSE || !existsSync(path.join(OPTIVERSE, "src/optiverse"))) lacks.push("OPTIVERSE: the editor's checkout, a directory with src/optiverse in it");
if (!LAB_PYTHON || !existsSync(LAB_PYTHON)) lacks.push("LAB_PYTHON: a Python with PyQt6, numpy, numba, PyOpenGL and websockets");
if (!process.env.PATH.split(path.delimiter).some((folder) => existsSync(path.join(folder, "Xvfb")))) lacks.push("Xvfb: a program in PATH (Debian's package xvfb)");
if (lacks.length) {
  console.error(`The pictures need the editor. Missing:\n${lacks.map((each) => `  ${each}`).join("\n")}`);
  process.exit(1);
}

/** A display of our own; resolves to its process and its name. */
async function openDisplay() {
  const process = spawn("Xvfb", ["-displayfd", "3", "-screen", "0", "1600x1000x24", "-nolisten", "tcp"], { stdio: ["ignore", "ignore", "ignore", "pipe"] });
  const [number] = await once(process.stdio[3], "data");
  return { process, display: `:${String(number).trim()}` };
}

const tables = JSON.parse(readFileSync(path.join(HERE, "../page/fixtures/tables.json"), "utf8"));
const folder = mkdtempSync(path.join(tmpdir(), "side-by-side-"));
const server = await startServer();

// The page first: it says which part of the table its picture shows.
const author = await new Member(`${server.url}/ws/tables/alice`).joined();
const look = await Look.open(server, sessionPage("tables"), { viewport: { width: WIDTH + 348 + 1, height: HEIGHT + 102 }, colorScheme: "light" });
const jobs = [];
for (const [n, { name, items }] of tables.entries()) {
  await author.table(items);
  await look.until(name, (ids) => scene.size === ids.length && ids.every((id) => scene.has(id)), items.map(({ item_uuid }) => item_uuid));
  await look.page.evaluate(() => fit());
  await look.until("the picture", () => !framed && !tracer.behind && !view.stale && !lively.size);
  const shown = await look.page.evaluate(() => (({ x, y, scale, width, height }) => ({ x, y, scale, width: Math.floor(width), height: Math.floor(height) }))(view));
  const [file, picture, ours] = ["json", "editor.png", "page.png"].map((end) => path.join(folder, `${n}.${end}`));
  await look.page.locator("#table").screenshot({ path: ours });
  writeFileSync(file, JSON.stringify({ version: "2.0", items, rulers: [], texts: [], rectangles: [], path_measures: [], groups: [] }));
  jobs.push({ name, file, picture, ours, ...shown });
}
await look.end();
author.end();
server.process.kill("SIGKILL");

const { process: screen, display } = await openDisplay();
const home = path.join(folder, "home");
mkdirSync(home);
const editor = spawn(LAB_PYTHON, [path.join(HERE, "editor_window.py")], {
  stdio: ["pipe", "inherit", "pipe"],
  env: { ...process.env, DISPLAY: display, HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home, XDG_RUNTIME_DIR: home, QT_QPA_PLATFORM: "xcb", LIBGL_ALWAYS_SOFTWARE: "1" },
});
let complaints = "";
editor.stderr.on("data", (text) => (complaints += text));
editor.stdin.end(JSON.stringify(jobs));
await once(editor, "exit");
screen.kill();

const visitor = await newVisitor();
const page = await visitor.newPage();
mkdirSync(DOCS, { recursive: true });
for (const { name, picture, ours } of jobs) {
  assert.ok(existsSync(picture), `the editor has no picture of ${name}:\n${complaints.slice(-2000)}`);
  const [theirs, own] = [picture, ours].map((each) => `data:image/png;base64,${readFileSync(each).toString("base64")}`);
  const { width, height, data } = await page.evaluate(compose, [theirs, own, name]);
  const file = path.join(DOCS, `${name.replaceAll(" ", "-")}.png`);
  const bytes = withPalette(width, height, Buffer.from(data, "base64"));
  assert.ok(bytes.length < MOST_BYTES, `${file}: ${bytes.length} bytes`);
  writeFileSync(file, bytes);
  console.log(`${path.relative(process.cwd(), file)}: ${(bytes.length / 1000).toFixed(0)} kB`);
}
await closeBrowser();
rmSync(folder, { recursive: true });
process.exit();

/** In a page: both pictures beside each other with a line of words above; red, green, blue, opacity of each pixel, in base64. */
async function compose([theirs, own, name]) {
  const [left, right] = await Promise.all([theirs, own].map(async (url) => createImageBitmap(await (await fetch(url)).blob())));
  const [gap, head] = [12, 26];
  const canvas = new OffscreenCanvas(left.width + gap + right.width, head + Math.max(left.height, right.height));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "#16202b";
  context.font = "14px sans-serif";
  context.fillText(`Optiverse: ${name}`, 4, 17);
  context.fillText("collabd’s live page", left.width + gap + 4, 17);
  context.drawImage(left, 0, head);
  context.drawImage(right, left.width + gap, head);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  let text = "";
  for (let n = 0; n < data.length; n += 32768) text += String.fromCharCode(...data.subarray(n, n + 32768));
  return { width: canvas.width, height: canvas.height, data: btoa(text) };
}

/** A PNG of at most 200 colours: the most frequent ones, of four bits each of red, green and blue. */
function withPalette(width, height, pixels) {
  const bin = (at) => ((pixels[at] >> 4) << 8) | ((pixels[at + 1] >> 4) << 4) | (pixels[at + 2] >> 4);
  const bins = new Map(); // count, and sums of red, green and blue
  for (let at = 0; at < pixels.length; at += 4) {
    const found = bins.get(bin(at)) ?? [0, 0, 0, 0];
    [1, pixels[at], pixels[at + 1], pixels[at + 2]].forEach((each, n) => (found[n] += each));
    bins.set(bin(at), found);
  }
  const colours = [...bins.values()].sort(([one], [other]) => other - one).slice(0, 200).map(([count, ...sums]) => sums.map((sum) => Math.round(sum / count)));
  const nearest = new Map([...bins].map(([key, [count, ...sums]]) => {
    const far = (colour) => colour.reduce((sum, part, n) => sum + (part - sums[n] / count) ** 2, 0);
    return [key, colours.reduce((best, colour, n) => (far(colour) < far(colours[best]) ? n : best), 0)];
  }));
  const rows = Buffer.alloc((width + 1) * height);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) rows[y * (width + 1) + 1 + x] = nearest.get(bin(4 * (y * width + x)));
  const chunk = (type, body) => {
    const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from(type), body, Buffer.alloc(4)]);
    bytes.writeUInt32BE(body.length, 0);
    bytes.writeUInt32BE(checksum(bytes.subarray(4, -4)), bytes.length - 4);
    return bytes;
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3], 8); // eight bits a pixel, by palette
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([signature, chunk("IHDR", head), chunk("PLTE", Buffer.from(colours.flat())), chunk("IDAT", deflateSync(rows, { level: 9 })), chunk("IEND", Buffer.alloc(0))]);
}

/** CRC-32, as PNG has it. */
function checksum(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return (sum ^ 0xffffffff) >>> 0;
}
