// What differs between two moments, the axis of time, and the address of what is shown.

import assert from "node:assert/strict";
import { main, story } from "../outside/ws_story.mjs";
import { pure } from "./sources.mjs";

const { addressOf, differences, differencesInWords, localTime, readAddress, reasonInWords, spaced, versionInWords } = pure(
  ["text", "items", "properties", "words", "differences", "address"],
  ["addressOf", "differences", "differencesInWords", "localTime", "readAddress", "reasonInWords", "spaced", "versionInWords"],
);

const table = (...items) => new Map(items.map((item) => [item.uuid, item]));

story("two moments differ by items that were removed, added, moved and changed", () => {
  const same = { uuid: "same", x_mm: 1, interfaces: [{ n1: 1 }] };
  const before = table(
    same, { uuid: "gone", name: "G" }, { uuid: "m", name: "M", x_mm: 1, y_mm: 0 }, { uuid: "t", name: "T", angle_deg: 0 },
    { uuid: "c", name: "C", wavelength_nm: 1 }, { uuid: "both", name: "B", x_mm: 0, locked: false },
  );
  const after = table(
    { uuid: "m", name: "M", x_mm: 2, y_mm: 0 }, { uuid: "t", name: "T", angle_deg: 5 }, { uuid: "c", name: "C", wavelength_nm: 2 },
    { uuid: "new", name: "N" }, structuredClone(same), { uuid: "both", name: "B", x_mm: 1, locked: true },
  );
  const found = differences(before, after);
  assert.deepEqual(found.map(({ how, title }) => `${how} ${title}`), ["removed G", "added N", "moved M", "moved T", "moved B", "changed C"]);
  assert.equal(found[2].from.x_mm, 1);
  assert.equal(differencesInWords(found), "1 removed, 1 added, 3 moved, 1 changed");
  assert.equal(differencesInWords(differences(after, new Map(after))), "nothing differs");
  assert.deepEqual(differences(table({ uuid: "a", item_type: "x" }), table({ uuid: "a", item_type: "y" })), [], "a type is no news");
});

story("reasons are in words, those that are not known as they are", () => {
  assert.equal(reasonInWords("regular"), "kept now and then");
  assert.equal(reasonInWords("constructor"), "constructor");
  const version = { at: Date.now(), user_id: "alice", why: "imported" };
  assert.match(versionInWords(version), / · a file was imported · alice$/);
  assert.match(versionInWords({ ...version, user_id: null, items: 3 }), / · until a file was imported$/);
});

story("ticks keep their distance", () => {
  assert.deepEqual(spaced([[0.9, 3], [0, 1], [0.1, 2], [0.3, 2]], 0.2), [[0, 1], [0.3, 2], [0.9, 3]]);
  assert.equal(new Date(localTime(1e12)).getTime(), 1e12);
  assert.equal(localTime(NaN), "");
});

story("an address says what is shown, and is read again", () => {
  for (const shown of [
    { id: "lab bench", at: 120, view: { x: -3.5, y: 1e6, scale: 0.0125 }, item: "a&b?c=d/#ü" },
    { id: "100%?", at: "2026-12-20T09:30:00Z", view: undefined, item: undefined },
    { id: "x", at: undefined, view: undefined, item: "__proto__" },
    { id: "a?at=5", at: undefined, view: undefined, item: undefined },
  ])
    assert.deepEqual(readAddress(addressOf(shown)), shown);
  assert.equal(addressOf({ id: "x" }), "#/session/x");
  assert.equal(addressOf({ id: "x", at: 0 }), "#/session/x?at=0");
});

story("old addresses work, and bad values are ignored", () => {
  assert.equal(readAddress("#/"), null);
  assert.equal(readAddress("#/session/"), null);
  assert.equal(readAddress("#/session/lab%20bench").id, "lab bench");
  assert.equal(readAddress("#/session/50%").id, "50%");
  assert.equal(readAddress("#/session/what?").id, "what?");
  const nothing = { id: "x", at: undefined, view: undefined, item: undefined };
  for (const query of [
    "at=-1", "at=1e3", "at=now", "at=2026-13-45T00:00:00Z", "view=1,2", "view=1,2,NaN", "view=1,2,0", "view=1,2,300", "view=,,1", "view=1e10,0,1",
    "unknown=1&at=", `item=${"i".repeat(1025)}`, "view=1,2,3,4",
  ])
    assert.deepEqual(readAddress(`#/session/x?${query}`), nothing, query);
  assert.deepEqual(readAddress("#/session/x?at=5&unknown=%"), { ...nothing, at: 5 });
});

main();
