"""Starts, stops and kills the server under test, and keeps what it printed."""

import os
import re
import signal
import subprocess
import threading
import time

import record
import story
from binary import BINARY


def surroundings():
    """The environment without what is meant for these tests: collabd remarks on variables that it doesn't know.

    A server stores nothing where it is not told to.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith("COLLABD_")}
    return {**others, "COLLABD_IN_MEMORY": "1"}


class Server:
    """One collabd process on a port of the loopback that the system chose."""

    def __init__(self, *options, port=0, debug=True):
        # With --debug it writes most, and nothing of it may be confidential.
        self.options = [*(["--debug"] if debug and "--debug" not in options else []), *map(str, options)]
        self._start("--host", "127.0.0.1", "--port", port, *self.options)

    def _start(self, *words):
        """Start collabd with these words, and wait until it says where it listens."""
        started = time.monotonic()
        self.process = subprocess.Popen(
            [BINARY, *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=surroundings(),
        )
        self.lines = []
        self.port = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            story.until(lambda: self.port or self.exited(), lambda: f"the server to listen; it printed {self.lines}")
            if not self.port:
                self._reader.join(5)
                raise story.Failed(f"the server ended before it listened; it printed {self.lines}")
        except story.Failed:
            self.close()
            raise
        self.started_in = time.monotonic() - started  # seconds

    def _read(self):
        # A pipe nobody empties would stall the server at its first long log.
        with record.output() as keep:
            for raw in self.process.stdout:
                keep(raw)
                line = raw.decode(errors="replace").rstrip()
                self.lines.append(line)
                found = re.search(r"listening on \S+:(\d+)", line)
                if found and not self.port:
                    self.port = int(found[1])
                story.news.set()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    def stop(self):
        """Ask it to end, as an operator and the editor do; `exited` says when it has."""
        self.process.send_signal(signal.SIGTERM)

    def exited(self):
        return self.process.poll() is not None

    def kill(self):
        """Take it away without a word, as a power cut would."""
        self.process.kill()
        self.process.wait(story.DEADLINE)

    def close(self):
        # Stopping properly has stories of its own; here it only has to be gone.
        if not self.exited():
            self.kill()
        self._reader.join(5)
        self.process.stdout.close()
        for option, value in zip(self.options, self.options[1:]):
            if option == "--log-file":
                record.log(value)

    def inspect(self):
        """A panic is a fault even if no client noticed it."""
        for line in self.lines:
            if "panicked" in line:
                raise story.Failed(f"the server panicked: {line}")
