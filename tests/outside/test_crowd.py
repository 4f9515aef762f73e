"""A thousand clients in a hundred channels, coming and going while they speak: who hears what, and in which order.

What is to be seen of the order: each channel has one member who stays from the beginning to the end, and whose copy of
what was said is the order all others are held to. Anybody else's stay has to be an unbroken piece of it. Where the
piece begins and ends is known as well as it can be known from outside: all of it happens in one program, so that one
counter tells what came before what. A message that was sent after a stay had been confirmed, and confirmed before its
end was asked for, belongs to it; one that was confirmed before the stay was asked for, or sent after its end had been
confirmed, does not.
"""

import asyncio
import itertools
import json
import random
import resource
from collections import defaultdict

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

import record
import story
from keyring import KeyRing
from server import Server
from story import expect, expect_equal

CLIENTS = 1000
CHANNELS = 100
STEPS = 12  # that a client takes: joining, leaving, speaking, dropping out and coming back
CONNECTING = 40  # at a time

CONTENT = "said in a crowd"


async def together(tasks):
    """Run them all at once; the first that fails ends the rest, and is what failed."""
    tasks = [asyncio.ensure_future(task) for task in tasks]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in pending:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def in_time(waiting, what):
    try:
        return await asyncio.wait_for(waiting, story.DEADLINE)
    except asyncio.TimeoutError:
        raise story.Failed(f"waited {story.DEADLINE:g} s for {what()}") from None


class Stay:
    """One membership, and what was heard in it. The ticks are of the program's one counter."""

    def __init__(self, who, channel, asked):
        self.who, self.channel = who, channel
        self.asked = asked  # when joining was sent
        self.joined = None  # when it had been confirmed
        self.leaving = None  # when leaving was sent, or the connection began to close
        self.left = None  # when it had been confirmed
        self.heard = []
        self.last = asyncio.Event()  # the last word of all has been heard


class Crowd:
    """What all of them share: the counter, and when each message was sent and confirmed."""

    def __init__(self, server, key):
        self.server, self.key = server, key
        self.ticks = itertools.count(1)
        self.sent = {}
        self.confirmed = {}
        self.stays = []
        self.faults = []
        self.doors = asyncio.Semaphore(CONNECTING)


class Visitor:
    """One client of the crowd: one connection at a time."""

    def __init__(self, crowd, number, rng):
        self.crowd, self.name, self.rng = crowd, f"visitor {number}", rng
        self.said = itertools.count()
        self.socket = None

    async def enter(self):
        async with self.crowd.doors:
            address = f"{self.crowd.server.url}/client_{self.name.replace(' ', '%20')}"
            self.socket = await connect(
                address, proxy=None, ping_interval=None, compression=None, open_timeout=story.DEADLINE,
                max_queue=None, close_timeout=story.DEADLINE,
            )
        self.stays = {}  # by channel, as far as this connection has been told
        self.answers = asyncio.Queue()
        self.pending = {}  # channel: the stay that has been asked for
        self.reader = asyncio.create_task(self.read())
        await self.answer("connection_established")
        data = {"api_key": self.crowd.key, "connection_type": "chat"}
        await self.socket.send(json.dumps({"type": "connect", "data": data}))
        await self.answer("connection_success")
        await self.answer("message_delivered")

    async def read(self):
        """Sort what comes: messages into the stay they are heard in, the rest to whoever waits for it."""
        try:
            async for text in self.socket:
                message = json.loads(text)
                kind = message["type"]
                if kind == "note":
                    stay = self.stays.get(message["channel"])
                    expect(stay, lambda: f"{self.name} heard {message} in a channel it was not in")
                    stay.heard.append((message["client_id"], message["id"]))
                    if message.get("last"):
                        stay.last.set()
                    continue
                tick = next(self.crowd.ticks)
                if kind == "subscription_success":
                    stay = self.pending.pop(message["channel"])
                    stay.joined = tick
                    self.stays[message["channel"]] = stay
                elif kind == "unsubscription_success":
                    self.stays.pop(message["channel"]).left = tick
                elif kind == "message_delivered" and message["data"]["original_type"] == "note":
                    self.crowd.confirmed[self.name, message["data"]["id"]] = tick
                self.answers.put_nowait(message)
            self.answers.put_nowait({"type": f"a close with {self.socket.close_code}"})
        except ConnectionClosed as closed:
            self.answers.put_nowait({"type": f"the end: {closed}"})
        except story.Failed as failure:
            self.crowd.faults.append(failure)
            self.answers.put_nowait({"type": f"what it must not: {failure}"})

    async def answer(self, kind):
        message = await in_time(self.answers.get(), lambda: f"{kind} at {self.name}")
        expect(message["type"] == kind, lambda: f"{self.name} waited for {kind} and got {message}")

    async def join(self, channel):
        stay = Stay(self.name, channel, next(self.crowd.ticks))
        self.crowd.stays.append(stay)
        self.pending[channel] = stay
        await self.socket.send(json.dumps({"type": "join_channel", "data": {"channel": channel}}))
        await self.answer("message_delivered")
        await self.answer("subscription_success")
        return stay

    async def leave(self, channel):
        self.stays[channel].leaving = next(self.crowd.ticks)
        await self.socket.send(json.dumps({"type": "leave_channel", "data": {"channel": channel}}))
        await self.answer("message_delivered")
        await self.answer("unsubscription_success")

    async def say(self, channel, **more):
        number = next(self.said)
        self.crowd.sent[self.name, number] = (channel, next(self.crowd.ticks))
        message = {"type": "note", "channel": channel, "id": number, "data": {"content": CONTENT}, **more}
        await self.socket.send(json.dumps(message))

    async def drop(self):
        """Go without leaving any channel, by a close or without a word."""
        tick = next(self.crowd.ticks)
        for stay in self.stays.values():
            stay.leaving = tick
        if self.rng.random() < 0.5:
            await self.socket.close()
        else:
            self.socket.transport.abort()
        await self.reader

    async def visit(self, channels):
        """Come, do this and that, and stay wherever it is in the end."""
        await self.enter()
        await self.join(self.rng.choice(channels))
        for _ in range(STEPS):
            what = self.rng.random()
            here, elsewhere = list(self.stays), [c for c in channels if c not in self.stays]
            if what < 0.55 and here:
                # Several at once: they may be on their way together, and so may everybody else's.
                count = self.rng.randint(1, 3)
                for _ in range(count):
                    await self.say(self.rng.choice(here))
                for _ in range(count):
                    await self.answer("message_delivered")
            elif what < 0.75 and elsewhere:
                await self.join(self.rng.choice(elsewhere))
            elif what < 0.95 and here:
                await self.leave(self.rng.choice(here))
            elif what >= 0.95:
                await self.drop()
                await self.enter()


class Anchor(Visitor):
    """The one member of a channel who stays, and says the last word."""

    async def arrive(self, channel):
        await self.enter()
        self.stay = await self.join(channel)

    async def last_word(self):
        await self.say(self.stay.channel, last=True)
        await self.answer("message_delivered")


async def come_and_go(crowd, rng):
    """Everybody's visit; returns the anchors' stays."""
    channels = [f"channel {number}" for number in range(CHANNELS)]
    anchors = [Anchor(crowd, f"who stays {n}", random.Random(rng.random())) for n in range(CHANNELS)]
    await together(anchor.arrive(channel) for anchor, channel in zip(anchors, channels))
    visitors = [Visitor(crowd, number, random.Random(rng.random())) for number in range(CLIENTS - CHANNELS)]
    # Each knows a few channels, so that it meets the same people again.
    places = [[channels[(number + step) % CHANNELS] for step in (0, 1, 7, 31)] for number in range(len(visitors))]
    await together(visitor.visit(known) for visitor, known in zip(visitors, places))
    # What is said last is heard behind all else by everybody who is still there.
    await together(anchor.last_word() for anchor in anchors)
    everybody = (*visitors, *anchors)
    for visitor in everybody:
        for stay in visitor.stays.values():
            await in_time(stay.last.wait(), lambda: f"the last word in {stay.channel} at {visitor.name}")
    for visitor in everybody:
        visitor.socket.transport.abort()
    await together(visitor.reader for visitor in everybody)
    return [anchor.stay for anchor in anchors]


def judge(crowd, anchors):
    """Hold every stay against the channel's order; returns how many there were, and how much was heard in them."""
    for fault in crowd.faults:
        raise fault
    orders = {stay.channel: stay.heard for stay in anchors}
    places = {}
    spoken = defaultdict(list)
    for key, (channel, sent) in crowd.sent.items():
        spoken[channel].append((key, sent, crowd.confirmed.get(key)))
    for channel, order in orders.items():
        places[channel] = {key: place for place, key in enumerate(order)}
        expect_equal(len(places[channel]), len(order), f"different messages in {channel}")
        expect_equal(set(order), {key for key, _, _ in spoken[channel]}, f"what was said and heard in {channel}")
        own = defaultdict(list)
        for who, number in order:
            own[who].append(number)
        for who, numbers in own.items():
            expect_equal(numbers, sorted(numbers), f"the order of what {who} said in {channel}")
    for stay in crowd.stays:
        order, place = orders[stay.channel], places[stay.channel]
        what = f"what {stay.who} heard in {stay.channel}"
        if stay.heard:
            begin = place[stay.heard[0]]
            expect_equal(stay.heard, order[begin : begin + len(stay.heard)], f"{what}, as a piece of its order")
        heard = set(stay.heard)
        if stay.joined is None:
            expect(not heard, f"nothing before the confirmation: {what}")
            continue
        for key, sent, confirmed in spoken[stay.channel]:
            within = stay.joined < sent and (stay.leaving is None or confirmed is not None and confirmed < stay.leaving)
            before = confirmed is not None and confirmed < stay.asked
            after = stay.left is not None and sent > stay.left
            # Who dropped out has not read all it was sent.
            if within and key not in heard and (stay.left is not None or stay.leaving is None):
                raise story.Failed(f"{what} lacks {key}")
            if (before or after) and key in heard:
                raise story.Failed(f"{what} has {key}, which is none of it")
    return len(crowd.stays), sum(len(stay.heard) for stay in crowd.stays)


@story.story(f"{CLIENTS} clients come and go in {CHANNELS} channels: each message once, to the members of then, in one order")
def crowd(stage):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    keys = KeyRing(stage)
    key = keys.new("write")
    record.said(CONTENT)
    server = stage.own(Server("--keys", str(keys.path), "--max-connections-per-address", "0"))
    everybody = Crowd(server, key)
    anchors = asyncio.run(come_and_go(everybody, stage.rng))
    stays, heard = judge(everybody, anchors)
    ended = sum(stay.left is not None for stay in everybody.stays)
    expect(stays > 2 * CLIENTS and ended > CLIENTS // 2, f"coming and going: {stays} stays, {ended} of them ended")
    expect(heard > 20 * CLIENTS, f"much to be heard: {heard} messages")


if __name__ == "__main__":
    story.main()
