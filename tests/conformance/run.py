#!/usr/bin/env python3
"""Runs the Autobahn test suite: every case against `collabd echo`, and those that make sense against a session.

An echo server is what the suite expects, so there its own verdicts count. A session endpoint is none: it speaks
unasked (the acknowledgement, joins, one protocol ping), answers text that is not JSON with an `error` message and
closes binary with 1003, so every case that waits for an echo ends with the suite's verdict FAILED whatever happens.
What a case *does* is as good a test there as anywhere; its report says how the connection ended and what came, and
that is judged here, by the lists in SESSION_CASES. Left out are:
  7.1.1            closes only after an echo
  9.*              closes at the first message, which at a session is the acknowledgement
  10.1.1, 1.1.6-8  wait ten seconds for their echo
  12.*, 13.*       compression, which is never negotiated
  6.6 and up       their valid texts: 6.5 has shown that one can be sent
"""

import collections
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "outside"))
from binary import BINARY, REPO

SUITE = REPO / ".deps" / "wstest" / "bin"

ALL_CASES = 517
COMPRESSION = ("12", "13")  # groups whose extension the server does not offer
GOOD = ("OK", "NON-STRICT", "INFORMATIONAL")
GOOD_CLOSE = ("OK", "INFORMATIONAL")

# A case mostly waits, for the server or for a second to pass, so more can run at once than there are cores.
AT_ONCE = 5
SHOWN = 40  # failures printed; with more of them the cause is one for all
CHUNK_SECONDS = 180  # a chunk takes some five seconds; this is for a server that hangs


def failed_with(code):
    """The server has to fail the connection, with this code."""

    def judge(case, report):
        if report["closedByMe"]:
            return "the server did not close"
        if report["remoteCloseCode"] != code:
            return f"closed with {report['remoteCloseCode']} instead of {code}"

    return judge


def closed_properly(case, report):
    """The client closes, rightly or wrongly; the suite's verdict on the close holds without an echo, too."""
    if report["behaviorClose"] not in GOOD_CLOSE:
        return f"{report['behaviorClose']}: {report['resultClose']}"
    if report["remoteCloseCode"] is None and case != "7.3.1":  # which sends a close without a code
        return "no close code"


def pongs_came(case, report):
    """All pings are answered in order, and the connection stays until the client closes it."""
    wanted = [e for e in report["expected"]["OK"] if e[0] == "pong"]
    got = [e for e in report["received"] if e[0] == "pong"]
    if got != wanted:
        return f"pongs {got} instead of {wanted}"
    if not report["closedByMe"]:
        return f"the server closed with {report['remoteCloseCode']}"


def error_came(case, report):
    """Text that is valid UTF-8 but no JSON is answered with an `error`, and the connection stays."""
    if not report["closedByMe"]:
        return f"the server closed with {report['remoteCloseCode']}"
    # The report cuts long messages short; the word stands at the beginning of an error and of nothing else that comes.
    if not any(e[0] == "message" and '"error"' in e[1] for e in report["received"]):
        return f"no error among {report['received']}"
    if case.startswith("5."):
        return pongs_came(case, report)


# What a session endpoint has to do in which cases. {invalid} stands for the suite's cases of invalid UTF-8.
SESSION_CASES = [
    ("binary is refused", failed_with(1003), "1.2.1 1.2.2 1.2.3 1.2.4 1.2.5 1.2.6 1.2.7 1.2.8"),
    ("pings are answered", pongs_came, "2.1 2.2 2.3 2.4 2.6 2.7 2.8 2.9"),
    ("many pings are answered", pongs_came, "2.10 2.11"),
    ("broken control frames", failed_with(1002), "2.5 5.1 5.2"),
    ("reserved bits", failed_with(1002), "3.1 3.2 3.3 3.4 3.5 3.6 3.7"),
    ("reserved opcodes", failed_with(1002), "4.1.1 4.1.2 4.1.3 4.1.4 4.1.5 4.2.1 4.2.2 4.2.3 4.2.4 4.2.5"),
    ("text that is no JSON", error_came, "1.1.1 1.1.2 1.1.3 1.1.4 1.1.5 6.1.1 6.1.2 6.1.3"),
    ("text in fragments, pings between them", error_came, "5.3 5.4 5.5 5.6 5.7 5.8 5.19 5.20"),
    ("broken fragmentation", failed_with(1002), "5.9 5.10 5.11 5.12 5.13 5.14 5.15 5.16 5.17 5.18"),
    ("valid UTF-8", error_came, "6.2.1 6.2.2 6.2.3 6.2.4 6.5.1 6.5.2 6.5.3 6.5.4 6.5.5"),
    ("invalid UTF-8", failed_with(1007), "{invalid}"),
    ("closing", closed_properly, "7.1.2 7.1.3 7.1.4 7.1.5 7.1.6 7.3.1 7.3.3 7.3.4 7.3.5 7.5.1 7.13.1 7.13.2"),
    ("valid close codes", closed_properly, " ".join(f"7.7.{n}" for n in range(1, 14))),
    ("broken close frames", closed_properly, "7.3.2 7.3.6 " + " ".join(f"7.9.{n}" for n in range(1, 10))),
]

# The case classes themselves know which of them exist and which send invalid UTF-8.
LIST_CASES = """
import json
from autobahntestsuite.case import Cases
def bad(case): return getattr(case, "isValid", True) is False or case.__name__[4:8] in ("6_3_", "6_4_")
print(json.dumps([(".".join(c.__name__[4:].split("_")), bad(c)) for c in Cases]))
"""


class Server:
    """One collabd process on a port of the loopback that the system chose."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            [BINARY, *command, "--host", "127.0.0.1", "--port", "0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env={**os.environ, "COLLABD_IN_MEMORY": "1"},
        )
        self.lines = []
        self.port = None
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listening.wait(20) or not self.port:
            self.close()
            sys.exit(f"the server does not listen; it printed {self.lines}\n0 passed, 1 failed")

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip())
            found = re.search(r"listening on \S+:(\d+)", line)
            if found and not self.port:
                self.port = int(found[1])
                self._listening.set()
        self._listening.set()

    def complaint(self):
        """What is wrong with it after all the cases, or None."""
        if self.process.poll() is not None:
            return f"the server ended with {self.process.returncode}: {self.lines[-5:]}"
        return next((f"the server panicked: {line}" for line in self.lines if "panicked" in line), None)

    def close(self):
        self.process.kill()
        self.process.wait(20)
        self._reader.join(5)
        self.process.stdout.close()


def run_cases(url, cases, folder):
    """One wstest process for these cases; returns {case: report}. A case without a report is not in it."""
    folder.mkdir(parents=True)
    spec = {"outdir": str(folder), "servers": [{"url": url, "agent": "collabd"}], "cases": cases,
            "exclude-cases": [], "exclude-agent-cases": {}}
    (folder / "spec.json").write_text(json.dumps(spec))
    with open(folder / "output.txt", "w") as output:
        try:
            # It ends with 0 whether the server was there or not; only the reports tell.
            subprocess.run([SUITE / "wstest", "-m", "fuzzingclient", "-s", folder / "spec.json"], cwd=folder,
                           stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=CHUNK_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"wstest was stopped after {CHUNK_SECONDS} s: {cases[0]} ... {cases[-1]}")
    reports = {}
    for case in cases:
        path = folder / f"collabd_case_{case.replace('.', '_')}.json"
        if path.exists():
            reports[case] = json.loads(path.read_text())
    return reports


def in_order(case):
    return [int(n) for n in case.split(".")]


def echo(cases, folder, pool):
    """Every case against the echo server; returns a list of (case, what is wrong)."""
    chunks = collections.defaultdict(list)
    for number, case in enumerate(cases):
        group = case.split(".")[0]
        # The two long groups are dealt out, so that their slow cases stand beside fast ones.
        chunks[group, number % 4 if group in ("6", "9") else 0].append(case)
    server = Server("echo")
    try:
        url = f"ws://127.0.0.1:{server.port}"
        runs = [
            pool.submit(run_cases, url, chunk, folder / f"echo-{group}-{part}")
            for (group, part), chunk in chunks.items()
        ]
        reports = {case: report for run in runs for case, report in run.result().items()}
        complaint = server.complaint()
    finally:
        server.close()
    wrong = [(case, "no result") for case in cases if case not in reports]
    for case, report in reports.items():
        behavior, close = report["behavior"], report["behaviorClose"]
        unimplemented = behavior == "UNIMPLEMENTED" and case.split(".")[0] in COMPRESSION
        if behavior not in GOOD and not unimplemented:
            wrong.append((case, f"{behavior}: {report['result']}"))
        elif close not in GOOD_CLOSE:
            wrong.append((case, f"closed {close}: {report['resultClose']}"))
    counts = collections.Counter(r["behavior"] for r in reports.values())
    closes = collections.Counter(r["behaviorClose"] for r in reports.values())
    print(f"echo: {len(reports)} of {len(cases)} cases with a result: {tally(counts)}; closes: {tally(closes)}")
    return len(cases), wrong, complaint


def session(invalid, folder, pool):
    """The cases that make sense against a session, all groups at once in one session, each as a user of its own."""
    lists = [(title, judge, cases.format(invalid=" ".join(invalid)).split()) for title, judge, cases in SESSION_CASES]
    server = Server()
    try:
        url = f"ws://127.0.0.1:{server.port}/ws/conformance/user-"
        runs = [
            pool.submit(run_cases, f"{url}{n}", cases, folder / f"session-{n}")
            for n, (_, _, cases) in enumerate(lists)
        ]
        results = [run.result() for run in runs]
        complaint = server.complaint()
    finally:
        server.close()
    wrong = []
    for (title, judge, cases), reports in zip(lists, results):
        bad = [(c, judge(c, reports[c]) if c in reports else "no result") for c in cases]
        bad = [(c, f"{title}: {what}") for c, what in bad if what]
        print(f"session: {title}: {len(cases) - len(bad)} of {len(cases)}")
        wrong += bad
    return sum(len(cases) for _, _, cases in lists), wrong, complaint


def tally(counter):
    return ", ".join(f"{count} {verdict}" for verdict, count in counter.most_common())


def main():
    if not (SUITE / "wstest").exists():
        if not os.environ.get("CI"):
            print("– the Autobahn test suite: not run: there is no CPython 2.7")
            print("0 passed, 0 failed")
            return 0
        print("the Autobahn test suite is not installed: run tests/conformance/setup.sh")
        print("0 passed, 1 failed")
        return 1
    started = time.monotonic()
    listing = subprocess.run([SUITE / "python", "-c", LIST_CASES], check=True, capture_output=True, timeout=60)
    listed = json.loads(listing.stdout)
    cases = sorted((case for case, _ in listed), key=in_order)
    invalid = sorted((case for case, bad in listed if bad), key=in_order)
    if len(cases) != ALL_CASES:
        print(f"the suite has {len(cases)} cases, not {ALL_CASES}: setup.sh pins another version")
        print("0 passed, 1 failed")
        return 1
    folder = Path(tempfile.mkdtemp(prefix="conformance-"))
    passed = failed = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for part in (lambda: echo(cases, folder, pool), lambda: session(invalid, folder, pool)):
            count, wrong, complaint = part()
            wrong.sort(key=lambda w: in_order(w[0]))
            for case, what in wrong[:SHOWN]:
                print(f"  ✗ {case} {what}")
            if len(wrong) > SHOWN:
                print(f"  ✗ and {len(wrong) - SHOWN} more")
            if complaint:
                print(f"  ✗ {complaint}")
            failed += len(wrong) + bool(complaint)
            passed += count - len(wrong)
    if failed:
        print(f"the reports are in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"took {time.monotonic() - started:.1f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    # So that the server goes, too, when this is ended early.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
