"""Python's `websockets` as one more client: what a script says, and what it is told."""

import json
import re

import story
from script import Room, item_data
from story import expect, expect_equal, until

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@story.story("connection:ack comes first, then the own user:joined, and others hear of it")
def ack(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    cat = room.join("cat")
    first, second = cat.messages[:2]
    expect_equal((first["type"], second["type"]), ("connection:ack", "user:joined"), "the first two messages")
    expect_equal(second["user_id"], "cat", "who joined")
    expect_equal([u["user_id"] for u in first["users"]], ["ann", "bea", "cat"], "users in the order they joined")
    expect_equal([u["is_host"] for u in first["users"]], [True, False, False], "who is host among users")
    expect_equal((first["session_id"], first["user_id"], first["is_host"]), ("room", "cat", False), "the newcomer")
    expect(isinstance(first["epoch"], str) and isinstance(first["seq"], int), f"epoch and seq: {first}")
    expect(first["server"], f"the server's name: {first}")
    for stamp in (first["timestamp"], second["timestamp"], *(u["connected_at"] for u in first["users"])):
        expect(TIMESTAMP.fullmatch(stamp), f"a time stamp in UTC with milliseconds: {stamp}")
    expect(ann.messages[0]["is_host"] and not bea.messages[0]["is_host"], "the first member is the host")
    for other in (ann, bea):
        other.expect("user:joined", user_id="cat")


@story.story("compression is offered and not negotiated")
def compression(stage):
    room = Room(stage)
    ann = room.join("ann")
    expect("permessage-deflate" in ann.socket.request.headers["Sec-WebSocket-Extensions"], "the client offers it")
    expect("Sec-WebSocket-Extensions" not in ann.socket.response.headers, "the server does not take it")
    ann.round_trip()


@story.story("ping is answered with pong, id and t come back")
def ping(stage):
    ann = Room(stage).join("ann")
    ann.send({"type": "ping"})
    ann.send({"type": "ping", "id": "a1", "t": 12.5})
    ann.send({"type": "ping", "t": 9007199254740993})
    ann.round_trip()
    bare, both, only_t = ann.all("pong")[:3]
    expect("id" not in bare and "t" not in bare and TIMESTAMP.fullmatch(bare["timestamp"]), f"a bare pong: {bare}")
    expect_equal((both["id"], both["t"]), ("a1", 12.5), "id and t")
    expect_equal(only_t["t"], 9007199254740993, "a t beyond a double's precision")


@story.story("a protocol ping is answered")
def protocol_ping(stage):
    ann = Room(stage).join("ann")
    expect(ann.socket.ping(b"payload").wait(story.DEADLINE), "a pong with the ping's payload")


@story.story("a command goes to all others in one order, never back")
def relay(stage):
    room = Room(stage, "--no-settle")
    scripts = [room.join(name) for name in ("ann", "bea", "cat")]
    for number in range(40):
        for script in scripts:
            script.command("add_item", f"{script.user} {number}", item_data(f"{script.user} {number}"), note=number)
    for script in scripts:
        until(lambda: len(script.all("command")) == 80, f"80 commands at {script.user}")
    seen = {}
    for script in scripts:
        for message in script.all("command"):
            expect(message["user_id"] != script.user, f"{script.user} gets nothing back: {message}")
            expect(TIMESTAMP.fullmatch(message["timestamp"]), f"a time stamp: {message}")
            expect_equal(message["note"], int(message["command"]["item_id"].split()[1]), "the sender's own field")
            expect_equal(seen.setdefault(message["seq"], message), message, "the message with this seq")
        seqs = [m["seq"] for m in script.all("command")]
        expect_equal(seqs, sorted(seqs), f"the order at {script.user}")
    expect_equal(sorted(seen), list(range(1, 121)), "every change has the next seq")
    expect_equal(len(room.items()), 120, "items in the document")


@story.story("cursor and chat go to all others with the server's user_id and time, and are not stored")
def relayed(stage):
    room = Room(stage)
    ann, bea, cat = room.join("ann"), room.join("bea"), room.join("cat")
    seq = cat.messages[0]["seq"]
    sent = {"user_id": "bea", "timestamp": "yesterday", "x": 1.50, "nested": {"deep": [1, {"ü": None}]}}
    ann.send({"type": "cursor", **sent})
    ann.send({"type": "chat", **sent})
    ann.send({"type": "selection:changed", **sent})
    for other in (bea, cat):
        for kind in ("cursor", "chat", "selection:changed"):
            message = other.expect(kind, user_id="ann")
            expect_equal({k: message[k] for k in ("x", "nested")}, {"x": 1.5, "nested": sent["nested"]}, kind)
            expect(TIMESTAMP.fullmatch(message["timestamp"]), f"the server's time: {message}")
    ann.round_trip()
    expect(not any(ann.all(k) for k in ("cursor", "chat", "selection:changed")), "nothing came back")
    late = room.join("late")
    late.round_trip()
    expect(not late.all("chat") and not late.all("cursor"), "nothing of it was stored")
    expect_equal(late.messages[0]["seq"], seq, "the session's seq")


@story.story("of chats not one is dropped")
def many_chats(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    for number in range(2000):
        ann.send({"type": "chat", "n": number})
        ann.send({"type": "cursor", "n": number})
    until(lambda: len(bea.all("chat")) == 2000, lambda: f"2,000 chats, not {len(bea.all('chat'))}")
    expect_equal([m["n"] for m in bea.all("chat")], list(range(2000)), "their order")
    until(lambda: bea.all("cursor") and bea.all("cursor")[-1]["n"] == 1999, "the newest cursor")


@story.story("who joins late gets the state: applied adds, updates, moves and removes")
def late_state(stage):
    room = Room(stage)
    ann = room.join("ann")
    ann.command("add_item", "lens", item_data("lens", name="objective", efl_mm=50))
    ann.command("add_item", "gone", item_data("gone"))
    ann.command("add_item", "mirror", item_data("mirror", name="M1"), item_type="mirror")
    ann.command("update_item", "lens", {"name": "ocular", "extra": [1]})
    # Only the position counts in a move: a guest's may carry blank properties.
    ann.command("move_item", "lens", item_data("lens", name="", efl_mm=0) | {"x_mm": 5, "y_mm": -6.5, "angle_deg": 90})
    ann.command("remove_item", "gone", {})
    ann.command("update_item", "gone", {"name": "back from the dead"})
    ann.command("move_item", "never was", {"x_mm": 1})
    ann.command("explode", "lens", {"name": "debris"})
    ann.round_trip()
    bea = room.join("bea")
    message = bea.expect("sync:state")
    expect_equal(message["from_server"], True, "from_server")
    expect_equal(message["conflict_resolution"], "host_wins", "conflict_resolution")
    expect_equal(message["epoch"], bea.messages[0]["epoch"], "epoch")
    expect_equal(message["seq"], bea.messages[0]["seq"], "seq")
    expect(isinstance(message["state"]["version"], int), "a version that is a number")
    lens, mirror = message["state"]["items"]
    wanted = item_data("lens", name="ocular", efl_mm=50, extra=[1], uuid="lens", item_type="lens")
    expect_equal(lens, wanted | {"x_mm": 5, "y_mm": -6.5, "angle_deg": 90}, "the lens")
    expect_equal((mirror["uuid"], mirror["item_type"], mirror["name"]), ("mirror", "mirror", "M1"), "the mirror")


@story.story("an add_item of a known id overwrites, and is relayed as update_item")
def add_again(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    ann.command("add_item", "a", item_data("a", name="one", kept=1))
    bea.expect("command")
    ann.command("add_item", "a", item_data("a", name="two"))
    ann.round_trip()
    bea.round_trip()
    relayed = [m["command"] for m in bea.all("command") if not m.get("settled")]
    expect_equal([c["action"] for c in relayed], ["add_item", "update_item"], "the actions at others")
    item = room.items()["a"]
    expect_equal((item["name"], item["kept"]), ("two", 1), "the item's fields")


@story.story("an unknown item or action is relayed and changes nothing")
def unknown(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    ann.command("update_item", "nobody", {"x_mm": 1})
    ann.command("remove_item", "nobody", {})
    ann.command("group_items", "nobody", {"with": ["a"]})
    until(lambda: len(bea.all("command")) == 3, "three relayed commands")
    expect_equal(room.items(), {}, "the document")


@story.story("numbers, 64-bit integers and unknown fields survive as they were written")
def exact(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    fields = '"big":9223372036854775807,"bigger":18446744073709551615,"small":-9223372036854775808,' \
             '"one":1.0,"cent":0.10,"exp":1.5e3,"tiny":1E-7,"text":"\\u00fc\\ud83d\\ude42\\/","empty":{},"none":null'
    ann.send('{"type":"command","command":{"action":"add_item","item_type":"lens","item_id":"a",'
             '"data":{"item_uuid":"a","_type":"lens",' + fields + '}}}')
    bea.expect("command")
    late = room.join("late")
    late.expect("sync:state")
    relayed = next(text for text in bea.raw if '"command"' in text)
    state = next(text for text in late.raw if '"sync:state"' in text)
    for where, text in (("relayed", relayed), ("in the state", state)):
        for field in ('"big":9223372036854775807', '"bigger":18446744073709551615', '"small":-9223372036854775808',
                      '"one":1.0', '"cent":0.10', '"exp":1.5e3', '"tiny":1E-7', '"empty":{}', '"none":null'):
            expect(field in text.replace('": ', '":'), f"{field} {where}: {text}")
        expect("ü🙂/" in json.dumps(json.loads(text), ensure_ascii=False), f"the text {where}: {text}")


@story.story("sync:update replaces the document, everyone else gets sync:state")
def sync_update(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    bea.command("add_item", "old", item_data("old"))
    items = [{"uuid": "n", "item_type": "lens", "x_mm": 3}, {"item_uuid": "m", "item_type": "mirror"}]
    bea.send({"type": "sync:update", "id": "u1", "state": {"items": items, "version": 70}})
    delivered = bea.expect("message_delivered", id="u1")
    expect_equal((delivered["original_type"], delivered["status"]), ("sync:update", "success"), "the confirmation")
    got = ann.expect("sync:state", seq=delivered["seq"])
    expect_equal([i["uuid"] for i in got["state"]["items"]], ["n", "m"], "the items at the other")
    expect(got["state"]["version"] >= 70, "a version not behind what a client sent")
    bea.round_trip()
    expect_equal(bea.all("sync:state"), [], "states for the sender")
    expect_equal(sorted(room.items()), ["m", "n"], "the document")


@story.story("errors go to the sender alone, and the connection stays")
def errors(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    reserved = ["sync:state", "user:joined", "user:left", "host:changed", "connection:ack", "pong", "error",
                "sync:done", "message_delivered"]
    bad = ["{oops", "", "[1,2]", "null", "12", '"text"', "{}", '{"type":null}', '{"type":{}}', '{"type":"ping"} {}',
           *(json.dumps({"type": kind}) for kind in reserved)]
    for text in bad:
        before = len(ann.all("error"))
        ann.send(text)
        ann.round_trip()
        expect_equal(len(ann.all("error")), before + 1, f"errors for {text!r}")
        error = ann.all("error")[-1]
        expect(re.fullmatch("[a-z0-9_]+", error["error_type"]), f"a snake_case error_type: {error}")
        expect(isinstance(error["message"], str) and error["message"], f"a message for a person: {error}")
        expect(400 <= error["code"] < 500, f"a 4xx code: {error}")
    for kind, error in zip(reserved, ann.all("error")[-len(reserved):]):
        expect_equal(error["original_type"], kind, "original_type")
    bea.round_trip()
    expect_equal({m["type"] for m in bea.messages}, {"connection:ack", "user:joined"}, "what others heard")


@story.story("a full state from somebody who is no host changes nothing")
def not_host(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    ann.command("add_item", "a", item_data("a"))
    # Its chance to answer its own user:joined with a canvas has passed once it spoke for somebody else.
    bea.send({"type": "sync:full_state", "state": {"items": [], "version": 1}, "target_user": "ann"})
    bea.expect("error", error_type="not_host")
    expect_equal(list(room.items()), ["a"], "the document")


@story.story("a fragmented message is one message")
def fragmented(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    ann.socket.send(iter(['{"type":"ch', 'at","text":"', "ü🙂" * 1000, '"}']))
    expect_equal(bea.expect("chat")["text"], "ü🙂" * 1000, "the text")


@story.story("catching up: the missing messages, unchanged and in order, then sync:done")
def catch_up(stage):
    room = Room(stage, "--no-settle")
    ann, bea, cat = room.join("ann"), room.join("bea"), room.join("cat")
    epoch = bea.messages[0]["epoch"]
    for number in range(5):
        ann.command("add_item", f"{number}", item_data(f"{number}"))
    until(lambda: len(bea.all("command")) == 5, "five commands")
    bea.close()
    for number in range(5, 12):
        ann.command("add_item", f"{number}", item_data(f"{number}", name="ü"), extra={"n": number})
    until(lambda: len(cat.all("command")) == 12, "twelve commands")
    back = room.join("bea")
    expect_equal(back.messages[0]["epoch"], epoch, "the epoch")
    back.send({"type": "sync:request", "epoch": epoch, "since": 5})
    done = back.expect("sync:done")
    expect_equal(done["seq"], 12, "the seq when it is done")
    caught = back.messages[:back.messages.index(done)]
    expect_equal([m for m in caught if m["type"] == "command"], cat.all("command")[5:], "the missing messages")
    back.send({"type": "sync:request", "epoch": epoch, "since": 12})
    until(lambda: len(back.all("sync:done")) == 2, "a second sync:done")
    expect_equal(len(back.all("command")), 7, "nothing was missing the second time")
    states = len(back.all("sync:state"))
    back.send({"type": "sync:request", "epoch": "another life", "since": 5})
    until(lambda: len(back.all("sync:state")) == states + 1, "a whole state for another epoch")
    expect_equal(len(back.all("sync:state")[-1]["state"]["items"]), 12, "items in it")


@story.story("a command with an id is confirmed; a repeated id is confirmed again and not applied again")
def delivered(stage):
    room = Room(stage, "--no-settle")
    ann, bea = room.join("ann"), room.join("bea")
    ann.command("add_item", "a", item_data("a", name="one"), id="c1")
    first = ann.expect("message_delivered", id="c1")
    expect_equal((first["original_type"], first["status"], first["seq"]), ("command", "success", 1), "the confirmation")
    ann.command("update_item", "a", {"name": "two"}, id="c2")
    expect_equal(ann.expect("message_delivered", id="c2")["seq"], 2, "the next seq")
    ann.command("add_item", "a", item_data("a", name="one"), id="c1")
    until(lambda: len([m for m in ann.all("message_delivered") if m["id"] == "c1"]) == 2, "a second confirmation")
    expect_equal([m["seq"] for m in ann.all("message_delivered")], [1, 2, 1], "the confirmed seqs")
    # The same id from another user is another message, and so it is over a new connection of the same user.
    bea.command("update_item", "a", {"by": "bea"}, id="c1")
    expect_equal(bea.expect("message_delivered", id="c1")["seq"], 3, "somebody else's c1")
    again = room.join("ann")
    again.command("update_item", "a", {"name": "again"}, id="c2")
    expect_equal(again.expect("message_delivered", id="c2")["seq"], 2, "c2 over a new connection")
    ann_sent = [m["command"]["action"] for m in bea.all("command")]
    bea.round_trip()
    expect_equal(ann_sent, ["add_item", "update_item"], "what the other got")
    item = room.items()["a"]
    expect_equal((item["name"], item["by"]), ("two", "bea"), "the item")


@story.story("a command without an id is not confirmed")
def unconfirmed(stage):
    ann = Room(stage).join("ann")
    ann.command("add_item", "a", item_data("a"))
    ann.round_trip()
    expect_equal(ann.all("message_delivered"), [], "confirmations")


@story.story("an item that has been still for 300 ms is settled to all but its last writer")
def settled(stage):
    room = Room(stage)
    ann, bea, cat = room.join("ann"), room.join("bea"), room.join("cat")
    ann.command("add_item", "a", item_data("a", name="lens"))
    ann.command("move_item", "a", {"x_mm": 1, "y_mm": 2, "angle_deg": 30})

    def settled_at(script, x):
        """The settled item with this x at this script."""
        found = (m for m in script.all("command") if m.get("settled") and m["command"]["data"].get("x_mm") == x)
        return next(found, None)

    for other in (bea, cat):
        last = until(lambda: settled_at(other, 1), f"the settled item at {other.user}")
        command = last["command"]
        what = command["action"], command["item_id"], last["user_id"]
        expect_equal(what, ("update_item", "a", "ann"), "the settling command")
        wanted = item_data("a", name="lens") | {"x_mm": 1, "y_mm": 2, "angle_deg": 30}
        got = {k: v for k, v in command["data"].items() if k not in ("uuid", "item_type")}
        expect_equal(got, wanted, "the item's full data")
    ann.round_trip()
    expect_equal(ann.all("command"), [], "what the only writer gets")
    # Two writers: the last of them is told as well, for it may have applied its own change early.
    ann.command("move_item", "a", {"x_mm": 5})
    ann.round_trip()
    bea.command("move_item", "a", {"x_mm": 6})
    bea.round_trip()
    for script in (ann, bea, cat):
        until(lambda: settled_at(script, 6), f"the settled item at {script.user}")


@story.story("after a relayed add_item and after a sync:state each item comes once more in full")
def settled_at_once(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    for name in "abc":
        ann.command("add_item", name, item_data(name, name=name))
    until(lambda: len(bea.all("command")) >= 6, "adds and updates")
    first = bea.all("command")[:6]
    kinds = [(m["command"]["action"], m["command"]["item_id"], bool(m.get("settled"))) for m in first]
    wanted = [(a, n, s) for n in "abc" for a, s in (("add_item", False), ("update_item", True))]
    expect_equal(kinds, wanted, "each add_item is followed by its update_item at once")
    late = room.join("late")
    until(lambda: len(late.all("command")) >= 3, "an update for each item")
    kinds = [m["type"] for m in late.messages]
    expect(kinds.index("sync:state") < kinds.index("command"), "the state first")
    got = {m["command"]["item_id"]: m["command"]["data"]["name"] for m in late.all("command") if m.get("settled")}
    expect_equal(got, {"a": "a", "b": "b", "c": "c"}, "the items' names")


def is_settled_removal(message):
    return message["command"]["action"] == "remove_item" and bool(message.get("settled"))


@story.story("an item that one removes while another changes it settles as removed")
def settled_removed(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    ann.command("add_item", "a", item_data("a"))
    bea.expect("command")
    ann.command("remove_item", "a", {})
    bea.command("move_item", "a", {"x_mm": 1})
    bea.command("update_item", "a", item_data("a", x_mm=1))
    until(
        lambda: [m["command"]["item_id"] for m in bea.all("command") if is_settled_removal(m)] == ["a"],
        "the removal to settle at the one who dragged on",
    )
    expect_equal(room.items(), {}, "the document")


@story.story("--no-settle turns all of it off")
def no_settle(stage):
    # The same is done at a server that settles: when its item has come, the other's would have come, too.
    rooms = [Room(stage, "--no-settle"), Room(stage)]
    pairs = [(room.join("ann"), room.join("bea")) for room in rooms]
    for ann, _ in pairs:
        ann.command("add_item", "a", item_data("a"))
        ann.command("update_item", "a", {"x_mm": 3})
    lates = [room.join("late") for room in rooms]
    (_, unsettled), (_, with_settling) = pairs
    until(
        lambda: any(m.get("settled") and m["command"]["data"].get("x_mm") == 3 for m in with_settling.all("command")),
        "the settled item at the other server",
    )
    until(lambda: any(m.get("settled") for m in lates[1].all("command")), "the settled item after a state")
    for script in (unsettled, lates[0]):
        script.round_trip()
        expect_equal([m for m in script.all("command") if m.get("settled")], [], f"settled items at {script.user}")


if __name__ == "__main__":
    story.main()
