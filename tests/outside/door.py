"""A server that asks for keys on sessions, the four places a key may stand, and what whoever knocks is told."""

import base64
from urllib.parse import quote

import websockets

from front_end import FrontEnd
from keyring import KeyRing, address
from plain import UPGRADE, plain
from script import Script
from server import Server
from story import expect_equal, until

THREADS = "/api/chat/threads"


def basic(key, user="somebody"):
    return "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()


# The four places a key may stand, as what a request's path and headers are then.
PLACES = {
    "Bearer": lambda key: ("", "", {"Authorization": f"Bearer {key}"}),
    "Basic": lambda key: ("", "", {"Authorization": basic(key)}),
    "?key=": lambda key: ("", f"?key={quote(key, safe='')}", {}),
    "/key/": lambda key: (f"/key/{quote(key, safe='')}", "", {}),
}


def status(server, key, place="Bearer", path="/ws/room/knocking", source=None, upgrade=True):
    """What a handshake with this key in this place is answered."""
    prefix, query, headers = PLACES[place](key) if key is not None else ("", "", {})
    return plain(server, "GET", prefix + path + query, {**(UPGRADE if upgrade else {}), **headers}, source)


class Door:
    """A server that asks for keys on sessions, and whoever comes in."""

    def __init__(self, stage, *options, keys=None):
        self.stage = stage
        self.keys = keys or KeyRing(stage)
        self.key = self.keys.new("write", name="door")
        log = ("--log-file", str(stage.folder() / "log"))
        self.server = stage.own(Server("--keys", str(self.keys.path), "--require-key", *log, *options))

    def join(self, user, key=None, session="room", place="Bearer", source=None):
        prefix, query, headers = PLACES[place](key or self.key)
        options = {"prefix": prefix, "query": query, "additional_headers": headers, "address": source}
        script = self.stage.own(Script(self.server, session, user, **options))
        script.joined()
        return script

    def front_end(self, client_id, key=None, source=None):
        front_end = self.stage.own(FrontEnd(self.server, client_id, address=source))
        return front_end.authenticate(key or self.key)

    def known(self, key):
        """Wait until the running server knows a key that was put into its file a moment ago."""
        until(lambda: status(self.server, key, source=address()).status == 101, "a new key to be good", every=0.1)

    def open_to(self, key):
        """Who tries to join with this key, join the client protocol and ask the API is told this."""
        source = address()
        api = plain(self.server, "GET", THREADS, {"Authorization": f"Bearer {key}"}, source).status
        return status(self.server, key, source=source).status, knock(self, key, source), api


def knock(door, key, source=None):
    """Say `connect` with this key; returns "in", or the code of the refusal.

    Whom the handshake refuses already for too many wrong keys need not be refused by a message.
    """
    try:
        front_end = door.stage.own(FrontEnd(door.server, "knocking", address=source))
    except websockets.InvalidStatus as refused:
        return refused.response.status_code
    front_end.established()
    front_end.connect(key)
    until(lambda: len(front_end.messages) > 1, "an answer to connect")
    answer = front_end.messages[1]
    if answer["type"] == "connection_success":
        front_end.close()
        return "in"
    until(lambda: front_end.closed, "the end of who was refused")
    expect_equal(front_end.closed[0], 4000, "the close code of who was refused")
    return answer["data"]["code"]
