"""Front ends: clients of the client protocol by Python's `websockets`, reading what they are told one by one."""

import functools
import json
import re
import socket
import struct
import threading
from urllib.parse import quote

import websockets
from websockets.client import ClientProtocol
from websockets.sync.client import connect
from websockets.uri import parse_uri

import record
import story
from keyring import KeyRing
from server import Server

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

# What the server says for itself. Anything else is relayed.
SERVERS_OWN = {
    "connection_established", "connection_success", "message_delivered", "subscription_success",
    "unsubscription_success", "error", "disconnect", "pong",
}
ESTABLISHED = "Connection established, waiting for authentication"
JOIN_WORDS = ("join_channel", "subscribe")
ABSENT = object()


class FrontEnd:
    """One connection to /client_{client_id}: what it receives is read in order, and nothing may be left out.

    `connect` makes the connection, with these options.
    """

    def __init__(
        self, server, client_id, path="/client_", address=None, connect=functools.partial(connect, proxy=None), **options
    ):
        if address:
            options["source_address"] = (address, 0)
        self.client_id = client_id
        self.raw = []  # text as it came
        self.messages = []  # the same, parsed
        self.taken = 0  # how many of them the story has read
        self.faults = []  # what holds for every message and did not hold for one
        self.closed = None  # (code, reason) once it is over
        self._fences = 0
        self.socket = connect(
            f"{server.url}{path}{quote(client_id, safe='')}",
            ping_interval=None, open_timeout=story.DEADLINE, close_timeout=2, max_size=None, **options,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # Receiving.

    def _read(self):
        try:
            while True:
                text = self.socket.recv()
                message = json.loads(text) if isinstance(text, str) else {"type": "binary"}
                self._check(message, text)
                record.heard_message(message, text)
                self.raw.append(text)
                self.messages.append(message)
                story.news.set()
        except websockets.ConnectionClosed:
            record.heard(self.socket.close_reason or "")
            self.closed = (self.socket.close_code, self.socket.close_reason)
            story.news.set()

    def _check(self, message, text):
        kind, client_id = message.get("type"), message.get("client_id")
        right = isinstance(client_id, str) if kind not in SERVERS_OWN else client_id == self.client_id
        stamp = message.get("timestamp")
        if not (isinstance(kind, str) and right and isinstance(stamp, str) and TIMESTAMP.fullmatch(stamp)):
            self.faults.append(f"type, timestamp or client_id of {text[:300]}")
        if kind == "error":
            data = message.get("data")
            wanted = {"message": str, "error_type": str, "code": int}
            if not isinstance(data, dict) or any(type(data.get(name)) is not kind for name, kind in wanted.items()):
                self.faults.append(f"data of {text[:300]}")
            elif not (re.fullmatch("[a-z_]+", data["error_type"]) and data["message"] and 400 <= data["code"] < 600):
                self.faults.append(f"data of {text[:300]}")

    def next(self, kind, **fields):
        """The next message, which has to be of this type and to have these fields."""
        story.until(
            lambda: len(self.messages) > self.taken or self.closed,
            lambda: f"{kind} {fields or ''} at {self.client_id!r}, who has read {self._shown()}",
        )
        if len(self.messages) == self.taken:
            raise story.Failed(f"{self.client_id!r} was closed with {self.closed} before {kind}; read: {self._shown()}")
        message = self.messages[self.taken]
        self.taken += 1
        got = {name: message.get(name, "none") for name in fields}
        if message["type"] != kind or got != fields:
            raise story.Failed(f"next at {self.client_id!r}: wanted {kind} {fields or ''}, got {str(message)[:600]}")
        return message

    def skip_to(self, kind):
        """Read on up to the next message of this type; returns all that were read."""
        read = []
        while not read or read[-1]["type"] != kind:
            story.until(lambda: len(self.messages) > self.taken or self.closed, f"{kind} at {self.client_id!r}")
            if len(self.messages) == self.taken:
                raise story.Failed(f"{self.client_id!r} was closed with {self.closed} before {kind}")
            read.append(self.messages[self.taken])
            self.taken += 1
        return read

    def _shown(self):
        return [m["type"] for m in self.messages[: self.taken]][-8:]

    def ended(self, code, reason=None):
        """Nothing more has come, and the connection is closed with this code."""
        story.until(lambda: self.closed, f"{self.client_id!r} to be closed with {code}")
        left = [m["type"] for m in self.messages[self.taken :]]
        story.expect_equal(left, [], f"messages to {self.client_id!r} before the close with {self.closed}")
        story.expect_equal(self.closed[0], code, f"{self.client_id!r}'s close code ({self.closed[1]!r})")
        if reason is not None:
            story.expect_equal(self.closed[1], reason, f"{self.client_id!r}'s close reason")

    def nothing_more(self):
        """Nothing waits: what comes next is the answer to a message sent now, which passes the hub behind all else.

        A pong would prove less, for it may overtake what the hub still has to say.
        """
        self._fences += 1
        fence = f"fence {self._fences}"
        self.send({"type": "fence", "id": fence})
        self.next("fence", id=fence, client_id=self.client_id)
        self.delivered("fence", id=fence)

    def nothing_more_to_reader(self):
        """The same for somebody whose own messages are refused: it joins a channel where nobody speaks."""
        self.join("where nobody speaks")

    def inspect(self):
        if self.faults:
            raise story.Failed(f"{self.client_id!r} got {len(self.faults)} bad messages: {self.faults[0]}")

    # The exchanges of the protocol, to the letter.

    def established(self):
        """What everyone is told at once."""
        return self.next("connection_established", data={"message": ESTABLISHED})

    def connect(self, api_key, **data):
        self.send({"type": "connect", "data": {"api_key": api_key, "connection_type": "chat", **data}})

    def connected(self):
        """The two answers to a good key."""
        success = self.next("connection_success")
        story.expect_equal(success["data"]["message"], "Connected", "the success's message")
        message = "Authentication message received and processed"
        self.next("message_delivered", data={"message": message, "original_type": "connect", "status": "success"})
        return success

    def refused(self, error_type="invalid_key", message="Invalid API key"):
        """The answers to a key that opens nothing, and the end."""
        self.error(error_type, 403, message)
        story.expect_equal(self.next("disconnect")["data"]["reason"], message, "the reason to disconnect")
        self.ended(4000, message)

    def authenticate(self, api_key):
        self.established()
        self.connect(api_key)
        self.connected()
        return self

    def error(self, error_type, code, message=None):
        """The next message, which has to be this error."""
        error = self.next("error")
        got = error["data"].get("error_type"), error["data"].get("code")
        story.expect(got == (error_type, code), f"error {error_type} {code} at {self.client_id!r}, got {error['data']}")
        if message is not None:
            story.expect_equal(error["data"]["message"], message, f"the message of {error_type}")
        return error

    def join(self, channel, word="join_channel"):
        """Join (or leave, by the word) and read both answers."""
        self.send({"type": word, "data": {"channel": channel}})
        joins = word in JOIN_WORDS
        received = f"{'Join' if joins else 'Leave'} channel request received"
        data = self.next("message_delivered")["data"]
        got = data.get("message"), data.get("original_type"), data.get("status")
        story.expect_equal(got, (received, word, "success"), f"the confirmation of {word}")
        answer = self.next("subscription_success" if joins else "unsubscription_success", channel=channel)
        data = answer["data"]
        story.expect_equal(data.get("channel"), channel, f"data.channel in {answer}")
        for name in ("status", "message"):
            story.expect(isinstance(data.get(name), str) and data[name], f"data.{name} in {answer}")
        return answer

    def leave(self, channel, word="leave_channel"):
        return self.join(channel, word)

    def delivered(self, original_type, id=ABSENT):
        """The confirmation of a message of this type; its `id` comes back if it had one."""
        data = self.next("message_delivered")["data"]
        got = data.get("original_type"), data.get("status"), data.get("id", ABSENT)
        story.expect(got == (original_type, "success", id), f"{original_type} to be confirmed, got {data}")

    def say(self, channel, content="what was said", type="chat_message", **more):
        """Send to a channel, and read the own copy and the confirmation."""
        self.send({"type": type, "channel": channel, "data": {"content": content}, **more})
        message = self.next(type, channel=channel, client_id=self.client_id)
        self.delivered(type, more.get("id", ABSENT))
        return message

    # Sending.

    def send(self, message):
        if not isinstance(message, (str, bytes)):
            message = json.dumps(message, ensure_ascii=False)
        record.said_text(message)
        self.socket.send(message)

    def close(self, code=1000, reason=""):
        self.socket.close(code, reason)
        self._reader.join(story.DEADLINE)


class Bare:
    """A socket that speaks WebSocket by hand, to stop in the middle of a word."""

    def __init__(self, server, path, address=None):
        source = (address, 0) if address else None
        self.socket = socket.create_connection(("127.0.0.1", server.port), story.DEADLINE, source)
        self.protocol = ClientProtocol(parse_uri(server.url + path))

    def write(self, part=1.0):
        """Send what the protocol has to say, or only its first part."""
        data = b"".join(self.protocol.data_to_send())
        self.socket.sendall(data[: max(1, int(len(data) * part))])

    def ask(self, part=1.0):
        self.protocol.send_request(self.protocol.connect())
        self.write(part)

    def upgrade(self):
        self.ask()
        story.until(self._upgraded, "the upgrade")
        return self

    def _upgraded(self):
        self.protocol.receive_data(self.socket.recv(65536))
        return self.protocol.state is websockets.protocol.State.OPEN

    def say(self, message, part=1.0):
        self.protocol.send_text(json.dumps(message).encode())
        self.write(part)

    def reset(self):
        """Tear the connection down by a TCP reset, without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


class Desk:
    """A server with a key file, and the front ends that work at it.

    Give it a key ring whose keys it is to know from its first moment on.
    """

    def __init__(self, stage, *options, keys=None, log=True):
        self.stage = stage
        self.keys = keys or KeyRing(stage)
        self.key = self.keys.new("write")
        kept = ("--log-file", str(stage.folder() / "log")) if log else ()
        self.server = stage.own(Server("--keys", str(self.keys.path), *kept, *options))

    def open(self, client_id, **options):
        """Somebody who has connected and read nothing yet."""
        return self.stage.own(FrontEnd(self.server, client_id, **options))

    def seat(self, client_id, *channels, key=None, **options):
        """Somebody who is authenticated and has joined these channels."""
        front_end = self.open(client_id, **options).authenticate(key or self.key)
        for channel in channels:
            front_end.join(channel)
        return front_end
