"""What it costs to store sessions: beside the same server without, and in what its disk needs for one fsync."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from figures import faults, median, ratio
from servers import COLLABD, DATA, DURABLE, LONGEST, PLAIN, Server, measure, progress

BLOCK = 4096  # bytes
FSYNCS = 100
# Everyone has one change under way, waits until it is confirmed and sends the next: that is as many a second as
# server and load generator can do. With a rate they are due at fixed times, which leaves both some air.
CONFIRMED = {"kind": "confirmed", "size": 500, "seconds": 0.7}
HUNDRED, PACED = "10 x 10 clients", "10 x 10, 1,000/s in all"
WRITERS = {
    "1 client": {"sessions": 1, "clients": 1, "senders": 1},
    "10 clients": {"sessions": 1, "clients": 10, "senders": 10},
    HUNDRED: {"sessions": 10, "clients": 10, "senders": 10},
    PACED: {"sessions": 10, "clients": 10, "senders": 10, "rate": 1000},
}
# The session that is opened, and how often.
CHANGES = 100_000
ITEMS = 100
LONG = {
    "kind": "confirmed",
    "size": 500,
    "sessions": 1,
    "clients": 1,
    "senders": 1,
    "items": ITEMS,
    "under_way": 1000,
    "changes": CHANGES,
}
UNLIMITED = ("--rate-messages", "0", "--rate-bytes", "0")
OPENINGS = 5


def set_up():
    """Makes the place for what is stored, without what a run that was killed has left there."""
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    kind = subprocess.run(["stat", "-f", "-c", "%T", str(DATA)], capture_output=True, text=True, check=True)
    if kind.stdout.strip() in ("tmpfs", "ramfs"):
        sys.exit(f"{DATA} is in memory, where an fsync costs nothing: set CARGO_TARGET_DIR to a directory on a disk")


def beside(reports, without, field):
    """What storing costs in a column of the table."""
    figures = (ratio(reports, without, field), ratio(reports, without, "p50"))
    cost, p50 = ("-" if figure is None else f"{figure:.2f}" for figure in figures)
    return f"x without: {cost}, p50 {p50}"


def fsync_times():
    """How long it takes to have one block of a file on disk, in ms, so many times; the file has its length already."""
    times = []
    with tempfile.TemporaryFile(dir=DATA, buffering=0) as file:
        file.write(os.urandom(BLOCK) * FSYNCS)
        os.fsync(file)
        block = os.urandom(BLOCK)
        for nth in range(FSYNCS):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), block, nth * BLOCK)
            os.fdatasync(file)
            times.append((time.perf_counter() - begun) * 1000)
    return times


def measure_confirmations(repetitions):
    """{writers: [report, …]}, each with the `fsync` of its time and its p50 in `fsyncs`."""
    print("\na change until it is confirmed: p50/p99 in ms, p50 in fsyncs, p50 where nothing is stored")
    confirmations = {}
    for writers, who in WRITERS.items():
        parameters = {**CONFIRMED, **who}
        reports = confirmations[writers] = []
        for repetition in range(repetitions if who["clients"] * who["sessions"] == 100 else 1):
            progress(f"{repetition + 1}/{repetitions} confirmations: {writers}")
            before = fsync_times()
            report = measure(DURABLE, "confirm", parameters)
            if report:
                fsync = statistics.median(before + fsync_times())
                reports.append({**report, "fsync": fsync, "fsyncs": report["p50"] / fsync})
        without = measure(PLAIN, "confirm", parameters)
        progress("")
        if reports and without:
            fields = ("p50", "p99", "fsync", "fsyncs", "rate")
            p50, p99, fsync, fsyncs, rate = (median(reports, field) for field in fields)
            times = f"{p50:8.3f} /{p99:8.3f}, {fsyncs:5.1f} x {fsync:.3f}, {without['p50']:8.3f}"
            print(f"  {writers:26} {times}  {rate:8,.0f}/s")
    return confirmations


def measure_opening():
    """What a session of many changes was when it was left, and each time it was opened after a restart.

    None where that was not possible, with a line that says why.
    """
    with tempfile.TemporaryDirectory(dir=DATA) as directory:
        try:
            filled, left = fill(directory)
            as_left = open_once(directory)
            compacted = compact_and_open(directory)
        except (RuntimeError, subprocess.SubprocessError) as error:
            progress("")
            print(f"{CHANGES:,} changes can't be opened: {error}")
            return None
    progress("")
    times = ", ".join(f"{report['p50']:.1f}" for report in compacted)
    print(f"\na session of {filled['seq']:,} changes, written at {filled['sent'] / filled['seconds']:,.0f}/s:")
    print(f"from connecting to a server that was just started until its {left['items']} items are there")
    print(f"  as it was left {as_left['p50']:.1f} ms; compacted {times} ms")
    wrong = sum(not is_same(report, left) for report in (as_left, *compacted))
    lost = filled["sent"] - filled["confirmed"] + faults(filled) + (filled["seq"] != left["seq"]) + wrong
    return {"compacted": compacted, "lost": lost}


def fill(directory):
    """Makes the session. What the confirmations said, and what the last newcomer was shown."""
    progress(f"{CHANGES:,} changes")
    with Server(DURABLE, *UNLIMITED, directory=directory) as server:
        filled = server.load("confirm", LONG)
        left = server.load("open", {})
        server.finish()
    return filled, left


def open_once(directory):
    """What a newcomer is shown by a server that was just started, and when."""
    with Server(DURABLE, directory=directory) as server:
        opened = server.load("open", {})
        server.finish()
    return opened


def compact_and_open(directory):
    compact = [COLLABD, "sessions", "compact", "--data-dir", directory]
    subprocess.run(compact, stdout=subprocess.DEVNULL, timeout=LONGEST, check=True)
    progress(f"opening {CHANGES:,} changes")
    return [open_once(directory) for _ in range(OPENINGS)]


def is_same(report, other):
    return all(report[field] == other[field] for field in ("seq", "items", "digest"))


def judge(bars, table, confirmations, opened):
    for column in ("50 x 10", "50 x 10, all drag"):
        cost = ratio(table[column][DURABLE], table[column][PLAIN], "cpu_us")
        bars.at_most(f"{column}: processor time, x without storing", cost, 1.15)
    for column in ("10 clients", "1,000 clients"):
        p50 = ratio(table[column][DURABLE], table[column][PLAIN], "p50")
        bars.at_most(f"{column}: p50, x without storing", p50, 1.1)
    bars.at_most("100 wait for the disk: p50, x one fsync", median(confirmations[HUNDRED], "fsyncs"), 3)
    bars.at_most(f"{CHANGES:,} changes: opened", median(opened["compacted"] if opened else [], "p50"), 100, " ms")
    bars.at_most(f"{CHANGES:,} changes: not as they were left", opened and opened["lost"], 0)
