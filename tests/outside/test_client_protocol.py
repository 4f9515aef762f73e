"""The client protocol, told by Python's `websockets`: who is let in, and who is who."""

import websockets

import story
from front_end import SERVERS_OWN, Desk, FrontEnd
from keyring import KeyRing, address, wrong_key
from plain import UPGRADE, plain
from server import Server
from story import expect, expect_equal, until

# What each kind of message looks like when it is good.
GOOD = [
    {"type": "join_channel", "data": {"channel": "table"}},
    {"type": "leave_channel", "data": {"channel": "table"}},
    {"type": "subscribe", "data": {"channel": "table"}},
    {"type": "unsubscribe", "data": {"channel": "table"}},
    {"type": "chat_message", "channel": "table", "data": {"content": "talks too early"}},
    {"type": "chat_message", "data": {"content": "talks too early"}},
    {"type": "channel_message", "channel": "table", "data": {"content": "talks too early"}},
    {"type": "agent_status", "data": {"status": "impatient"}},
    {"type": "task_update", "data": {"task": "impatience"}},
    {"type": "graph_update", "data": {}},
    {"type": "something_else"},
    {"type": "pong"},
    {"type": "connection_success", "data": {"message": "Connected"}},
    {"type": "error", "data": {}},
    {"type": "Connect", "data": {}},
    {"type": ""},
]


@story.story("a good key: connection_success, then message_delivered, whatever the connection is for")
def good_key(stage):
    desk = Desk(stage)
    for kind in ("chat", "tasks", "agents", "graph"):
        front_end = desk.open(f"{kind} view")
        front_end.established()
        front_end.connect(desk.key, connection_type=kind, domain="personal", workspace="personal", extra=[1, None])
        front_end.connected()
        front_end.nothing_more()
    # Of the key alone it is said that it is checked.
    bare = desk.open("bare")
    bare.established()
    bare.send({"type": "connect", "data": {"api_key": desk.key}})
    bare.connected()
    bare.nothing_more()


@story.story("a key that is wrong, missing or no string: invalid_key, disconnect, 4000")
def bad_key(stage):
    desk = Desk(stage)
    wrong = [{"api_key": k} for k in (wrong_key(), "", 42, None, True, [desk.key], {"key": desk.key})]
    almost = [{"api_key": k} for k in (desk.key[:-1], desk.key + "x", desk.key.swapcase(), f" {desk.key}")]
    elsewhere = [{}, {"key": desk.key}, {"API_KEY": desk.key}, None, desk.key, [], 7]
    for data in wrong + almost + elsewhere:
        front_end = desk.open("mallory", address=address())
        front_end.established()
        front_end.send({"type": "connect", "data": data})
        front_end.refused()
    for message in ({"type": "connect"}, {"type": "connect", "api_key": desk.key}):
        front_end = desk.open("mallory", address=address())
        front_end.established()
        front_end.send(message)
        front_end.refused()
    desk.seat("ann").nothing_more()


@story.story("without a key file no key is good")
def no_keys(stage):
    server = stage.own(Server())
    front_end = stage.own(FrontEnd(server, "ann"))
    front_end.established()
    front_end.connect(wrong_key())
    front_end.refused()


@story.story("an expired key: token_expired, disconnect, 4000")
def expired_key(stage):
    keys = KeyRing(stage)
    short = keys.new("write", expires="1s")
    desk = Desk(stage, keys=keys)

    def refused():
        front_end = desk.open("ann", address=address())
        front_end.established()
        front_end.connect(short)
        until(lambda: len(front_end.messages) > 1, "an answer")
        if front_end.messages[1]["type"] == "error":
            return front_end
        front_end.close()

    until(refused, "the key's time to be over", every=0.1).refused("token_expired", "Token expired")


@story.story("anything readable before connect but ping: not_authenticated and 4003, nothing else")
def talking_before_connect(stage):
    desk = Desk(stage)
    seated = desk.seat("seated", "table")
    for message in GOOD:
        front_end = desk.open("mallory")
        front_end.established()
        front_end.send(message)
        front_end.error("not_authenticated", 403)
        front_end.ended(4003)
    # Nor does a connect behind it help.
    front_end = desk.open("mallory")
    front_end.established()
    front_end.send(GOOD[4])
    try:
        front_end.connect(desk.key)
    except websockets.ConnectionClosed:
        pass
    front_end.error("not_authenticated", 403)
    front_end.ended(4003)
    seated.nothing_more()


@story.story("a message in fragments is one message")
def fragments(stage):
    desk = Desk(stage)
    ann = desk.seat("ann", "table")
    ann.socket.send(iter(['{"type":"chat_mess', 'age","channel":"table","data":{"content":"', "ü🙂" * 999, '"}}']))
    ann.next("chat_message", data={"content": "ü🙂" * 999})
    ann.delivered("chat_message")


@story.story("client ids are percent-encoded UTF-8, 1 to 128 characters")
def client_ids(stage):
    desk = Desk(stage)
    onlooker = desk.seat("onlooker", "table")
    names = ["Jörg Müller", "100%", "%41", "🙂", "a/b", "..", "who?me#here", 'quo"te\\', "a=b;c@d:e+f&g"]
    names += ["ü" * 128, "🙂" * 128]
    for name in names:
        front_end = desk.seat(name, "table")
        front_end.say("table")
        onlooker.next("chat_message", client_id=name)
        front_end.close()


@story.story("any other address is refused before the upgrade, in one line that does not repeat it")
def refused_addresses(stage):
    server = stage.own(Server())
    for path in (
        "/client_", "/client", "/client_a%00b", "/client_a%0Ab", "/client_a%7Fb", "/client_a%C2%85b", "/client_%FF%FE",
        "/client_%ED%A0%80", "/client_" + "echoed" * 22, "/client_" + "%C3%BC" * 129, "/Client_ann", "/clients/ann",
        "/agent_ann", "/debug", "/debug/", "/debug/ann", "/debug/client_ann",
    ):
        refusal = plain(server, "GET", path, UPGRADE)
        expect_equal(refusal[:2], (404, "Not Found"), f"GET {path}")
        expect(refusal.is_one_line and "echoed" not in refusal.body, f"one line that does not repeat {path}: {refusal}")
    expect_equal(plain(server, "GET", "/client_ann")[:2], (426, "Upgrade Required"), "without an upgrade")
    expect_equal(plain(server, "POST", "/client_ann", UPGRADE)[:2], (405, "Method Not Allowed"), "with POST")


@story.story("/debug/client_ is there with --debug-endpoints, and echoes what has a channel without membership")
def debug_endpoint(stage):
    desk = Desk(stage, "--debug-endpoints")
    ann = desk.seat("ann", "table")
    early = desk.open("early", path="/debug/client_")
    early.established()
    early.send(GOOD[4])
    early.error("not_authenticated", 403)
    early.ended(4003)
    wrong = desk.open("wrong", path="/debug/client_")
    wrong.established()
    wrong.connect(wrong_key())
    wrong.refused()
    tester = desk.seat("tester", path="/debug/client_")
    tester.say("nobody's", "no membership needed", id=7)
    tester.send({"type": "chat_message", "channel": "nobody's", "data": {}})
    tester.error("message_error", 400)
    tester.send({"type": "pong"})
    tester.error("reserved_type", 400)
    # As a member it is like any other: it hears others, and its own messages once.
    tester.join("table")
    tester.say("table")
    ann.next("chat_message", client_id="tester")
    ann.say("table")
    tester.next("chat_message", client_id="ann")
    for front_end in (tester, ann):
        front_end.nothing_more()
    expect_equal(plain(desk.server, "GET", "/debug/client_")[0], 404, "a debug client without an id")


@story.story("the development keys open with --dev-keys, with a warning, and not without")
def development_keys(stage):
    keys = ("development", "valid-test-key")
    with_them = stage.own(Server("--dev-keys"))
    for key in keys:
        front_end = stage.own(FrontEnd(with_them, "ann"))
        front_end.authenticate(key)
        front_end.join("table")
        front_end.say("table")
    until(lambda: any("WARN" in line for line in with_them.lines), "a warning")
    desk = Desk(stage)
    for key in keys:
        front_end = desk.open("ann")
        front_end.established()
        front_end.connect(key)
        front_end.refused()
    desk.seat("ann").nothing_more()
    expect(not any("WARN" in line for line in desk.server.lines if "development" in line.lower()), "no such warning")


@story.story("of what is the server's to say, and of what is anybody's")
def reserved(stage):
    desk = Desk(stage)
    ann, bea = desk.seat("ann", "table"), desk.seat("bea", "table")
    for kind in sorted(SERVERS_OWN):
        for more in ({}, {"channel": "table"}, {"channel": "table", "data": {"content": "as if I were the server"}}):
            ann.send({"type": kind, **more})
            ann.error("reserved_type", 400)
    for kind in ("cursor", "command", "sync:update", "user:joined", "Pong", "ping2", "constructor", "ü", " ", "y" * 99):
        ann.say("table", type=kind)
        bea.next(kind, channel="table", client_id="ann")
    for front_end in (ann, bea):
        front_end.nothing_more()


if __name__ == "__main__":
    story.main(at_once=4)
