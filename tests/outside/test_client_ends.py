"""The client protocol, told by Python's `websockets`: what ends a connection, and with which code."""

import json
import threading
import time

import story
from front_end import Bare, Desk
from story import expect, expect_equal, until


UNREADABLE = [
    "{oops", "", " ", "not JSON at all", '{"type":"ping"} {}', "[1,2]", '[{"type":"ping"}]', "null", "12", '"ping"',
    "{}", '{"type":null}', '{"type":7}', '{"type":["ping"]}', '{"data":{"type":"ping"}}', '{"type":"ping"',
]


@story.story("5 s over the limit of messages: 4001; a burst of 4 s' worth is free, and nobody else is slowed down")
def rate_limit(stage):
    desk = Desk(stage, "--rate-messages", "50")
    other, bursting, flooding = (desk.seat(name, "table") for name in ("other", "bursting", "flooding"))
    # Two messages each were said to join; 190 more are within four seconds' worth.
    for number in range(190):
        bursting.send({"type": "ping"})
    for number in range(1000):
        flooding.send({"type": "ping"})
    for number in range(190):
        bursting.next("pong")
    said = 0

    def over():
        nonlocal said
        if said < 20:
            other.say("table", f"said while another floods, {said}")
            said += 1
        return flooding.closed

    until(over, "the flood to be over")
    expect_equal(flooding.closed[0], 4001, f"the close code ({flooding.closed[1]!r})")
    answered = [m["type"] for m in flooding.messages].count("pong")
    expect(190 <= answered < 900, f"the flood to be read at its pace: {answered} of 1,000 pings were answered")
    bursting.next("chat_message", client_id="other")
    other.send({"type": "ping"})
    other.next("pong")
    expect(not bursting.closed, "who keeps to the limit stays")


@story.story("who floods a server with its own limits is closed with 4001 as well")
def default_rate_limit(stage):
    desk = Desk(stage, log=False)
    other, flooding = desk.seat("other", "table"), desk.seat("flooding")
    # Far more than 2,000 a second for nine seconds and a burst before. A frame has a mask, if it is of noughts.
    ping = b'{"type":"ping"}'
    frames = (bytes([0x81, 0x80 | len(ping), 0, 0, 0, 0]) + ping) * 60_000
    begun = time.monotonic()

    def flood():
        try:
            flooding.socket.socket.sendall(frames)
        except OSError:
            pass  # It was closed before it had said all, as it ought to be.

    flood = threading.Thread(target=flood, daemon=True)
    flood.start()
    until(lambda: flooding.closed, "the flood to be over")
    expect_equal(flooding.closed[0], 4001, f"the close code ({flooding.closed[1]!r})")
    expect(time.monotonic() - begun > 4, "it to have been closed not before it had flooded for 5 s")
    other.say("table")
    flood.join(story.DEADLINE)


@story.story("an unreadable message gets invalid_format, the third in a row 4002; a readable one starts over")
def unreadable(stage):
    desk = Desk(stage)
    for text in UNREADABLE:
        front_end = desk.seat("ann")
        front_end.send(text)
        front_end.error("invalid_format", 400)
        front_end.nothing_more()
    three = desk.seat("bea", "table")
    for _ in range(3):
        for text in UNREADABLE[:2]:
            three.send(text)
            three.error("invalid_format", 400)
        # Refused for what it says, and readable all the same.
        for readable, answer in (({"type": "chat_message"}, "error"), ({"type": "ping"}, "pong")):
            three.send(readable)
            three.next(answer)
    for text in ("{oops", "[]", '{"type":0}'):
        three.send(text)
        three.error("invalid_format", 400)
    three.ended(4002)


@story.story("unreadable messages before connect count as they do after it")
def unreadable_before_connect(stage):
    desk = Desk(stage)
    patient = desk.open("ann")
    patient.established()
    for _ in range(2):
        for text in UNREADABLE[2:4]:
            patient.send(text)
            patient.error("invalid_format", 400)
        patient.send({"type": "ping"})
        patient.next("pong")
    for text in UNREADABLE[:2]:
        patient.send(text)
        patient.error("invalid_format", 400)
    patient.connect(desk.key)
    patient.connected()
    # Two before a good connect and one after it are not three in a row.
    patient.send("{oops")
    patient.error("invalid_format", 400)
    patient.nothing_more()
    for at in range(0, len(UNREADABLE) - 2, 3):
        front_end = desk.open("mallory")
        front_end.established()
        for text in UNREADABLE[at : at + 3]:
            front_end.send(text)
            front_end.error("invalid_format", 400)
        front_end.ended(4002)


@story.story("a binary frame: 4003, before connect and after it")
def binary(stage):
    desk = Desk(stage)
    early, late, other = desk.open("early"), desk.seat("late", "table"), desk.seat("other", "table")
    early.established()
    for front_end in (early, late):
        front_end.send(b'{"type":"ping"}')
        until(lambda: front_end.closed, f"{front_end.client_id} to be closed")
        expect_equal(front_end.closed[0], 4003, "the close code")
        kinds = [m["type"] for m in front_end.messages[front_end.taken :]]
        expect(kinds in ([], ["error"]), f"nothing but an error before it: {kinds}")
    other.nothing_more()


@story.story("a normal end is answered with 1000, and whoever was a member is one no longer")
def normal_end(stage):
    desk = Desk(stage)
    onlooker = desk.seat("onlooker", "table")
    for code in (1000, 1001, 3000, 4999):
        guest = desk.seat("guest", "table")
        guest.close(code, "bye")
        until(lambda: guest.closed, "the end")
        answer = guest.socket.protocol.close_rcvd
        expect(answer and answer.code in (code, 1000), f"an answer to {code}: {answer}")
    early = desk.open("early")
    early.close()
    until(lambda: early.closed, "the end of one who never said connect")
    expect_equal(early.closed[0], 1000, "its close code")
    onlooker.say("table")
    onlooker.nothing_more()


@story.story("a message over the limit: 1009; one of exactly the limit is a message")
def too_big(stage):
    desk = Desk(stage, "--max-message-bytes", "5000")
    ann, bea, early = desk.seat("ann", "table"), desk.seat("bea", "table"), desk.open("early")
    early.established()

    def message(length):
        text = json.dumps({"type": "chat_message", "channel": "table", "data": {"content": ""}})
        return text[:-3] + "x" * (length - len(text)) + text[-3:]

    ann.send(message(5000))
    for front_end in (ann, bea):
        front_end.next("chat_message", client_id="ann")
    ann.delivered("chat_message")
    ann.send(message(5001))
    ann.ended(1009)
    early.send("x" * 5001)
    early.ended(1009)
    bea.nothing_more()


@story.story("the server going away closes everybody with 1001")
def going_away(stage):
    desk = Desk(stage)
    seated, new = desk.seat("seated", "table"), desk.open("new")
    new.established()
    desk.server.stop()
    for front_end in (seated, new):
        front_end.ended(1001)
    until(desk.server.exited, "the server to end", seconds=3)
    expect_equal(desk.server.process.returncode, 0, "the exit status")


@story.story("a connection that is cut off at any point takes nobody with it")
def cut_off(stage):
    desk = Desk(stage)
    onlooker = desk.seat("onlooker", "table")

    def authenticated():
        bare = stage.own(Bare(desk.server, "/client_cut")).upgrade()
        bare.say({"type": "connect", "data": {"api_key": desk.key}})
        bare.say({"type": "join_channel", "data": {"channel": "table"}})
        return bare

    for _ in range(5):
        stage.own(Bare(desk.server, "/client_cut")).reset()
        asking = stage.own(Bare(desk.server, "/client_cut"))
        asking.ask(0.5)
        asking.reset()
        asking = stage.own(Bare(desk.server, "/client_cut"))
        asking.ask()
        asking.reset()
        stage.own(Bare(desk.server, "/client_cut")).upgrade().reset()
        halfway = stage.own(Bare(desk.server, "/client_cut")).upgrade()
        halfway.say({"type": "connect", "data": {"api_key": desk.key}}, 0.5)
        halfway.reset()
        member = authenticated()
        onlooker.say("table", "to somebody who is gone")
        member.reset()
        halfway = authenticated()
        halfway.say({"type": "chat_message", "channel": "table", "data": {"content": "never finished"}}, 0.7)
        halfway.reset()
    # What a reset took with it may have been heard or not; half a message never is.
    onlooker.say("table", "after all that")
    newcomer = desk.seat("newcomer", "table")
    newcomer.say("table")
    onlooker.next("chat_message", client_id="newcomer")
    onlooker.nothing_more()
    bad = [line for line in desk.server.lines if "ERROR" in line]
    expect_equal(bad, [], "errors in the log")


if __name__ == "__main__":
    story.main(at_once=4)
