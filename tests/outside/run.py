#!/usr/bin/env python3
"""Runs every outside client's stories against the server and counts what passed."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import record
from binary import BINARY, REPO

sys.path.insert(0, str(REPO / "tests"))
import prerequisites

HERE = Path(__file__).resolve().parent
PYTHON = REPO / ".deps" / "venv" / "bin" / "python"

# Far above what a program takes; one that hangs must not hang its caller.
PROGRAM_SECONDS = 300
AT_ONCE = 3

# Those that wait longest first, so that the others run beside them.
PROGRAMS = {
    "surroundings": [PYTHON, HERE / "test_surroundings.py"],
    "client protocol": [PYTHON, HERE / "test_client_protocol.py"],
    "client ends": [PYTHON, HERE / "test_client_ends.py"],
    "page: text": ["node", HERE.parent / "page" / "test_text.mjs"],
    "page: words": ["node", HERE.parent / "page" / "test_words.mjs"],
    "page: past": ["node", HERE.parent / "page" / "test_past.mjs"],
    "page: shapes": ["node", HERE.parent / "page" / "test_shapes.mjs"],
    "page: tracer": ["node", HERE.parent / "page" / "test_tracer.mjs"],
    "page: labels": ["node", HERE.parent / "page" / "test_labels.mjs"],
    "page: addresses": ["node", HERE.parent / "page" / "test_addresses.mjs"],
    "page: scope": ["node", HERE.parent / "page" / "test_scope.mjs"],
    "page: listing": ["node", HERE.parent / "page" / "test_listing.mjs"],
    "page: qr": ["node", HERE.parent / "page" / "test_qr.mjs"],
    "live page": ["node", HERE / "test_live.mjs"],
    "live: table": ["node", HERE / "test_live_table.mjs"],
    "live: visitors": ["node", HERE / "test_live_visitors.mjs"],
    "live: overview": ["node", HERE / "test_live_overview.mjs"],
    "live: slow line": ["node", HERE / "test_live_slow.mjs"],
    "live: managing": ["node", HERE / "test_live_manage.mjs"],
    "live: joining": ["node", HERE / "test_live_joining.mjs"],
    "live: asking": ["node", HERE / "test_live_asking.mjs"],
    "chromium": ["node", HERE / "test_chromium.mjs"],
    "firefox": ["node", HERE / "test_firefox.mjs"],
    "crowd": [PYTHON, HERE / "test_crowd.py"],
    "editors: canvas": [PYTHON, HERE / "test_editors_canvas.py"],
    "editors: losses": [PYTHON, HERE / "test_editors_losses.py"],
    "editors: drags": [PYTHON, HERE / "test_editors_drags.py"],
    "editors: durable": [PYTHON, HERE / "test_editors_durable.py"],
    "editors: wire": [PYTHON, HERE / "test_editors_wire.py"],
    "editors: keys": [PYTHON, HERE / "test_editors_keys.py"],
    "editors: stored": [PYTHON, HERE / "test_editors_stored.py"],
    "editors: forward": [PYTHON, HERE / "test_editors_forward.py"],
    "editors: proxies": [PYTHON, HERE / "test_editors_proxies.py"],
    "keys": [PYTHON, HERE / "test_keys.py"],
    "keys in force": [PYTHON, HERE / "test_keys_in_force.py"],
    "front door": [PYTHON, HERE / "test_front_door.py"],
    "metrics": [PYTHON, HERE / "test_metrics.py"],
    "prometheus": [PYTHON, HERE / "test_prometheus.py"],
    "channels": [PYTHON, HERE / "test_client_channels.py"],
    "viewers": [PYTHON, HERE / "test_viewers.py"],
    "websockets": [PYTHON, HERE / "test_websockets.py"],
    "proxies": [PYTHON, HERE / "test_proxies.py"],
    "proxies: door": [PYTHON, HERE / "test_proxies_door.py"],
    "node ws": ["node", HERE / "ws_client.mjs"],
    "node front end": ["node", HERE / "ws_front_end.mjs"],
}

# What of the system a program of stories needs; where continuous integration runs, all of it is there.
PROXIES = ("nginx", "caddy", "openssl")
NEEDS = {
    "surroundings": ("haproxy", "logrotate", "ip"),
    "metrics": ("promtool",),
    "prometheus": ("promtool",),
    "proxies": PROXIES,
    "proxies: door": PROXIES,
    "editors: proxies": PROXIES,
    "chromium": ("chromium", *PROXIES),
    "firefox": ("firefox",),
}


def lacking(name):
    """What a program needs and this machine hasn't got."""
    needs = ("chromium",) if name.startswith("live") else NEEDS.get(name, ())
    return [] if prerequisites.IN_CI else prerequisites.lacks(*needs)


SURROUNDINGS = {
    "COLLABD_BIN": str(BINARY),
    "PYTHONDONTWRITEBYTECODE": "1",
    "STORIES_RECORD": str(record.FOLDER),
}

_processes = []


def kill(process):
    """End a program together with the servers it started: each program leads a process group of its own."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def tell(name, argv, words, out):
    """Run one program and put its lines on the queue; what it cannot say itself is said for it."""
    passed = failed = 0
    summary = None

    def end():
        out.put((name, f"✗ stopped after {PROGRAM_SECONDS} s"))
        kill(process)

    try:
        process = subprocess.Popen(
            [str(a) for a in argv] + words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPO,
            env={**os.environ, **SURROUNDINGS}, start_new_session=True,
        )
    except OSError as error:
        out.put((name, f"✗ cannot be started ({error}); has setup.sh been run?"))
        return out.put((name, (0, 1)))
    _processes.append(process)
    timer = threading.Timer(PROGRAM_SECONDS, end)
    timer.daemon = True
    timer.start()
    for line in process.stdout:
        line = line.rstrip("\n")
        found = re.fullmatch(r"(\d+) passed, (\d+) failed", line)
        if found:
            summary = int(found[1]), int(found[2])
            continue
        passed += line.startswith("✓")
        failed += line.startswith("✗")
        out.put((name, line))
    process.wait()
    timer.cancel()
    nothing_chosen = words and summary == (0, 0)
    if summary != (passed, failed) or (process.returncode == 0) != (failed == 0) and not nothing_chosen:
        out.put((name, f"✗ ended in the middle, status {process.returncode}"))
        failed += 1
    elif not passed + failed and not words:
        out.put((name, "✗ told no story"))
        failed += 1
    out.put((name, (passed, failed)))


def main():
    words = sys.argv[1:]
    if not BINARY.exists():
        print(f"no server at {BINARY}: build it, or set COLLABD_BIN")
        print("0 passed, 1 failed")
        return 1
    started = time.monotonic()
    out = queue.Queue()
    waiting = list(PROGRAMS.items())
    running = passed = failed = 0
    failures, failing = [], set()
    while waiting or running:
        while waiting and running < AT_ONCE:
            name, argv = waiting.pop(0)
            lacks = lacking(name)
            if lacks:
                print(f"{'everyone':16} – all stories of {name}: not run: there is no {' and no '.join(lacks)}")
                continue
            threading.Thread(target=tell, args=(name, argv, words, out), daemon=True).start()
            running += 1
        name, line = out.get()
        if isinstance(line, tuple):
            running -= 1
            passed, failed = passed + line[0], failed + line[1]
        else:
            print(f"{name:16} {line}", flush=True)
            # A failure's reason is indented below it.
            if line.startswith("✗") or name in failing and line.startswith(" "):
                failing.add(name)
                failures.append(f"{name:16} {line}")
            else:
                failing.discard(name)
    fault, searched = record.search(whole=not words)
    print(f"{'everyone':16} {'✗' if fault else '✓'} nothing confidential was written: {searched}")
    if fault:
        print(fault)
    if passed + failed:
        passed, failed = passed + (not fault), failed + bool(fault)
    if failures:
        print("\nwhat failed, once more:", *failures, "", sep="\n")
    print(f"took {time.monotonic() - started:.1f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    finally:
        for process in _processes:
            kill(process)
