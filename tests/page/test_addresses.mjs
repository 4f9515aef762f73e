// Which addresses the page offers to others, and that no key is in them.

import assert from "node:assert/strict";
import { main, story } from "../outside/ws_story.mjs";
import { pure } from "./sources.mjs";

const { addressesFor, apiAddress, isLoopback, keyIn, searchWithoutKey, withoutKey } = pure(["addresses"], ["addressesFor", "apiAddress", "isLoopback", "keyIn", "searchWithoutKey", "withoutKey"]);
const sockets = (here, told) => addressesFor(new URL(here), told).map(({ socket }) => socket);
const TOLD = ["ws://192.168.1.20:8765", "ws://10.0.0.7:8765", "ws://127.0.0.1:8765"];

story("a page on the server's own machine offers the machine's addresses on the network", () => {
  for (const here of ["http://localhost:8765/", "http://127.0.0.1:8765/", "http://[::1]:8765/", "http://lab.localhost:8765/"]) {
    assert.deepEqual(sockets(here, TOLD), TOLD.slice(0, 2));
    const [own] = addressesFor(new URL(here), undefined);
    assert.deepEqual(own, { socket: here.replace("http", "ws").slice(0, -1), page: here });
  }
  assert.deepEqual(sockets("http://localhost:8765/", ["ws://127.0.0.1:8765", "ws://[::1]:8765"]), ["ws://localhost:8765"]);
  assert.deepEqual(addressesFor(new URL("http://localhost/"), ["ws://[2001:db8::1]:8765/"]), [
    { socket: "ws://[2001:db8::1]:8765", page: "http://[2001:db8::1]:8765/" },
  ]);
});

story("an address by which the page was reached comes first", () => {
  assert.deepEqual(sockets("http://lab-pc:8765/", TOLD), ["ws://lab-pc:8765", ...TOLD.slice(0, 2)]);
  assert.deepEqual(sockets("http://10.0.0.7:8765/", TOLD), ["ws://10.0.0.7:8765", "ws://192.168.1.20:8765"]);
});

story("behind a proxy only the proxy's address is offered", () => {
  assert.deepEqual(sockets("https://lab.example/", TOLD), ["wss://lab.example"]);
  assert.deepEqual(sockets("http://lab.example/tables/", TOLD), ["ws://lab.example/tables"]);
});

story("what the server says is not believed blindly", () => {
  for (const told of [null, {}, "ws://x", [1, null, {}, "javascript:alert(1)", "ws://", "ws://a/b", "http://a", "ws://a b"]])
    assert.deepEqual(sockets("http://localhost:1/", told), ["ws://localhost:1"]);
});

story("names of the loopback are known", () => {
  for (const host of ["localhost", "LOCALHOST.", "127.9.8.7", "[::1]", "[::ffff:7f00:1]"]) assert.ok(isLoopback(host), host);
  for (const host of ["lab-pc", "127.example", "localhost.example", "192.168.1.20", "[2001:db8::1]", ""]) assert.ok(!isLoopback(host), host);
});

story("a path of the API is asked for as it is, or not at all", () => {
  const here = new URL("http://h:1/lab/");
  const id = "a/b?c#d é%2e it's (1)!";
  for (const path of ["server", `sessions/${encodeURIComponent(id)}/state?at=1`, "sessions/.../restore?to=.."])
    assert.equal(apiAddress(path, here), `http://h:1/lab/api/${path}`);
  // These would be api/sessions/x/restore, api/sessions/ and so on.
  for (const path of ["sessions/x/items/../restore", "sessions/..", "sessions/.", "sessions/../state", "sessions/%2E./state", "sessions/x/items/."])
    assert.equal(apiAddress(path, here), null, path);
});

story("a key is found behind the #, and taken out of it", () => {
  for (const [hash, key, rest] of [
    ["", "", ""],
    ["#/", "", "#/"],
    ["#key=ck_0c0f", "ck_0c0f", ""],
    ["#/?key=ck_1", "ck_1", "#/"],
    ["#/session/a%20b?key=ck_1", "ck_1", "#/session/a%20b"],
    ["#/session/x?key=ck_1&at=7", "ck_1", "#/session/x?at=7"],
    ["#/session/x?at=7&key=ck_1", "ck_1", "#/session/x?at=7"],
    ["#/session/x?at=7&key=ck_1&view=2", "ck_1", "#/session/x?at=7&view=2"],
    ["#/session/x?key=ck_1&key=ck_2", "ck_1", "#/session/x"],
    ["#key=ck_1&key=ck_2", "ck_1", ""],
    ["#/session/x?key=a%2Fb%0A", "a/b", "#/session/x"],
    ["#/session/x?key=%", "", "#/session/x"],
    ["#/session/monkey=1", "", "#/session/monkey=1"],
  ])
    assert.deepEqual([keyIn(hash), withoutKey(hash)], [key, rest], hash);
});

story("a key is known by its looks where a link was encoded or typed wrong", () => {
  const key = `ck_${"0c".repeat(32)}`;
  for (const [hash, rest] of [
    [`##key=${key}`, ""],
    [`#/key=${key}`, ""],
    [`#/session/x%3Fkey%3D${key}`, "#/session/x"],
    [`#/session/x%3fat=7%26key%3d${key}`, "#/session/x%3fat=7"],
    [`#/session/x?%6bey=${key}`, "#/session/x"],
    [`#/session/x?KEY=${key}`, "#/session/x"],
    [`#/session/x;key=${key}`, "#/session/x"],
    [`#/session/x/${key}`, "#/session/x"],
    [`#${key}`, ""],
  ])
    assert.deepEqual([keyIn(hash), withoutKey(hash)], [key, rest], hash);
  assert.equal(withoutKey("#/session/ck_0c"), "#/session/ck_0c");
  for (const [search, found, rest] of [
    ["", "", ""],
    ["?a&&b=%20", "", "?a&&b=%20"],
    [`?key=${key}`, key, ""],
    ["?a=1&key=secret&b", "secret", "?a=1&b"],
    [`?a=1&k=${key}`, key, "?a=1&k="],
  ])
    assert.deepEqual([keyIn(search), searchWithoutKey(search)], [found, rest], search);
});

main();
