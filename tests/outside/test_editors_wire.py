"""The editor's socket against ours: addresses, refusals, close codes, big messages, bad neighbours."""

import json
import math
import socket

import story
from bench import Bench
from editor import Editor
from items import FIELDS, LINE, component, designed, source
from script import Script
from server import Server
from story import until

# What the server cannot read at all.
UNREADABLE = ["{", "null", "[]", "42", '"ping"', "{}", '{"type": 7}', '{"type": null}']


def malformed_objects(item):
    """One of each shape that would raise inside a Qt slot at every receiver; `item` is one of the document's."""

    def command(action, item_id, data):
        named = {"action": action, "item_type": "component", "item_id": item_id}
        return {"type": "command", "command": named | {"data": data}}

    return [
        {"type": "command"},
        {"type": "command", "command": None},
        {"type": "command", "command": []},
        {"type": "command", "command": "add_item"},
        {"type": "command", "command": {"action": "update_item", "item_type": "component", "item_id": item}},
        command("update_item", item, None),
        command("update_item", item, [1]),
        command("move_item", item, "x"),
        command("move_item", 5, {"x_mm": 1}),
        command("remove_item", None, {}),
        command("move_item", item, {"x_mm": "1"}),
        command("move_item", item, {"y_mm": None}),
        command("update_item", item, {"angle_deg": [0]}),
        command("add_item", "new", {"item_uuid": "new", "x_mm": True}),
        {"type": "sync:update"},
        {"type": "sync:update", "state": 5},
        {"type": "sync:update", "state": []},
        {"type": "sync:update", "state": {"items": {}}},
        {"type": "sync:full_state", "state": "all of it"},
        # The server's own types: from a client they would be forgeries.
        {"type": "sync:state", "state": {"items": []}},
        {"type": "user:left", "user_id": "ada"},
        {"type": "connection:ack", "users": [1]},
    ]


@story.story("malformed objects never reach an editor")
def malformed(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=3), bench.guest("bob")
    item = ada.ids[0]
    before = bench.all_equal()
    heard = len(ada.log), len(bob.log)
    mallory = bench.script("mallory")
    mallory.joined()
    for shape in [*UNREADABLE, *malformed_objects(item)]:
        errors = len(mallory.all("error"))
        mallory.send(shape)
        mallory.round_trip()
        story.expect_equal(len(mallory.all("error")), errors + 1, f"errors for {shape}")
    for error in mallory.all("error"):
        fields = error.get("error_type"), error.get("message"), error.get("code")
        good = isinstance(fields[0], str) and isinstance(fields[1], str) and 400 <= fields[2] < 600
        story.expect(good, f"a good error: {error}")
    mallory.send({"type": "chat", "text": "that was all"})
    for editor, count in zip((ada, bob), heard):
        editor.expect("chat", user_id="mallory")
        kinds = [m["type"] for m in editor.log[count:] if m["type"] not in ("user:joined", "user:left")]
        story.expect_equal(kinds, ["chat"], f"what {editor.user} heard of it")
    story.expect(bench.all_equal() == before, "nothing is half applied")


def odd_values():
    """Values on which an editor opens an error box, can't paint, or takes all rays off its table."""
    yield from ((key, value) for key in ("x_mm", "y_mm", "angle_deg") for value in ("1", None, [0], {}))
    yield from (("object_height_mm", "tall"), ("object_height_mm", 10**400), ("z_value", "top"), ("z_value", [1]))
    yield from (("image_path", 5), ("interfaces", {}), ("interfaces", "lens"), ("interfaces", [1]))
    lens = (("x1_mm", "left"), ("y2_mm", None), ("efl_mm", "long"), ("efl_mm", None), ("efl_mm", 10**400))
    for field, value in (*lens, ("element_type", [])):
        yield "interfaces", [{"element_type": "lens", field: value}]
    for radius in (math.inf, "round", None):
        curved = {"element_type": "refractive_interface", "is_curved": True, "radius_of_curvature_mm": radius}
        yield "interfaces", [curved]
    yield from (("n_rays", 10.5), ("n_rays", math.inf), ("n_rays", math.nan), ("n_rays", None), ("n_rays", "ten"))
    yield from (("ray_length_mm", "long"), ("ray_length_mm", None), ("spread_deg", math.inf), ("spread_deg", "wide"))
    yield from (("polarization_type", 5), ("size_mm", "small"), ("color_hex", 10**400), ("angle_deg", math.inf))
    yield from (("color_hex", -3), ("color_hex", 2**40))


@story.story("odd values reach an editor in a form it bears, or not at all")
def odd(stage):
    bench = Bench(stage)
    bench.host("ada", items=[component("c"), source("s")])
    bench.guest("bob")
    mallory = bench.script("mallory")
    mallory.joined()
    for number, (key, value) in enumerate(odd_values()):
        kind, item = ("source", "s") if key in FIELDS["source"] and key not in LINE else ("component", "c")
        mallory.command("update_item", item, {key: value}, kind)
        new = source if kind == "source" else component
        mallory.command("add_item", f"{number}", new(f"{number}") | {key: value}, kind)
    mallory.round_trip()
    bench.all_equal()


@story.story("what a script leaves out, an id or a type in the item itself, is there for editors")
def bare(stage):
    bench = Bench(stage)
    ada, bob, script = bench.host("ada"), bench.guest("bob"), bench.script("script")
    script.joined()
    script.command("add_item", "added", {"x_mm": 4, "notes": "from a script"})
    until(lambda: "added" in bob and bob["added"]["x_mm"] == 4, "an item without a _type")
    script.send({"type": "sync:update", "state": {"items": [{"uuid": "replaced", "item_type": "source", "x_mm": 5}]}})
    until(lambda: (ada.ids, bob.ids) == (["replaced"], ["replaced"]), "a document of such items")
    bench.all_equal()


def members(editor):
    return [u["user_id"] for u in editor.log[0]["users"]]


@story.story("names with spaces, umlauts, per cent, emoji, dots and slashes")
def names(stage):
    server = stage.own(Server())
    # (session, user) as typed, and the user as it has to be read; `/` in a user id is part of it.
    typed = [
        ("Grüner Tisch", "Jörg Müller", None),
        ("100%", "50% sure", None),
        ("🔭 lab", "🙂", None),
        ("dots", "..", None),
        ("..", "somebody", None),
        ("slashes", "a/b/c", None),
        ("slashes too", "a/../b", None),
        ("question", "who?me", "who"),
        ("long", "ü" * 128, None),
        ("plus+and&", "a=b;c@d:e", None),
    ]
    for session, user, known_as in typed:
        first = stage.own(Editor(user, "client")).connect(server, session, known_as=known_as).arrived()
        story.expect_equal(first.log[0]["user_id"], known_as or user, "the user id in the acknowledgement")
        story.expect_equal(first.log[0]["session_id"], session, "the session id in the acknowledgement")
        other = stage.own(Editor("onlooker", "client")).connect(server, session).arrived()
        story.expect_equal(members(other), [known_as or user, "onlooker"], f"the members of {session}")
        item = first.add(designed(stage.rng))
        until(lambda: item in other, f"the item in {session}")


@story.story("item ids and types may be any text")
def item_ids(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=1), bench.guest("bob")
    for item_id in ("ünïcode 🙂", 'quote " and \\', "a/b?c#d", "__proto__", " ", "0", "x" * 300):
        item = designed(stage.rng) | {"item_uuid": item_id}
        bob.add(item)
        ada.add(designed(stage.rng))
    story.expect_equal(len(bench.all_equal()), 15, "items")


@story.story("a server address with a path prefix /key/SECRET")
def prefix(stage):
    bench = Bench(stage, stage.own(Server("--debug")))
    ada = stage.own(Editor("ada", "host", [designed(stage.rng)]))
    ada.connect(bench.server, bench.session, prefix="/key/SECRET").arrived()
    bench.editors.append(ada)
    bench.guest("bob")
    story.expect_equal(len(bench.all_equal()), 1, "items")
    shown = json.dumps(ada.log) + "\n".join(bench.server.lines)
    story.expect("SECRET" not in shown, "the key is in no message and no log line")


@story.story("a refusal shows the user the reason phrase")
def refusals(stage):
    server = stage.own(Server())

    def refused(user, prefix, code, phrase):
        editor = stage.own(Editor(user, "client"))
        editor.connect(server, "bench", prefix=prefix)
        until(lambda: editor.refusal, f"{user!r} at {prefix!r} to be refused with {code}")
        story.expect(f"{code}" in editor.refusal and phrase in editor.refusal, f"{code} {phrase} in {editor.refusal!r}")
        story.expect_equal(editor.log, [], "messages to somebody refused")

    refused("ada", "/nowhere", 404, "Not Found")
    refused("x" * 129, "", 404, "Not Found")
    server = stage.own(Server("--max-connections", "1"))
    ada = stage.own(Editor("ada", "client")).connect(server, "bench").arrived()
    refused("bob", "", 503, "Service Unavailable")
    ada.round_trip()


@story.story("messages above 524,288 bytes, which Qt sends in fragments")
def fragments(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=2), bench.guest("bob")
    item = ada.ids[0]
    bench.all_equal()
    notes = "".join(stage.rng.choice("äöü€🙂 abc\n\"\\") for _ in range(180_000))
    big = json.dumps(notes)
    story.expect(524_288 < len(big) < 2**20, f"a message between the fragment size and the limit: {len(big)}")
    ada.edit(item, serial=notes)
    story.expect_equal(bench.all_equal()[item]["serial"], notes, "the long note")


@story.story("a protocol ping is answered")
def protocol_ping(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=1)
    answers = []
    ada.socket.pong.connect(lambda _, payload: answers.append(bytes(payload)))
    for payload in (b"", b"are you there", b"x" * 125):
        ada.socket.ping(payload)
    until(lambda: len(answers) == 3, lambda: f"three pongs, not {answers}")
    story.expect_equal(answers, [b"", b"are you there", b"x" * 125], "the pongs' payloads")


@story.story("the editor's own heartbeat is answered")
def heartbeat(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=1, heartbeat_ms=20)
    bob = bench.guest("bob", heartbeat_ms=30)
    until(lambda: len(ada.all("pong")) > 5 and len(bob.all("pong")) > 5, "pongs for the heartbeats")
    bench.all_equal()


@story.story("the server says good-bye with 1001 and ends within three seconds")
def stop(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=1), bench.guest("bob")
    bench.server.stop()
    for editor in (ada, bob):
        editor.expect_closed(1001, "server shutting down")
    until(bench.server.exited, "the server to end", seconds=3)
    story.expect_equal(bench.server.process.returncode, 0, "the exit status")


@story.story("probing the port leaves no trace, and a server started from the editor is there in time")
def probe(stage):
    log = stage.folder() / "log"
    server = stage.own(Server("--log-file", str(log)))
    story.expect(server.started_in < 1.5, f"the port to be open within 1.5 s, not {server.started_in:.2f} s")
    for _ in range(5):
        socket.create_connection(("127.0.0.1", server.port), timeout=story.DEADLINE).close()
    # A member that comes later and is served shows that the probes have been dealt with.
    late = stage.own(Script(server, "bench", "late"))
    late.joined()
    late.close()
    server.stop()
    until(server.exited, "the server to end", seconds=3)
    written = server.lines + (log.read_text().splitlines() if log.exists() else [])
    bad = [line for line in written if "WARN" in line or "ERROR" in line]
    story.expect_equal(bad, [], "complaints in the log")


if __name__ == "__main__":
    story.main()
