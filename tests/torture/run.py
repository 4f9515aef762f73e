"""Kills the server again and again while people work, and looks whether anything that was confirmed is lost.

`run.py [KILLS]`: in each round a server with a data directory is started on what the last one left, twenty clients in
two sessions change items and have that confirmed, and at a random moment the server is killed (SIGKILL). Then:

- every change that was confirmed is there, and sending it again applies nothing;
- what is there is, change by change, what every client saw, up to where the disk had got;
- epoch and seq go on;
- clients that come back with what they knew last show what clients that come fresh are shown.

SEED=N plays a run again, as far as the machine does.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import websockets

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "outside"))
from binary import BINARY

SESSIONS = ("table", "bench")
CLIENTS = 10  # in each session
ITEMS = 12  # that they fight over
# How many numbers are reserved at a time (src/store/reserve.rs).
BLOCK = 10_000_000
# All of it, so that a look at it shows everything.
HISTORY = ("--history-changes", "1000000", "--history-bytes", "1GiB")
PATIENCE = 20  # seconds, after which a server that says nothing is broken


class Lost(Exception):
    """Something is not as it was promised."""


def expect(true, what):
    if not true:
        raise Lost(what)


class Server:
    def __init__(self, directory):
        self.process = subprocess.Popen(
            [BINARY, "--host", "127.0.0.1", "--port", "0", "--linger", "3600", *HISTORY, "--data-dir", directory],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for line in self.process.stdout:
            if found := re.search(r"listening on (\S+:\d+)", line):
                self.url = f"ws://{found[1]}"
                return
        raise Lost("the server does not start on what is there")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Canvas:
    """What a client shows: changes applied in order, as docs/PROTOCOL.md has it."""

    def __init__(self, items=()):
        self.items = {item["uuid"]: dict(item) for item in items}

    def apply(self, command):
        item, data = command["item_id"], dict(command.get("data") or {})
        # An update has the whole item, with a type for editors beside.
        data.pop("_type", None)
        match command["action"]:
            case "add_item" if item not in self.items:
                self.items[item] = {**data, "uuid": item, "item_type": command["item_type"]}
            case "add_item" | "update_item" if item in self.items:
                self.items[item] = data if command["action"] == "update_item" else self.items[item] | data
            case "move_item" if item in self.items:
                self.items[item].update({key: data[key] for key in ("x_mm", "y_mm", "angle_deg") if key in data})
            case "remove_item":
                self.items.pop(item, None)


class Client:
    """Somebody who works, and remembers all it was told."""

    def __init__(self, session, user, luck):
        self.session, self.user, self.luck = session, user, luck
        self.epoch, self.seq = None, 0
        self.seen = {}  # seq: the change as it was relayed
        self.said = {}  # id: the message
        self.confirmed = {}  # id: the seq it was confirmed with
        self.number = 0
        self.socket = None

    async def join(self, url):
        self.socket = await websockets.connect(
            f"{url}/ws/{self.session}/{self.user}", compression=None, max_size=None, max_queue=None, ping_interval=None
        )
        ack = await self.next("connection:ack")
        return ack

    async def next(self, *kinds):
        """The next message of one of these types; what comes before it is noted."""
        while True:
            message = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE))
            self.note(message)
            if message["type"] in kinds:
                return message

    def note(self, message):
        if message["type"] == "message_delivered":
            self.confirmed[message["id"]] = message["seq"]
        elif message["type"] == "command" and "seq" in message:
            self.seen[message["seq"]] = message
            self.seq = max(self.seq, message["seq"])
        expect(message["type"] != "error", f"{self.user} was told {message}")

    def say(self):
        self.number += 1
        item = f"item-{self.luck.randrange(ITEMS)}"
        place = {"x_mm": self.luck.randrange(1000) / 10, "y_mm": self.luck.randrange(1000) / 10, "angle_deg": 0.0}
        action = self.luck.choice(["add_item", "update_item", "move_item", "move_item", "move_item", "remove_item"])
        data = {} if action == "remove_item" else {"uuid": item, "by": self.user, "n": self.number, **place}
        message = {
            "type": "command",
            "id": f"{self.user}-{self.number}-{self.luck.randrange(1 << 60):x}",
            "command": {"action": action, "item_type": "component", "item_id": item, "data": data},
        }
        self.said[message["id"]] = message
        return message

    async def work(self):
        """Changes this and that, a few things at a time, until the server is gone."""
        with contextlib.suppress(websockets.ConnectionClosed, ConnectionError):
            while True:
                for _ in range(self.luck.randrange(1, 6)):
                    await self.socket.send(json.dumps(self.say()))
                await self.next("message_delivered")


async def history_of(session, url):
    """All changes of a session in order, and the state, as somebody who comes fresh is told."""
    looker = Client(session, "looker", random.Random(0))
    ack = await looker.join(url)
    await looker.socket.send(json.dumps({"type": "sync:request", "epoch": ack["epoch"], "since": 0}))
    await looker.next("sync:done")
    # After a crash the block is skipped that was reserved where the numbers before it began.
    numbers, begins = [0, *sorted(looker.seen)], 0
    expect(numbers[-1] == ack["seq"], f"{session}: the history ends with {numbers[-1]}, and {ack['seq']} is the last change")
    for before, number in zip(numbers, numbers[1:]):
        expect(number == before + 1 or number >= begins + BLOCK, f"{session}: between {before} and {number} changes are missing")
        begins = begins if number == before + 1 else number
    fresh = Client(session, "fresh", random.Random(0))
    await fresh.join(url)
    await fresh.socket.send('{"type":"sync:request"}')
    state = await fresh.next("sync:state")
    await looker.socket.close()
    await fresh.socket.close()
    return ack["epoch"], ack["seq"], looker.seen, (state["state"] or {}).get("items", [])


def same(one, other):
    return {key: one[key] for key in ("command", "user_id", "seq")} == {key: other[key] for key in ("command", "user_id", "seq")}


async def look(session, clients, url, epochs):
    """Everything that was promised of one session."""
    epoch, seq, changes, items = await history_of(session, url)
    expect(epochs.setdefault(session, epoch) == epoch, f"{session}: the epoch has changed from {epochs[session]} to {epoch}")
    replayed = Canvas()
    for number in sorted(changes):
        replayed.apply(changes[number]["command"])
    expect(replayed.items == Canvas(items).items, f"{session}: the document is not what its changes make of it")
    newest = 0
    for client in clients:
        for number, change in client.seen.items():
            if number in changes:
                expect(same(change, changes[number]), f"{session}: change {number} is not the one {client.user} saw")
        for id, number in client.confirmed.items():
            newest = max(newest, number)
            expect(number <= seq, f"{session}: {client.user} has change {number} confirmed, and {seq} is the last there")
    # What was confirmed and sent again is confirmed again and changes nothing.
    for client in clients:
        if client.confirmed:
            id = client.luck.choice(list(client.confirmed))
            await client.join(url)
            await client.socket.send(json.dumps(client.said[id]))
            again = await client.next("message_delivered")
            expect(again["seq"] == client.confirmed[id] or again["seq"] <= seq, f"{session}: {id} was applied again")
            await client.socket.close()
    _, after, _, _ = await history_of(session, url)
    expect(after == seq, f"{session}: what was confirmed was applied again after change {seq}: the last is {after}")
    return len(changes)


class Watcher(Client):
    """Somebody who only looks, and whose canvas is what it was told."""

    def __init__(self, session, user):
        super().__init__(session, user, random.Random(0))
        self.canvas = Canvas()

    def note(self, message):
        super().note(message)
        if message["type"] == "command":
            self.canvas.apply(message["command"])
        elif message["type"] == "sync:state":
            self.canvas = Canvas((message["state"] or {}).get("items", []))
            self.seq = message["seq"]

    async def catch_up(self):
        """Asks for what it has missed. All that was said before the answer has arrived with it."""
        request = {"type": "sync:request"} | ({"epoch": self.epoch, "since": self.seq} if self.epoch else {})
        await self.socket.send(json.dumps(request))
        answer = await self.next("sync:done", "sync:state")
        self.epoch, self.seq = answer["epoch"], answer["seq"]

    async def watch(self):
        with contextlib.suppress(websockets.ConnectionClosed, ConnectionError):
            while True:
                self.note(json.loads(await self.socket.recv()))


async def come_back(session, watchers, url, luck):
    """Watchers who come back with what they knew, after others have gone on or not, show what is there."""
    for watcher in watchers:
        worker = Client(session, "worker", luck)
        await worker.join(url)
        for _ in range(luck.randrange(4)):
            await worker.socket.send(json.dumps(worker.say()))
            await worker.next("message_delivered")
        await worker.socket.close()
        ack = await watcher.join(url)
        if len(ack["users"]) > 1:
            # Somebody is still there, so that it is greeted with the state.
            await watcher.next("sync:state")
        await watcher.catch_up()
        epoch, seq, _, items = await history_of(session, url)
        expect((watcher.epoch, watcher.seq) == (epoch, seq), f"{session}: {watcher.user} is at {watcher.seq} of {seq}")
        expect(watcher.canvas.items == Canvas(items).items, f"{session}: {watcher.user} has another canvas than is there")
        await watcher.socket.close()


async def one_round(directory, epochs, everyone, watchers, luck):
    server = Server(directory)
    try:
        # All at once: the first who comes to a session has it loaded, and the others wait for that.
        await asyncio.gather(*(client.join(server.url) for client in everyone))
        for watcher in watchers:
            await watcher.join(server.url)
            await watcher.catch_up()
        working = [asyncio.create_task(client.work()) for client in everyone]
        watching = [asyncio.create_task(watcher.watch()) for watcher in watchers]
        enough = luck.randrange(1, 600)
        until = time.monotonic() + PATIENCE
        while sum(len(client.confirmed) for client in everyone) < enough:
            await asyncio.sleep(luck.random() / 100)
            for task in working:
                if task.done():
                    task.result()
            expect(time.monotonic() < until, "nothing is confirmed any more")
        server.kill()
        await asyncio.wait_for(asyncio.gather(*working, *watching), PATIENCE)
    finally:
        server.kill()
    server = Server(directory)
    try:
        changes = {}
        for session in SESSIONS:
            changes[session] = await look(session, of(session, everyone), server.url, epochs)
            await come_back(session, of(session, watchers), server.url, luck)
        return changes
    finally:
        server.kill()


def of(session, everyone):
    return [client for client in everyone if client.session == session]


def main():
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"seed {seed}")
    luck = random.Random(seed)
    begun, confirmed, failed = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="torture-") as directory:
        epochs = {}
        for kill in range(1, kills + 1):
            everyone = [
                Client(session, f"user-{kill}-{n}", random.Random(luck.randrange(1 << 60)))
                for session in SESSIONS
                for n in range(CLIENTS)
            ]
            watchers = [Watcher(session, f"watcher-{n}") for session in SESSIONS for n in range(3)]
            try:
                changes = asyncio.run(one_round(directory, epochs, everyone, watchers, luck))
            except Lost as lost:
                print(f"✗ kill {kill}: {lost}")
                failed += 1
                break
            confirmed += sum(len(client.confirmed) for client in everyone)
            # So that a look doesn't take longer and longer.
            if max(changes.values()) > 20_000:
                for file in Path(directory).iterdir():
                    file.unlink()
                epochs = {}
    print(f"{confirmed} changes were confirmed in {kills} lives of {time.monotonic() - begun:.0f} s in all")
    print(f"{kills - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
