"""Editors on machines of their own: `collabd forward` lets one host on a server elsewhere, with a key it doesn't know."""

import story
from bench import Bench, equal
from editor import Editor
from items import designed
from keyring import KeyRing
from server import Server
from story import expect, expect_equal, until


class Forward(Server):
    """One `collabd forward` on a port that the system chose."""

    def __init__(self, url, *options):
        self.options = list(map(str, options))
        self._start("forward", url, "--port", 0, *self.options)

    @property
    def url(self):
        # As the editor types it, whatever that name leads to here.
        return f"ws://localhost:{self.port}"


def keyed(stage):
    """A server that asks for keys, and a file with one."""
    keys = KeyRing(stage)
    key = keys.new("write")
    file = stage.folder() / "own.key"
    file.write_text(key + "\n")
    return stage.own(Server("--keys", str(keys.path), "--require-key")), key, file


@story.story("an editor hosts its design on another machine, and works with one who joins there")
def hosting(stage):
    server, key, file = keyed(stage)
    forward = stage.own(Forward(server.url, "--key-file", file))
    bench = Bench(stage, server)
    ada = stage.own(Editor("ada", "host", [designed(stage.rng) for _ in range(20)]))
    ada.connect(forward, bench.session).arrived()
    bob = stage.own(Editor("bob", "client")).connect(server, bench.session, prefix=f"/key/{key}").arrived()
    until(lambda: len(bob.ids) == 20, "the host's items at the guest")
    for editor, other in ((ada, bob), (bob, ada)):
        first = editor.ids[0]
        editor.place(first, 1.5, 2.5, 30)
        until(lambda: other[first]["x_mm"] == 1.5, f"{editor.user}'s move at {other.user}")
        editor.remove(first)
        until(lambda: first not in other, f"{editor.user}'s removal at {other.user}")
    until(lambda: equal(ada, bob), "both canvases to be equal")
    expect_equal(ada.rebuilds, 0, "how often the host's canvas was wiped")


@story.story("an editor whose forwarder has no key, or no server, reads the status that the server gave")
def refused(stage):
    server, _, _ = keyed(stage)
    forward = stage.own(Forward(server.url))
    ada = stage.own(Editor("ada", "host"))
    ada.connect(forward, "bench")
    until(lambda: ada.refusal, "an error of the editor's")
    expect("403" in ada.refusal, f"what the user reads: {ada.refusal}")
    until(lambda: any("give a key with --key-file" in line for line in forward.lines), "the reason in its log")
    server.stop()
    until(server.exited, "the server to end")
    ada.connect(forward, "bench")
    until(lambda: ada.refusal, "another error of the editor's")
    expect("502" in ada.refusal, f"what the user reads: {ada.refusal}")
    until(lambda: any("nothing listens at" in line for line in forward.lines), "the reason in its log")


@story.story("an editor behind a forwarder hears that the server stops, and that the forwarder does")
def stopping(stage):
    server, _, file = keyed(stage)
    forward = stage.own(Forward(server.url, "--key-file", file))
    ada = stage.own(Editor("ada", "host")).connect(forward, "bench").arrived()
    server.stop()
    ada.expect_closed(1001)
    server, _, file = keyed(stage)
    forward = stage.own(Forward(server.url, "--key-file", file))
    bob = stage.own(Editor("bob", "host")).connect(forward, "bench").arrived()
    forward.stop()
    until(forward.exited, "the forwarder to end")
    expect_equal(forward.process.returncode, 0, "its exit status")
    until(lambda: bob.closed, "the editor's connection to end")


if __name__ == "__main__":
    story.main()
