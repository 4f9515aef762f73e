"""Runs Windows programs under wine, in a prefix of the repository's own."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time

import build
import story

PREFIX = build.REPO / ".deps" / "wine"
# Debian keeps these off the PATH unless its `wine` package is there too.
WINE = shutil.which("wine64") or "/usr/lib/wine/wine64"
WINESERVER = shutil.which("wineserver64") or "/usr/lib/wine/wineserver64"

ENVIRONMENT = {
    **os.environ,
    "WINEPREFIX": str(PREFIX),
    "WINEDEBUG": "-all",
    "WINEPATH": str(build.TOOLS),
    # Neither .NET nor a browser: wine would ask, in a window, whether to fetch them.
    "WINEDLLOVERRIDES": "mscoree,mshtml=",
    "RUST_BACKTRACE": "0",
    # A server stores nothing where it is not told to.
    "COLLABD_IN_MEMORY": "1",
}
for variable in ("DISPLAY", "WAYLAND_DISPLAY"):
    ENVIRONMENT.pop(variable, None)


# How long wine stays up when nothing runs in it, should nobody come to `end` it.
IDLE_SECONDS = 60


def prepare():
    """Make the prefix, if there is none yet, and start the system in it."""
    silent = dict(env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if not (PREFIX / "system.reg").exists():
        PREFIX.mkdir(parents=True, exist_ok=True)
        subprocess.run([WINE, "wineboot", "--init"], timeout=180, check=True, **silent)
        # The registry is written down after the last program has ended, and the prefix is whole only then.
        subprocess.run([WINESERVER, "--wait"], timeout=60, check=True, **silent)
    # A run that was killed has left one behind.
    end()
    # Windows' own services start with the first program and would hold its pipes open for two seconds after its end.
    subprocess.run([WINESERVER, f"--persistent={IDLE_SECONDS}"], timeout=60, check=True, **silent)
    subprocess.run([WINE, "wineboot"], timeout=60, check=True, **silent)


def end():
    """End what still runs in this prefix, the wine server of the prefix included."""
    subprocess.run([WINESERVER, "--kill"], env=ENVIRONMENT, timeout=60, stderr=subprocess.DEVNULL)


def run(*argv, seconds=60):
    """Run a Windows program to its end."""
    try:
        return subprocess.run(
            [WINE, *map(str, argv)], env=ENVIRONMENT, cwd=build.REPO, timeout=seconds,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        )
    except subprocess.TimeoutExpired as expired:
        said = [(pipe or b"").decode(errors="replace")[-2000:] for pipe in (expired.stdout, expired.stderr)]
        raise story.Failed("\n".join([f"{argv[0]} did not end within {seconds} s; the last it said:", *said]))


class Server:
    """A collabd.exe that listens; `by` is the event which `stop` sends it, for console.c, or `ctrl-c`."""

    def __init__(self, *options, port=0, by="ctrl-c"):
        self.by = by
        argv = [build.EXE, "--host", "127.0.0.1", "--port", port, *options]
        if by != "ctrl-c":
            argv = [build.TOOLS / "console.exe", by, *argv]
        started = time.monotonic()
        self.process = subprocess.Popen(
            [WINE, *map(str, argv)], env=ENVIRONMENT, cwd=build.REPO, text=True, errors="replace",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        self.said, self.log = [], []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.said), (self.process.stderr, self.log))
        ]
        for reader in self._readers:
            reader.start()
        try:
            story.until(lambda: self.port or self.process.poll() is not None, "the server to listen")
            story.expect(self.port, lambda: f"the server did not listen: {self.said} {self.log}")
        except story.Failed:
            self.close()
            raise
        self.started_in = time.monotonic() - started

    @staticmethod
    def _read(pipe, lines):
        # A pipe nobody empties would stall the server at its first long log.
        for line in pipe:
            lines.append(line.rstrip())
            story.news.set()

    @property
    def port(self):
        found = [re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)", line) for line in self.said]
        return next((int(f[1]) for f in found if f), 0)

    def stop(self):
        """Send the event."""
        if self.by == "ctrl-c":
            self.process.send_signal(signal.SIGINT)
        else:
            self.process.stdin.close()

    def wait(self, seconds):
        """Wait for the end; returns the exit status."""
        story.until(lambda: self.process.poll() is not None, lambda: f"the server to end; its log: {self.log}", seconds)
        for reader in self._readers:
            reader.join(story.DEADLINE)
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            # With console.exe in between, this is not the server itself; `end` gets that.
            self.process.kill()
            self.process.wait(story.DEADLINE)
        for reader in self._readers:
            reader.join(1)

    def inspect(self):
        """A panic is a fault even if no client noticed it."""
        for line in self.log:
            if "panicked at" in line:
                raise story.Failed(f"the server panicked: {line}")
