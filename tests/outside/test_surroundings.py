"""What is around the server: a load balancer that asks whether it is well, logrotate, terminals that are closed, and
machines that vanish from the network."""

import csv
import io
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import story
from plain import plain
from proxies import MANUAL, free_port, replaced
from script import Script
from server import BINARY, Server, surroundings
from story import NotRun, expect, expect_equal, until

HERE = Path(__file__).resolve().parent


def needed(*programs):
    """Where each of these programs is."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    found = [shutil.which(program, path=path) for program in programs]
    missing = [program for program, place in zip(programs, found) if not place]
    if missing:
        raise NotRun(f"{' and '.join(missing)} not installed")
    return found


def documented(language):
    """The one block in this language in the manual."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", MANUAL.read_text(), flags=re.MULTILINE | re.DOTALL)
    expect_equal(len(blocks), 1, f"blocks of {language} in {MANUAL.name}")
    return blocks[0]


class Process:
    """A process that ends with the story."""

    def __init__(self, argv, **options):
        self.process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, **options)

    def close(self):
        self.process.kill()
        self.process.wait(story.DEADLINE)


class HAProxy(Process):
    """In front of one server, with this backend."""

    def __init__(self, stage, backend, frontend=""):
        (program,) = needed("haproxy")
        self.port, self.stats = free_port(), free_port()
        folder = stage.folder()
        (folder / "haproxy.cfg").write_text(f"""
defaults
    mode http
    timeout connect 5s
    timeout client 1d
    timeout server 1d

listen stats
    bind 127.0.0.1:{self.stats}
    stats enable
    stats uri /

frontend collabd
    bind 127.0.0.1:{self.port}
{frontend}
    default_backend collabd

{backend}
""")
        log = open(folder / "printed.log", "ab")
        super().__init__([program, "-db", "-f", folder / "haproxy.cfg"], stdout=log, stderr=log)
        stage.own(self)
        stage.own(log)

    def check(self):
        """What it last found of the server: (UP or DOWN, how it looked)."""
        try:
            text = urllib.request.urlopen(f"http://127.0.0.1:{self.stats}/;csv", timeout=5).read().decode()
        except OSError:
            return None, None
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        row = next(row for row in rows if row["pxname"] == "collabd" and row["svname"] == "collabd")
        return row["status"], row["check_status"]


WAYS = {
    "its default way": "option httpchk",
    "GET /healthz": "option httpchk GET /healthz",
    "HTTP/1.0 with a name": "option httpchk\n    http-check send meth GET uri /healthz ver HTTP/1.0 hdr Host backend",
    "HTTP/1.1 with a name": "option httpchk\n    http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host backend",
    "OPTIONS of HTTP/1.1": "option httpchk OPTIONS / HTTP/1.1\\r\\nHost:\\ localhost",
}


def found_well(stage, way):
    server = stage.own(Server())
    backend = f"backend collabd\n    {way}\n    server collabd 127.0.0.1:{server.port} check inter 200ms\n"
    proxy = HAProxy(stage, backend)
    until(lambda: proxy.check() == ("UP", "L7OK"), lambda: f"it to be found well: {proxy.check()}", every=0.1)
    server.kill()
    until(lambda: (proxy.check()[0] or "").startswith("DOWN"), lambda: f"it to be missed: {proxy.check()}", every=0.1)


for _name, _way in WAYS.items():
    story.story(f"HAProxy finds the server well in {_name}, and misses it")(
        lambda stage, way=_way: found_well(stage, way)
    )


@story.story("people work through HAProxy, configured as the manual says")
def through_haproxy(stage):
    server = stage.own(Server("--trust-proxy", "127.0.0.1"))
    text = replaced(documented("haproxy"), {"127.0.0.1:8765 check": f"127.0.0.1:{server.port} check inter 200ms"})
    _, backend = text.split("\n\n", 1)
    proxy = HAProxy(stage, backend)
    until(lambda: proxy.check()[0] == "UP", "the server to be up", every=0.1)
    proxy.url = f"ws://127.0.0.1:{proxy.port}"
    ann, bea = (stage.own(Script(proxy, "room", user)) for user in ("ann", "bea"))
    ann.joined()
    bea.joined()
    ann.send({"type": "chat", "text": "through"})
    bea.expect("chat", user_id="ann", text="through")
    for path in ("/", "/healthz", "/api/sessions"):
        expect_equal(plain(proxy, "GET", path).status, 200, path)
    # Nothing is changed by whoever comes through it.
    expect_equal(plain(proxy, "DELETE", "/api/sessions/room").status, 403, "DELETE through the proxy")


@story.story("logrotate, configured as the manual says, loses no line")
def rotation(stage):
    (program,) = needed("logrotate")
    folder = stage.folder()
    log = folder / "collabd.log"
    server = stage.own(Server("--log-file", log, debug=False))
    expect_equal(log.stat().st_mode & 0o777, 0o600, "the mode of the log")
    config = folder / "logrotate.conf"
    config.write_text(replaced(documented("logrotate"), {
        "/var/log/collabd/collabd.log": str(log),
        "create 0640 collabd adm": "create 0640",
        "systemctl reload collabd": f"kill -HUP {server.process.pid}",
    }))
    config.chmod(0o644)
    folder.chmod(0o755)
    for number in range(3):
        stage.own(Script(server, "room", f"user {number}")).joined()
        until(lambda n=number: f'"user {n}" joined' in log.read_text(), "the line to be written", every=0.05)
        done = subprocess.run([program, "-f", "-s", folder / "state", config], capture_output=True, text=True)
        expect_equal(done.returncode, 0, f"logrotate's status: {done.stderr}")
        until(lambda: "opened again" in log.read_text(), "the new file to be used", every=0.05)
        expect_equal(log.stat().st_mode & 0o777, 0o640, "the mode that logrotate gives it")
    until(lambda: (folder / "collabd.log.2.gz").exists(), "the third file", every=0.05)
    old = subprocess.run(["gzip", "-dc", *sorted(folder.glob("*.gz"))], capture_output=True, text=True).stdout
    whole = old + (folder / "collabd.log.1").read_text() + log.read_text()
    for number in range(3):
        expect_equal(whole.count(f'"user {number}" joined'), 1, f"lines about user {number}")


class Terminal:
    """A shell in a terminal of its own, which runs this script."""

    def __init__(self, stage, script):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvpe("sh", ["sh", "-c", script], surroundings())
        self.is_open = True
        stage.own(self)

    def press(self, keys):
        os.write(self.terminal, keys)

    def hang_up(self):
        """The window is closed."""
        if self.is_open:
            os.close(self.terminal)
            self.is_open = False
            os.waitpid(self.pid, 0)

    def close(self):
        self.hang_up()


class Background:
    """A server that a shell in a terminal has begun in the background."""

    def __init__(self, stage, how):
        folder = stage.folder()
        self.out = folder / "out"
        command = f"{how} '{BINARY}' --in-memory --host 127.0.0.1 --port 0 >'{self.out}' 2>&1 & echo $! >'{folder}/pid'"
        # The shell stays, and is ended by Ctrl+C, or with its terminal.
        self.terminal = Terminal(stage, f"{command}\nwhile :; do sleep 1000; done")
        stage.own(self)
        until(lambda: self._port(), lambda: f"it to listen: {self._read()}", every=0.05)
        self.port = self._port()
        self.pid = int((folder / "pid").read_text())

    def _read(self):
        return self.out.read_text() if self.out.exists() else ""

    def _port(self):
        found = re.search(r"listening on \S+:(\d+)", self._read())
        return found and int(found[1])

    def serves(self):
        return plain(self, "GET", "/healthz").status == 200

    def close(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except (AttributeError, ProcessLookupError):
            pass


@story.story("nohup collabd & outlives the terminal it was begun in")
def outlives(stage):
    server = Background(stage, "nohup")
    server.terminal.hang_up()
    expect(server.serves(), "it to serve")
    os.kill(server.pid, signal.SIGHUP)
    expect(server.serves(), "it to serve after one more SIGHUP")


@story.story("a script's collabd in the background goes on when the script is ended by Ctrl+C")
def background(stage):
    server = Background(stage, "")

    def has_ended():
        # A shell that is just starting its next command may lose the signal, so it is sent until the shell ends.
        server.terminal.press(b"\x03")
        return os.waitpid(server.terminal.pid, os.WNOHANG)[0]

    until(has_ended, "the shell to end", every=0.05)
    server.terminal.is_open = False
    os.close(server.terminal.terminal)
    expect(server.serves(), "it to serve")


def ip(*words):
    (program,) = needed("ip")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


class Network:
    """A machine of its own, connected to this one by a cable."""

    def __init__(self, stage):
        if os.geteuid() != 0:
            raise NotRun("only root can make networks")
        self.name = f"collabd{os.getpid()}"
        self.ours, self.theirs = f"ca{os.getpid()}"[:15], f"cb{os.getpid()}"[:15]
        # Beside another run's network, which may be one that was killed and left it: its route must not be ours.
        a, b = stage.rng.randrange(64, 128), stage.rng.randrange(256)
        self.our_address, their_address = f"10.{a}.{b}.1", f"10.{a}.{b}.2"
        self.remove_forgotten()
        stage.own(self)
        for words in (
            ("netns", "add", self.name),
            ("link", "add", self.ours, "type", "veth", "peer", "name", self.theirs),
            ("link", "set", self.theirs, "netns", self.name),
            ("addr", "add", f"{self.our_address}/24", "dev", self.ours),
            ("link", "set", self.ours, "up"),
            ("-n", self.name, "addr", "add", f"{their_address}/24", "dev", self.theirs),
            ("-n", self.name, "link", "set", self.theirs, "up"),
        ):
            done = ip(*words)
            if done.returncode:
                raise NotRun(f"this system makes no networks: ip {' '.join(words)}: {done.stderr.strip()}")

    @staticmethod
    def remove_forgotten():
        """The networks of runs that were killed go."""
        for pid in re.findall(r"^collabd(\d+)", ip("netns").stdout, re.MULTILINE):
            if not Path(f"/proc/{pid}").exists():
                ip("netns", "del", f"collabd{pid}")

    def cut(self):
        """The cable is pulled: nobody is told."""
        done = ip("-n", self.name, "link", "set", self.theirs, "down")
        expect_equal(done.returncode, 0, f"pulling the cable: {done.stderr}")

    def run(self, *argv, **options):
        (program,) = needed("ip")
        return Process([program, "netns", "exec", self.name, *argv], **options)

    def close(self):
        ip("link", "del", self.ours)
        ip("netns", "del", self.name)


# Joins and says nothing by itself; its library answers Pings.
GUEST = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1], proxy=None, ping_interval=None) as guest:
    for message in guest:
        print(message[:40], flush=True)
"""


@story.story("a machine that vanishes leaves within 100 s, though a partner drags all the while")
def ghost(stage):
    network = Network(stage)
    server = stage.own(Server("--host", "0.0.0.0", debug=False))
    url = f"ws://{network.our_address}:{server.port}/ws/room/ghost"
    watch, ann = stage.own(Script(server, "room", "watch")), stage.own(Script(server, "room", "ann"))
    watch.joined()
    ann.joined()
    guest = stage.own(network.run(sys.executable, "-c", GUEST, url, stdout=subprocess.PIPE, text=True))
    until(lambda: any(m.get("user_id") == "ghost" for m in watch.all("user:joined")), "the ghost to join")
    ended = threading.Event()

    def drag():
        while not ended.wait(0.05):
            ann.send({"type": "cursor", "x": time.monotonic()})

    dragging = threading.Thread(target=drag, daemon=True)
    dragging.start()
    network.cut()
    cut = time.monotonic()
    try:
        until(lambda: any(m.get("user_id") == "ghost" for m in watch.all("user:left")), "the ghost to leave", 110)
    finally:
        ended.set()
        dragging.join()
    took = time.monotonic() - cut
    expect(took > 60, f"it not to be given up too early: {took:.0f} s")
    expect(guest.process.poll() is None, "the ghost's own end to know nothing of it")


if __name__ == "__main__":
    story.main(at_once=6)
