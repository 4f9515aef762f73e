#!/usr/bin/env python3
"""Cross-builds collabd.exe and tries it under wine: its commands, its stops, its unit tests. Ends with `N passed, M failed`."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests" / "outside"))

import build
import story
import wine
from binary import BINARY
from websocket import Client

# Windows ends a program whose window was closed after five seconds, however far it has come.
LONGEST_STOP = 5.0
# How long the editor that starts a server waits before it connects.
LONGEST_START = 1.5
# Far above what they take; one that hangs must not hang its caller.
UNIT_TESTS_SECONDS = 120
# How the operating system asks a console program to end.
EVENTS = ["ctrl-c", "break", "close", "shutdown"]


def ends_cleanly(server, begun):
    """Wait for the end of a server that was stopped at `begun`, and look at all a stop promises."""
    status = server.wait(story.DEADLINE)
    took = time.monotonic() - begun
    story.expect_equal(status, 0, f"the exit status (the log: {server.log})")
    for words in ("SHUTTING DOWN", "Server closed", "Port released"):
        # To the end of the line: "Server closed, without waiting any longer for …" is not what was promised.
        story.expect(any(line.endswith(words) for line in server.log), lambda: f"no {words!r} in the log: {server.log}")
    story.expect(took < LONGEST_STOP, lambda: f"the stop took {took:.1f} s")


@story.story("--help says how it is used")
def help_(stage):
    done = wine.run(build.EXE, "serve", "--help")
    story.expect_equal(done.returncode, 0, "the exit status")
    story.expect("--port" in done.stdout, lambda: f"no --port in {done.stdout!r}")


@story.story("a bad option is refused with status 2")
def bad_option(stage):
    done = wine.run(build.EXE, "--no-such-option")
    story.expect_equal(done.returncode, 2, "the exit status")
    story.expect("--no-such-option" in done.stderr, lambda: f"it is not named in {done.stderr!r}")


@story.story("a port in use is refused with status 1 and one line")
def port_in_use(stage):
    server = stage.own(wine.Server())
    done = wine.run(build.EXE, "--host", "127.0.0.1", "--port", server.port)
    story.expect_equal(done.returncode, 1, "the exit status")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    story.expect(len(lines) == 1 and str(server.port) in lines[0], lambda: f"it said {done.stderr!r}")


@story.story("it listens before the editor that started it loses patience")
def start(stage):
    server = stage.own(wine.Server())
    story.expect(server.started_in < LONGEST_START, f"it took {server.started_in:.2f} s")


@story.story("collabd.exe check finds nothing wrong")
def check_under_wine(stage):
    server = stage.own(wine.Server())
    done = wine.run(build.EXE, "check", f"ws://127.0.0.1:{server.port}", "--seconds", "3")
    story.expect_equal(done.returncode, 0, f"the exit status (it said {done.stdout} {done.stderr})")


def check_from_here(stage):
    server = stage.own(wine.Server())
    done = subprocess.run(
        [BINARY, "check", f"ws://127.0.0.1:{server.port}", "--seconds", "3"],
        capture_output=True, text=True, timeout=60,
    )
    story.expect_equal(done.returncode, 0, f"the exit status (it said {done.stdout} {done.stderr})")


if BINARY.exists():
    story.story("the check built for this system finds nothing wrong")(check_from_here)
else:
    print(f"left out: the check built for this system, as there is no {BINARY}")


def stops_cleanly(event):
    def told(stage):
        server = stage.own(wine.Server(by=event))
        client = stage.own(Client(server.port, "windows", "alice"))
        client.wait_for("connection:ack")
        begun = time.monotonic()
        server.stop()
        story.expect_equal(client.wait_close(), (1001, "server shutting down"), "the close")
        client.answer_close()
        client.close()
        ends_cleanly(server, begun)
        again = stage.own(wine.Server(port=server.port))
        story.expect_equal(again.port, server.port, "the port of the next start")

    return told


for event in EVENTS:
    story.story(f"{event} ends it cleanly, and the port is free at once")(stops_cleanly(event))


def flood(stage, port, kilobytes):
    """A client that takes nothing of what another one sends it; afterwards the server has heard all of that."""
    full = stage.own(Client(port, "flood", "full", receive_buffer=4096))
    talker = stage.own(Client(port, "flood", "talker"))
    for _ in range(kilobytes // 64):
        talker.say("chat", text="x" * 65536)
    talker.say("ping")
    talker.wait_for("pong")
    return full


# What Unix does with one call, to wake a thread that is blocked on a socket, takes another one on Windows.
@story.story("clients that block its threads do not hold up the stop")
def stubborn_clients(stage):
    server = stage.own(wine.Server())
    # One thread waits for a request, one for an answer to the close, one for room to write.
    stage.own(socket.create_connection(("127.0.0.1", server.port)))
    deaf = stage.own(Client(server.port, "windows", "deaf"))
    deaf.wait_for("connection:ack")
    flood(stage, server.port, 4096)
    begun = time.monotonic()
    server.stop()
    ends_cleanly(server, begun)


@story.story("a client that takes nothing and one that was replaced are let go, with their threads")
def let_go(stage):
    server = stage.own(wine.Server("--queue-bytes", "128KiB", "--max-document-bytes", "64KiB"))
    flood(stage, server.port, 8192)
    for _ in range(2):
        stage.own(Client(server.port, "windows", "again")).wait_for("connection:ack")
    for user in ("full", "again"):
        story.until(
            lambda: any(f'"{user}" left ' in line for line in server.log),
            lambda: f"the first connection of {user} to end; the log: {server.log}",
        )


@story.story("a session with a data directory survives a kill and a stop, and its directory has one owner")
def durable(stage):
    data = stage.folder() / "data"
    last = 0
    for start, end in enumerate(("kill", "stop", "kill"), start=1):
        server = stage.own(wine.Server("--data-dir", data))
        client = stage.own(Client(server.port, "table", "alice"))
        story.expect_equal(client.wait_for("connection:ack")["seq"], last, f"the last change at start {start}")
        command = {"action": "add_item", "item_type": "lens", "item_id": f"lens-{start}", "data": {"x_mm": start}}
        client.say("command", id=start, command=command)
        before, last = last, client.wait_for("message_delivered")["seq"]
        # After a kill numbers are skipped, after a stop none is.
        is_next = last == before + 1
        story.expect_equal(is_next, start != 2, f"whether {last} is the number after {before}")
        if start == 1:
            second = wine.run(build.EXE, "--port", "0", "--data-dir", data)
            story.expect_equal(second.returncode, 1, "the exit status of a second server")
            story.expect("another collabd uses" in second.stderr, lambda: f"it said {second.stderr!r}")
        if end == "kill":
            server.close()
        else:
            server.stop()
            server.wait(story.DEADLINE)
    listed = wine.run(build.EXE, "sessions", "list", "--data-dir", data)
    story.expect_equal((listed.returncode, "table  3" in listed.stdout), (0, True), f"what is listed: {listed.stdout}")


@story.story("the unit tests pass as a Windows program")
def unit_tests(stage):
    try:
        programs = build.unit_tests()
    except build.BuildFailed as failure:
        raise story.Failed(str(failure))
    for program in programs:
        done = wine.run(program, "--test-threads=2", seconds=UNIT_TESTS_SECONDS)
        lines = done.stdout.splitlines()
        print(f"    {program.name}: {' '.join(line for line in lines if line.startswith('test result:'))}")
        told = "\n".join(line for line in lines if not line.endswith("... ok"))
        story.expect_equal(done.returncode, 0, f"the exit status of {program.name}, which said\n{told}\n{done.stderr}\n")


def main():
    for step in (build.server, build.tools, wine.prepare):
        begun = time.monotonic()
        try:
            step()
        except (build.BuildFailed, OSError, subprocess.SubprocessError) as error:
            hint = "; has setup.sh been run?" if isinstance(error, FileNotFoundError) else ""
            print(f"✗ {step.__module__}.{step.__name__}: {error}{hint}\n0 passed, 1 failed")
            return 1
        print(f"{step.__module__}.{step.__name__}: {time.monotonic() - begun:.1f} s", flush=True)
    try:
        story.main()
    finally:
        wine.end()


if __name__ == "__main__":
    sys.exit(main())
