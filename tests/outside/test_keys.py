"""Keys, told by Python's `websockets` and plain HTTP: where one may stand, and what each opens on both protocols."""

import json
import os
import stat
from urllib.parse import quote

import websockets

import record
import story
from door import PLACES, THREADS, Door, basic, status
from front_end import Desk, FrontEnd
from keyring import KeyRing, address, run, wrong_key
from plain import UPGRADE, plain
from script import Script, item_data
from server import Server
from story import expect, expect_equal, until


@story.story("collabd key: a key is shown once, its file is its owner's alone, and holds no key")
def key_command(stage):
    ring = KeyRing(stage)
    keys = {level: ring.new(level, name=f"{level} for the lab") for level in ("read", "write", "admin")}
    scoped = ring.new("write", name="scoped", sessions="table,graphs", expires="2h")
    expect_equal(len({*keys.values(), scoped}), 4, "different keys")
    for key in keys.values():
        expect(len(key) >= 22 and quote(key, safe="") == key, f"128 bits that stand anywhere: {len(key)} characters")
    content = ring.path.read_text()
    json.loads(content)
    listed = ring.list()
    for level, key in keys.items():
        expect(key not in content and key not in listed, "no key in the file or the list")
        line = next((line for line in listed.splitlines() if f"{level} for the lab" in line), "")
        expect(line.count(level) >= 2, f"name and level in one line of {listed}")
    line = next((line for line in listed.splitlines() if "scoped" in line), "")
    expect("table" in line and "graphs" in line, f"the scope in {line!r}")
    if os.name == "posix":
        expect_equal(stat.S_IMODE(ring.path.stat().st_mode), 0o600, "the file's mode")
    ring.revoke("scoped")
    listed = ring.list()
    expect("scoped" not in listed and "admin for the lab" in listed, f"the list after a revocation: {listed}")
    before = ring.path.read_bytes()
    file = ("--file", ring.path)
    for words in (("revoke", "nobody", *file), ("new", "--name", "a", "--level", "root", *file),
                  ("new", "--name", "a", "--level", "read", "--expires", "soon", *file),
                  ("list", "--file", ring.path / "no")):
        code, out, err = run("key", *words)
        record.heard(out + err)
        expect(code != 0 and err.strip(), f"key {words} to fail and say why: {code}, {err!r}")
    expect_equal(ring.path.read_bytes(), before, "the file after commands that failed")
    beside = "".join(path.read_text() for path in ring.path.parent.iterdir())
    expect(not any(key in beside for key in keys.values()), "no key in a file beside it")


@story.story("a key file that others may read is warned about")
def loose_mode(stage):
    keys = KeyRing(stage)
    keys.new()
    ours = stage.own(Server("--keys", str(keys.path)))
    until(lambda: any("[INFO]" in line for line in ours.lines), "a first line in the log")
    # Asked once, it has begun: what it has to say of the file has been said.
    expect_equal(plain(ours, "GET", "/client_ann").status, 426, "a page")
    expect(not any("[WARN]" in line for line in ours.lines), f"no warning where there is no reason: {ours.lines}")
    keys.path.chmod(0o644)
    others = stage.own(Server("--keys", str(keys.path)))
    until(lambda: any("[WARN]" in line for line in others.lines), "a warning")


@story.story("a server whose key file cannot be read to begin with lets nobody in")
def bad_beginning(stage):
    folder = stage.folder()
    (folder / "broken").write_text("{oops")
    for words in (["--keys", folder / "broken"], ["--keys", folder / "missing"], []):
        try:
            server = stage.own(Server("--require-key", *words))
        except story.Failed as refused:
            # It ended instead of serving: as good.
            expect("printed" in str(refused), f"it to say why: {refused}")
            continue
        for key in (None, wrong_key()):
            expect_equal(status(server, key).status, 403, f"with {words}")


# On sessions.


@story.story("with --require-key a session opens to a key in each of its four places")
def four_places(stage):
    door = Door(stage)
    users = [f"{place} user" for place in PLACES]
    scripts = [door.join(user, place=place) for user, place in zip(users, PLACES)]
    expect_equal([u["user_id"] for u in scripts[-1].messages[0]["users"]], users, "who is in")
    for script in scripts:
        script.send({"type": "chat"})
    for script in scripts:
        for user in users:
            if user != script.user:
                script.expect("chat", user_id=user)
    # As a script has it that was given an address with a login; the user's name may be any, or none.
    for login in (f"lab:{door.key}", f":{door.key}", f"j%C3%B6rg:{door.key}"):
        stage.own(Script(door.server, "room", "by login", login=login)).joined()
    # Beside the key a query may have more in it.
    answer = plain(door.server, "GET", f"/ws/room/ann?a=1&key={door.key}&b=2", UPGRADE)
    expect_equal(answer.status, 101, "a key among other things")


@story.story("with --require-key a session is refused with 403 to no key, a wrong one and a wrong form of one")
def four_refusals(stage):
    door = Door(stage)
    sources = address(), address(), address(), address()
    refusals = [("no key", status(door.server, None))]
    for place, source in zip(PLACES, sources):
        for key in (wrong_key(), door.key[:-1], door.key + "0", door.key.swapcase()):
            refusals.append((f"{place} {key}", status(door.server, key, place, source=source)))
    for path, headers in (
        ("/ws/room/ann?key=", {}), ("/ws/room/ann?key", {}), (f"/ws/room/ann?Key={door.key}", {}),
        (f"/ws/room/ann?x{door.key}", {}), ("/ws/room/ann", {"Authorization": door.key}),
        ("/ws/room/ann", {"Authorization": "Bearer"}), ("/ws/room/ann", {"Authorization": f"Basic {door.key}"}),
        ("/ws/room/ann", {"Authorization": basic("", door.key)}), ("/ws/room/ann", {"Authorization": "Basic !!!"}),
        ("/ws/room/ann", {"X-Api-Key": door.key}), ("/ws/room/ann", {"Cookie": f"key={door.key}"}),
    ):
        refusals.append((path, plain(door.server, "GET", path, {**UPGRADE, **headers}, address())))
    for what, refusal in refusals:
        expect_equal(refusal[:2], (403, "Forbidden"), what)
        expect(refusal.is_one_line and door.key[:-1] not in refusal.body, f"one line for {what}: {refusal.body!r}")
        expect(refusal.headers["Content-Type"].startswith("text/plain"), f"plain text for {what}")
    try:
        stage.own(Script(door.server, "room", "ann", address=address()))
        raise story.Failed("a script without a key was let in")
    except websockets.InvalidStatus as refused:
        expect_equal(refused.response.status_code, 403, "what a script is told")
    expect_equal(door.join("ann").messages[0]["users"][0]["user_id"], "ann", "who is in")


@story.story("404, 405 and 426 are told as without keys, and a client of the other protocol needs none yet")
def precedence(stage):
    door = Door(stage)
    for path, key, upgrade, wanted in (
        ("/nowhere", None, True, {404}),
        ("/nowhere", door.key, True, {404}),
        (f"/ws/room/{'x' * 129}", door.key, True, {404}),
        ("/ws/room/a%00b", door.key, True, {404}),
        ("/ws/room", door.key, True, {404}),
        (f"/ws/room/{'x' * 129}", None, True, {403, 404}),
        ("/ws/room/ann", door.key, False, {426}),
        ("/ws/room/ann", None, False, {403, 426}),
        ("/client_ann", None, False, {426}),
        ("/healthz", None, False, {200, 404}),
    ):
        got = status(door.server, key, path=path, upgrade=upgrade, source=address())
        expect(got.status in wanted, f"{path} with{'' if key else 'out'} key: {got.status}, wanted {wanted}")
    headers = {**UPGRADE, "Authorization": f"Bearer {door.key}"}
    expect_equal(plain(door.server, "POST", "/ws/room/ann", headers).status, 405, "POST with a key")
    # The client protocol's own key comes in its first message: its handshake asks for none.
    stage.own(FrontEnd(door.server, "ann")).established()


@story.story("without --require-key a session asks for no key, and a wrong one does no harm")
def open_sessions(stage):
    desk = Desk(stage)
    stage.own(Script(desk.server, "room", "ann")).joined()
    for place in PLACES:
        for _ in range(4):
            expect_equal(status(desk.server, wrong_key(), place).status, 101, f"a wrong key as {place}")
    bea = stage.own(Script(desk.server, "room", "bea", prefix=f"/key/{wrong_key()}"))
    bea.joined()
    bea.command("add_item", "a", item_data("a"), id="c")
    bea.expect("message_delivered", id="c")


def read_only(script, message):
    before = len(script.all("error"))
    script.send(message)
    until(lambda: len(script.all("error")) > before, f"an answer to {message}")
    error = script.all("error")[before]
    got = error.get("error_type"), error.get("code"), error.get("original_type")
    expect_equal(got, ("read_only", 403, message["type"]), f"the answer to {message}")
    expect(isinstance(error.get("message"), str) and error["message"], f"words in {error}")


@story.story("a reader of a session gets state, commands and cursors, pings and points, and may do nothing else")
def session_reader(stage):
    keys = KeyRing(stage)
    reading = keys.new("read")
    door = Door(stage, "--no-settle", keys=keys)
    ann, bea = door.join("ann"), door.join("bea")
    ann.command("add_item", "a", item_data("a", name="seen by all"))
    ann.round_trip()
    reader = door.join("reader", reading)
    expect_equal(reader.expect("sync:state")["state"]["items"][0]["name"], "seen by all", "the state")
    ann.command("move_item", "a", {"x_mm": 5})
    ann.send({"type": "cursor", "x": 1})
    ann.send({"type": "chat", "text": "for readers, too"})
    expect_equal(reader.expect("command", user_id="ann")["command"]["data"], {"x_mm": 5}, "the command")
    reader.expect("cursor", user_id="ann", x=1)
    reader.expect("chat", user_id="ann")
    reader.send({"type": "ping", "id": 7})
    reader.expect("pong", id=7)
    reader.send({"type": "cursor", "x": 3})
    for other in (ann, bea):
        other.expect("cursor", user_id="reader", x=3)
    reader.send({"type": "sync:request", "user_id": "reader"})
    until(lambda: len(reader.all("sync:state")) == 2, "the state on request")
    epoch = reader.messages[0]["epoch"]
    reader.send({"type": "sync:request", "epoch": epoch, "since": 1})
    reader.expect("sync:done")
    state = {"items": [], "version": 99}
    for action in ("add_item", "update_item", "move_item", "remove_item", "group_items"):
        command = {"action": action, "item_type": "component", "item_id": "a", "data": {"x_mm": 9}}
        read_only(reader, {"type": "command", "command": command})
        read_only(reader, {"type": "command", "command": command, "id": action})
    for message in (
        {"type": "sync:update", "state": state}, {"type": "sync:update", "state": state, "id": "u"},
        {"type": "sync:full_state", "state": state}, {"type": "sync:full_state", "state": state, "target_user": "ann"},
        {"type": "sync:full_state", "state": state, "target_user": "reader"},
        {"type": "chat", "text": "a reader's words"}, {"type": "selection:changed"},
    ):
        read_only(reader, message)
    ann.send({"type": "chat", "text": "after all of it"})
    bea.expect("chat", text="after all of it")
    reader.expect("chat", text="after all of it")
    expect_equal(reader.all("message_delivered"), [], "confirmations to the reader")
    for other in (ann, bea):
        by_reader = [m["type"] for m in other.messages if m.get("user_id") == "reader"]
        expect_equal(by_reader, ["user:joined", "cursor"], f"what {other.user} heard of the reader")
    ann.send({"type": "sync:request"})
    ann.round_trip()
    document = ann.all("sync:state")[-1]["state"]["items"]
    expect_equal([(i["uuid"], i["x_mm"], i["name"]) for i in document], [("a", 5, "seen by all")], "the document")


def hosts(door, user):
    """Who is host, as a newcomer is told it."""
    script = door.join(user)
    found = [u["user_id"] for u in script.messages[0]["users"] if u["is_host"]]
    script.close()
    return found


@story.story("a reader is never host: not as the first, not as the one present longest, not as the last")
def never_host(stage):
    keys = KeyRing(stage)
    reading = keys.new("read")
    door = Door(stage, keys=keys)
    first = door.join("first", reading)
    expect_equal(first.messages[0]["is_host"], False, "is_host of the first, who only reads")
    expect_equal([u["is_host"] for u in first.messages[0]["users"]], [False], "and in the list")
    ann, bea = door.join("ann"), door.join("bea")
    expect_equal((ann.messages[0]["is_host"], bea.messages[0]["is_host"]), (True, False), "is_host of the writers")
    # Who asks is a member, too, and stays out of the succession by leaving.
    expect_equal(hosts(door, "asking"), ["ann"], "the host")
    ann.close()
    for script in (first, bea):
        script.expect("host:changed", user_id="bea")
    bea.close()
    first.expect("user:left", user_id="bea")
    again = door.join("cat")
    expect_equal(again.messages[0]["is_host"], True, "is_host of a writer who finds only a reader")
    expect({m["user_id"] for m in first.all("host:changed")} <= {"ann", "bea", "cat"}, "no reader to be made host")
    expect_equal(hosts(door, "asking again"), ["cat"], "the host then")


@story.story("write and admin may do everything a session offers")
def session_writers(stage):
    keys = KeyRing(stage)
    writing, admin = keys.new("write"), keys.new("admin")
    door = Door(stage, "--no-settle", keys=keys)
    ann, bea = door.join("ann", writing), door.join("bea", admin)
    for number, (one, other) in enumerate(((ann, bea), (bea, ann))):
        item = f"{one.user}'s"
        one.command("add_item", item, item_data(item), id=number)
        one.expect("message_delivered", id=number, status="success")
        other.expect("command", user_id=one.user)
        one.send({"type": "chat", "text": "may speak"})
        other.expect("chat", user_id=one.user)
        one.send({"type": "cursor", "x": 1})
        other.expect("cursor", user_id=one.user)
    state = {"items": [{"uuid": "new", "item_type": "component"}], "version": 9}
    bea.send({"type": "sync:update", "id": "u", "state": state})
    bea.expect("message_delivered", id="u")

    def told():
        return [(m["command"]["action"], m["command"]["item_id"]) for m in ann.all("command")]

    wanted = {("remove_item", "ann's"), ("remove_item", "bea's"), ("add_item", "new")}
    until(lambda: wanted <= set(told()), lambda: f"the change as commands: {told()}")
    expect_equal(ann.all("error") + bea.all("error"), [], "errors")


# On channels.


@story.story("a reader of channels joins, receives, pings and points, and gets read_only for the rest")
def channel_reader(stage):
    keys = KeyRing(stage)
    reading = keys.new("read")
    door = Door(stage, keys=keys)
    ann, reader = door.front_end("ann"), door.front_end("reader", reading)
    for front_end in (ann, reader):
        front_end.join("table")
    reader.join("graphs", "subscribe")
    ann.say("table", "for readers, too")
    reader.next("chat_message", client_id="ann")
    reader.send({"type": "ping"})
    reader.next("pong")
    for kind in ("chat_message", "channel_message", "agent_status", "task_update", "graph_update", "anything:else"):
        reader.send({"type": kind, "channel": "table", "id": 1, "data": {"content": "a reader's"}})
        reader.error("read_only", 403)
    reader.send({"type": "cursor", "channel": "table", "data": {"x": 1}})
    reader.next("cursor", client_id="reader")
    reader.delivered("cursor")
    ann.next("cursor", client_id="reader", data={"x": 1})
    reader.leave("graphs", "unsubscribe")
    reader.nothing_more_to_reader()
    ann.nothing_more()
    # A better key makes more of the same connection.
    reader.connect(door.key)
    reader.connected()
    reader.say("table", "a writer's now")
    ann.next("chat_message", client_id="reader")


@story.story("write and admin may do everything a channel offers")
def channel_writers(stage):
    keys = KeyRing(stage)
    writing, admin = keys.new("write"), keys.new("admin")
    door = Door(stage, keys=keys)
    ann, bea = door.front_end("ann", writing), door.front_end("bea", admin)
    for front_end in (ann, bea):
        front_end.join("table")
    for one, other in ((ann, bea), (bea, ann)):
        for kind in ("chat_message", "agent_status", "task_update", "anything:else", "cursor"):
            one.say("table", type=kind)
            other.next(kind, client_id=one.client_id)
    for front_end in (ann, bea):
        front_end.leave("table")
        front_end.nothing_more()


@story.story("a key opens the sessions and channels in its scope, by their whole names, and no others")
def scopes(stage):
    keys = KeyRing(stage)
    scoped = keys.new("write", sessions="table,Grüner Tisch")
    door = Door(stage, keys=keys)
    for session in ("table", "Grüner Tisch"):
        for place in PLACES:
            door.join("ann", scoped, session=session, place=place)
    for number, session in enumerate(("tab", "tables", "Table", "room", "table,Gr%C3%BCner%20Tisch", "table%20", "*")):
        refusal = status(door.server, scoped, list(PLACES)[number % 4], f"/ws/{session}/ann", address())
        expect_equal(refusal[:2], (403, "Forbidden"), f"session {session}")
        expect_equal(status(door.server, door.key, path=f"/ws/{session}/ann").status, 101, f"{session} by another key")
    ann, bea = door.front_end("ann", scoped), door.front_end("bea")
    for channel in ("table", "Grüner Tisch"):
        ann.join(channel)
    for word in ("join_channel", "subscribe"):
        for channel in ("tab", "tables", "Table", "room", "*"):
            ann.send({"type": word, "data": {"channel": channel}})
            ann.error("channel_error", 403)
    for channel in ("table", "room"):
        bea.join(channel)
    bea.say("room", "not for everybody")
    bea.say("table")
    ann.next("chat_message", channel="table", client_id="bea")
    ann.send({"type": "chat_message", "channel": "room", "data": {"content": "from out of scope"}})
    ann.error("channel_error", 403)
    ann.nothing_more()
    for channel in ("table", "room"):
        bea.send({"type": "note", "channel": channel, "data": {"thread_id": f"in the {channel}"}})
    bea.skip_to("message_delivered")
    bea.skip_to("message_delivered")

    def threads(key, query=""):
        answer = plain(door.server, "GET", THREADS + query, {"Authorization": f"Bearer {key}"}, address())
        return [t["thread_id"] for t in json.loads(answer.body)["threads"]] if answer.status == 200 else answer.status

    expect_equal(sorted(threads(door.key)), ["in the room", "in the table"], "threads for a key that opens all")
    expect_equal(threads(scoped), ["in the table"], "threads for the scoped key")
    expect(threads(scoped, "?channel=room") in ([], 403), "threads of a channel out of scope")
    expect_equal(threads(scoped, "?channel=table"), ["in the table"], "threads of a channel in scope")


if __name__ == "__main__":
    story.main(at_once=4)
