"""The front door, told by Python's `websockets` and plain HTTP: who has tried too often, and pages from elsewhere."""

import time
from urllib.parse import quote

import websockets

import record
import story
from door import PLACES, THREADS, Door, basic, knock, status
from front_end import FrontEnd
from keyring import address, wrong_key
from plain import UPGRADE, plain
from story import expect, expect_equal, until


def refuse(door, kind, source):
    """Have one wrong key refused."""
    key = wrong_key()
    if kind == "handshake":
        got = status(door.server, key, source=source).status
    elif kind == "connect":
        got = knock(door, key, source)
    else:
        got = plain(door.server, "GET", THREADS, {"Authorization": f"Bearer {key}"}, source).status
    expect_equal(got, 401 if kind == "API" else 403, f"a refused key at a {kind}")


def all_ways(door, source):
    """What a right key leads to from there, in each of the three ways."""
    api = plain(door.server, "GET", THREADS, {"Authorization": f"Bearer {door.key}"}, source)
    return status(door.server, door.key, source=source).status, knock(door, door.key, source), api.status


MIXTURES = {
    "at handshakes": ["handshake"] * 10,
    "at connects": ["connect"] * 10,
    "at the API": ["API"] * 10,
    "over all three": ["handshake", "connect", "API"] * 3 + ["connect"],
}


def locked_out(stage, kinds):
    door = Door(stage)
    here, there = address(), address()
    # Who is in stays in, and right keys neither count nor excuse.
    session, channel = door.join("here", source=here), door.front_end("here", source=here)
    channel.join("table")
    for number, kind in enumerate(kinds):
        if number in (5, 9):
            expect_equal(all_ways(door, here), (101, "in", 200), f"a right key after {number} refusals")
        refuse(door, kind, here)
    expect_equal(all_ways(door, here), (429, 429, 429), "a right key after ten refusals")
    for place in PLACES:
        refusal = status(door.server, door.key, place, source=here)
        expect_equal(refusal[:2], (429, "Too Many Requests"), f"a right key as {place}")
        expect(refusal.is_one_line, f"one line: {refusal.body!r}")
    expect_equal(status(door.server, wrong_key(), source=here).status, 429, "a wrong key")
    expect_equal(all_ways(door, there), (101, "in", 200), "a right key from another address")
    expect_equal(status(door.server, wrong_key(), source=there).status, 403, "a wrong key from another address")
    session.round_trip()
    channel.say("table")
    channel.nothing_more()


for _name, _kinds in MIXTURES.items():
    story.story(f"ten refused keys {_name}: 429 for that address in every way, a right key too, and for no other")(
        lambda stage, kinds=_kinds: locked_out(stage, kinds)
    )


@story.story("429 is over when the minute is", long=True)
def minute(stage):
    door = Door(stage)
    source = address()
    begun = time.monotonic()
    for _ in range(10):
        expect_equal(status(door.server, wrong_key(), source=source).status, 403, "a refused key")
    expect_equal(status(door.server, door.key, source=source).status, 429, "the right key then")
    until(lambda: status(door.server, door.key, source=source).status == 101, "the right key to be good again", 75, 0.5)
    took = time.monotonic() - begun
    expect(55 < took < 65, f"a minute, not {took:.0f} s")


@story.story("an address is the peer's, or what a trusted proxy says it is; anybody else's X-Forwarded-For is nothing")
def forwarded(stage):
    proxy, anybody = address(), address()
    door = Door(stage, "--trust-proxy", proxy)

    def ask(key, forwarded, source):
        headers = {**UPGRADE, "Authorization": f"Bearer {key}", "X-Forwarded-For": forwarded}
        return plain(door.server, "GET", "/ws/room/ann", headers, source).status

    for number in range(10):
        # What stands before the proxy's own entry is whatever the client made up.
        made_up = f"198.51.100.{number}, " if number % 2 else ""
        expect_equal(ask(wrong_key(), f"{made_up}203.0.113.1", proxy), 403, "a wrong key through the proxy")
    expect_equal(ask(door.key, "203.0.113.1", proxy), 429, "a right key from that address through the proxy")
    expect_equal(ask(door.key, "198.51.100.77, 203.0.113.1", proxy), 429, "whatever it makes up")
    expect_equal(ask(door.key, "203.0.113.2", proxy), 101, "a right key from another address through the proxy")
    expect_equal(ask(door.key, "2001:db8::1", proxy), 101, "a right key from an IPv6 address through the proxy")
    expect_equal(ask(door.key, "203.0.113.1", anybody), 101, "a right key from somebody who only says so")
    for number in range(10):
        expect_equal(ask(wrong_key(), f"203.0.113.{number + 10}", anybody), 403, "a wrong key from anybody")
    expect_equal(ask(door.key, "203.0.113.99", anybody), 429, "a right key from anybody who said ten addresses")
    expect_equal(ask(door.key, "203.0.113.12", proxy), 101, "one of these addresses, through the proxy")


@story.story("an Origin is accepted that is the Host, or on the loopback like the client, or listed; else 403")
def origins(stage):
    proxy = address()
    listed = "https://lab.example:8443"
    options = ("--trust-proxy", proxy, "--allow-origin", listed, "--allow-origin", "http://second.example")
    door = Door(stage, *options)
    here = f"127.0.0.1:{door.server.port}"
    near, far = (None, None), (proxy, "203.0.113.5")

    def ask(path, origin, host, where):
        source, forwarded = where
        headers = {"Host": host, "Authorization": f"Bearer {door.key}", **({} if path == THREADS else UPGRADE)}
        headers |= {"Origin": origin} if origin else {}
        headers |= {"X-Forwarded-For": forwarded} if forwarded else {}
        return plain(door.server, "GET", path, headers, source).status

    for origin, host, where, good in (
        (None, here, near, True), (None, here, far, True),
        (f"http://{here}", here, near, True), (f"http://{here}", here, far, True),
        ("http://localhost:5173", here, near, True), ("http://127.0.0.1:5173", here, near, True),
        ("http://[::1]:5173", here, near, True), ("https://localhost", here, near, True),
        ("http://localhost:5173", here, far, False), ("http://127.0.0.1:5173", here, far, False),
        ("http://table.example:8765", "table.example:8765", far, True),
        ("http://table.example", "table.example", far, True),
        ("https://table.example", "table.example", far, True),
        ("http://table.example:8766", "table.example:8765", far, False),
        ("http://table.example.evil.example:8765", "table.example:8765", far, False),
        ("http://evil.example/table.example:8765", "table.example:8765", far, False),
        ("http://table.example:8765@evil.example", "table.example:8765", far, False),
        (listed, here, near, True), (listed, here, far, True), ("http://second.example", here, far, True),
        ("https://lab.example", here, far, False), ("http://lab.example:8443", here, far, False),
        ("https://lab.example:84433", here, far, False), ("https://xlab.example:8443", here, far, False),
        ("https://evil.example", here, near, False), ("https://evil.example", here, far, False),
        ("http://localhost.evil.example", here, near, False), ("http://127.0.0.1.evil.example", here, near, False),
        ("null", here, near, False), ("null", here, far, False), ("file://", here, far, False), ("*", here, far, False),
    ):
        for path, opened in (("/ws/room/ann", 101), ("/client_ann", 101), (THREADS, 200)):
            got = ask(path, origin, host, where)
            wanted = opened if good else 403
            expect_equal(got, wanted, f"{path} with Origin {origin} and Host {host} from {where[1] or 'the loopback'}")
    anybody = Door(stage, "--allow-origin", "*", "--trust-proxy", proxy)
    for origin in ("https://evil.example", "null", "http://localhost:5173"):
        headers = {**UPGRADE, "Origin": origin, "X-Forwarded-For": "203.0.113.5"}
        expect_equal(plain(anybody.server, "GET", "/client_ann", headers, proxy).status, 101, f"{origin} where any may")
    try:
        stage.own(FrontEnd(door.server, "ann", origin="https://evil.example"))
        raise story.Failed("a page from elsewhere was let in")
    except websockets.InvalidStatus as refused:
        expect_equal(refused.response.status_code, 403, "what a page from elsewhere is told")
    stage.own(FrontEnd(door.server, "ann", origin=listed)).authenticate(door.key)


@story.story("keys are in no page, no metric and no list of threads")
def pages(stage):
    door = Door(stage)
    front_end = door.front_end("ann")
    front_end.join("table")
    data = {"content": "said in confidence", "thread_id": "t"}
    front_end.send({"type": "chat_message", "channel": "table", "data": data})
    front_end.next("chat_message")
    front_end.delivered("chat_message")
    door.join("ann").round_trip()
    expect_equal(status(door.server, wrong_key()).status, 403, "a wrong key")
    told = [plain(door.server, "GET", path, {"Authorization": f"Bearer {door.key}"})
            for path in ("/", "/healthz", "/metrics", "/api/", THREADS, "/api/sessions", "/api/keys")]
    expect_equal(told[4].status, 200, "the threads")
    for answer in told:
        shown = f"{answer.headers}{answer.body}"
        expect(door.key not in shown and "said in confidence" not in shown, f"nothing confidential in {shown[:400]}")


@story.story("the search for what is confidential finds what is there, in every disguise, and nothing else")
def searching(stage):
    key = "/".join(wrong_key()[at : at + 4] for at in range(0, 44, 4))
    pieces = {
        "as it is": f'refused key "{key}"', "percent-encoded": f"GET /key/{quote(key, safe='')}/ws/a/b",
        "Basic": f"authorization: {basic(key)}", "Basic for another": f"authorization: {basic(key, 'x')}",
        "Basic for a third": f"authorization: {basic(key, 'xy')}",
        "cut": f"key {key[:30]}…", "its end": f"key …{key[-30:]}",
        "what was said": 'unexpected text: "told in confide…"',
    }
    confidential = [("key", key), ("content", 'told in confide\nnce "by ü"')]
    for what, line in pieces.items():
        found = record.find(confidential, f"a line\n{line}\nanother".encode())
        expect(found and found[0][1] == line, f"a key {what} to be found: {found}")
    expect_equal(record.find(confidential, b'c1: "chat", 37 bytes\nrefused a key, told nobody\n'), [], "nothing there")


if __name__ == "__main__":
    story.main(at_once=4)
