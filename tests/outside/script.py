"""Scripts at a session: connections by Python's `websockets`, all they received, and how they were closed."""

import functools
import itertools
import json
import threading
from urllib.parse import quote

import websockets
from websockets.sync.client import connect

import record
import story
from server import Server

_numbers = itertools.count(1)

# A command nobody applies, confirmed like every command with an id. Only the first of a user's is relayed, since its
# id is repeated. A ping would not do: its answer may overtake what the session still has to say.
BARRIER = {
    "type": "command",
    "id": "barrier",
    "command": {"action": "barrier", "item_type": "none", "item_id": "none", "data": {}},
}

ARRIVAL = {"type": "ping", "id": "arrival"}


def is_barrier(message):
    """Whether this is somebody's barrier or the confirmation of the own one: the harness's business, no story's."""
    command = message.get("command")
    return message.get("id") == "barrier" or isinstance(command, dict) and command.get("action") == "barrier"


class Conversing:
    """What an editor and a script have in common: both are closed in the end, and both can wait for the hub."""

    def expect_closed(self, code, reason=None):
        story.until(lambda: self.closed, f"{self.user}'s connection to be closed with {code}")
        story.expect_equal(self.closed[0], code, f"{self.user}'s close code")
        if reason is not None:
            story.expect_equal(self.closed[1], reason, f"{self.user}'s close reason")

    def round_trip(self):
        """Everything sent before has been dealt with when this returns, and what it led to here has come."""
        self.barriers[0] += 1
        wanted = self.barriers[0]
        self.send(BARRIER)
        story.until(lambda: self.barriers[1] >= wanted or self.closed, f"{self.user}'s barrier to be confirmed")
        story.expect(self.barriers[1] >= wanted, lambda: f"{self.user} was closed with {self.closed}")


class Script(Conversing):
    """Joins /ws/{session}/{user} at once and keeps every message until somebody asks for it.

    `prefix` and `query` stand around the path, `login` (user:password) before the server's name; `address` is where the
    connection comes from. `connect` makes the connection, with these options.
    """

    def __init__(
        self, server, session, user, prefix="", query="", login="", address=None,
        connect=functools.partial(connect, proxy=None), **options,
    ):
        options.setdefault("max_size", None)
        if address:
            options["source_address"] = (address, 0)
        self.user = user
        self.session = session
        url = server.url.replace("://", f"://{login}@") if login else server.url
        self.socket = connect(
            f"{url}{prefix}{self.path(session, user)}{query}",
            ping_interval=None,
            open_timeout=story.DEADLINE,
            close_timeout=2,
            **options,
        )
        self.raw = []  # text as it came
        self.messages = []  # the same, parsed
        self.barriers = [0, 0]  # sent, confirmed
        self.pongs = 0  # answers to its pings on arrival
        self.closed = None  # (code, reason) once it is over
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def path(self, session, user):
        return f"/ws/{quote(session, safe='')}/{quote(user, safe='')}"

    def _read(self):
        try:
            while True:
                text = self.socket.recv()
                message = json.loads(text)
                if is_barrier(message):
                    self.barriers[1] += message["type"] == "message_delivered"
                elif message["type"] == "pong" and message.get("id") == ARRIVAL["id"]:
                    self.pongs += 1
                else:
                    self.raw.append(text)
                    record.heard_message(message, text)
                    self.messages.append(message)
                story.news.set()
        except websockets.ConnectionClosed:
            record.heard(self.socket.close_reason or "")
            self.closed = (self.socket.close_code, self.socket.close_reason)
            story.news.set()

    def send(self, message):
        if not isinstance(message, (str, bytes)):
            message = json.dumps(message, ensure_ascii=False)
        record.said_text(message)
        self.socket.send(message)

    def command(self, action, item_id, data, item_type="component", **more):
        command = {"action": action, "item_type": item_type, "item_id": item_id, "data": data}
        self.send({"type": "command", "command": command, **more})

    def all(self, kind):
        return [m for m in self.messages if m.get("type") == kind]

    def expect(self, kind, **fields):
        """Wait for a message of this type with these fields."""

        def found():
            return next((m for m in self.messages if matches(m, kind, fields)), None)

        def what():
            tail = [m if len(str(m)) < 400 else m.get("type") for m in self.messages[-6:]]
            return f"{kind} {fields or ''} for {self.user}; closed: {self.closed}; it has: {tail}"

        return story.until(lambda: found() or (self.closed and bail(what())), what)

    def joined(self):
        """Wait until the connection is a member, and known to be no host's; returns the acknowledgement."""
        self.expect("user:joined", user_id=self.user)
        # The answer to the Ping that follows may be on its way behind the first of these, but not behind the second.
        for count in (1, 2):
            self.send(ARRIVAL)
            story.until(lambda: self.pongs >= count or self.closed, lambda: f"a pong for {self.user}")
        return self.messages[0]

    def close(self, code=1000, reason=""):
        self.socket.close(code, reason)
        self._reader.join(story.DEADLINE)


class Viewer(Script):
    """Looks at /view/{session} without being in it, and builds its canvas from what comes, in that order."""

    def __init__(self, server, session, **options):
        super().__init__(server, session, "a viewer", **options)
        self.expect("sync:state")

    def path(self, session, user):
        return f"/view/{quote(session, safe='')}"

    def canvas(self):
        """Items by their id, as they would be shown now."""
        items = {}
        for message in list(self.messages):
            if message["type"] == "sync:state":
                items = {item["uuid"]: dict(item) for item in message["state"]["items"]}
            elif message["type"] == "command":
                command = message["command"]
                item, data = command.get("item_id"), command.get("data") or {}
                match command["action"]:
                    case "add_item":
                        items[item] = dict(data)
                    case "remove_item":
                        items.pop(item, None)
                    case "update_item" if item in items:
                        items[item].update(data)
                    case "move_item" if item in items:
                        items[item].update({k: data[k] for k in ("x_mm", "y_mm", "angle_deg") if k in data})
        return items


def bail(what):
    raise story.Failed(f"nothing more can come: {what}")


def matches(message, kind, fields):
    return message.get("type") == kind and all(message.get(k) == v for k, v in fields.items())


def fetch_state(server, session):
    """The session's document as a fresh member is told it: the last `sync:state` on a request, or None."""
    auditor = Script(server, session, f"auditor {next(_numbers)}")
    try:
        auditor.joined()
        auditor.send({"type": "sync:request", "user_id": auditor.user})
        auditor.expect("sync:state")
        # Several states may come (on joining, on the request, with the host's snapshot): the last one counts.
        auditor.round_trip()
        return auditor.all("sync:state")[-1]["state"]
    finally:
        auditor.close()


class Room:
    """A server with one session, and the scripts in it."""

    def __init__(self, stage, *options, session="room"):
        self.stage = stage
        self.server = stage.own(Server(*options))
        self.session = session

    def join(self, user, session=None, **options):
        script = self.stage.own(Script(self.server, session or self.session, user, **options))
        script.joined()
        return script

    def items(self):
        return {item["uuid"]: item for item in fetch_state(self.server, self.session)["items"]}


def item_data(item_id, **more):
    return {"item_uuid": item_id, "_type": "component", "x_mm": 0, "y_mm": 0, "angle_deg": 0, **more}
