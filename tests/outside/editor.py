"""A stand-in for the editor: the real one's QWebSocket, its canvas and its bugs, without its windows."""

import json
import math
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
from canvas import Canvas, is_number
from items import FIELDS, INTERFACES, LINE

app = QCoreApplication.instance() or QCoreApplication(sys.argv)

# Waiting in these programs means letting Qt work. The tick bounds a turn in which Qt has nothing to do.
_tick = QTimer()
_tick.start(5)
story.turn = lambda: app.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

# What the server says for itself. Anything else an editor gets is relayed, with a sender and a time.
SERVERS_OWN = {"connection:ack", "user:joined", "user:left", "host:changed", "sync:state", "pong", "error"}
DATED = {"connection:ack", "user:joined", "pong"}

# Fields that have to be a number, wherever an item has them; a string or an integer of 400 digits raises.
NUMBERS = ("x_mm", "y_mm", "angle_deg", "object_height_mm", "size_mm", "ray_length_mm", "spread_deg")


def what_raises_in(item):
    """Why this item's dictionary would raise in the editor, or take all rays off its table."""
    for field in NUMBERS:
        if field in item and not is_number(item[field]):
            return f"{field} is not a number"
    for field in ("x_mm", "y_mm", "angle_deg", "spread_deg"):
        if not math.isfinite(item.get(field, 0)):
            return f"{field} is not finite"
    if not isinstance(item.get("n_rays", 1), int):
        return "n_rays is not an integer"
    if item.get("z_value") is not None and not is_number(item["z_value"]):
        return "z_value is not a number"
    for field, kinds in (("image_path", (str, type(None))), ("polarization_type", str)):
        if field in item and not isinstance(item[field], kinds):
            return f"{field} is {item[field]!r}"
    if isinstance(item.get("color_hex"), int) and not 0 <= item["color_hex"] < 2**32:
        return "color_hex is no colour"
    interfaces = item.get("interfaces")
    if interfaces is not None and not isinstance(interfaces, list):
        return "interfaces is not a list"
    for each in interfaces or []:
        if not isinstance(each, dict):
            return "an interface is not an object"
        kind = each.get("element_type", "refractive_interface")
        if not isinstance(kind, str):
            return "element_type is not a string"
        for field, default in {**LINE, **INTERFACES.get(kind, {})}.items():
            if isinstance(default, float) and field in each and not is_number(each[field]):
                return f"an interface's {field} is not a number"
        if each.get("is_curved") and not math.isfinite(each.get("radius_of_curvature_mm", 0)):
            return "a curved interface has no finite radius"
    return None


def what_raises(message):
    """Why this message would open an error box in the real editor, or be lost there; None if it would not."""
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
        if command.get("action") == "add_item" and command.get("item_type") not in FIELDS:
            return f"an add_item of a {command.get('item_type')}"
        if command.get("action") in ("add_item", "update_item") and command["data"].get("_type") not in FIELDS:
            return f"an {command['action']} with the _type {command['data'].get('_type')}"
    if message["type"] in ("sync:state", "sync:full_state") and message.get("state") is not None:
        state = message["state"]
        if not isinstance(state, dict):
            return "state is not an object"
        dictionaries = state.get("items", [])
        if not isinstance(dictionaries, list) or not all(isinstance(i, dict) for i in dictionaries):
            return "items is not a list of objects"
        if not is_number(state.get("version", 0)):
            return "version is not a number"
        for item in dictionaries:
            if item.get("item_type") not in FIELDS or item.get("_type") != item["item_type"]:
                return f"a state with a {item.get('item_type')} whose _type is {item.get('_type')}"
    return next(filter(None, map(what_raises_in, dictionaries)), None)


class Editor(Canvas, script.Conversing):
    """One editor window: a canvas, a role known to itself alone, and a connection by QWebSocket."""

    tolerates = ()  # words of faults that a story expects
    way = None  # to the server, where it isn't the usual one

    def __init__(self, user, role, canvas=(), heartbeat_ms=30_000):
        super().__init__(canvas)
        self.user = user
        self.role = role
        self.version = 0
        self.needs_resync = False
        self.faults = []  # what would have raised in the real editor, or broke the order on the wire
        self.heartbeat_ms = heartbeat_ms
        self.sockets = []  # all it ever had: Qt may still have something to say of one that is closed
        self._forget_connection()

    def _forget_connection(self):
        self.socket = None
        self.log = []  # every message, parsed, in order
        self.barriers = [0, 0]  # sent, confirmed
        self.acked = self.joined = False
        self.rebuilds = 0  # how often a state replaced the canvas
        self.closed = None  # (code, reason)
        self.refusal = None  # Qt's words when the handshake failed: what the user gets to read
        self.last_seq = 0
        self._drags = []

    # Connecting, leaving.

    def connect(self, server, session, prefix="", known_as=None):
        """Open the connection; returns at once. `known_as`: the user id as the server will read it."""
        if self.role == "client":
            self.clear()
            self.may_add = False
        else:
            self.rebuild_map()
            self.version = 0
            self.may_add = True
        self._forget_connection()
        self.known_as = known_as or self.user
        self.socket = socket = QWebSocket()
        self.sockets.append(socket)
        self.heartbeat = QTimer()
        self.heartbeat.timeout.connect(lambda: self.send({"type": "ping"}))
        socket.connected.connect(self._connected)
        socket.textMessageReceived.connect(self._received)
        socket.binaryMessageReceived.connect(lambda data: self._fault(f"binary message of {len(data)} bytes"))
        socket.disconnected.connect(self._disconnected)
        socket.errorOccurred.connect(self._failed)
        socket.open(QUrl(f"{server.url}{prefix}/ws/{session}/{self.user}"))
        return self

    def _connected(self):
        self.heartbeat.start(self.heartbeat_ms)
        if self.needs_resync and self.role == "client":
            now = datetime.now().isoformat()
            self.send({"type": "sync:request", "local_version": self.version, "timestamp": now})

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
        self.map.clear()
        self.socket.close()
        story.until(lambda: self.closed, f"{self.user}'s connection to close")

    def _failed(self, _):
        self.refusal = self.socket.errorString()
        record.heard(self.refusal)

    def _disconnected(self):
        self.heartbeat.stop()
        self._let_go()
        self.needs_resync = True
        self.closed = (self.socket.closeCode().value, self.socket.closeReason())
        record.heard(self.closed[1])

    @property
    def open(self):
        return self.joined and not self.closed

    # Receiving.

    def _fault(self, what):
        if not any(words in what for words in self.tolerates):
            self.faults.append(what)

    def _received(self, text):
        try:
            message = json.loads(text)
        except ValueError as error:
            return self._abort(f"{error} in {text[:200]!r}")
        raises = what_raises(message)
        if raises:
            return self._abort(f"{raises}: {text[:400]}")
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
            self.rebuild_map()
        elif kind == "user:joined" and self.role == "host":
            state = {"items": self.snapshot(), "version": self.version, "timestamp": datetime.now().isoformat()}
            self.send({"type": "sync:full_state", "state": state, "target_user": message["user_id"]})
        elif kind in ("sync:state", "sync:full_state"):
            state = message.get("state")
            if self.apply_state(state):
                self.rebuilds += 1
                self.version = state.get("version", 0)
                self.may_add, self.needs_resync = True, False
        elif kind == "command":
            command = message["command"]
            self.apply_command(command.get("action"), command.get("item_type"), command["item_id"], command["data"])

    def _abort(self, why):
        self._fault(f"raised: {why}")
        self.socket.abort()

    def _check_order(self, message):
        """What holds for every message on the wire, whatever story is being told."""
        kind, sender = message["type"], message.get("user_id")
        short = json.dumps(message)[:400]
        if kind == "connection:ack" and self.joined:
            # With it an editor looks through its scene again, and finds what it has pasted.
            return self._check_ack(message)
        if not self.acked:
            if kind != "connection:ack":
                return self._fault(f"before the acknowledgement: {short}")
            self._check_ack(message)
        elif not self.joined:
            self.joined = kind == "user:joined" and sender == self.known_as
            if not self.joined:
                self._fault(f"instead of the own user:joined: {short}")
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

    # Sending.

    def send(self, message):
        if self.socket and not self.closed:
            record.said(message)
            self.socket.sendTextMessage(json.dumps(message | {"user_id": self.user}))

    def told(self, action, item):
        if not self.acked or self.closed or self.suppressed or action == "add_item" and not self.may_add:
            return
        if action == "add_item":
            self.map[item.id] = item
            self.version += 1
        elif action == "remove_item":
            self.map.pop(item.id, None)
        data = {} if action == "remove_item" else item.report()
        command = {"action": action, "item_type": item.kind, "item_id": item.id, "data": data}
        self.send({"type": "command", "command": command, "timestamp": datetime.now().isoformat()})

    def drag(self, item_id, path, every_ms=10):
        """Start dragging along a path of (x, y), as fast as a mouse reports; `dragging` until it is done."""
        steps = iter(list(path))
        timer = QTimer()
        timer.setInterval(every_ms)
        item = self.item(item_id)
        was = item.x, item.y

        def step():
            # Somebody may have removed the item from under the mouse.
            place = next(steps, None) if item.scene is self.scene and not self.closed else None
            if place is not None:
                return self._set_place(item, *place)
            timer.stop()
            if timer in self._drags:
                self._drags.remove(timer)
                self.history.append(lambda: self._set_place(item, *was))

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
