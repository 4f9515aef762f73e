"""Python's `websockets` as one more client: its frames, and how its connections are refused and ended.

What is said over them is told by the programs in Rust.
"""

import websockets

import story
from plain import UPGRADE, plain
from script import Room
from server import Server
from story import expect, expect_equal, until

MIB = 2**20


@story.story("compression is offered and not negotiated")
def compression(stage):
    room = Room(stage)
    ann = room.join("ann")
    expect("permessage-deflate" in ann.socket.request.headers["Sec-WebSocket-Extensions"], "the client offers it")
    expect("Sec-WebSocket-Extensions" not in ann.socket.response.headers, "the server does not take it")
    ann.round_trip()


@story.story("a protocol ping is answered")
def protocol_ping(stage):
    ann = Room(stage).join("ann")
    expect(ann.socket.ping(b"payload").wait(story.DEADLINE), "a pong with the ping's payload")


@story.story("a fragmented message is one message")
def fragmented(stage):
    room = Room(stage)
    ann, bea = room.join("ann"), room.join("bea")
    ann.socket.send(iter(['{"type":"ch', 'at","text":"', "ü🙂" * 1000, '"}']))
    expect_equal(bea.expect("chat")["text"], "ü🙂" * 1000, "the text")


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


@story.story("when the server stops everyone gets 1001, and it exits with 0 within three seconds")
def stop(stage):
    room = Room(stage)
    scripts = [room.join(name) for name in ("ann", "bea")] + [room.join("cat", session="elsewhere")]
    room.server.stop()
    for script in scripts:
        script.expect_closed(1001, "server shutting down")
    until(room.server.exited, "the server to end", seconds=3)
    expect_equal(room.server.process.returncode, 0, "the exit status")


if __name__ == "__main__":
    story.main()
