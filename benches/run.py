"""Measures collabd beside other relays on this machine and prints the table and the bars it has to meet.

Sets itself up: builds collabd, the load generator and the relays, installs websockets and ws into .deps.
`--repetitions 1` is a third of the time and good for a first look.
"""

import argparse
import contextlib
import http.client
import json
import math
import os
import platform
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or REPO / "target").resolve()
BENCH_TARGET = TARGET / "benches"
COLLABD = str(Path(os.environ.get("COLLABD_BIN") or TARGET / "release" / "collabd").resolve())
LOAD = str(BENCH_TARGET / "release" / "load")

LISTEN = ["--host", "127.0.0.1", "--port", "0"]
SERVERS = {
    "floor": [str(BENCH_TARGET / "release" / "floor")],
    "floor, batching": [str(BENCH_TARGET / "release" / "floor"), "batching"],
    "Python websockets": [str(REPO / ".deps/venv/bin/python"), str(HERE / "relays/relay.py")],
    "Node ws": ["node", str(HERE / "relays/relay.mjs"), str(REPO / ".deps/node")],
    "tokio-tungstenite": [str(BENCH_TARGET / "release" / "tungstenite")],
    "collabd --writer-threads": [COLLABD, *LISTEN, "--writer-threads"],
    "collabd": [COLLABD, *LISTEN],
}

COMMAND = {"kind": "command", "size": 300}
# The table's columns: what the load generator is told.
COLUMNS = {
    "10 clients": ("relay", {**COMMAND, "sessions": 1, "clients": 10, "senders": 1, "rate": 1000, "seconds": 1}),
    "50 x 10": (
        "relay",
        {"kind": "cursor", "size": 120, "sessions": 50, "clients": 10, "senders": 10, "rate": 10000, "seconds": 1},
    ),
    "1,000 clients": ("relay", {**COMMAND, "sessions": 1, "clients": 1000, "senders": 1, "rate": 20, "seconds": 1}),
    "495,000/s": ("relay", {**COMMAND, "sessions": 1, "clients": 100, "senders": 5, "rate": 5000, "seconds": 1}),
    "window 1": ("window", {**COMMAND, "sessions": 1, "clients": 100, "senders": 1, "seconds": 0.5}),
}
# What a server can't do at all, or not at the full rate.
SLOW = {"50 x 10": {"rate": 3333}, "495,000/s": None, "window 1": None}
# Small enough that the clients who don't read reach their bound within the run. The items are as large as the
# editor's, for the same reason.
READERS = {"kind": "command", "size": 800, "sessions": 1, "clients": 100, "senders": 1, "rate": 2000, "seconds": 4}
SMALL_QUEUE = {"--queue-bytes": 512 << 10, "--max-document-bytes": 256 << 10}
NOT_READING = 10
# Clients that join one after the other while so many connections never finish their request.
JOINS = 1500
ATTACKERS = 1000
# A hundred times as often as Prometheus would: every so many seconds.
SCRAPES = 0.05
# What is measured with a scraper and without.
SCRAPED = ("50 x 10", "1,000 clients")
PER_SESSION = 20  # idle connections
# A run of the load generator is over by then, or it hangs.
LONGEST = 60
FAULTS = ("skipped", "repeated", "leaked", "misshapen")


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
    scraped, took = measure_scrapes(repetitions)
    bars = Bars()
    judge(bars, table, idle, readers)
    for figure in ("p50", "p99"):
        slower = ratio(attacked[ATTACKERS], attacked[0], figure)
        bars.at_most(f"{ATTACKERS:,} slow handshakes: join {figure}, x that without", slower, 2)
    judge_scrapes(bars, scraped, took)
    now = time.monotonic()
    print(f"\n{bars.met} of {bars.all} bars met; set up in {measured - begun:.0f} s, measured in {now - measured:.0f} s")
    return 0 if faults([table, idle, storm, readers, scraped]) == 0 else 1


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


class Server:
    """A server process on a port of the loopback that it has chosen itself."""

    def __init__(self, name, *options):
        self.is_collabd = name.startswith("collabd")
        self.process = subprocess.Popen(
            [*SERVERS[name], *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.addr = None
        self.listens = threading.Event()
        threading.Thread(target=self.read, daemon=True).start()
        if not self.listens.wait(20) or not self.addr:
            self.stop()
            raise RuntimeError(f"{name} does not start")

    def read(self):
        for line in self.process.stdout:
            found = re.search(r"listening on (\S+:\d+)", line)
            if found and not self.addr:
                self.addr = found[1]
                self.listens.set()
        self.listens.set()

    def load(self, workload, parameters):
        """Runs the load generator against it and returns what it reports."""
        words = {"addr": self.addr, "pid": self.process.pid, **parameters}
        if self.is_collabd:
            words["protocol"] = "session"
        command = [LOAD, workload, *(f"{name}={value}" for name, value in words.items())]
        run = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST, check=False)
        if run.returncode != 0:
            raise RuntimeError(run.stderr.strip() or f"the load generator ended with {run.returncode}")
        return json.loads(run.stdout)

    def stop(self):
        # Nothing is measured any more: no farewell to its clients.
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def measure(server, workload, parameters, *options):
    """One workload on a fresh server. None where it didn't survive, with a line that says so."""
    try:
        with Server(server, *options) as running:
            return running.load(workload, parameters)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        progress("")
        print(f"{server}, {workload}: {error}")
        return None


def measure_table(repetitions):
    """{column: {server: [report, …]}}; in each repetition all servers have their turn in each column."""
    table = {column: {server: [] for server in SERVERS} for column in COLUMNS}
    for repetition in range(repetitions):
        for column, (workload, parameters) in COLUMNS.items():
            for server in SERVERS:
                changes = SLOW.get(column, {}) if server == "Python websockets" else {}
                # One look is enough at what is not judged.
                if changes is None or (repetition > 0 and server == "collabd --writer-threads"):
                    continue
                progress(f"{repetition + 1}/{repetitions} {column}: {server}")
                report = measure(server, workload, {**parameters, **changes})
                if report:
                    table[column][server].append(report)
    progress("")
    return table


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def median(reports, field):
    """The median of a field; None where nothing was measured."""
    values = [report[field] for report in reports if report]
    return statistics.median(values) if values else None


def arrived(reports):
    """The smallest share of the messages that arrived in time."""
    return min((report["delivered"] / max(1, report["expected"]) for report in reports), default=0)


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


class Scraper:
    """Asks for /metrics over and over on one connection, and notes how long each answer takes."""

    def __init__(self, addr):
        self.connection = http.client.HTTPConnection(addr, timeout=LONGEST)
        self.took = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        # The last one of them may meet a server that is being killed.
        with contextlib.suppress(OSError, http.client.HTTPException):
            while not self.ended.wait(SCRAPES):
                begun = time.perf_counter()
                self.connection.request("GET", "/metrics")
                text = self.connection.getresponse().read()
                self.took.append(time.perf_counter() - begun)
                if b"\ncollabd_store_waiting_bytes " not in text:
                    raise RuntimeError(f"not all of /metrics: {text[-200:]}")

    def stop(self):
        self.ended.set()
        self.thread.join()
        self.connection.close()
        return self.took


def measure_scrapes(repetitions):
    """The same load with somebody who reads /metrics all the time and without."""
    scraped = {column: {False: [], True: []} for column in SCRAPED}
    took = {column: [] for column in SCRAPED}
    for repetition in range(repetitions):
        for column in SCRAPED:
            workload, parameters = COLUMNS[column]
            # Long enough for a hundred scrapes.
            parameters = {**parameters, "seconds": 6}
            # Each first in turn.
            for is_scraped in (False, True) if repetition % 2 == 0 else (True, False):
                progress(f"{repetition + 1}/{repetitions} {column}: {'' if is_scraped else 'not '}scraped")
                with Server("collabd") as running:
                    scraper = Scraper(running.addr) if is_scraped else None
                    try:
                        scraped[column][is_scraped].append(running.load(workload, parameters))
                    finally:
                        if scraper:
                            took[column] += scraper.stop()
    progress("")
    print(f"\n/metrics every {SCRAPES * 1000:g} ms: p50/p99 of a delivery and processor time without, with, x; p99 of an answer")
    for column, reports in scraped.items():
        without, with_it = (
            f"{median(reports[way], 'p50'):.3f} /{median(reports[way], 'p99'):.3f} ms {median(reports[way], 'cpu_us'):.2f} µs"
            for way in (False, True)
        )
        times = " /".join(f"{ratio(reports[True], reports[False], field):.2f}" for field in ("p50", "p99", "cpu_us"))
        slowest = percentile(took[column], 99) * 1000
        print(f"  {column:14} {without}, {with_it}, x {times}; {slowest:.2f} ms of {len(took[column])}")
    return scraped, took


def percentile(values, percent):
    """The smallest value that so many percent are not above."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)] if values else math.inf


def judge_scrapes(bars, scraped, took):
    for column in SCRAPED:
        ways = scraped[column]
        bars.at_most(f"{column}, scraped: p99, x that without", ratio(ways[True], ways[False], "p99"), 1.15)
        slowest = percentile(took[column], 99) * 1000
        bars.at_most(f"{column}: /metrics, p99", slowest, 50, " ms")


class Bars:
    """What has to be reached: prints a line for each."""

    def __init__(self):
        self.all = self.met = 0
        print("\nbars")

    def at_most(self, what, figure, limit, unit=""):
        self.line(what, figure, f"at most {limit:g}{unit}", figure is not None and figure <= limit, unit)

    def at_least(self, what, figure, limit, unit=""):
        self.line(what, figure, f"at least {limit:,g}{unit}", figure is not None and figure >= limit, unit)

    def line(self, what, figure, bar, is_met, unit=""):
        self.all += 1
        self.met += bool(is_met)
        text = "not measured" if figure is None else f"{figure:,.4g}{unit}" if figure < 1000 else f"{figure:,.0f}{unit}"
        print(f"  {what:52} {text:>14}  {bar:16} {'met' if is_met else 'NOT MET'}")


def ratio(reports, others, field):
    """How a field's medians compare; None where one is missing."""
    figure, other = median(reports, field), median(others, field)
    return figure / other if figure is not None and other else None


def faults(reports):
    """Everything that was lost, repeated, out of order, in the wrong session or of the wrong size."""
    if isinstance(reports, dict):
        if "p50" in reports:
            return sum(reports.get(fault, 0) for fault in FAULTS)
        return faults(list(reports.values()))
    return sum(faults(report) for report in reports or [])


def judge(bars, table, idle, readers):
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
        if workload != "relay":
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
    ]
    lost = sum(report["expected"] - report["delivered"] for reports in ours for report in reports)
    bars.at_most("lost, everywhere", lost, 0)
    bars.at_most("reordered, repeated, leaked, misshapen, everywhere", faults(ours), 0)


if __name__ == "__main__":
    sys.exit(main())
