// The page's sources share one scope: they have to parse together, and no two may define one name.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Script } from "node:vm";
import { main, story } from "../outside/ws_story.mjs";

const routes = fileURLToPath(new URL("../../src/routes/", import.meta.url));
const [joined] = readFileSync(`${routes}live_page.rs`, "utf8").split("#[cfg(test)]");
const included = [...joined.matchAll(/include_str!\("live\/([\w.]+)"\)/g)].map(([, name]) => name);

story("every source is part of the page, once", () => {
  assert.deepEqual([...included].sort(), readdirSync(`${routes}live`).sort());
});

story("the scripts parse as one, and no name is defined twice", () => {
  const sources = included.filter((name) => name.endsWith(".js")).map((name) => [name, readFileSync(`${routes}live/${name}`, "utf8")]);
  // A `const` that stands twice is an error here; a function that does would silently take the other's place.
  new Script(`"use strict";\n${sources.map(([, text]) => text).join("")}`, { filename: "the page" });
  const owners = new Map();
  for (const [file, text] of sources)
    for (const [, name] of text.matchAll(/^(?:async )?function\*? (\w+)/gm)) {
      assert.ok(!owners.has(name), `${name} is a function of ${owners.get(name)} and of ${file}`);
      owners.set(name, file);
    }
  assert.ok(owners.size > 50);
});

main();
