"""The packages in target/dist, programs in roots of their own, and the server that they start."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
for folder in (REPO / "contrib" / "dist", REPO / "tests" / "windows", REPO / "tests" / "outside"):
    sys.path.insert(0, str(folder))

import project
import story
from websocket import Client

DIST = project.DIST
# What is kept from one run to the next, and where packages are unpacked.
SCRATCH = REPO / "target" / "dist-check"
# An environment in which only what a program is given counts.
BARE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def package(pattern):
    """The one package with a name like this, of the version in Cargo.toml."""
    found = list(DIST.glob(pattern.format(version=project.version())))
    if len(found) != 1:
        raise story.Failed(f"{len(found)} packages are called {pattern}: has `make dist` been run?")
    return found[0]


def needs(*programs):
    """A story that needs these programs isn't run where one is missing."""
    for program in programs:
        if not shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            raise story.NotRun(f"there is no {program}")


def needs_root(what):
    if os.geteuid() != 0:
        raise story.NotRun(f"{what} takes root")


def into_root(directory, as_user=None):
    """The beginning of a command that runs in a root directory of its own."""
    needs("chroot")
    if os.geteuid() == 0:
        return ["chroot", *([f"--userspec={as_user}"] if as_user else []), str(directory)]
    prefix = ["unshare", "--map-root-user"]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        raise story.NotRun("another root directory takes root, or user name spaces")
    return [*prefix, "chroot", str(directory)]


def run(argv, seconds=60, **options):
    """Run a program to its end; returns its status and what it said."""
    argv = [str(word) for word in argv]
    settings = {"env": BARE, "stdin": subprocess.DEVNULL, **options}
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, **settings)
    except subprocess.TimeoutExpired as expired:
        raise story.Failed(f"{argv} did not end within {seconds} s: {(expired.stdout or b'')[-2000:]!r}")
    return done.returncode, done.stdout


def well(argv, **options):
    """Run a program that has to end well; returns what it said."""
    status, said = run(argv, **options)
    story.expect(status == 0, lambda: f"{' '.join(map(str, argv))} ended with status {status} and said {said[-3000:]}")
    return said


class Server:
    """A server that a command starts. It listens on a free port of the loopback."""

    def __init__(self, argv, *options, env=BARE):
        argv = [*map(str, argv), "--host", "127.0.0.1", "--port", "0", *map(str, options)]
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
        )
        self.lines, self.port = [], 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            story.until(lambda: self.port or self.process.poll() is not None, lambda: f"it to listen; it said {self.lines}")
            story.expect(self.port, lambda: f"it ended before it listened; it said {self.lines}")
        except story.Failed:
            self.close()
            raise

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            found = re.search(r"listening on \S+:(\d+)", line)
            if found and not self.port:
                self.port = int(found[1])
            story.news.set()

    def stop(self):
        """Stop it as an operator does, and wait for its end; it has to be orderly."""
        self.process.send_signal(signal.SIGTERM)
        self.expect_end()

    def expect_end(self):
        story.until(lambda: self.process.poll() is not None, lambda: f"the server to end; it said {self.lines}")
        self._reader.join(story.DEADLINE)
        story.expect_equal(self.process.returncode, 0, f"the exit status; it said {self.lines}")
        story.expect(any("Port released" in line for line in self.lines), lambda: f"no orderly end: {self.lines}")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(story.DEADLINE)
        self._reader.join(5)
        self.process.stdout.close()

    def inspect(self):
        for line in self.lines:
            if "panicked" in line:
                raise story.Failed(f"the server panicked: {line}")


def page_answers(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=story.DEADLINE) as answer:
        story.expect_equal(answer.status, 200, "the status of the page")
        story.expect(b"<!doctype html" in answer.read()[:200].lower(), "the page is no HTML")


def share_a_table(stage, port):
    """Two clients: what one adds is confirmed, and the other has it."""
    alice = stage.own(Client(port, "table", "alice"))
    alice.wait_for("connection:ack")
    bob = stage.own(Client(port, "table", "bob"))
    bob.wait_for("connection:ack")
    command = {"action": "add_item", "item_type": "lens", "item_id": "lens-1", "data": {"x_mm": 1.5}}
    alice.say("command", id="a1", command=command)
    alice.wait_for("message_delivered")
    story.expect_equal(bob.wait_for("command")["command"]["item_id"], "lens-1", "what the other one was told of")


def report_start(what, begun):
    """Print how long it took from `begun` to a shared table. Less than 10 s is what users are told, where nothing else runs."""
    print(f"    from {what} to a shared table and the page: {time.monotonic() - begun:.2f} s", flush=True)


def table_is_there(stage, port):
    """A newcomer has the item that `share_a_table` has added."""
    carol = stage.own(Client(port, "table", "carol"))
    carol.wait_for("connection:ack")
    # The server says the state by itself.
    items = carol.wait_for("sync:state")["state"]["items"]
    story.expect_equal([item["uuid"] for item in items], ["lens-1"], "the items that are there")


def check_passes(argv, port):
    """`collabd check`, by the program under test, against the server under test."""
    said = well([*argv, "check", f"ws://127.0.0.1:{port}", "--seconds", "3"])
    story.expect("steps passed" in said and "✗" not in said, lambda: f"check said {said}")
