"""Through nginx and Caddy, configured as the manual says: what is documented is what is proven here."""

import json
import re
import struct
from pathlib import Path

import story
from keyring import wrong_key
from plain import UPGRADE
from proxies import behind, documented, through_each
from script import item_data
from story import expect, expect_equal, until

MIB = 2**20


def chat(length):
    frame = '{"type":"chat","text":""}'
    return frame[:-2] + "x" * (length - len(frame)) + frame[-2:]


@through_each("some come through it and some directly, and all are in one session")
def together(stage, kind):
    room, _, join = behind(stage, kind, "--no-settle")
    scripts = [join("ann"), join("bea"), room.join("cat")]
    for number in range(40):
        for script in scripts:
            script.command("add_item", f"{script.user} {number}", item_data(f"{script.user} {number}"))
    for script in scripts:
        until(lambda: len(script.all("command")) == 80, f"80 commands at {script.user}")
    orders = [[m["seq"] for m in script.all("command")] for script in scripts]
    expect(all(order == sorted(order) for order in orders), "one order for all")
    late = join("late")
    state = late.expect("sync:state")["state"]
    expect_equal(len(state["items"]), 120, "items a late one is told of through it")
    ann, bea, cat = scripts
    ann.send({"type": "cursor", "x": 1.5})
    cat.expect("cursor", user_id="ann")
    cat.send({"type": "chat", "text": "hello"})
    bea.expect("chat", user_id="cat")
    bea.send({"type": "ping", "id": 7})
    bea.expect("pong", id=7)


@through_each("a message of a megabyte comes through whole, both ways")
def big(stage, kind):
    room, _, join = behind(stage, kind)
    ann, bea, cat = join("ann"), join("bea"), room.join("cat")
    for sender in (ann, cat):
        sender.send(chat(MIB))
    for receiver, senders in ((bea, ("ann", "cat")), (cat, ("ann",)), (ann, ("cat",))):
        for sender in senders:
            text = receiver.expect("chat", user_id=sender)["text"]
            expect(set(text) == {"x"} and len(text) == len(json.loads(chat(MIB))["text"]), f"{sender}'s whole message")


@through_each("an address arrives as it was sent")
def addresses(stage, kind):
    _, proxy, _ = behind(stage, kind)
    for path, session, user in [
        ("/ws/room/J%C3%BCrgen%20B", "room", "Jürgen B"),
        ("/ws/a%2Fb/100%25", "a/b", "100%"),
        ("/ws/room/a/b", "room", "a/b"),
        ("/ws/room/a//b", "room", "a//b"),
        ("/ws/room/a/../b", "room", "a/../b"),
        ("/ws/room/a%2F..%2Fb%3Fc%23d", "room", "a/../b?c#d"),
        ("//ws/room/ann", "room", "ann"),
        ("/ws/room/ann;x=1,2+3&c='d'~", "room", "ann;x=1,2+3&c='d'~"),
    ]:
        ack = json.loads(stage.own(proxy.connect(path)).recv())
        expect_equal((ack["session_id"], ack["user_id"]), (session, user), f"who came to {path}")


@through_each("refusals arrive with their words")
def refusals(stage, kind):
    _, proxy, join = behind(stage, kind, "--max-sessions", "1")
    for status, reason, path, headers in [
        (404, "Not Found", "/nowhere", UPGRADE),
        (404, "Not Found", "/ws/room", UPGRADE),
        (426, "Upgrade Required", "/ws/room/ann", {}),
    ]:
        answer = proxy.ask(path, headers)
        expect_equal(answer[:2], (status, reason), path)
        expect(answer.is_one_line, f"one line that says what is wrong with {path}: {answer.body}")
    join("ann")
    expect_equal(proxy.ask("/ws/other/bea", UPGRADE)[:2], (503, "Service Unavailable"), "one session too many")


@through_each("close codes and their reasons pass, from the server and from the client")
def close_codes(stage, kind):
    room, _, join = behind(stage, kind)
    onlooker = room.join("onlooker")
    binary, bad_text, ann = (join(name) for name in ("binary", "bad text", "ann"))
    binary.socket.send(b"\x00\x01")
    binary.expect_closed(1003)
    bad_text.socket.send(b'{"type":"chat","text":"\xff"}', text=True)
    bad_text.expect_closed(1007)
    again = room.join("ann")
    ann.expect_closed(1008, "replaced by a newer connection")
    join("ann")
    again.expect_closed(1008, "replaced by a newer connection")
    for code in (1000, 1001, 3000, 4999):
        guest = join(f"guest {code}")
        guest.close(code, "bye")
        until(lambda: guest.closed, f"the end of the connection closed with {code}")
        until(
            lambda: any(f'"guest {code}" left' in line and f" {code} " in line for line in room.server.lines),
            f"the server's word on the end of guest {code}",
        )
        onlooker.expect("user:left", user_id=guest.user)
    dropped, last = join("dropped"), join("last")
    dropped.socket.abort()
    onlooker.expect("user:left", user_id="dropped")
    room.server.stop()
    last.expect_closed(1001, "server shutting down")


@story.story("nginx: who says too much can say it to the end, and then reads why it was closed")
def still_sending(stage):
    # Without a library: the usual one gives up at the first write that fails, and so does an editor on some systems.
    room, proxy, _ = behind(stage, "nginx")
    onlooker = room.join("onlooker")
    headers = "".join(f"{name}: {value}\r\n" for name, value in UPGRADE.items())
    text = chat(12 * MIB).encode()
    reason = b"the message is too big"
    # More than once: who is cut off may have been lucky.
    for user in map(str, range(5)):
        client = stage.own(proxy.secured())
        client.sendall(f"GET /ws/room/{user} HTTP/1.1\r\nHost: {proxy.name}\r\n{headers}\r\n".encode())
        onlooker.expect("user:joined", user_id=user)
        client.sendall(struct.pack(">BBQI", 0x81, 0xFF, len(text), 0) + text)
        received = b"".join(iter(lambda: client.recv(65536), b""))
        close = struct.pack(">BBH", 0x88, 2 + len(reason), 1009) + reason
        expect(received.endswith(close), f"1009 in the end: {received}")
        onlooker.expect("user:left", user_id=user)
    onlooker.round_trip()
    expect(not onlooker.all("chat"), "nothing of it came through")


@story.story("nginx: proxy_read_timeout ends the silent, and is documented as a day")
def silence(stage):
    # Waiting a day would prove it; so does that the line decides, and what stands in it.
    value = re.findall(r"^\s*proxy_read_timeout (\S+);", documented("nginx"), flags=re.MULTILINE)
    expect_equal(value, ["1d"], "what is documented")
    room, _, join = behind(stage, "nginx", changes={"proxy_read_timeout 1d;": "proxy_read_timeout 1s;"})
    onlooker, silent = room.join("onlooker"), join("silent")
    silent.expect_closed(1006)
    onlooker.expect("user:left", user_id="silent")


@story.story("caddy: no limit on silence is documented, and none is there unasked")
def no_limit(stage):
    _, proxy, _ = behind(stage, "caddy")
    adapted = proxy.adapted()
    limits = {"read_timeout", "write_timeout", "idle_timeout", "stream_timeout"}
    expect(adapted["apps"]["http"]["servers"], "a server")
    found = limits & set(re.findall(r'"(\w+)":', json.dumps(adapted)))
    expect(not found, f"limits in Caddy's own form of the configuration: {found}")


def timers(port):
    """The states of the timers of all connections to this port of the loopback, as Linux tells them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established, keep_alive = "01", "02"
    return [row[5][:2] == keep_alive for row in rows if row[1].endswith(f":{port:04X}") and row[3] == established]


@through_each("the proxy finds out who has gone without a word: TCP keep-alive is on")
def keep_alive(stage, kind):
    _, proxy, join = behind(stage, kind)
    ann, bea = join("ann"), join("bea")
    for script in (ann, bea):
        script.round_trip()
    until(lambda: timers(proxy.port) == [True, True], lambda: f"keep-alive for both: {timers(proxy.port)}")


@through_each("no key is in its logs, whether it comes through, is refused, or the server is down")
def keys_in_logs(stage, kind):
    room, proxy, join = behind(stage, kind)
    secret = wrong_key()
    ann = join("ann", prefix=f"/key/{secret}")
    ann.close()
    # Whatever becomes of these today, they are logged.
    places = [(f"/key/{secret}/ws/room/bea", {}), (f"/ws/room/bea?key={secret}", {}),
              ("/ws/room/bea", {"Authorization": f"Bearer {secret}"}),
              ("/ws/room/bea", {"Referer": f"https://lab.example/?key={secret}"})]
    for path, headers in places:
        proxy.ask(path, headers)
        proxy.ask(f"/nowhere{path}", headers)
    room.server.kill()
    for path, headers in places:
        expect_equal(proxy.ask(path, headers).status, 502, "without a server")
        expect_equal(proxy.ask(path, UPGRADE | headers).status, 502, "an upgrade without a server")
    status = re.compile(r"\b502\b")
    until(lambda: len(status.findall(proxy.logs())) >= 8, lambda: f"eight 502 in the logs: {proxy.logs()}")
    logs = proxy.logs()
    expect("404" in logs and "426" in logs, f"the others in the logs: {logs}")
    expect(secret not in logs, lambda: f"a key is in a log: {[x for x in logs.splitlines() if secret in x]}")


if __name__ == "__main__":
    story.main()
