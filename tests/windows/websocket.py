"""The least of a WebSocket client: joins a session, says something, waits for the close."""

import base64
import json
import os
import socket
import struct

import story


class Client:
    """One user's connection. It reads only when it is told to."""

    def __init__(self, port, session, user, receive_buffer=None):
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(story.DEADLINE)
        self._socket.connect(("127.0.0.1", port))
        self._read_ahead = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /ws/{session}/{user} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self._take(1)
        story.expect(head.startswith(b"HTTP/1.1 101 "), f"{user} was answered {head!r}")

    def _take(self, count):
        while len(self._read_ahead) < count:
            try:
                came = self._socket.recv(65536)
            except OSError as error:
                raise story.Failed(f"the connection broke while {count} bytes were waited for: {error}")
            story.expect(came, f"the connection ended while {count} bytes were waited for")
            self._read_ahead += came
        taken, self._read_ahead = self._read_ahead[:count], self._read_ahead[count:]
        return taken

    def _frame(self):
        opcode, length = self._take(2)
        if length == 126:
            (length,) = struct.unpack(">H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._take(8))
        return opcode & 15, self._take(length)

    def _send(self, opcode, payload):
        length = len(payload)
        if length < 126:
            head = struct.pack(">BB", 128 | opcode, 128 | length)
        elif length < 65536:
            head = struct.pack(">BBH", 128 | opcode, 128 | 126, length)
        else:
            head = struct.pack(">BBQ", 128 | opcode, 128 | 127, length)
        # A mask of zeros is a mask.
        self._socket.sendall(head + bytes(4) + payload)

    def say(self, kind, **fields):
        self._send(1, json.dumps({"type": kind, **fields}).encode())

    def wait_for(self, kind):
        """Read until a message of this type comes; returns it."""
        while True:
            opcode, payload = self._frame()
            story.expect(opcode != 8, f"a close came instead of {kind}: {payload!r}")
            if opcode == 9:
                self._send(10, payload)
            elif opcode == 1:
                message = json.loads(payload)
                if message["type"] == kind:
                    return message

    def wait_close(self):
        """Read until the close comes; returns its code and reason."""
        while True:
            opcode, payload = self._frame()
            if opcode == 8:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    def answer_close(self):
        self._send(8, struct.pack(">H", 1001))

    def close(self):
        self._socket.close()
