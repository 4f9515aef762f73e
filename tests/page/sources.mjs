// The page's pure sources in Node: no browser, no DOM.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/**
 * What these sources of `src/routes/live` define, by name. They share one scope, as in the page:
 * `pure(["text", "items"], ["fixed", "titleOf"])`.
 */
export function pure(sources, names) {
  const text = sources.map((name) =>
    readFileSync(fileURLToPath(new URL(`../../src/routes/live/${name}.js`, import.meta.url)), "utf8"),
  );
  return new Function(`"use strict";\n${text.join("\n")}\nreturn { ${names.join(", ")} };`)();
}
