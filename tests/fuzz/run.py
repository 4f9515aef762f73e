#!/usr/bin/env python3
"""Fuzzes every target until so many inputs were tried in all; says what was found.

    run.py EXECUTIONS [TARGET...]

The fuzzers begin with tests/fuzz/corpus and keep what they find interesting under target/fuzz/corpus;
what breaks something stands in target/fuzz/artifacts. FUZZ_JOBS is how many run at once, otherwise one
on each core; FUZZ_SECONDS ends each of them earlier.
"""

import os
import queue
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
WORK = Path(os.environ.get("CARGO_TARGET_DIR") or REPO / "target").resolve() / "fuzz"

# How many of a hundred inputs each target is given, and how long they may be, in bytes: a session is
# worth the most and takes the longest, and a request may have 16 KiB.
TARGETS = {
    "session": (30, 2048),
    "member": (20, 2048),
    "client": (20, 2048),
    "request": (15, 17000),
    "keyfile": (10, 2048),
    "frames": (5, 4096),
}
# How long one input may take, and how much memory a fuzzer: both far above what is needed.
LIMITS = ["-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=256"]
# Which input is bent next is drawn by how much it covers: reckoning how rare that is takes as long as the
# sessions themselves.
SCHEDULE = ["-entropic=0"]


def build():
    """Builds the fuzzers. Stable Rust has libFuzzer's instrumentation but no sanitizer; in code without
    `unsafe` there is little that one would find. Nor are compared numbers traced: that takes half the time,
    and what a script or a message is made of comes from the dictionaries."""
    command = ["cargo", "fuzz", "build", "--fuzz-dir", HERE, "--sanitizer", "none", "--no-trace-compares"]
    command += ["--target-dir", WORK]
    subprocess.run(command, check=True, cwd=REPO)
    host = re.search(r"host: (\S+)", subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout)
    return WORK / host.group(1) / "release"


class Fuzzer:
    """One process that fuzzes one target, a share of it."""

    def __init__(self, binaries, target, runs, part):
        self.target, self.runs, self.part = target, runs, part
        self.binaries = binaries
        self.executions = self.seconds = self.rss = 0
        self.first = self.last = None
        self.findings = []

    def run(self):
        corpus, artifacts = WORK / "corpus" / self.target, WORK / "artifacts" / self.target
        corpus.mkdir(parents=True, exist_ok=True)
        artifacts.mkdir(parents=True, exist_ok=True)
        command = [
            self.binaries / self.target, corpus, HERE / "corpus" / self.target,
            f"-dict={HERE / 'dictionaries' / self.target}.dict", f"-max_len={TARGETS[self.target][1]}",
            f"-runs={self.runs}", f"-max_total_time={os.environ.get('FUZZ_SECONDS', 0)}", "-print_final_stats=1",
            f"-artifact_prefix={artifacts}/", *LIMITS, *SCHEDULE,
        ]
        begun = time.monotonic()
        log = WORK / f"{self.target}-{self.part}.log"
        with open(log, "wb") as out:
            code = subprocess.run([str(part) for part in command], stdout=out, stderr=out, cwd=WORK).returncode
        self.seconds = time.monotonic() - begun
        text = log.read_text(errors="replace")
        stat = lambda name: int((re.findall(rf"stat::{name}: +(\d+)", text) or [0])[-1])
        self.executions, self.rss = stat("number_of_executed_units"), stat("peak_rss_mb")
        covered = [int(edges) for edges in re.findall(r"^#\d+\s.* cov: (\d+)", text, re.M)]
        if covered:
            self.first, self.last = covered[0], covered[-1]
        self.findings = re.findall(r"Test unit written to (\S+)", text)
        if code and not self.findings:
            self.findings = [f"it ended with {code}: see {log}"]


def main():
    executions = int(sys.argv[1])
    wanted = sys.argv[2:] or list(TARGETS)
    binaries = build()
    jobs = int(os.environ.get("FUZZ_JOBS") or os.cpu_count() or 1)
    whole = sum(TARGETS[target][0] for target in wanted)
    waiting, fuzzers = queue.Queue(), []
    for target in wanted:
        runs = -(-executions * TARGETS[target][0] // whole // jobs)
        fuzzers += [Fuzzer(binaries, target, runs, part) for part in range(jobs)]
    for fuzzer in fuzzers:
        waiting.put(fuzzer)

    def work():
        while True:
            try:
                fuzzer = waiting.get_nowait()
            except queue.Empty:
                return
            fuzzer.run()
            for finding in fuzzer.findings:
                print(f"{fuzzer.target}: {finding}", flush=True)

    workers = [threading.Thread(target=work) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    total = found = 0
    print(f"{'target':<9} {'executions':>12} {'a second':>9} {'edges':>13} {'MB':>5} {'findings':>9}")
    for target in wanted:
        parts = [fuzzer for fuzzer in fuzzers if fuzzer.target == target]
        done, findings = sum(part.executions for part in parts), sum(len(part.findings) for part in parts)
        seconds = sum(part.seconds for part in parts)
        edges = [(part.first, part.last) for part in parts if part.last]
        edges = f"{min(e[0] for e in edges)} → {max(e[1] for e in edges)}" if edges else "–"
        rate, rss = done / seconds if seconds else 0, max(part.rss for part in parts)
        print(f"{target:<9} {done:>12,} {rate:>9,.0f} {edges:>13} {rss:>5} {findings:>9}")
        total, found = total + done, found + findings
    print(f"{total:,} executions, {found} findings")
    if found:
        print("try one again: tests/fuzz/README.md")
    return 1 if found or total < executions else 0


sys.exit(main())
