"""The servers that are measured: how each is started, loaded and stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or REPO / "target").resolve()
BENCH_TARGET = TARGET / "benches"
COLLABD = str(Path(os.environ.get("COLLABD_BIN") or TARGET / "release" / "collabd").resolve())
LOAD = str(BENCH_TARGET / "release" / "load")

LISTEN = ["--host", "127.0.0.1", "--port", "0"]
SERVERS = {
    "floor": [str(BENCH_TARGET / "release" / "floor")],
    "floor, batching": [str(BENCH_TARGET / "release" / "floor"), "batching"],
    "Python websockets": [str(REPO / ".deps/venv/bin/python"), str(HERE / "relays/relay.py")],
    "Node ws": ["node", str(HERE / "relays/relay.mjs"), str(REPO / ".deps/node")],
    "tokio-tungstenite": [str(BENCH_TARGET / "release" / "tungstenite")],
    "collabd --writer-threads": [COLLABD, *LISTEN, "--writer-threads"],
    "collabd": [COLLABD, *LISTEN],
    "collabd --data-dir": [COLLABD, *LISTEN],
}
PLAIN, DURABLE = "collabd", "collabd --data-dir"
# Where they store; a disk.
DATA = BENCH_TARGET / "data"

# A run of the load generator is over by then, or it hangs.
LONGEST = 60


class Server:
    """A server process on a port of the loopback that it has chosen itself.

    One that stores does so in a directory of its own, which goes with it, unless it is given one.
    """

    def __init__(self, name, *options, directory=None):
        self.is_collabd = name.startswith("collabd")
        self.own = None
        if name == DURABLE:
            if directory is None:
                self.own = tempfile.TemporaryDirectory(dir=DATA)
                directory = self.own.name
            options = (*options, "--data-dir", str(directory))
        self.process = subprocess.Popen(
            [*SERVERS[name], *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "COLLABD_IN_MEMORY": "1"},
        )
        self.addr = None
        self.listens = threading.Event()
        threading.Thread(target=self.read, daemon=True).start()
        if not self.listens.wait(20) or not self.addr:
            self.stop()
            raise RuntimeError(f"{name} does not start")

    def read(self):
        for line in self.process.stdout:
            found = re.search(r"listening on (\S+:\d+)", line)
            if found and not self.addr:
                self.addr = found[1]
                self.listens.set()
        self.listens.set()

    def load(self, workload, parameters):
        """Runs the load generator against it and returns what it reports."""
        words = {"addr": self.addr, "pid": self.process.pid, **parameters}
        if self.is_collabd:
            words["protocol"] = "session"
        command = [LOAD, workload, *(f"{name}={value}" for name, value in words.items())]
        run = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
        if run.returncode != 0:
            raise RuntimeError(run.stderr.strip() or f"the load generator ended with {run.returncode}")
        return json.loads(run.stdout)

    def finish(self):
        """Ends it as an operator would: everything is written then."""
        self.process.terminate()
        if self.process.wait(LONGEST) != 0:
            raise RuntimeError(f"the server ended with {self.process.returncode}")

    def stop(self):
        # Nothing is measured any more: no farewell to its clients.
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.own:
            self.own.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def measure(server, workload, parameters, *options):
    """One workload on a fresh server. None where it didn't survive, with a line that says so."""
    try:
        with Server(server, *options) as running:
            return running.load(workload, parameters)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        progress("")
        print(f"{server}, {workload}: {error}")
        return None


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
