"""Who comes in through nginx and Caddy: clients' addresses, pages' origins, and keys."""

import websockets

import story
from door import PLACES
from keyring import KeyRing, address, wrong_key
from plain import UPGRADE
from proxies import behind, through_each
from story import expect, expect_equal, until

TRUST = ("--trust-proxy", "127.0.0.1")
APPENDED = {"X-Forwarded-For $remote_addr;": "X-Forwarded-For $proxy_add_x_forwarded_for;"}
# Of nobody (RFC 5737).
FORGED = {"X-Forwarded-For": "203.0.113.9"}


def keyed(stage, kind, *options):
    """What `behind` gives, with a server that asks for keys, and a key."""
    keys = KeyRing(stage)
    key = keys.new("write")
    return *behind(stage, kind, *TRUST, "--keys", keys.path, *options), key


def came_from(server, user):
    """Where the log says that this user came from."""

    def place():
        line = next((line for line in server.lines if f'"{user}" joined' in line), "")
        return line.partition(" from ")[2].rstrip(")")

    return until(place, f"the line on {user}'s joining")


def status(connecting):
    """The status that refuses a connection."""
    try:
        connecting().close()
    except websockets.InvalidStatus as refusal:
        return refusal.response.status_code
    raise story.Failed("it was not refused")


@through_each("with --trust-proxy the log has clients' addresses, and a forged one doesn't win")
def clients_addresses(stage, kind):
    room, _, join = behind(stage, kind, *TRUST)
    join("ann", address="127.0.0.2")
    join("bea", address="127.0.0.2", additional_headers=FORGED)
    join("cat", address="127.0.0.3", additional_headers={"X-Forwarded-For": "203.0.113.9, 127.0.0.1"})
    room.join("directly", address="127.0.0.4", additional_headers=FORGED)
    # It is the proxy who has a port here.
    expect_equal([came_from(room.server, user) for user in ("ann", "bea", "cat")], ["127.0.0.2"] * 2 + ["127.0.0.3"],
                 "who came through it")
    expect_equal(came_from(room.server, "directly").rpartition(":")[0], "127.0.0.4", "who came directly")


@through_each("without --trust-proxy every client is the proxy, whatever it sends")
def nobody_is_trusted(stage, kind):
    room, _, join = behind(stage, kind)
    join("ann", address="127.0.0.2")
    join("bea", address="127.0.0.2", additional_headers=FORGED)
    for user in ("ann", "bea"):
        expect_equal(came_from(room.server, user).rpartition(":")[0], "127.0.0.1", user)


@story.story("nginx: where X-Forwarded-For is appended to, the end of it counts")
def appended(stage):
    room, _, join = behind(stage, "nginx", *TRUST, changes=APPENDED)
    join("ann", address="127.0.0.2")
    join("bea", address="127.0.0.2", additional_headers=FORGED)
    for user in ("ann", "bea"):
        expect_equal(came_from(room.server, user), "127.0.0.2", user)


@story.story("nginx: of two proxies, one behind the other, both have to be trusted")
def two_proxies(stage):
    # Who connects from 127.0.0.2 is the outer one here: it has appended its client's address to what that forged.
    outer = {"address": "127.0.0.2", "additional_headers": {"X-Forwarded-For": "198.51.100.7, 203.0.113.9"}}
    room, _, join = behind(stage, "nginx", *TRUST, "--trust-proxy", "127.0.0.2", changes=APPENDED)
    join("ann", **outer)
    expect_equal(came_from(room.server, "ann"), "203.0.113.9", "with both")
    # A page on somebody else's loopback has no business here.
    expect_equal(status(lambda: join("bea", **outer, origin="http://localhost:3000")), 403, "another machine's page")
    room, _, join = behind(stage, "nginx", *TRUST, changes=APPENDED)
    join("ann", **outer)
    expect_equal(came_from(room.server, "ann"), "127.0.0.2", "with the inner one")


@through_each("the limit of connections by address is each client's own")
def connections_by_address(stage, kind):
    _, proxy, join = behind(stage, kind, *TRUST, "--max-connections-per-address", "1")
    join("ann", address="127.0.0.2")
    join("bea", address="127.0.0.3")
    expect_equal(proxy.ask("/ws/room/cat", UPGRADE, address="127.0.0.2").status, 503, "a second one from there")


@through_each("a page of this host comes in, one from elsewhere doesn't")
def origins(stage, kind):
    _, proxy, join = behind(stage, kind, *TRUST, "--allow-origin", "https://front.example")
    join("ann", origin=proxy.url.replace("wss:", "https:"))
    join("bea", origin="https://front.example")
    for origin in ("https://elsewhere.example", "https://lab.example", "https://lab.example:1", "null"):
        expect_equal(status(lambda: join("cat", origin=origin)), 403, origin)
    # On the port that nobody writes neither has one.
    join("dan", url=f"wss://{proxy.name}", origin=f"https://{proxy.name}")


@through_each("a key comes through in each of its places, and is in no log")
def keys(stage, kind):
    _, proxy, join, key = keyed(stage, kind, "--require-key")
    for place, shown in PLACES.items():
        prefix, query, headers = shown(key)
        join(place, prefix=prefix, query=query, additional_headers=headers)
        prefix, query, headers = shown(wrong_key())
        path = f"{prefix}/ws/room/eve{query}"
        expect_equal(proxy.ask(path, UPGRADE | headers, address=address()).status, 403, f"a wrong key in {place}")
    expect_equal(proxy.ask("/ws/room/eve", UPGRADE).status, 403, "no key")
    expect(key not in proxy.logs(), "the key is in a log")


@through_each("who tries too many keys locks out nobody else behind the same proxy")
def too_many_keys(stage, kind):
    _, proxy, join, key = keyed(stage, kind, "--require-key")
    eve, ann = address(), address()

    def told(shown):
        return proxy.ask(f"/key/{shown}/ws/room/eve", UPGRADE | FORGED, address=eve)[:2]

    expect_equal([told(wrong_key())[0] for _ in range(11)], [403] * 10 + [429], "what eve is told")
    expect_equal(told(key), (429, "Too Many Requests"), "a right key from the same address")
    join("ann", prefix=f"/key/{key}", address=ann)


@through_each("the client protocol comes through, to the letter and with its close codes")
def client_protocol(stage, kind):
    _, proxy, _, key = keyed(stage, kind)
    ann, bea = (stage.own(proxy.front_end(name)).authenticate(key) for name in ("ann", "bea"))
    for front_end in (ann, bea):
        front_end.join("table")
    ann.say("table", "hello from outside", id="m1")
    bea.next("chat_message", client_id="ann", channel="table", data={"content": "hello from outside"})
    bea.nothing_more()
    ann.leave("table")
    wrong, rash, rude = (stage.own(proxy.front_end(name)) for name in ("wrong", "rash", "rude"))
    for front_end in (wrong, rash, rude):
        front_end.established()
    wrong.connect(wrong_key())
    wrong.refused()
    rash.send({"type": "join_channel", "data": {"channel": "table"}})
    rash.error("not_authenticated", 403)
    rash.ended(4003)
    for _ in range(3):
        rude.send("what?")
        rude.error("invalid_format", 400)
    rude.ended(4002)


if __name__ == "__main__":
    story.main()
