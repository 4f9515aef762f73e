// Numbers, times and quantities as the page writes them.

import assert from "node:assert/strict";
import { main, story } from "../outside/ws_story.mjs";
import { pure } from "./sources.mjs";

const { bytes, counted, degrees, duration, fileNameFor, fixed, millimetres } = pure(
  ["text"],
  ["bytes", "counted", "degrees", "duration", "fileNameFor", "fixed", "millimetres"],
);

story("numbers from clients are drawn, whatever they are", () => {
  assert.equal(millimetres("12"), 0);
  assert.equal(millimetres(-Infinity), 0);
  assert.equal(millimetres(1e300), 1e9);
  assert.equal(degrees(NaN), 0);
  assert.equal(degrees(725), 5);
  assert.equal(fixed(-0.01), "0.0");
  assert.equal(fixed(12345678), "1.23e+7");
});

story("quantities have their unit", () => {
  assert.equal(bytes(0), "0 B");
  assert.equal(bytes(1234567), "1.23 MB");
  assert.equal(duration(59), "59 s");
  assert.equal(duration(121), "2 min");
  assert.equal(duration(90000), "25 h");
  assert.equal(counted(1, "item"), "1 item");
  assert.equal(counted(1200, "person", "people"), "1,200 people");
});

story("a session's name becomes a file's name that every system takes", () => {
  assert.equal(fileNameFor("lab bench 2", "svg"), "lab-bench-2.svg");
  assert.equal(fileNameFor("../../etc/passwd", "png"), "etc-passwd.png");
  assert.equal(fileNameFor("a\\b:c*d?\"<e>|\u0000\n", "png"), "a-b-c-d-e.png");
  assert.equal(fileNameFor("שולחן é", "json"), "שולחן-é.json");
  assert.equal(fileNameFor("\u202Egnp.exe", "png"), "gnp.exe.png");
  for (const nothing of ["", "...", "🙂", " ", "///"]) assert.equal(fileNameFor(nothing, "png"), "table.png");
  assert.equal(fileNameFor("CON", "png"), "table-CON.png");
  assert.equal(fileNameFor("nul.txt", "png"), "table-nul.txt.png");
  assert.equal(fileNameFor("x".repeat(500), "png").length, 64);
});

main();
