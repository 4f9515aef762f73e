"""What a collabd costs beside another one: pairs of runs, one after the other, and the interval of the ratio.

`--before BINARY` is the other one. A figure is the server's processor time for a delivery, or what stands there; the
ratio is the geometric mean of the pairs' ratios, with its interval of 95 %.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

from figures import faults
from servers import BENCH_TARGET, COLLABD, HERE, LISTEN, SERVERS, measure, progress

BEFORE = "collabd before"
BAR = 1.05
COMMAND = {"kind": "command", "size": 300}
WORKLOADS = {
    "commands, 10 clients": ("relay", {**COMMAND, "sessions": 1, "clients": 10, "senders": 1, "rate": 1000, "seconds": 2}, "cpu_us"),
    "commands, 100 clients": ("relay", {**COMMAND, "sessions": 1, "clients": 100, "senders": 5, "rate": 1000, "seconds": 1}, "cpu_us"),
    "drags, 50 x 10": (
        "relay",
        {"kind": "command", "size": 500, "sessions": 50, "clients": 10, "senders": 10, "rate": 5000, "seconds": 1},
        "cpu_us",
    ),
    "components, 2 editors": (
        "relay",
        {"kind": "component", "size": 400, "sessions": 20, "clients": 2, "senders": 1, "rate": 3000, "seconds": 1},
        "cpu_us",
    ),
    "components, 10 editors": (
        "relay",
        {"kind": "component", "size": 400, "sessions": 5, "clients": 10, "senders": 1, "rate": 1500, "seconds": 1},
        "cpu_us",
    ),
    "cursors, 50 x 10": (
        "relay",
        {"kind": "cursor", "size": 120, "sessions": 50, "clients": 10, "senders": 10, "rate": 5000, "seconds": 1},
        "cpu_us",
    ),
    "joins": ("joins", {"joins": 1500, "attackers": 0}, "p50"),
    "join storm": ("storm", {"clients": 300, "state": 100_000}, "cpu_seconds"),
    "window": ("window", {**COMMAND, "sessions": 1, "clients": 100, "senders": 1, "seconds": 1}, "cpu_us"),
}
# Quantiles of Student's distribution for an interval of 95 %, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 9: 2.262, 11: 2.201, 14: 2.145, 19: 2.093, 29: 2.045}


def interval(ratios):
    """The geometric mean of ratios and its interval of 95 %."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.mean(logs)
    if len(logs) < 2:
        return math.exp(mean), None, None
    freedom = max(known for known in STUDENT if known < len(logs))
    reach = STUDENT[freedom] * statistics.stdev(logs) / math.sqrt(len(logs))
    return tuple(math.exp(mean + step) for step in (0, -reach, reach))


def pair(workload, parameters, turn):
    """One run of each, each first in turn."""
    names = ("collabd", BEFORE) if turn % 2 == 0 else (BEFORE, "collabd")
    return {name: measure(name, workload, parameters) for name in names}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--before", metavar="BINARY", required=True, help="the other collabd")
    options.add_argument("--pairs", type=int, default=10, metavar="N", help="pairs of each workload (default 10)")
    options.add_argument("workloads", nargs="*", metavar="WORD", help="only workloads with one of these words in their name")
    options = options.parse_args()
    cargo = os.environ.get("CARGO", "cargo")
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BENCH_TARGET)}
    subprocess.run([cargo, "build", "--release", "--quiet", "-p", "load"], cwd=HERE, env=environment, check=True)
    if not Path(COLLABD).exists():
        sys.exit(f"there is no {COLLABD}: build it, or name another one in COLLABD_BIN")
    SERVERS[BEFORE] = [str(Path(options.before).resolve()), *LISTEN]
    print(f"load average {os.getloadavg()[0]:.1f}; {options.pairs} pairs; ratio now / before, interval of 95 %, bar {BAR}")
    are_met = True
    for name, (workload, parameters, field) in WORKLOADS.items():
        if options.workloads and not any(word in name for word in options.workloads):
            continue
        pairs = []
        for turn in range(options.pairs):
            progress(f"{turn + 1}/{options.pairs} {name}")
            reports = pair(workload, parameters, turn)
            if all(reports.values()):
                pairs.append(reports)
        progress("")
        if not pairs:
            print(f"  {name:24} not measured")
            are_met = False
            continue
        now, before = ([reports[who][field] for reports in pairs] for who in ("collabd", BEFORE))
        mean, low, high = interval([a / b for a, b in zip(now, before)])
        around = "" if low is None else f" ({low:.3f} to {high:.3f})"
        is_met = high is None or high <= BAR
        are_met &= is_met
        # How components arrive isn't looked at.
        is_looked_at = parameters.get("kind") != "component"
        lost = faults([reports["collabd"] for reports in pairs]) if is_looked_at else 0
        note = f", {lost} faults" if lost else ""
        figures = f"{statistics.median(now):9.3f} / {statistics.median(before):9.3f} {field}"
        print(f"  {name:24} {figures:34} {mean:.3f}{around} {'' if is_met else 'OVER THE BAR'}{note}".rstrip(), flush=True)
    return 0 if are_met else 1


if __name__ == "__main__":
    sys.exit(main())
