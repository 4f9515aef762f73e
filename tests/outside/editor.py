"""A stand-in for the editor: the real one's QWebSocket, its canvas and its bugs, without its windows."""

import json
import os
import re
import sys
from datetime import datetime

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PyQt6.QtCore import QCoreApplication, QEventLoop, QTimer, QUrl
from PyQt6.QtWebSockets import QWebSocket

import record
import script
import story
from items import blank

app = QCoreApplication.instance() or QCoreApplication(sys.argv)

# Waiting in these programs means letting Qt work. The tick bounds a turn in which Qt has nothing to do.
_tick = QTimer()
_tick.start(5)
story.turn = lambda: app.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
POSITION = ("x_mm", "y_mm", "angle_deg")

# What the server says for itself. Anything else an editor gets is relayed, with a sender and a time.
SERVERS_OWN = {"connection:ack", "user:joined", "user:left", "host:changed", "sync:state", "pong", "error"}
DATED = {"connection:ack", "user:joined", "pong"}

def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def what_aborts(message):
    """Why this message would raise inside a Qt slot, which ends the real editor; None if it would not."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return "not an object with a type"
    dictionaries = []
    if message["type"] == "connection:ack":
        users = message.get("users")
        if not isinstance(users, list) or not all(isinstance(u, dict) and "user_id" in u for u in users):
            return "users is not a list of objects with user_id"
    if message["type"] == "command":
        command = message.get("command")
        if not isinstance(command, dict):
            return "command is not an object"
        if not isinstance(command.get("data"), dict):
            return "data is not an object"
        if not isinstance(command.get("item_id"), str):
            return "item_id is not a string"
        dictionaries = [command["data"]]
    if message["type"] in ("sync:state", "sync:full_state") and message.get("state") is not None:
        state = message["state"]
        if not isinstance(state, dict):
            return "state is not an object"
        dictionaries = state.get("items", [])
        if not isinstance(dictionaries, list) or not all(isinstance(i, dict) for i in dictionaries):
            return "items is not a list of objects"
        if not is_number(state.get("version", 0)):
            return "version is not a number"
    for data in dictionaries:
        for field in POSITION:
            if field in data and not is_number(data[field]):
                return f"{field} is not a number"
    return None


class Editor(script.Conversing):
    """One editor window: a canvas, a role known to itself alone, and a connection by QWebSocket."""

    def __init__(self, user, role, canvas=(), heartbeat_ms=30_000):
        self.user = user
        self.role = role
        self.canvas = {item["item_uuid"]: dict(item) for item in canvas}
        self.version = 0
        self.faults = []  # what would have ended the real editor, or broke the order on the wire
        self.ghosts = []  # ids that stand twice on the canvas
        self.heartbeat_ms = heartbeat_ms
        self.sockets = []  # all it ever had: Qt may still have something to say of one that is closed
        self._forget_connection()

    def _forget_connection(self):
        self.socket = None
        self.log = []  # every message, parsed, in order
        self.barriers = [0, 0]  # sent, confirmed
        self.acked = self.joined = False
        self.may_add = self.role == "host"
        self.rebuilds = 0  # how often a state replaced the canvas
        self.closed = None  # (code, reason)
        self.refusal = None  # Qt's words when the handshake failed: what the user gets to read
        self.last_seq = 0
        self._drags = []

    # Connecting, leaving.

    def connect(self, server, session, prefix="", known_as=None):
        """Open the connection; returns at once. `known_as`: the user id as the server will read it."""
        if self.role == "client":
            self.canvas.clear()
        self._forget_connection()
        self.known_as = known_as or self.user
        self.socket = socket = QWebSocket()
        self.sockets.append(socket)
        self.heartbeat = QTimer()
        self.heartbeat.timeout.connect(lambda: self.send({"type": "ping"}))
        socket.connected.connect(lambda: self.heartbeat.start(self.heartbeat_ms))
        socket.textMessageReceived.connect(self._received)
        socket.binaryMessageReceived.connect(lambda data: self._fault(f"binary message of {len(data)} bytes"))
        socket.disconnected.connect(self._disconnected)
        socket.errorOccurred.connect(self._failed)
        socket.open(QUrl(f"{server.url}{prefix}/ws/{session}/{self.user}"))
        return self

    def arrived(self):
        """Wait until the connection is a member's and the first `sync:request` has been answered."""
        story.until(
            lambda: self.has("sync:state") or self.closed,
            lambda: f"{self.user}'s first sync:request to be answered; it has {[m['type'] for m in self.log]}",
        )
        story.expect(not self.closed, lambda: f"{self.user} was closed with {self.closed}: {self.refusal}")
        return self

    def leave(self):
        """Close the connection as the user does; the canvas stays as it is."""
        self.heartbeat.stop()
        self.socket.close()
        story.until(lambda: self.closed, f"{self.user}'s connection to close")

    def _failed(self, _):
        self.refusal = self.socket.errorString()
        record.heard(self.refusal)

    def _disconnected(self):
        self.heartbeat.stop()
        self._let_go()
        self.closed = (self.socket.closeCode().value, self.socket.closeReason())
        record.heard(self.closed[1])

    @property
    def open(self):
        return self.joined and not self.closed

    # Receiving.

    def _fault(self, what):
        self.faults.append(what)

    def _received(self, text):
        try:
            message = json.loads(text)
        except ValueError as error:
            return self._abort(f"{error} in {text[:200]!r}")
        aborts = what_aborts(message)
        if aborts:
            return self._abort(f"{aborts}: {text[:400]}")
        if script.is_barrier(message):
            self.barriers[1] += message["type"] == "message_delivered"
            return
        record.heard_message(message, text)
        self.log.append(message)
        self._check_order(message)
        kind = message["type"]
        if kind == "connection:ack":
            self.acked = True
            self.send({"type": "sync:request"})
        elif kind == "user:joined" and self.role == "host":
            self.send({"type": "sync:full_state", "state": self.snapshot(), "target_user": message["user_id"]})
        elif kind in ("sync:state", "sync:full_state"):
            self._apply_state(message.get("state"))
        elif kind == "command":
            self._apply_command(message["command"])

    def _abort(self, why):
        self._fault(f"aborted: {why}")
        self.socket.abort()

    def _check_order(self, message):
        """What holds for every message on the wire, whatever story is being told."""
        kind, sender = message["type"], message.get("user_id")
        short = json.dumps(message)[:400]
        if not self.acked:
            if kind != "connection:ack":
                return self._fault(f"before the acknowledgement: {short}")
            self._check_ack(message)
        elif not self.joined:
            self.joined = kind == "user:joined" and sender == self.known_as
            if not self.joined:
                self._fault(f"instead of the own user:joined: {short}")
        if kind == "connection:ack" and self.acked:
            self._fault(f"a second acknowledgement: {short}")
        # A host by its own lights answers every join, also where somebody else is the session's host.
        presumed = self.role == "host" and message.get("error_type") == "not_host"
        if kind == "error" and not presumed:
            self._fault(f"error: {short}")
        dated = kind in DATED or kind not in SERVERS_OWN
        if dated and not TIMESTAMP.fullmatch(str(message.get("timestamp"))):
            self._fault(f"no good timestamp: {short}")
        if kind not in SERVERS_OWN and not isinstance(sender, str):
            self._fault(f"relayed without a sender: {short}")
        if kind == "command" and "seq" in message and not message.get("settled"):
            # Without a seq it is a correction of the server's, which may be of one's own item.
            if sender == self.known_as:
                self._fault(f"got back its own command: {short}")
            if message["seq"] <= self.last_seq:
                self._fault(f"seq {message['seq']} after {self.last_seq}: {short}")
            self.last_seq = message["seq"]

    def _check_ack(self, ack):
        members = [u.get("user_id") for u in ack["users"]]
        for right, what in [
            (ack.get("user_id") == self.known_as, "user_id"),
            (isinstance(ack.get("session_id"), str), "session_id"),
            (isinstance(ack.get("is_host"), bool), "is_host"),
            (isinstance(ack.get("epoch"), str), "epoch"),
            (isinstance(ack.get("seq"), int), "seq"),
            ("server" in ack, "server"),
            (members.count(self.known_as) == 1, "the newcomer once among users"),
            (sum(u.get("is_host") is True for u in ack["users"]) == 1, "one host among users"),
            (all(TIMESTAMP.fullmatch(str(u.get("connected_at"))) for u in ack["users"]), "connected_at"),
        ]:
            if not right:
                self._fault(f"acknowledgement without a good {what}: {json.dumps(ack)[:400]}")

    def _apply_state(self, state):
        if not state:
            return
        self.rebuilds += 1
        self.canvas.clear()
        for data in state.get("items", []):
            if data.get("item_type"):
                self._build(data["item_type"], data)
        self.version = state.get("version", 0)
        self.may_add = True

    def _apply_command(self, command):
        action, item_id, data = command.get("action"), command["item_id"], command["data"]
        item = self.canvas.get(item_id)
        if action == "add_item":
            self._build(command.get("item_type"), data)
        elif item is None:
            pass
        elif action == "move_item":
            # The sign of the angle is the real editor's mistake; only an update_item puts it right.
            item["x_mm"] = data.get("x_mm", 0)
            item["y_mm"] = data.get("y_mm", 0)
            item["angle_deg"] = -data.get("angle_deg", 0)
        elif action == "update_item":
            kept = {k: v for k, v in data.items() if k not in ("uuid", "item_type")}
            self.canvas[item_id] = blank(item["item_type"], item_id) | kept
        elif action == "remove_item":
            del self.canvas[item_id]

    def _build(self, item_type, data):
        """A new item from remote data. The real editor drops all but its id and type."""
        item_id = data.get("uuid") or data.get("item_uuid")
        if not item_id or not item_type:
            return
        if item_id in self.canvas:
            self.ghosts.append(item_id)
        self.canvas[item_id] = blank(item_type, item_id)

    # Sending: what the user does.

    def send(self, message):
        if self.socket and not self.closed:
            record.said(message)
            self.socket.sendTextMessage(json.dumps({"user_id": self.user, **message}))

    def _send_command(self, action, item_id, item_type, data):
        if not self.acked:
            return
        command = {"action": action, "item_type": item_type, "item_id": item_id, "data": data}
        self.send({"type": "command", "command": command, "timestamp": datetime.now().isoformat()})

    def _data(self, item_id):
        """The item's own dictionary: it has neither `uuid` nor `item_type`."""
        return {k: v for k, v in self.canvas[item_id].items() if k != "item_type"}

    def snapshot(self):
        items = [self._data(i) | {"uuid": i, "item_type": item["item_type"]} for i, item in self.canvas.items()]
        return {"items": items, "version": self.version, "timestamp": datetime.now().isoformat()}

    def add(self, item):
        item_id = item["item_uuid"]
        self.canvas[item_id] = dict(item)
        if self.may_add:
            self.version += 1
            self._send_command("add_item", item_id, item["item_type"], self._data(item_id))
        return item_id

    def place(self, item_id, x, y, angle):
        """One position change: a move_item and an update_item, each with the whole item."""
        item = self.canvas[item_id]
        item.update(x_mm=x, y_mm=y, angle_deg=angle)
        self._send_command("move_item", item_id, item["item_type"], self._data(item_id))
        self._send_command("update_item", item_id, item["item_type"], self._data(item_id))

    def drag(self, item_id, path, every_ms=10):
        """Start dragging along a path of (x, y, angle), as fast as a mouse reports; `dragging` until it is done."""
        steps = iter(list(path))
        timer = QTimer()
        timer.setInterval(every_ms)

        def step():
            # Somebody may have removed the item from under the mouse.
            place = next(steps, None) if item_id in self.canvas and not self.closed else None
            if place is None:
                timer.stop()
                if timer in self._drags:
                    self._drags.remove(timer)
            else:
                self.place(item_id, *place)

        timer.timeout.connect(step)
        self._drags.append(timer)
        timer.start()

    def _let_go(self):
        """The mouse button is released, wherever the items are."""
        for timer in self._drags:
            # Else one that is due goes on after the editor has come back.
            timer.stop()
        self._drags.clear()

    @property
    def dragging(self):
        return bool(self._drags)

    def edit(self, item_id, **fields):
        self.canvas[item_id].update(fields)
        self._send_command("update_item", item_id, self.canvas[item_id]["item_type"], self._data(item_id))

    def remove(self, item_id):
        item = self.canvas.pop(item_id)
        self._send_command("remove_item", item_id, item["item_type"], {})

    def paste(self, *items):
        """Pasting is one of the things the real editor tells nobody about."""
        for item in items:
            self.canvas[item["item_uuid"]] = dict(item)

    # Looking.

    def all(self, kind, **fields):
        return [m for m in self.log if script.matches(m, kind, fields)]

    def has(self, kind, **fields):
        return bool(self.all(kind, **fields))

    def expect(self, kind, **fields):
        story.until(
            lambda: self.has(kind, **fields),
            lambda: f"{kind} {fields or ''} at {self.user}; it has {[m['type'] for m in self.log[-9:]]}",
        )
        return self.all(kind, **fields)[-1]

    def inspect(self):
        if self.faults:
            raise story.Failed(f"{self.user} ({self.role}): {self.faults[0]} ({len(self.faults)} faults)")
        if self.ghosts:
            raise story.Failed(f"{self.user} ({self.role}) has ghosts on its canvas: {self.ghosts[:5]}")

    def close(self):
        if self.socket:
            self.heartbeat.stop()
            self._let_go()
            self.socket.abort()
        for socket in self.sockets:
            socket.deleteLater()
