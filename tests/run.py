#!/usr/bin/env python3
"""Runs the stages of `make test`, each a target of the Makefile: all of them even if one fails. Ends with a table.

`run.py STAGE ...` runs these; without any, all but windows.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import prerequisites

REPO = Path(__file__).resolve().parents[1]

# One group after the other. What stands in one group runs side by side: either it mostly waits, or it is a download
# beside something that computes. Real clients have time-outs, so that nothing is compiled beside them.
GROUPS = [
    ["lint", "setup"],
    ["rust"],
    ["simulation"],
    ["outside"],
    ["conformance", "kills"],
    ["windows"],
]
# A stage that needs another one isn't run where that has failed.
NEEDS = {"outside": "setup", "conformance": "setup", "kills": "setup"}

# Far above what a stage takes with everything still to be compiled; one that hangs must not hang its caller.
LONGEST = 40 * 60
# How many lines of all failed stages are shown again in the end, where a log that was cut still has them.
SHOWN = 80
NAMES_A_FAILURE = re.compile(r"✗|^ *(TRY \d )?(FAIL|SIGABRT|SIGSEGV|TIMEOUT|TERMINATING)\b|^error\b|\.\.\. FAILED$|panicked at")

# Options of the make that has started this are not for the one started here.
# How stages say how many tests passed and failed: nextest, cargo test, and the programs here.
COUNTS = [
    re.compile(r"Summary .* tests? run: (?P<passed>\d+) passed(?: \(.*?\))?(?:, (?P<failed>\d+) failed)?"),
    re.compile(r"test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed"),
    re.compile(r"^(?P<passed>\d+) passed, (?P<failed>\d+) failed$"),
]
# A story, or a program of stories, that this machine can't run.
NOT_RUN = re.compile(r"– (?P<what>.*): not run: (?P<why>.*)")

ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}


class Stage:
    """One target of the Makefile, while it runs and after."""

    def __init__(self, name, alone):
        self.name = name
        self.lines = []
        self.prefix = "" if alone else f"{name:12}│ "
        self.begun = time.monotonic()
        self.seconds = self.processor = 0
        self.passed = False
        self.process = subprocess.Popen(
            ["make", "--no-print-directory", name], cwd=REPO, env=ENVIRONMENT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
        )
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        timer = threading.Timer(LONGEST, self._stop)
        timer.daemon = True
        timer.start()
        for line in self.process.stdout:
            self._say(line.rstrip())
        _, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
        self.passed = self.process.returncode == 0
        self.seconds = time.monotonic() - self.begun
        self.processor = used.ru_utime + used.ru_stime

    def _say(self, line):
        self.lines.append(line)
        sys.stdout.write(f"{self.prefix}{line}\n")
        sys.stdout.flush()

    def _stop(self):
        self._say(f"✗ stopped after {LONGEST} s")
        self.end()

    def counts(self):
        """How many tests passed, failed, and were not run, as far as the stage has said."""
        passed = failed = 0
        for line in self.lines:
            for count in COUNTS:
                told = count.search(line)
                if told:
                    passed += int(told["passed"])
                    failed += int(told["failed"] or 0)
                    break
        return passed, failed, len(self.not_run())

    def not_run(self):
        found = (NOT_RUN.search(line) for line in self.lines)
        return [f"{told['what']}: {told['why']}" for told in found if told]

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)

    def summary(self, count):
        """At most so many lines of a stage that failed: those that name a failure, and the last ones."""
        last = self.lines[-count // 2 :]
        named = [line for line in self.lines[: -len(last)] if NAMES_A_FAILURE.search(line)]
        return named[: count - len(last)] + last


def run(wanted, stages):
    failed = set()
    for group in GROUPS:
        chosen = [name for name in group if name in wanted and NEEDS.get(name) not in failed]
        print(f"\n== {', '.join(chosen)}", flush=True) if chosen else None
        begun = [Stage(name, alone=len(chosen) == 1) for name in chosen]
        stages += begun
        for stage in begun:
            stage.thread.join()
        failed |= {stage.name for stage in begun if not stage.passed}


def main():
    names = [name for group in GROUPS for name in group]
    wanted = sys.argv[1:] or [name for name in names if name != "windows"]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        print(f"no stage {', '.join(unknown)}; there are {', '.join(names)}")
        return 2
    if prerequisites.main():
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun, stages = time.monotonic(), []
    try:
        run(wanted, stages)
    finally:
        for stage in stages:
            if stage.process.returncode is None:
                stage.end()
    failed = [stage for stage in stages if not stage.passed]
    for stage in failed:
        print(f"\n== {stage.name} failed, status {stage.process.returncode}:")
        print(*stage.summary(SHOWN // len(failed)), sep="\n")
    not_run = [line for stage in stages for line in stage.not_run()]
    if not_run:
        print("\nnot run:", *(f"    {line}" for line in not_run), sep="\n")
    heads = ["passed", "failed", "not run", "seconds", "of processor"]
    print(f"\n{'stage':12} {'':8} " + " ".join(f"{head:>12}" for head in heads))
    done = {stage.name: stage for stage in stages}
    for name in (name for name in names if name in wanted):
        if name in done:
            stage = done[name]
            figures = [*stage.counts(), round(stage.seconds), round(stage.processor)]
            columns = " ".join(f"{figure:12}" for figure in figures)
            print(f"{name:12} {'passed' if stage.passed else 'FAILED':8} {columns}")
        else:
            print(f"{name:12} NOT RUN, as {NEEDS[name]} failed")
    passed = sum(stage.passed for stage in stages)
    print(f"took {time.monotonic() - begun:.0f} s: {passed} passed, {len(wanted) - passed} failed or not run")
    return 0 if passed == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
