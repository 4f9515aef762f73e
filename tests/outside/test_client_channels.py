"""The client protocol, told by Python's `websockets`: channels, what is said in them, and the threads it makes."""

import json
from urllib.parse import quote

import story
from front_end import Desk
from keyring import address, wrong_key
from plain import plain
from script import Script
from server import Server
from story import expect, expect_equal, until


@story.story("a channel's name has 1 to 128 characters and no control character; others are a channel_error")
def channel_names(stage):
    desk = Desk(stage)
    ann, bea = desk.seat("ann"), desk.seat("bea")
    for name in ("x", "ü" * 128, "🙂" * 128, "a/b?c#d", "..", " ", 'quo"te\\', "__proto__", "Table", "table"):
        for front_end in (ann, bea):
            front_end.join(name)
        ann.say(name)
        bea.next("chat_message", channel=name, client_id="ann")
        for front_end in (ann, bea):
            front_end.leave(name)
    bad = ["", "x" * 129, "🙂" * 129, "a\x00b", "a\nb", "\x7f", "a\x85b", 7, 1.5, True, None, ["table"], {"is": "table"}]
    for word in ("join_channel", "subscribe", "leave_channel", "unsubscribe"):
        for data in [{"channel": name} for name in bad] + [{}, {"Channel": "table"}, None, "table", ["table"], 7]:
            ann.send({"type": word, "data": data})
            ann.error("channel_error", 400)
        for message in ({"type": word}, {"type": word, "channel": "table"}):
            ann.send(message)
            ann.error("channel_error", 400)
    ann.nothing_more()


@story.story("only chat_message and channel_message need a content")
def content_optional(stage):
    desk = Desk(stage)
    ann, bea = desk.seat("ann", "table"), desk.seat("bea", "table")
    for kind in ("agent_status", "task_update", "graph_update", "whatever"):
        for more in ({}, {"data": {"state": "idle"}}, {"data": None}, {"data": [1]}, {"data": {"content": 7}}):
            ann.send({"type": kind, "channel": "table", **more})
            for front_end in (ann, bea):
                front_end.next(kind, channel="table", client_id="ann", **more)
            ann.delivered(kind)
    for kind in ("chat_message", "channel_message"):
        ann.say("table", "", type=kind)
        bea.next(kind, data={"content": ""})
    bea.nothing_more()


@story.story("without a content a chat_message and a channel_message are a message_error and reach nobody")
def content_missing(stage):
    desk = Desk(stage)
    ann, bea = desk.seat("ann", "table"), desk.seat("bea", "table")
    for kind in ("chat_message", "channel_message"):
        for data in ({}, None, "content", [], ["content"], {"content": None}, {"content": 7}, {"content": ["so"]},
                     {"content": {"text": "so"}}, {"text": "no content"}):
            for where in ({"channel": "table"}, {}):
                ann.send({"type": kind, "data": data, **where})
                ann.error("message_error", 400)
        ann.send({"type": kind, "channel": "table", "content": "in the wrong place"})
        ann.error("message_error", 400)
    for front_end in (ann, bea):
        front_end.nothing_more()


@story.story("everyone sees one order, in which each sender's own is kept")
def one_order(stage):
    desk = Desk(stage)
    members = [desk.seat(name, "table") for name in ("ann", "bea", "cat", "dan", "eve")]
    rounds = 60
    for number in range(rounds):
        for member in members:
            member.send({"type": "task_update", "channel": "table", "id": number, "data": {"by": member.client_id}})
    everything = len(members) * rounds
    seen = []
    for member in members:
        # Its own confirmations are between them, each behind the message it confirms.
        until(lambda: len(member.messages) - member.taken == everything + rounds, f"all messages at {member.client_id}")
        new = member.messages[member.taken :]
        member.taken = len(member.messages)
        updates = [m for m in new if m["type"] == "task_update"]
        seen.append([(m["client_id"], m["id"], m["timestamp"], m["data"]) for m in updates])
        own = [(m["type"], m["id"] if m["type"] == "task_update" else m["data"]["id"])
               for m in new if m["client_id"] == member.client_id]
        wanted = [(kind, number) for number in range(rounds) for kind in ("task_update", "message_delivered")]
        expect_equal(own, wanted, f"own messages and confirmations of {member.client_id}")
    for order in seen[1:]:
        expect_equal(order, seen[0], "the order at another member")
    for name in ("ann", "bea", "cat", "dan", "eve"):
        expect_equal([n for who, n, _, _ in seen[0] if who == name], list(range(rounds)), f"the order of {name}'s own")


@story.story("timestamp and client_id are the server's; all other fields stay as they were written")
def as_written(stage):
    desk = Desk(stage)
    ann, bea = desk.seat("ann", "table"), desk.seat("bea", "table")
    fields = [
        '"big":9223372036854775807', '"bigger":18446744073709551615', '"huge":123456789012345678901234567890',
        '"small":-9223372036854775808', '"one":1.0', '"cent":0.10', '"exp":1.5e3', '"tiny":1E-7', '"empty":{}',
        '"none":null', '"id":1.50', '"user_id":"bea"', '"status":"success"', '"seq":3',
    ]
    text = '{"timestamp":"yesterday","client_id":"bea","type":"graph_update","channel":"table",%s,"data":{%s}}'
    inner = [field for field in fields if not field.startswith('"id"')]
    text %= ",".join(fields), ",".join([*inner, '"timestamp":"kept"', '"client_id":"kept"'])
    sent = json.loads(text)
    ann.send(text)
    for front_end in (ann, bea):
        message = front_end.next("graph_update", client_id="ann", channel="table")
        raw = front_end.raw[front_end.taken - 1].replace('": ', '":').replace(', "', ',"')
        for field in fields:
            wanted = 1 if field.startswith('"id"') else 2
            expect_equal(raw.count(field), wanted, f"how often {field} is in {raw}")
        expect_equal((raw.count('"client_id"'), raw.count('"timestamp"')), (2, 2), f"client_id and timestamp in {raw}")
        expect_equal(message["data"], sent["data"], "data")
    ann.delivered("graph_update", id=1.5)
    expect('"id":1.50' in ann.raw[ann.taken - 1].replace('": ', '":'), "the id as it was written, in the confirmation")
    ann.send('{"type":"chat_message","channel":"table","data":{"content":"\\u00fc\\ud83d\\ude42\\/\\n\\u2028"}}')
    for front_end in (ann, bea):
        front_end.next("chat_message", data={"content": "ü🙂/\n\u2028"})
    ann.delivered("chat_message")


@story.story("a confirmation has the message's own id, of whatever kind, or none")
def confirmations(stage):
    desk = Desk(stage)
    ann, bea = desk.seat("ann", "table"), desk.seat("bea", "table")
    for given in ("one", "", 7, -1.5, 0, True, ["a", 1], {"a": {"b": None}}, "one", "one", "x" * 250):
        ann.say("table", id=given)
        bea.next("chat_message", id=given)
    # Only the top-level id is one.
    ann.send({"type": "task_update", "channel": "table", "data": {"id": "inner"}})
    ann.next("task_update")
    ann.delivered("task_update")
    bea.next("task_update")
    bea.nothing_more()


@story.story("what names a channel in no way a channel can be named is an error and reaches nobody")
def odd_channels(stage):
    desk = Desk(stage)
    ann, bea = desk.seat("ann", "table"), desk.seat("bea", "table")
    for channel in (7, True, "", "x" * 129, "table\n", ["table"], {"channel": "table"}):
        ann.send({"type": "chat_message", "channel": channel, "data": {"content": "to nowhere"}})
        error = ann.next("error")
        expect_equal(error["data"]["error_type"], "channel_error", f"for channel {channel!r}")
        expect(error["data"]["code"] in (400, 403), f"a code for channel {channel!r}: {error}")
    for front_end in (ann, bea):
        front_end.nothing_more()


@story.story("a channel and a session of one name do not hear each other, nor do channels of like names")
def rooms_apart(stage):
    desk = Desk(stage)
    member = stage.own(Script(desk.server, "table", "ann"))
    member.joined()
    ann, bea = desk.seat("ann", "table"), desk.seat("bea", "Table", "table ", "tablé")
    ann.say("table")
    ann.send({"type": "command", "channel": "table", "command": {"action": "add_item", "item_id": "a", "data": {}}})
    ann.next("command")
    ann.delivered("command")
    member.send({"type": "chat", "text": "said in the session"})
    member.round_trip()
    bea.nothing_more()
    ann.nothing_more()
    expect_equal({m["type"] for m in member.messages}, {"connection:ack", "user:joined"}, "what the session heard")


# Threads.

THREADS = "/api/chat/threads"


def threads(desk, channel=None, key=None):
    """The answer's `threads`, checked for the form of the rest."""
    query = f"?channel={quote(channel, safe='')}" if channel is not None else ""
    answer = plain(desk.server, "GET", THREADS + query, {"Authorization": f"Bearer {key or desk.key}"})
    expect_equal(answer[:2], (200, "OK"), f"threads {query}")
    expect(answer.headers["Content-Type"].startswith("application/json"), f"JSON: {answer.headers['Content-Type']}")
    told = json.loads(answer.body)
    expect_equal(sorted(told), ["threads", "timestamp", "total"], "the answer's fields")
    expect(isinstance(told["timestamp"], str) and told["timestamp"].endswith("Z"), f"a timestamp: {told['timestamp']}")
    expect_equal(told["total"], len(told["threads"]), "the total")
    for thread in told["threads"]:
        wanted = ["channel", "last_message_at", "messages", "participants", "thread_id"]
        expect_equal(sorted(thread), wanted, "a thread's fields")
    return told["threads"]


def names(found):
    return [(thread["channel"], thread["thread_id"], thread["messages"]) for thread in found]


def expect_participants(thread, wanted):
    """They are told by name or by number."""
    got = thread["participants"]
    got = sorted(got) if isinstance(got, list) else got
    expect(got in (sorted(wanted), len(wanted)), f"participants {wanted} of {thread}")


@story.story("GET /api/chat/threads: by channel and thread, counted, newest first")
def thread_list(stage):
    desk = Desk(stage)
    expect_equal(threads(desk), [], "threads before anybody spoke")
    ann, bea = desk.seat("ann", "table", "Grüße & mehr"), desk.seat("bea", "table")

    def speak(who, channel, thread, kind="chat_message"):
        who.send({"type": kind, "channel": channel, "data": {"content": "in a thread", "thread_id": thread}})
        *_, spoken, _ = who.skip_to("message_delivered")
        expect_equal((spoken["type"], spoken["client_id"]), (kind, who.client_id), "what was confirmed")
        return spoken["timestamp"]

    speak(ann, "table", "optics")
    speak(ann, "Grüße & mehr", "optics")
    speak(bea, "table", "optics")
    speak(bea, "table", "lunch", "task_update")
    last = speak(bea, "table", "optics", "whatever")
    found = threads(desk)
    wanted = [("table", "optics", 3), ("table", "lunch", 1), ("Grüße & mehr", "optics", 1)]
    expect_equal(names(found), wanted, "the threads")
    expect_equal(found[0]["last_message_at"], last, "when the newest message of the newest thread was")
    for thread, wanted in zip(found, (["ann", "bea"], ["bea"], ["ann"])):
        expect_participants(thread, wanted)
    speak(ann, "Grüße & mehr", "optics")
    expect_equal(names(threads(desk))[0], ("Grüße & mehr", "optics", 2), "the newest thread then")
    expect_equal(names(threads(desk, "table")), [("table", "optics", 3), ("table", "lunch", 1)], "those of one channel")
    expect_equal(names(threads(desk, "Grüße & mehr")), [("Grüße & mehr", "optics", 2)], "those of the other")
    expect_equal(threads(desk, "nobody's"), [], "those of a channel without any")
    # The same people's second word makes nobody a second participant.
    expect_participants(threads(desk)[0], ["ann"])


@story.story("threads are for whoever has a key: 401 without, HEAD like GET, 405 for the rest")
def thread_access(stage):
    desk = Desk(stage)
    reader, admin = desk.keys.new("read"), desk.keys.new("admin")
    ann = desk.seat("ann", "table")
    ann.send({"type": "note", "channel": "table", "data": {"thread_id": "optics"}})
    ann.next("note")
    ann.delivered("note")
    allowed = {"Authorization": f"Bearer {desk.key}"}
    for refused in ({}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": f"Bearer {wrong_key()}"},
                    {"Authorization": desk.key}, {"X-Api-Key": desk.key}):
        for method in ("GET", "HEAD"):
            answer = plain(desk.server, method, THREADS, refused, address())
            expect_equal(answer[:2], (401, "Unauthorized"), f"{method} with {refused}")
        expect("optics" not in answer.body, f"no thread in a refusal: {answer.body}")
    for key in (reader, admin):
        # The file has changed under the running server.
        until(lambda: plain(desk.server, "GET", THREADS, {"Authorization": f"Bearer {key}"}, address()).status == 200,
              "the new key to be good", every=0.1)
        expect_equal(names(threads(desk, key=key)), [("table", "optics", 1)], "threads for any valid key")
    head, got = plain(desk.server, "HEAD", THREADS, allowed), plain(desk.server, "GET", THREADS, allowed)
    expect_equal((head.status, head.body), (200, ""), "HEAD")
    expect_equal(head.headers["Content-Length"], got.headers["Content-Length"], "the length HEAD tells")
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = plain(desk.server, method, THREADS, allowed)
        expect_equal(answer[:2], (405, "Method Not Allowed"), method)
        expect("GET" in (answer.headers["Allow"] or ""), f"Allow at {method}: {answer.headers['Allow']}")
    expect_equal(plain(desk.server, "GET", "/api/chat/nothing", allowed).status, 404, "another page of the API")
    expect_equal(plain(stage.own(Server()), "GET", THREADS, allowed).status, 401, "where there are no keys")


if __name__ == "__main__":
    story.main(at_once=4)
