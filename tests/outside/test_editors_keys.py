"""Editors at a server that asks for keys: what the unchanged editor can do with one, and what a watcher does to it."""

import story
from bench import differences, equal
from editor import Editor
from items import designed
from keyring import KeyRing, address, wrong_key
from script import Script
from server import Server
from story import until


class Lab:
    """A server that asks for keys, one session, and the editors and scripts in it."""

    def __init__(self, stage, *options):
        self.stage = stage
        self.keys = KeyRing(stage)
        self.key = self.keys.new("write")
        self.reading = self.keys.new("read")
        self.gone = self.keys.new("write", name="gone")
        self.server = stage.own(Server("--keys", str(self.keys.path), "--require-key", *options))

    def editor(self, user, role, items=0, key=None):
        canvas = [designed(self.stage.rng) for _ in range(items)]
        editor = self.stage.own((Keyed if key else Editor)(user, role, canvas))
        return editor.connect(self.server, "lab", prefix=f"/key/{key or self.key}")

    def script(self, user, key):
        script = self.stage.own(Script(self.server, "lab", user, prefix=f"/key/{key}"))
        script.joined()
        script.send({"type": "sync:request"})
        return script

    def watcher(self, user):
        """An editor whose user may only read."""
        return self.stage.own(Keyed(user, "client")).connect(self.server, "lab", prefix=f"/key/{self.reading}")

def items_at(script):
    """What a script that only watches has been told of the document."""
    items = {}
    for message in list(script.messages):
        if message["type"] == "sync:state" and message["state"]:
            items = {item["uuid"]: dict(item) for item in message["state"]["items"]}
        elif message["type"] == "command":
            command = message["command"]
            item = items.get(command["item_id"])
            if command["action"] == "add_item":
                items[command["item_id"]] = dict(command["data"])
            elif command["action"] in ("move_item", "update_item") and item is not None:
                item.update(command["data"])
            elif command["action"] == "remove_item":
                items.pop(command["item_id"], None)
    return items


def same(editor, script):
    """Whether what a watcher was told is what is on the canvas."""
    return not differences(editor, items_at(script))


@story.story("a reader watching alone, or among others, does not wipe the canvas of a host who comes")
def watched(stage):
    lab = Lab(stage)
    reader = lab.script("reader", lab.reading)
    reader.expect("sync:state")
    eve = lab.watcher("eve").arrived()
    ada = lab.editor("ada", "host", items=5).arrived()
    before = [ada[item] for item in ada.ids]
    ada.round_trip()
    story.expect_equal([ada[item] for item in ada.ids], before, "the host's canvas")
    story.expect_equal(ada.rebuilds, 0, "how often it was wiped and built anew")
    story.expect(ada.log[0]["is_host"], "the host is the session's host")
    until(lambda: same(ada, reader) and equal(eve, ada), "the canvas at those who only read")
    item = ada.ids[0]
    ada.place(item, 1.5, 2.5, 45)
    until(lambda: same(ada, reader) and equal(eve, ada), "the moved item at the readers")
    late = lab.script("late reader", lab.reading)
    until(lambda: same(ada, late), "the canvas at a reader who comes late")
    bob = lab.editor("bob", "client").arrived()
    until(lambda: equal(bob, ada), "the canvas at a guest")
    story.expect_equal(ada[item]["x_mm"], 1.5, "the item that was moved")
    story.expect_equal(len(ada.ids), 5, "items on the host's canvas")


@story.story("a guest who finds nobody but a reader gets an empty canvas to start with")
def guest_with_reader(stage):
    lab = Lab(stage)
    reader = lab.script("reader", lab.reading)
    bob = lab.editor("bob", "client").arrived()
    until(lambda: bob.may_add, "a first state for the guest")
    bob.add(designed(stage.rng))
    until(lambda: same(bob, reader), "the guest's item at the reader")


@story.story("a host who leaves its table to a reader comes back to it as host, and keeps its canvas")
def back_again(stage):
    lab = Lab(stage)
    ada = lab.editor("ada", "host", items=3).arrived()
    reader = lab.script("reader", lab.reading)
    until(lambda: same(ada, reader), "the canvas at the reader")
    ada.round_trip()
    ada.leave()
    reader.expect("user:left", user_id="ada")
    item = ada.ids[0]
    ada.edit(item, serial="changed while away")
    ada.connect(lab.server, "lab", prefix=f"/key/{lab.key}").arrived()
    ada.round_trip()
    story.expect(ada.log[0]["is_host"], "who comes back is host")
    until(lambda: ada[item]["serial"] == "changed while away", "the host's own change on its canvas")
    until(lambda: same(ada, reader), "the canvas at the reader again")
    story.expect_equal(len(ada.ids), 3, "items on the host's canvas")


@story.story("a host with a new design comes alone where only a reader is left, and keeps its canvas")
def new_design(stage):
    lab = Lab(stage)
    bob = lab.editor("bob", "host", items=2).arrived()
    bob.round_trip()
    reader = lab.script("reader", lab.reading)
    until(lambda: same(bob, reader), "the old design at the reader")
    bob.leave()
    reader.expect("user:left", user_id="bob")
    ada = lab.editor("ada", "host", items=4).arrived()
    before = [ada[item] for item in ada.ids]
    ada.round_trip()
    story.expect_equal([ada[item] for item in ada.ids], before, "the host's canvas")
    story.expect_equal(ada.rebuilds, 0, "how often it was wiped and built anew")
    until(lambda: same(ada, reader), "the new design at the reader")


@story.story("an editor that may only read watches, and what it does reaches nobody")
def reading_editor(stage):
    lab = Lab(stage)
    ada = lab.editor("ada", "host", items=3).arrived()
    ada.round_trip()
    eve = lab.watcher("eve").arrived()
    until(lambda: equal(eve, ada), "the canvas at the editor that reads")
    before = [ada[item] for item in ada.ids]
    eve.add(designed(stage.rng))
    eve.place(ada.ids[0], 7, 7, 7)
    eve.remove(ada.ids[0])
    until(lambda: len(eve.all("error", error_type="read_only")) == 4, "four refusals")
    ada.round_trip()
    story.expect_equal([ada[item] for item in ada.ids], before, "the host's canvas")
    story.expect_equal(ada.all("command"), [], "commands at the host")


class Keyed(Editor):
    """An editor whose key does not open all: it is told so, and finds sessions without a host."""

    tolerates = ("read_only", "invalid_key", "a good one host among users")


@story.story("with a key in its address the editor is in; without, the user reads 403 Forbidden, and 429 in time")
def prefixes(stage):
    lab = Lab(stage)
    lab.editor("ada", "host", items=1).arrived()

    def refused(prefix, code, phrase):
        editor = stage.own(Editor("mallory", "client"))
        editor.connect(lab.server, "lab", prefix=prefix)
        until(lambda: editor.refusal, f"{prefix!r} to be refused with {code}")
        story.expect(f"{code}" in editor.refusal and phrase in editor.refusal, f"{code} {phrase} in {editor.refusal!r}")
        story.expect_equal(editor.log, [], "messages to somebody refused")

    for _ in range(10):
        refused(f"/key/{wrong_key()}", 403, "Forbidden")
    refused(f"/key/{lab.key}", 429, "Too Many Requests")
    other = Script(lab.server, "lab", "elsewhere", prefix=f"/key/{lab.key}", address=address())
    stage.own(other).joined()
    lab = Lab(stage)
    refused("", 403, "Forbidden")


@story.story("an editor whose key is revoked is closed with a code it understands")
def revoked(stage):
    lab = Lab(stage)
    ada, bob = lab.editor("ada", "host", items=1).arrived(), lab.editor("bob", "client", key=lab.gone).arrived()
    lab.keys.revoke("gone")
    bob.expect_closed(1008)
    ada.expect("user:left", user_id="bob")
    ada.round_trip()


if __name__ == "__main__":
    story.main()
