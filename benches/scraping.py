"""What somebody who reads /metrics all the time costs the others, and how long the answers take."""

import contextlib
import http.client
import math
import threading
import time

from figures import median, ratio
from servers import LONGEST, PLAIN, Server, progress

# A thousand times as often as Prometheus would: every so many seconds, for so many, which makes a hundred answers.
SCRAPES = 0.01
SECONDS = 1
# What is measured with a scraper and without.
SCRAPED = ("50 x 10", "1,000 clients")


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


def measure_scrapes(columns, repetitions):
    """The same load with somebody who reads /metrics all the time and without."""
    scraped = {column: {False: [], True: []} for column in SCRAPED}
    took = {column: [] for column in SCRAPED}
    for repetition in range(repetitions):
        for column in SCRAPED:
            workload, parameters = columns[column]
            parameters = {**parameters, "seconds": SECONDS}
            # Each first in turn.
            for is_scraped in (False, True) if repetition % 2 == 0 else (True, False):
                progress(f"{repetition + 1}/{repetitions} {column}: {'' if is_scraped else 'not '}scraped")
                with Server(PLAIN) as running:
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


def judge(bars, scraped, took):
    for column in SCRAPED:
        ways = scraped[column]
        bars.at_most(f"{column}, scraped: p99, x that without", ratio(ways[True], ways[False], "p99"), 1.15)
        slowest = percentile(took[column], 99) * 1000
        bars.at_most(f"{column}: /metrics, p99", slowest, 50, " ms")
