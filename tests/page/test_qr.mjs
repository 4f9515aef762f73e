// QR codes that the page draws, read by a reader that isn't ours.

import assert from "node:assert/strict";
import { installed, main, story } from "../outside/ws_story.mjs";
import { pure } from "./sources.mjs";

const read = installed("jsqr");
const { qrCode } = pure(["qr"], ["qrCode"]);

/** What the reader finds in a code, drawn with its margin at three pixels a square. */
function readBack(rows) {
  const wide = (rows.length + 8) * 3;
  const pixels = new Uint8ClampedArray(wide * wide * 4).fill(255);
  for (let y = 0; y < wide; y++)
    for (let x = 0; x < wide; x++)
      if (rows[Math.floor(y / 3) - 4]?.[Math.floor(x / 3) - 4]) pixels.fill(0, 4 * (y * wide + x), 4 * (y * wide + x) + 3);
  const found = read(pixels, wide, wide);
  return found && { text: new TextDecoder().decode(new Uint8Array(found.binaryData)), version: found.version };
}

story("each version is read, full and with one letter", () => {
  // As many bytes as each version holds at level M (ISO/IEC 18004, table 7).
  const most = [14, 26, 42, 62, 84, 106, 122, 152, 180, 213];
  let least = 1;
  most.forEach((length, n) => {
    for (const count of [least, length]) {
      const text = Array.from({ length: count }, (_, at) => String.fromCharCode(33 + ((at * 7 + n) % 90))).join("");
      const rows = qrCode(text);
      assert.equal(rows.length, 21 + 4 * n);
      assert.deepEqual(readBack(rows), { text, version: n + 1 });
    }
    least = length + 1;
  });
  assert.equal(qrCode("x".repeat(214)), null);
});

story("addresses of pages are read, whatever they hold", () => {
  for (const text of [
    "http://192.168.1.20:8765/",
    "http://192.168.1.20:8765/#/session/lab%20bench",
    "https://lab.example/tables/#/session/%D7%A9%F0%9F%99%82",
    "http://[2001:db8::1]:8765/#/session/ש🙂",
    "",
  ])
    assert.equal(readBack(qrCode(text))?.text ?? "", text);
});

story("a code is read with some of it covered", () => {
  const rows = qrCode("http://192.168.1.20:8765/#/session/default");
  // 24 squares that hold no pattern.
  for (let y = 11; y < 14; y++) for (let x = 10; x < 18; x++) rows[y][x] = true;
  assert.equal(readBack(rows).text, "http://192.168.1.20:8765/#/session/default");
});

main();
