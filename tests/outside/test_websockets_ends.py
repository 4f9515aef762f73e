"""Python's `websockets` as one more client: how connections are refused, taken over and ended."""

import websockets

import story
from plain import UPGRADE, plain
from script import Room, Script, item_data
from server import Server
from story import expect, expect_equal, until

MIB = 2**20


@story.story("binary is refused with 1003, bad UTF-8 with 1007, too much with 1009")
def refused_frames(stage):
    room = Room(stage)
    onlooker = room.join("onlooker")
    binary, bad_text, exact, big, huge = (room.join(n) for n in ("binary", "bad text", "exact", "big", "huge"))
    binary.socket.send(b"\x00\x01")
    binary.expect_closed(1003)
    bad_text.socket.send(b'{"type":"chat","text":"\xff"}', text=True)
    bad_text.expect_closed(1007)

    def chat(length):
        frame = '{"type":"chat","text":""}'
        return frame[:-2] + "x" * (length - len(frame)) + frame[-2:]

    exact.send(chat(MIB))
    until(lambda: onlooker.all("chat"), "a message of exactly the limit to be relayed")
    exact.round_trip()
    big.send(chat(MIB + 1))
    big.expect_closed(1009)
    # In fragments none of which is too long. The server may have closed before the last of them is out.
    try:
        huge.socket.send(chat(3 * MIB)[i:i + 65536] for i in range(0, 3 * MIB, 65536))
    except websockets.ConnectionClosed:
        pass
    huge.expect_closed(1009)
    onlooker.round_trip()
    expect_equal(len(onlooker.all("chat")), 1, "chats the onlooker got")
    for user in ("binary", "bad text", "big", "huge"):
        onlooker.expect("user:left", user_id=user)


@story.story("the limit of a message is the operator's to set")
def limit(stage):
    room = Room(stage, "--max-message-bytes", "2000")
    ann, bea = room.join("ann"), room.join("bea")
    ann.send({"type": "chat", "text": "x" * 1900})
    bea.expect("chat")
    ann.send({"type": "chat", "text": "x" * 2001})
    ann.expect_closed(1009)


@story.story("a newer connection takes over from the old one")
def takeover(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    again = room.join("ann")
    ann.expect_closed(1008, "replaced by a newer connection")
    expect(again.messages[0]["is_host"], "the host role is kept")
    expect_equal([u["user_id"] for u in again.messages[0]["users"]], ["ann", "bea"], "the members")
    again.send({"type": "chat", "n": 1})
    bea.expect("chat", user_id="ann")
    bea.send({"type": "chat", "n": 2})
    again.expect("chat", user_id="bea")
    bea.round_trip()
    kinds = [m["type"] for m in bea.messages if m.get("user_id") == "ann" and m["type"] != "chat"]
    expect_equal(kinds, [], "what others saw of it")
    # Three in a row, as an impatient user does it.
    for _ in range(3):
        again = room.join("ann")
    again.close()
    bea.expect("user:left", user_id="ann")
    bea.expect("host:changed", user_id="bea")
    expect_equal(len(bea.all("user:left")), 1, "leaves")


@story.story("the close code a client ends with is answered, and the others hear user:left")
def close_codes(stage):
    room = Room(stage)
    onlooker = room.join("onlooker")
    for code in (1000, 1001, 1011, 3000, 4999):
        guest = room.join(f"guest {code}")
        guest.close(code, "bye")
        until(lambda: guest.closed, f"the end of the connection closed with {code}")
        answer = guest.socket.protocol.close_rcvd
        expect(answer and answer.code in (code, 1000), f"an answer to {code}: {answer}")
        onlooker.expect("user:left", user_id=guest.user)
    dropped = room.join("dropped")
    dropped.socket.socket.shutdown(2)
    onlooker.expect("user:left", user_id="dropped")


@story.story("what is not a handshake of ours is refused over plain HTTP, in one line")
def plain_http(stage):
    server = stage.own(Server())
    for status, reason, method, path, headers in [
        (426, "Upgrade Required", "GET", "/ws/room/ann", {}),
        (405, "Method Not Allowed", "POST", "/ws/room/ann", {}),
        (404, "Not Found", "GET", "/nowhere", {}),
        (404, "Not Found", "GET", "/nowhere", UPGRADE),
        (404, "Not Found", "GET", "/ws", UPGRADE),
        (404, "Not Found", "GET", "/ws/room", UPGRADE),
        (404, "Not Found", "GET", "/ws//ann", UPGRADE),
        (404, "Not Found", "GET", "/ws/room/", UPGRADE),
        (404, "Not Found", "GET", "/ws/room/a%00b", UPGRADE),
        (404, "Not Found", "GET", "/ws/room/a%0Ab", UPGRADE),
        (404, "Not Found", "GET", "/ws/room/a%7Fb", UPGRADE),
        (404, "Not Found", "GET", "/ws/room/a%C2%85b", UPGRADE),
        (404, "Not Found", "GET", "/ws/room/%FF%FE", UPGRADE),
        (404, "Not Found", "GET", "/ws/%ED%A0%80/ann", UPGRADE),
        (404, "Not Found", "GET", "/ws/room/" + "x" * 129, UPGRADE),
        (404, "Not Found", "GET", "/ws/" + "%C3%BC" * 129 + "/ann", UPGRADE),
    ]:
        got = plain(server, method, path, headers)
        expect_equal(got[:2], (status, reason), f"{method} {path} {'with' if headers else 'without'} an upgrade")
        expect(got.is_one_line, f"one line that says what is wrong: {got}")


@story.story("a full server refuses with 503 and has room again when somebody leaves")
def full(stage):
    room = Room(stage, "--max-connections", "2")
    ann, bea = room.join("ann"), room.join("bea")
    refusal = plain(room.server, "GET", "/ws/room/cat", UPGRADE)
    expect_equal(refusal[:2], (503, "Service Unavailable"), "the refusal")
    expect(refusal.body.strip(), "a body that says so")
    bea.close()
    ann.expect("user:left", user_id="bea")

    def room_again():
        try:
            return stage.own(Script(room.server, "room", "cat"))
        except Exception:
            return None

    until(room_again, "a place for the next one").joined()


@story.story("when the server stops everyone gets 1001, and it exits with 0 within three seconds")
def stop(stage):
    room = Room(stage)
    scripts = [room.join(name) for name in ("ann", "bea")] + [room.join("cat", session="elsewhere")]
    room.server.stop()
    for script in scripts:
        script.expect_closed(1001, "server shutting down")
    until(room.server.exited, "the server to end", seconds=3)
    expect_equal(room.server.process.returncode, 0, "the exit status")


@story.story("the member present longest becomes host")
def succession(stage):
    room = Room(stage)
    ann, bea, cat = room.join("ann"), room.join("bea"), room.join("cat")
    ann.close()
    for script in (bea, cat):
        script.expect("user:left", user_id="ann")
        script.expect("host:changed", user_id="bea")
    again = room.join("ann")
    expect(not again.messages[0]["is_host"], "who comes back is the last in the row")


@story.story("a session outlives its last member, with --linger 0 it does not")
def linger(stage):
    room = Room(stage)
    ann = room.join("ann")
    epoch = ann.messages[0]["epoch"]
    ann.command("add_item", "a", item_data("a"))
    ann.round_trip()
    ann.close()
    back = room.join("ann")
    expect_equal((back.messages[0]["epoch"], back.messages[0]["seq"]), (epoch, 1), "the lingering session's life")
    expect_equal(list(room.items()), ["a"], "its document")

    room = Room(stage, "--linger", "0")
    ann = room.join("ann")
    ann.command("add_item", "a", item_data("a"))
    ann.round_trip()
    ann.close()
    seen = {ann.messages[0]["epoch"]}

    def begun_anew():
        # The server may hear of the next connection before it has dealt with the end of the last one.
        again = room.join("ann")
        return again if again.messages[0]["epoch"] not in seen else again.close()

    again = until(begun_anew, "another epoch")
    expect_equal(again.messages[0]["seq"], 0, "the new session's seq")
    expect_equal(room.items(), {}, "the new session's document")


if __name__ == "__main__":
    story.main()
