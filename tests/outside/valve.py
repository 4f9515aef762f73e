"""A way to a server that can be held up: a slow line, or a program that was stopped."""

import contextlib
import socket
import threading


class Valve:
    """Passes bytes on between clients and a server, in either direction until that is held."""

    def __init__(self, server):
        self.server = server
        self.free = {"up": threading.Event(), "down": threading.Event()}
        self.release()
        self.holds_at_handshake = ()  # the directions that are held as soon as a handshake is over
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.listener.getsockname()[1]}"

    def hold(self, *directions):
        for direction in directions:
            self.free[direction].clear()

    def release(self):
        for event in self.free.values():
            event.set()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server.port))
                self.sockets += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server, "up"), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, "down"), daemon=True).start()

    def _pass_on(self, source, target, direction):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if direction == "down" and self.holds_at_handshake and data.startswith(b"HTTP/1.1 101"):
                    self.hold(*self.holds_at_handshake)
                    end = data.index(b"\r\n\r\n") + 4
                    target.sendall(data[:end])
                    data = data[end:]
                self.free[direction].wait()
                if data:
                    target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.release()
        self.listener.close()
        for each in self.sockets:
            each.close()
