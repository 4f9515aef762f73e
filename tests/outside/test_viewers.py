"""Whoever looks at a session without being in it, told by Python's `websockets` and plain HTTP."""

import json

import story
from keyring import KeyRing
from plain import UPGRADE, plain
from script import Room, Viewer, fetch_state, item_data
from story import expect, expect_equal, until


def about(server, path):
    answer = plain(server, "GET", f"/api/sessions{path}")
    expect_equal(answer.status, 200, path)
    return json.loads(answer.body)


def look(stage, room, session=None, **options):
    return stage.own(Viewer(room.server, session or room.session, **options))


@story.story("viewers see what three people do, each as it happens, and end with the document on their canvas")
def watching(stage):
    rng = stage.rng
    room = Room(stage)
    people = [room.join(name) for name in ("ann", "bea", "cat")]
    viewers = [look(stage, room)]
    for number in range(150):
        person = rng.choice(people)
        item = f"item {rng.randrange(12)}"
        match rng.randrange(8):
            case 0:
                person.command("remove_item", item, {})
            case 1:
                person.command("update_item", item, {"name": f"{person.user}'s {number}"})
            case 2 | 3:
                person.command("add_item", item, item_data(item, x_mm=number))
            case 4:
                person.send({"type": "cursor", "x": number})
            case _:
                person.command("move_item", item, {"x_mm": number, "y_mm": -number})
        if number % 50 == 49:
            viewers.append(look(stage, room))
    for person in people:
        person.round_trip()
    document = {item["uuid"]: item for item in about(room.server, f"/{room.session}/state")["items"]}
    expect(len(document) > 3, f"a document: {document}")
    for viewer in viewers:
        until(lambda: viewer.canvas() == document, lambda: f"{viewer.canvas()} to become {document}")
        ack = viewer.messages[0]
        told = (ack["type"], ack["user_id"], ack["viewer"], ack["is_host"])
        expect_equal(told, ("connection:ack", None, True, False), "the acknowledgement")
        expect_equal([user["user_id"] for user in ack["users"]], ["ann", "bea", "cat"], "users")
        expect_equal(viewer.messages[1]["type"], "sync:state", "what comes at once")
    seqs = [m["seq"] for m in viewers[0].all("command") if "seq" in m]
    expect_equal(seqs, list(range(1, seqs[-1] + 1)), "every change, in order")
    for person in people:
        joined = {m["user_id"] for m in person.all("user:joined")}
        expect(joined <= {"ann", "bea", "cat"} and not person.all("user:left"), f"nobody notices: {joined}")
    expect_equal({i["uuid"]: i for i in fetch_state(room.server, room.session)["items"]}, document, "the document")


@story.story("a viewer may ask and ping, and gets read_only for anything else")
def saying(stage):
    room = Room(stage, "--no-settle")
    ann = room.join("ann")
    viewer = look(stage, room)
    for message in (
        {"type": "cursor", "x": 1},
        {"type": "chat", "text": "hello"},
        {"type": "sync:update", "state": {"items": []}},
        {"type": "sync:full_state", "state": {"items": []}, "target_user": "ann"},
        {"type": "command", "command": {"action": "add_item", "item_id": "a", "data": item_data("a")}},
    ):
        viewer.send({**message, "id": "i1"})
        error = viewer.expect("error", original_type=message["type"])
        expect_equal((error["error_type"], error["code"]), ("read_only", 403), f"the answer to {message}")
    viewer.send({"type": "ping", "t": 7})
    viewer.expect("pong", t=7)
    ann.command("add_item", "a", item_data("a"))
    ann.command("add_item", "b", item_data("b"))
    ann.round_trip()
    viewer.send({"type": "sync:request", "epoch": viewer.messages[0]["epoch"], "since": 1})
    expect_equal(viewer.expect("sync:done")["seq"], 2, "the last change")
    kinds = {m["type"] for m in ann.messages}
    expect(kinds <= {"connection:ack", "user:joined"}, f"nothing reached ann: {kinds}")


@story.story("who views is counted, keeps nothing alive, and is told when the session has ended")
def ending(stage):
    room = Room(stage, "--linger", "0")
    ann = room.join("ann")
    viewers = [look(stage, room) for _ in range(3)]
    expect_equal(about(room.server, "")["sessions"][0]["viewers"], 3, "viewers")
    viewers[0].close()
    until(lambda: about(room.server, f"/{room.session}")["viewers"] == 2, "one viewer less", every=0.05)
    ann.close()
    for viewer in viewers[1:]:
        viewer.expect_closed(1000, "the session has ended")
        expect_equal(viewer.messages[-1]["type"], "user:left", "what came before it")
    expect_equal(about(room.server, "")["total"], 0, "sessions")
    expect_equal(plain(room.server, "GET", f"/view/{room.session}", UPGRADE).status, 404, "a session that is over")


@story.story("a stored session is loaded for its viewer and stays as long as somebody looks")
def stored(stage):
    folder = stage.folder()
    options = ("--linger", "0", "--data-dir", str(folder))
    room = Room(stage, *options)
    ann = room.join("ann")
    ann.command("add_item", "a", item_data("a", name="kept"), id="c1")
    ann.expect("message_delivered", id="c1")
    ann.close()
    until(lambda: about(room.server, "")["total"] == 0, "nothing in memory", every=0.05)
    viewer = look(stage, room)
    expect_equal([item["name"] for item in viewer.canvas().values()], ["kept"], "the canvas")
    room.join("bea").close()
    viewer.expect("user:left", user_id="bea")
    session = about(room.server, f"/{room.session}")
    expect_equal((session["stored"], session["member_count"], session["viewers"]), (True, 0, 1), "the session")
    viewer.close()
    until(lambda: about(room.server, "")["total"] == 0, "nothing in memory", every=0.05)


@story.story("with keys a viewer's has to open the session, and to go on doing so")
def keys(stage):
    ring = KeyRing(stage)
    keys = {"writer": ring.new("write"), "one": ring.new("read", name="one", sessions="room")}
    room = Room(stage, "--require-key", "--keys", str(ring.path))
    room.join("ann", prefix=f"/key/{keys['writer']}")
    room.join("ann", session="other", prefix=f"/key/{keys['writer']}")
    viewer = look(stage, room, query=f"?key={keys['one']}")
    for path, status in ((f"/view/other?key={keys['one']}", 403), ("/view/room", 403)):
        expect_equal(plain(room.server, "GET", path, UPGRADE).status, status, "a session it doesn't open")
    answer = plain(room.server, "GET", "/api/sessions", {"Authorization": f"Bearer {keys['one']}"})
    expect_equal([s["session_id"] for s in json.loads(answer.body)["sessions"]], ["room"], "the sessions it opens")
    ring.revoke("one")
    viewer.expect("error", error_type="invalid_key")
    viewer.expect_closed(1008, "key revoked")


if __name__ == "__main__":
    story.main()
