"""The editor's socket against ours: addresses, refusals, close codes, big messages, bad neighbours."""

import json
import socket

import story
from bench import Bench
from editor import TIMESTAMP, Editor
from items import designed
from script import Script
from server import Server
from story import until

# What the server cannot read at all.
UNREADABLE = ["{", "null", "[]", "42", '"ping"', "{}", '{"type": 7}', '{"type": null}']


def malformed_objects(item):
    """One of each shape that would raise inside a Qt slot at every receiver; `item` is one of the document's."""

    def command(action, item_id, data):
        return {"type": "command", "command": {"action": action, "item_type": "lens", "item_id": item_id, "data": data}}

    def update(*items):
        return {"type": "sync:update", "state": {"items": list(items)}}

    good = {"uuid": "a", "item_type": "lens"}
    return [
        {"type": "command"},
        {"type": "command", "command": None},
        {"type": "command", "command": []},
        {"type": "command", "command": "add_item"},
        {"type": "command", "command": {"action": "update_item", "item_type": "lens", "item_id": item}},
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
        update(1),
        update({"item_type": "lens"}),
        update(good, None),
        update(good | {"x_mm": "far"}),
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
    item = next(iter(ada.canvas))
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


@story.story("who sent it and when is the server's word, not the sender's")
def spoofed(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=1), bench.guest("bob")
    bench.all_equal()
    item = next(iter(ada.canvas))
    mallory = bench.script("mallory")
    mallory.joined()
    lie = {"user_id": "ada", "timestamp": "1999-12-31T23:59:59.000Z"}
    mallory.command("move_item", item, {"x_mm": 1, "y_mm": 2, "angle_deg": 3}, **lie)
    mallory.send({"type": "cursor", "x": 1, "y": 2, **lie})
    mallory.send({"type": "chat", "text": "I am Ada", **lie, "extra": {"kept": [1, None]}})
    for editor in (ada, bob):
        for kind in ("command", "cursor", "chat"):
            message = editor.expect(kind, user_id="mallory")
            good = TIMESTAMP.fullmatch(message["timestamp"]) and message["timestamp"] > "2020"
            story.expect(good, f"the server's time in {message}")
        story.expect_equal(editor.all("chat")[0]["extra"], {"kept": [1, None]}, "fields the server does not know")
    bench.all_equal()


def never_reads(bench):
    """Somebody joins as `stuck` and takes nothing of what is sent to it."""
    stuck = bench.stage.own(socket.create_connection(("127.0.0.1", bench.server.port), timeout=story.DEADLINE))
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.sendall(
        f"GET /ws/{bench.session}/stuck HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    for editor in bench.editors:
        editor.expect("user:joined", user_id="stuck")
    return stuck


@story.story("a member that never reads disturbs nobody")
def stalled(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=3), bench.guest("bob")
    bench.all_equal()
    never_reads(bench)
    item = next(iter(ada.canvas))
    # Far more than any socket buffer holds, so that the server has to deal with somebody who takes nothing.
    for number in range(150):
        bob.send({"type": "chat", "number": number, "text": "x" * 200_000})
        bob.place(item, number, -number, number)
        until(lambda: len(ada.all("chat")) >= number - 5, lambda: f"chat {number - 5} at ada")
    until(lambda: len(ada.all("chat")) == 150, lambda: f"150 chats at ada, who has {len(ada.all('chat'))}")
    story.expect_equal([m["number"] for m in ada.all("chat")], list(range(150)), "the order of the chats")
    story.expect_equal(bench.all_equal()[item]["x_mm"], 149, "where the drag ended")


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
        until(lambda: item in other.canvas, f"the item in {session}")


@story.story("item ids and types may be any text")
def item_ids(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=1), bench.guest("bob")
    for item_id in ("ünïcode 🙂", 'quote " and \\', "a/b?c#d", "__proto__", " ", "0", "x" * 300):
        item = designed(stage.rng) | {"item_uuid": item_id}
        bob.add(item)
        ada.paste(designed(stage.rng))
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
    item = next(iter(ada.canvas))
    bench.all_equal()
    notes = "".join(stage.rng.choice("äöü€🙂 abc\n\"\\") for _ in range(180_000))
    big = json.dumps(notes)
    story.expect(524_288 < len(big) < 2**20, f"a message between the fragment size and the limit: {len(big)}")
    bob.edit(item, notes=notes)
    story.expect_equal(bench.all_equal()[item]["notes"], notes, "the long note")


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


@story.story("the server ends in time although somebody neither reads nor answers")
def stop_with_stalled(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=1)
    never_reads(bench)
    stage.own(socket.create_connection(("127.0.0.1", bench.server.port), timeout=story.DEADLINE))
    for _ in range(30):
        ada.send({"type": "chat", "text": "x" * 200_000})
    ada.round_trip()
    bench.server.stop()
    ada.expect_closed(1001, "server shutting down")
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
