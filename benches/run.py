"""Measures collabd beside other relays on this machine and prints the table and the bars it has to meet.

Sets itself up: builds collabd, the load generator and the relays, installs websockets and ws into .deps.
`--repetitions 1` is a third of the time and good for a first look.
"""

import argparse
import os
import platform
import re
import resource
import subprocess
import sys
import time

import durable
import scraping
import waiting
from figures import Bars, arrived, faults, median, ratio
from servers import BENCH_TARGET, DURABLE, HERE, PLAIN, REPO, SERVERS, measure, progress

COMMAND = {"kind": "command", "size": 300}
# The table's columns: what the load generator is told.
COLUMNS = {
    "10 clients": ("relay", {**COMMAND, "sessions": 1, "clients": 10, "senders": 1, "rate": 1000, "seconds": 1}),
    "50 x 10": (
        "relay",
        {"kind": "cursor", "size": 120, "sessions": 50, "clients": 10, "senders": 10, "rate": 10000, "seconds": 1},
    ),
    # As an editor says it: in a drag everything is a change.
    "50 x 10, all drag": (
        "relay",
        {"kind": "command", "size": 500, "sessions": 50, "clients": 10, "senders": 10, "rate": 10000, "seconds": 1},
    ),
    "1,000 clients": ("relay", {**COMMAND, "sessions": 1, "clients": 1000, "senders": 1, "rate": 20, "seconds": 1}),
    "495,000/s": ("relay", {**COMMAND, "sessions": 1, "clients": 100, "senders": 5, "rate": 5000, "seconds": 1}),
    "window 1": ("window", {**COMMAND, "sessions": 1, "clients": 100, "senders": 1, "seconds": 0.5}),
}
# What a server can't do at all, or not at the full rate.
SLOW = {"50 x 10": {"rate": 3333}, "495,000/s": None, "window 1": None}
# A column that says what storing costs is not the others'.
ONLY = {"50 x 10, all drag": (PLAIN, DURABLE)}
# One look is enough at what is not judged, and at those whom a column is far too much for: it takes them seconds.
ONCE = {"Python websockets", "collabd --writer-threads"}
FLOODED = {"495,000/s": {"floor", "Node ws", DURABLE}, "window 1": {DURABLE}}
# Small enough that the clients who don't read reach their bound within the run. The items are as large as the
# editor's, for the same reason.
READERS = {"kind": "command", "size": 800, "sessions": 1, "clients": 100, "senders": 1, "rate": 2000, "seconds": 4}
SMALL_QUEUE = {"--queue-bytes": 512 << 10, "--max-document-bytes": 256 << 10}
NOT_READING = 10
# Clients that join one after the other while so many connections never finish their request.
JOINS = 1500
ATTACKERS = 1000
PER_SESSION = 20  # idle connections
# Somebody who works before a hundred others, who are members or viewers.
WATCHED = {**COMMAND, "sessions": 1, "clients": 101, "senders": 1, "rate": 500, "seconds": 1}


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--repetitions", type=int, default=3, metavar="N", help="medians of so many (default 3)")
    repetitions = max(1, options.parse_args().repetitions)
    begun = time.monotonic()
    set_up()
    measured = time.monotonic()
    describe_machine(repetitions)
    table = measure_table(repetitions)
    print_table(table)
    idle = measure_idle(repetitions)
    storm = measure_storm()
    readers = measure_readers(repetitions)
    attacked = measure_attack(repetitions)
    watched = measure_viewers(repetitions)
    confirmations = durable.measure_confirmations(repetitions)
    opened = durable.measure_opening()
    scraped, took = scraping.measure_scrapes(COLUMNS, repetitions)
    waited = waiting.measure_waiting(repetitions, is_quick=True)
    waiting.print_waiting(waited)
    bars = Bars()
    judge(bars, table, idle, readers, confirmations)
    for figure in ("p50", "p99"):
        slower = ratio(attacked[ATTACKERS], attacked[0], figure)
        bars.at_most(f"{ATTACKERS:,} slow handshakes: join {figure}, x that without", slower, 2)
    seen = ratio(watched["viewers"], watched["members"], "cpu_us")
    bars.at_most("100 viewers: processor time, x 100 members", seen and round(seen, 2), 1)
    durable.judge(bars, table, confirmations, opened)
    scraping.judge(bars, scraped, took)
    waiting.judge(bars, waited)
    now = time.monotonic()
    print(f"\n{bars.met} of {bars.all} bars met; set up in {measured - begun:.0f} s, measured in {now - measured:.0f} s")
    return 0 if faults([table, idle, storm, readers, confirmations, scraped, watched]) == 0 else 1


def set_up():
    """Builds and installs what is missing; each server inherits the number of files it may open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < 16_000:
        print(f"only {hard} files may be open: the workloads with more connections will fail")
    cargo = os.environ.get("CARGO", "cargo")
    if "COLLABD_BIN" not in os.environ:
        subprocess.run([cargo, "build", "--release", "--quiet"], cwd=REPO, check=True)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BENCH_TARGET)}
    subprocess.run([cargo, "build", "--release", "--quiet"], cwd=HERE, env=environment, check=True)
    has_websockets = [SERVERS["Python websockets"][0], "-c", "import websockets"]
    try:
        installed = subprocess.run(has_websockets, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        installed = False
    if not installed or not (REPO / ".deps/node/node_modules/ws").exists():
        subprocess.run(["bash", str(REPO / "tests/outside/setup.sh")], check=True)
    durable.set_up()


def describe_machine(repetitions):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = re.findall(r"model name\s*: (.*)", file.read())
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    python = subprocess.run([SERVERS["Python websockets"][0], "--version"], capture_output=True, text=True, check=True)
    load = os.getloadavg()[0]
    print(f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    print(f"{python.stdout.strip()}, Node {node}; load average {load:.1f} before the run; medians of {repetitions}")
    if load > 0.5:
        print("something else is running here: expect noise, above all in the latencies")


def measure_table(repetitions):
    """{column: {server: [report, …]}}; in each repetition all servers have their turn in each column."""
    table = {column: {server: [] for server in SERVERS} for column in COLUMNS}
    for repetition in range(repetitions):
        for column, (workload, parameters) in COLUMNS.items():
            once = ONCE | FLOODED.get(column, set())
            for server in ONLY.get(column, SERVERS):
                changes = SLOW.get(column, {}) if server == "Python websockets" else {}
                if changes is None or (repetition > 0 and server in once):
                    continue
                progress(f"{repetition + 1}/{repetitions} {column}: {server}")
                report = measure(server, workload, {**parameters, **changes})
                if report:
                    table[column][server].append(report)
    progress("")
    return table


def print_table(table):
    """µs of processor time for a delivery and its ratios, p50/p99 in ms, round trips a second."""
    print("\nprocessor time of the server for a delivery in µs (x floor, x tokio-tungstenite, x Node), p50/p99 in ms")
    for column, (workload, _) in COLUMNS.items():
        print(f"\n{column}")
        field = "rounds" if workload == "window" else "cpu_us"
        base = {name: median(table[column][name], field) for name in ("floor", "tokio-tungstenite", "Node ws")}
        for server in SERVERS:
            reports = table[column][server]
            if not reports:
                continue
            figure = median(reports, field)
            ratios = ", ".join(f"{figure / value:.2f}" if value else "-" for value in base.values())
            what = "round trips/s" if workload == "window" else "µs"
            notes = []
            if server == DURABLE:
                notes.append(durable.beside(reports, table[column][PLAIN], field))
            if server == "Python websockets" and SLOW.get(column):
                notes.append("at a third of the load")
            if arrived(reports) < 1:
                notes.append(f"only {arrived(reports):.0%} arrived in time")
            elif median(reports, "p50") > 100:
                notes.append("falls behind")
            latency = f"{median(reports, 'p50'):8.3f} /{median(reports, 'p99'):8.3f}"
            print(f"  {server:24} {figure:8.2f} {what} ({ratios:16}) {latency}  {', '.join(notes)}".rstrip())


def idle_parameters(connections, **more):
    per_session = min(PER_SESSION, connections)
    return {"sessions": connections // per_session, "clients": per_session, "seconds": 1, "pinging": 1, **more}


def measure_idle(repetitions):
    """Connections that say nothing."""
    print("\nidle connections: threads and RSS of each, share of a core, ping p50/p99 in ms, joined in")
    idle = {}
    for server in ("floor", "Python websockets", "Node ws", "tokio-tungstenite"):
        idle[server] = [measure(server, "idle", idle_parameters(5000))]
        print_idle(f"{server}, 5,000", idle[server])
    for connections, options, more in (
        (10, [], {}),
        (5000, [], {}),
        (10_000, [], {"over": 1, "seconds": 3}),
        (15_000, ["--max-connections", "15000"], {}),
    ):
        # The pings' p99 is judged at the first and the third.
        times = repetitions if connections in (10, 10_000) else 1
        more = {**more, "pinging": 2} if connections == 10_000 else more
        reports = [measure("collabd", "idle", idle_parameters(connections, **more), *options) for _ in range(times)]
        idle[connections] = reports
        print_idle(f"collabd, {connections:,}", reports)
    return idle


def print_idle(what, reports):
    progress("")
    reports = [report for report in reports if report]
    if not reports:
        return
    threads, rss, cpu, p50, p99, joined = (
        median(reports, field) for field in ("threads_each", "rss_each_kib", "idle_cpu", "p50", "p99", "join_seconds")
    )
    print(f"  {what:26} {threads:5.2f} {rss:7.1f} KiB {cpu:8.3%} {p50:8.3f} /{p99:7.3f} {joined:7.2f} s")


def measure_storm():
    storm = measure("collabd", "storm", {"clients": 1000, "state": 100_000})
    if storm:
        print(
            f"\njoin storm: {storm['ready']} of 1,000 clients have their 100 kB state after {storm['join_seconds']:.2f} s"
            f" (p50/p99 {storm['p50']:.0f}/{storm['p99']:.0f} ms), {storm['megabytes']:.0f} MB sent,"
            f" {storm['cpu_seconds']:.2f} s of processor time, at most {storm['peak_kib'] / 1024:.0f} MiB"
        )
    return storm


def measure_readers(repetitions):
    """100 clients of whom 10 stop reading: what the others notice."""
    options = [str(word) for pair in SMALL_QUEUE.items() for word in pair]
    readers = {0: [], NOT_READING: []}
    for _ in range(repetitions):
        for silent in readers:
            report = measure("collabd", "relay", {**READERS, "silent": silent}, *options)
            if report:
                readers[silent].append(report)
    print("\n100 clients, 2,000 msg/s: the others' p50/p99/longest in ms, the server's largest RSS")
    for silent, reports in readers.items():
        if reports:
            figures = " /".join(f"{median(reports, field):8.3f}" for field in ("p50", "p99", "max"))
            told = f", {median(reports, 'told_too_slow'):.0f} closed as too slow" if silent else ""
            print(f"  {silent:2} don't read {figures}  {median(reports, 'peak_kib') / 1024:.1f} MiB{told}")
    return readers


def measure_attack(repetitions):
    """Joining while others hold up the door."""
    attacked = {0: [], ATTACKERS: []}
    for _ in range(repetitions):
        for attackers in attacked:
            report = measure("collabd", "joins", {"joins": JOINS, "attackers": attackers})
            if report:
                attacked[attackers].append(report)
    print("\nclients that join one after the other: p50/p99 in ms until they have their state")
    for attackers, reports in attacked.items():
        if reports:
            figures = " /".join(f"{median(reports, field):8.3f}" for field in ("p50", "p99"))
            print(f"  {attackers:5,} slow handshakes {figures}  {median(reports, 'ready'):,.0f} joined")
    return attacked


def measure_viewers(repetitions):
    """A hundred who look on: as members, and as viewers."""
    watched = {"members": [], "viewers": []}
    for repetition in range(repetitions):
        # Each first in turn.
        for viewing, reports in list(enumerate(watched.values()))[:: 1 if repetition % 2 == 0 else -1]:
            report = measure(PLAIN, "relay", {**WATCHED, "viewing": viewing})
            if report:
                reports.append(report)
    print("\none who works and 100 who look on, 500 msg/s: processor time for a delivery in µs, p50/p99 in ms")
    for who, reports in watched.items():
        if reports:
            cpu, p50, p99 = (median(reports, field) for field in ("cpu_us", "p50", "p99"))
            print(f"  {who:8} {cpu:6.2f} {p50:8.3f} /{p99:8.3f}")
    return watched


def judge(bars, table, idle, readers, confirmations):
    for column, limit in {"10 clients": 1.6, "50 x 10": 1.5, "1,000 clients": 1.15}.items():
        ours = table[column]["collabd"]
        bars.at_most(f"{column}: processor time, x floor", ratio(ours, table[column]["floor"], "cpu_us"), limit)
        peer = ratio(ours, table[column]["tokio-tungstenite"], "cpu_us")
        bars.at_most(f"{column}: processor time, x tokio-tungstenite", peer, 1)
        bars.at_most(f"{column}: processor time, x Node ws", ratio(ours, table[column]["Node ws"], "cpu_us"), 0.667)
    flood = table["495,000/s"]
    bars.at_least("495,000/s: arrived", arrived(flood["collabd"]) * 100, 100, " %")
    batching = ratio(flood["collabd"], flood["floor, batching"], "p99")
    bars.at_most("495,000/s: p99, x batching floor", batching, 2)
    rounds = table["window 1"]
    bars.at_least("window 1: round trips, x floor", ratio(rounds["collabd"], rounds["floor"], "rounds"), 0.85)
    for column, (workload, _) in COLUMNS.items():
        if workload != "relay" or column in ONLY:
            continue
        # The plain floor doesn't reach 495,000/s.
        floor = "floor, batching" if column == "495,000/s" else "floor"
        ours = table[column]["collabd"]
        bars.at_most(f"{column}: p50, x {floor}", ratio(ours, table[column][floor], "p50"), 1.4)
        bars.at_most(f"{column}: p99, x Node ws", ratio(ours, table[column]["Node ws"], "p99"), 1)
    many = [report for report in idle[10_000] if report]
    bars.at_most("10,000 idle: RSS of each", median(many, "rss_each_kib"), 24, " KiB")
    bars.at_most("10,000 idle: threads of each", median(many, "threads_each"), 1)
    bars.at_most("10,000 idle: ping p99, x that with 10", ratio(idle[10_000], idle[10], "p99"), 3)
    # Less than the kernel's own bookkeeping can tell from nothing.
    cpu = median(many, "idle_cpu")
    bars.at_most("10,000 idle: share of a core", None if cpu is None else cpu * 100, 0.1, " %")
    over = median(many, "over")
    bars.line("10,000 idle: the next one is answered", over, "503", over == 503)
    most = [report["connections"] for report in idle[15_000] if report and not report["closed"]]
    bars.at_least("with the limit raised: connections", most[0] if most else None, 15_000)
    bars.at_most("10 don't read: p99, x that without them", ratio(readers[NOT_READING], readers[0], "p99"), 1.5)
    with_them, without = (median(readers[silent], "peak_kib") for silent in (NOT_READING, 0))
    grown = None if with_them is None or without is None else max(0, with_them - without) / 1024
    # A client is closed at twice its bound.
    bound = NOT_READING * 2 * SMALL_QUEUE["--queue-bytes"] / (1 << 20)
    bars.at_most("10 don't read: RSS on top", grown, bound, " MiB")
    ours = [
        *(table[column][server] for column in table for server in SERVERS if server.startswith("collabd")),
        *readers.values(),
        *confirmations.values(),
    ]
    lost = sum(report["expected"] - report["delivered"] for reports in ours for report in reports)
    bars.at_most("lost, everywhere", lost, 0)
    bars.at_most("reordered, repeated, leaked, misshapen, everywhere", faults(ours), 0)


if __name__ == "__main__":
    sys.exit(main())
