"""What the server says of itself, read by those it is for: promtool, a client that keeps its connection, a browser's cache."""

import http.client
import json
import re
import subprocess
import threading

import record
import story
from front_end import FrontEnd
from plain import UPGRADE, plain
from script import Room, item_data
from server import Server
from story import expect, expect_equal, until


def check(text):
    """What promtool finds wrong with it has to be nothing."""
    found = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    expect_equal((found.returncode, found.stdout + found.stderr), (0, ""), "promtool check metrics")


def samples(text):
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def scrape(server):
    answer = plain(server, "GET", "/metrics")
    expect_equal(answer.status, 200, "status of /metrics")
    expect_equal(answer.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8", "its type")
    return answer.body


class Kept:
    """One connection on which one page after the other is asked for."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=story.DEADLINE)

    def ask(self, path, method="GET", **headers):
        before = self.connection.sock
        self.connection.request(method, path, headers={name.replace("_", "-"): v for name, v in headers.items()})
        response = self.connection.getresponse()
        body = response.read().decode()
        expect(before in (None, self.connection.sock), "still the same connection")
        # The page says the same to everybody, words of the protocol among it.
        if response.headers.get_content_type() != "text/html":
            record.heard(body)
        return response, body

    def close(self):
        self.connection.close()


@story.story("promtool finds nothing wrong with a server that has just started")
def idle(stage):
    text = scrape(stage.own(Server()))
    check(text)
    expect(samples(text)["collabd_connections_accepted_total"] >= 1, "the scrape itself is a connection")


@story.story("promtool finds nothing wrong with one that stores sessions")
def durable(stage):
    room = Room(stage, "--data-dir", stage.folder())
    ann = room.join("ann")
    ann.command("add_item", "lens", item_data("lens"), id="last")
    ann.expect("message_delivered", id="last")
    check(scrape(room.server))
    found = until(
        lambda: (s := samples(scrape(room.server)))["collabd_store_waiting_bytes"] == 0 and s, "all is written", every=0.05
    )
    expect_equal((found["collabd_store_configured"], found["collabd_durable"]), (1, 1), "durable")
    expect(found["collabd_store_commit_seconds_count"] >= 1, "a transaction")
    sizes = [found[f'collabd_database_bytes{{file="{file}"}}'] for file in ("database", "wal")]
    expect(min(sizes) > 0, f"the size of the database and of its journal: {sizes}")
    expect_equal(json.loads(plain(room.server, "GET", "/api/server").body)["durable"], True, "durable")


@story.story("nor under load, while people come, talk, are refused and leave; and what only grows never shrinks")
def loaded(stage):
    room = Room(stage, "--dev-keys")
    scripts = [room.join(f"script {number}") for number in range(6)]
    front_end = stage.own(FrontEnd(room.server, "ui")).authenticate("development")
    front_end.join("table")
    done = threading.Event()

    def talk(script):
        number = 0
        while not done.is_set():
            number += 1
            script.command("update_item", "lens", item_data("lens", x_mm=number))
            script.send({"type": "cursor", "x": number})
            script.send({"type": "ping"})
            if number % 50 == 0:
                script.round_trip()

    talking = [threading.Thread(target=talk, args=(script,)) for script in scripts]
    scripts[0].command("add_item", "lens", item_data("lens"))
    for thread in talking:
        thread.start()
    try:
        kept = stage.own(Kept(room.server))
        last = {}
        for number in range(25):
            plain(room.server, "GET", "/nowhere", UPGRADE)
            guest = room.join(f"guest {number}")
            response, text = kept.ask("/metrics")
            expect_equal(response.status, 200, "status")
            guest.close()
            check(text)
            now = samples(text)
            for name, value in last.items():
                grows = re.search(r"_(total|bucket|sum|count)(\{|$)", name)
                expect(not grows or now[name] >= value, f"{name} was {value} and is {now[name]}")
            last = now
    finally:
        done.set()
        for thread in talking:
            thread.join()
    expect_equal(last['collabd_requests_refused_total{reason="not_found"}'], 25, "refused")
    expect_equal(last['collabd_connections{kind="client"}'], 1, "front ends")
    expect(last['collabd_messages_received_total{type="command"}'] > 100, "commands")
    expect(last['collabd_messages_sent_total{type="cursor"}'] > last['collabd_messages_received_total{type="cursor"}'], "fan-out")
    buckets = [value for name, value in last.items() if name.startswith("collabd_fanout_latency_seconds_bucket")]
    expect(buckets == sorted(buckets) and buckets[-1] > 100, f"a histogram: {buckets}")
    expect_equal(last["collabd_panics_total"], 0, "bugs")


@story.story("one connection asks for page after page, and for nothing it has already")
def pages(stage):
    server = stage.own(Server())
    kept = stage.own(Kept(server))
    page, html = kept.ask("/")
    expect_equal((page.status, page.headers["Content-Type"]), (200, "text/html; charset=utf-8"), "the live page")
    head, nothing = kept.ask("/", "HEAD")
    expect_equal((head.status, head.headers["Content-Length"], nothing), (200, str(len(html.encode())), ""), "HEAD")
    same, nothing = kept.ask("/", If_None_Match=page.headers["ETag"])
    expect_equal((same.status, nothing), (304, ""), "what it has already")
    for _ in range(100):
        about = json.loads(kept.ask("/api/server")[1])
        expect(about["healthy"] and about["connections"]["open"] >= 1, f"a healthy server: {about}")
        expect_equal(kept.ask("/healthz")[1], "ok\n", "health")
    mine = json.loads(kept.ask("/api/connections")[1])["connections"]
    expect_equal([(one["kind"], one["state"]) for one in mine], [("page", "good")], "the only connection")


if __name__ == "__main__":
    story.main()
