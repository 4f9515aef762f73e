"""Keys in force, told by Python's `websockets`: when one ends, when its file changes, and when the file is damaged."""

import os
import time

import story
from door import PLACES, THREADS, Door, status
from front_end import FrontEnd
from keyring import KeyRing, address, wrong_key
from plain import plain
from story import expect, expect_equal, until


@story.story("a key that expires: 1008 on a session, token_expired and 4000 on a channel's connection, 403 at the door")
def expires(stage):
    begun = time.monotonic()
    keys = KeyRing(stage)
    short, long = keys.new("write", expires="4s"), keys.new("write", expires="30d")
    dated = keys.new("write", expires="2099-12-31T23:59:59Z")
    door = Door(stage, keys=keys)
    script, front_end = door.join("ann", short), door.front_end("ann", short)
    front_end.join("table")
    others = [door.join("bea", long), door.join("cat", dated)]
    member = door.front_end("bea", long)
    member.join("table")
    until(lambda: script.closed and front_end.closed, "both connections to be closed")
    expect(time.monotonic() - begun > 3, "a key is good until it expires")
    script.expect_closed(1008)
    front_end.error("token_expired", 403, "Token expired")
    if front_end.taken < len(front_end.messages):
        front_end.next("disconnect", data={"reason": "Token expired"})
    front_end.ended(4000)
    for other in others:
        other.expect("user:left", user_id="ann")
        other.round_trip()
    member.say("table")
    member.nothing_more()
    for place in PLACES:
        refusal = status(door.server, short, place, source=address())
        expect_equal(refusal[:2], (403, "Forbidden"), f"the expired key as {place}")
    late = stage.own(FrontEnd(door.server, "late", address=address()))
    late.established()
    late.connect(short)
    late.refused("token_expired", "Token expired")
    api = plain(door.server, "GET", THREADS, {"Authorization": f"Bearer {short}"}, address())
    expect_equal(api.status, 401, "the API with the expired key")


@story.story("a revoked key's connections are closed, 1008 and 4000, and it opens nothing more; others stay")
def revoked(stage):
    keys = KeyRing(stage)
    gone = keys.new("write", name="gone")
    door = Door(stage, keys=keys)
    stays, member = door.join("stays"), door.front_end("stays")
    member.join("table")
    scripts = [door.join(f"{place} user", gone, place=place) for place in PLACES]
    front_ends = [door.front_end("gone", gone) for _ in range(2)]
    for front_end in front_ends:
        front_end.join("table")
    keys.revoke("gone")
    until(lambda: all(one.closed for one in scripts + front_ends), "all the key's connections to be closed")
    for script in scripts:
        script.expect_closed(1008)
        stays.expect("user:left", user_id=script.user)
    for front_end in front_ends:
        expect_equal(front_end.closed[0], 4000, "the close code")
    stays.round_trip()
    member.say("table")
    member.nothing_more()
    expect_equal(door.open_to(gone), (403, 403, 401), "what the revoked key leads to")
    expect_equal(door.open_to(door.key), (101, "in", 200), "what another key leads to")


@story.story("a replaced key file: its keys open and the old one's no longer do, connected or not")
def replaced(stage):
    door = Door(stage)
    old, session, channel = door.key, door.join("ann"), door.front_end("ann")
    other = KeyRing(stage)
    new = other.new("write")
    door.keys.replace_with(other)
    door.known(new)
    until(lambda: session.closed and channel.closed, "those with an old key to be closed")
    session.expect_closed(1008)
    expect_equal(channel.closed[0], 4000, "the close code")
    expect_equal(door.open_to(old), (403, 403, 401), "what the old key leads to")
    expect_equal(door.open_to(new), (101, "in", 200), "what the new key leads to")


def unreadable(path):
    """What not even root can read as a file."""
    if os.geteuid() != 0:
        return path.chmod(0)
    path.unlink()
    path.mkdir()


DAMAGES = {
    "broken": lambda path: path.write_bytes(b'{"keys": oops}\n'),
    "no JSON at all": lambda path: path.write_bytes(bytes(range(256))),
    "half-written": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
    "unreadable": unreadable,
}


def damaged(stage, damage):
    """The old keys stay good while the file is damaged, the log says that it is, and a mended file counts again."""
    door = Door(stage)
    session, channel = door.join("ann"), door.front_end("ann")
    other = KeyRing(stage)
    other.overwrite(door.keys.path.read_bytes())
    new = other.new("write")

    def complaints():
        return [line for line in door.server.lines if "[WARN]" in line or "[ERROR]" in line]

    before = len(complaints())
    DAMAGES[damage](door.keys.path)
    until(lambda: len(complaints()) > before, f"the log to say that the file is {damage}")
    expect_equal(door.open_to(door.key), (101, "in", 200), "what an old key leads to")
    expect_equal(door.open_to(wrong_key()), (403, 403, 401), "what a wrong key leads to")
    session.round_trip()
    channel.nothing_more()
    if door.keys.path.is_dir():
        door.keys.path.rmdir()
    door.keys.replace_with(other)
    door.known(new)
    session.round_trip()
    channel.nothing_more()


for _damage in DAMAGES:
    story.story(f"a key file that is {_damage}: the old keys stay good and the log says so")(
        lambda stage, damage=_damage: damaged(stage, damage)
    )


if __name__ == "__main__":
    story.main(at_once=4)
