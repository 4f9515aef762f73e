// Which sessions the overview lists, and in which order.

import assert from "node:assert/strict";
import { main, story } from "../outside/ws_story.mjs";
import { pure } from "./sources.mjs";

const { matches, ordered } = pure(["listing"], ["matches", "ordered"]);

const session = (session_id, people, items, changed_at) => ({
  session_id, items, changed_at, member_count: people.length, members: people.map((user_id) => ({ user_id })),
});
const SESSIONS = [
  session("table 10", ["alice"], 3, "2026-11-20T10:00:00Z"),
  session("table 9", [], 90, "2026-11-20T12:00:00Z"),
  session("Äpfel", ["Bob", "carol", "dan"], 0, null),
  session("bench", ["eve"], 7, "2026-11-20T11:00:00Z"),
];
const names = (sessions) => sessions.map(({ session_id }) => session_id);

story("each order has its own field; sessions without people come last, except by name", () => {
  assert.deepEqual(names(ordered(SESSIONS, "people")), ["Äpfel", "table 10", "bench", "table 9"]);
  assert.deepEqual(names(ordered(SESSIONS, "changed")), ["bench", "table 10", "Äpfel", "table 9"]);
  assert.deepEqual(names(ordered(SESSIONS, "name")), ["Äpfel", "bench", "table 9", "table 10"]);
  assert.deepEqual(names(ordered(SESSIONS, "items")), ["bench", "table 10", "Äpfel", "table 9"]);
  // Equal ones stay as they were.
  assert.deepEqual(names(ordered([...SESSIONS].reverse(), "people")), ["Äpfel", "bench", "table 10", "table 9"]);
});

story("a filter looks at names of sessions and of people, in capitals or not", () => {
  const found = (text) => names(SESSIONS.filter((each) => matches(each, text)));
  assert.deepEqual(found(""), names(SESSIONS));
  assert.deepEqual(found("  TABLE"), ["table 10", "table 9"]);
  assert.deepEqual(found("bob"), ["Äpfel"]);
  assert.deepEqual(found("äpf"), ["Äpfel"]);
  assert.deepEqual(found(".*"), []);
});

main();
