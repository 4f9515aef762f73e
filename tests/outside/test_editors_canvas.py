"""Editors coming and going: who has the canvas, and that nobody's work is lost when somebody joins."""

import story
from bench import Bench, alike
from items import component, designed
from server import Server
from story import until
from valve import Valve


@story.story("a host alone keeps its canvas")
def host_alone(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=5)
    story.expect_equal(ada.expect("sync:state")["state"], None, "the answer to the host's own sync:request")
    story.expect_equal(len(bench.all_equal()), 5, "items")
    story.expect_equal(ada.rebuilds, 0, "states that replaced the host's canvas")
    story.expect_equal(ada.all("command"), [], "commands to the host, who already has it all")


@story.story("a client alone gets an empty state and can add")
def client_alone(stage):
    bench = Bench(stage)
    bob = bench.guest("bob")
    state = bob.expect("sync:state")["state"]
    story.expect_equal((state["items"], state["version"]), ([], 0), "a new session's items and version")
    story.expect(bob.may_add, "the client may add items now")
    lens, mirror = designed(stage.rng, "lens"), designed(stage.rng, "mirror")
    bob.add(lens)
    bob.add(mirror)
    bob.edit(lens["item_uuid"], name="moved to the front")
    document = bench.all_equal()
    got = {k: v for k, v in document[mirror["item_uuid"]].items() if k not in ("uuid", "item_type")}
    story.expect_equal(got, mirror, "the mirror in the document")


@story.story("a guest is mute until it has a state; what it placed before is told by its first drag")
def mute(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=1)
    bob = bench.sits_down("bob", "client")
    valve = stage.own(Valve(bench.server))
    valve.holds_at_handshake = ("up",)
    bob.connect(valve, bench.session)
    until(lambda: bob.joined, "the guest to be in")
    placed, quiet = bob.add(designed(stage.rng)), bob.add(designed(stage.rng))
    bob.place(placed, 1, 2)
    valve.release()
    bob.arrived()
    until(lambda: placed in ada, "what it placed and dragged")
    later = bob.add(designed(stage.rng))
    until(lambda: later in ada, "what it placed afterwards")
    # The state that was on its way took the other one off its canvas.
    story.expect(quiet not in bench.all_equal(), "what it told nobody of")


@story.story("a client who joins a host gets its canvas, and the host's stays untouched")
def late_client(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=7)
    bob = bench.guest("bob")
    cyd = bench.guest("cyd")
    document = bench.all_equal()
    story.expect_equal(len(document), 7, "items")
    story.expect_equal(ada.rebuilds, 0, "states that replaced the host's canvas")
    bob.add(designed(stage.rng))
    cyd.place(next(iter(document)), 1.5, -2, 30)
    ada.edit(list(document)[3], serial=-50)
    story.expect_equal(len(bench.all_equal()), 8, "items after everybody did something")


@story.story("a host who joins a client's session adds its canvas to what is there")
def host_after_client(stage):
    bench = Bench(stage)
    bob = bench.guest("bob")
    for _ in range(2):
        bob.add(designed(stage.rng))
    bob.round_trip()
    ada = bench.host("ada", items=4)
    until(lambda: len(ada.ids) == 6, lambda: f"six items at the host, it has {len(ada.ids)}")
    story.expect_equal(len(bench.all_equal()), 6, "items")


@story.story("whoever comes back to a session that everybody left finds the document")
def lingering(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=3), bench.guest("bob")
    added = bob.add(designed(stage.rng))
    bob.place(added, 12, 34, 56)
    before = bench.all_equal()
    ada.leave()
    bob.leave()
    bench.guest("cyd")
    bench.all_equal()
    bench.back(bob)
    story.expect(bench.all_equal() == before, "the document is what was left")


@story.story("a host who went home and comes back undoes nothing a guest did meanwhile")
def host_returns(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=5), bench.guest("bob")
    dragged, removed, offline, quiet, kept = ada.ids
    bench.all_equal()
    ada.leave()
    bob.expect("host:changed", user_id="bob")
    bob.place(dragged, 111, 222, 33)
    bob.remove(removed)
    added = bob.add(designed(stage.rng))
    # Without a connection the host goes on working, too.
    ada.edit(offline, serial="edited at home")
    ada.paste(kept, "pasted")
    ada.context_delete(quiet)
    bob.round_trip()
    bench.back(ada)
    document = bench.all_equal()
    story.expect_equal(document[dragged]["x_mm"], 111, "where the guest left the item")
    story.expect_equal(document[offline]["serial"], "edited at home", "what the host changed at home")
    # What the context menu removed is told to nobody, and so comes back.
    ids = {dragged, offline, quiet, kept, added, "pasted"}
    story.expect_equal(set(document), ids, "the items that are left")


@story.story("a host who comes alone to an old name with none of its items starts a new design")
def new_design(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=3), bench.guest("bob")
    bob.add(designed(stage.rng))
    bench.all_equal()
    ada.leave()
    bob.leave()
    eve = bench.host("eve", items=2)
    document = bench.all_equal()
    story.expect_equal(len(document), 2, "items")
    story.expect_equal(eve.rebuilds, 0, "states that replaced the new design")


@story.story("a reconnection takes over while the old connection is still open")
def takeover(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=3), bench.guest("bob")
    bench.all_equal()
    joined, left = len(bob.all("user:joined", user_id="ada")), len(bob.all("user:left", user_id="ada"))
    again = bench.host("ada", items=[ada[i] for i in ada.ids])
    ada.expect_closed(1008, "replaced by a newer connection")
    story.expect(again.log[0]["is_host"], "the host keeps its role")
    story.expect_equal([u["user_id"] for u in again.log[0]["users"]].count("ada"), 1, "ada among the users")
    first = again.ids[0]
    again.place(first, 9, 8, 7)
    until(lambda: bob[first]["x_mm"] == 9, "the guest to see the new connection's drag")
    bob.place(first, 1, 2, 3)
    until(lambda: again[first]["x_mm"] == 1, "the new connection to see the guest's drag")
    bench.all_equal()
    story.expect_equal(len(bob.all("user:joined", user_id="ada")), joined, "joins of ada that others saw")
    story.expect_equal(len(bob.all("user:left", user_id="ada")), left, "leaves of ada that others saw")
    story.expect(not bob.has("host:changed"), "nobody else became host")


@story.story("a state of 2,000 items arrives whole")
def many_items(stage):
    # A canvas this big is 1.7 MB; the default limit is 1 MiB.
    bench = Bench(stage, stage.own(Server("--max-message-bytes", str(8 << 20))))
    ada = bench.host("ada", items=2000)
    bob = bench.guest("bob")
    story.expect_equal(len(bob.ids), 2000, "items in the first state")
    story.expect_equal(len(bench.all_equal()), 2000, "items")
    story.expect_equal(ada.rebuilds, 0, "states that replaced the host's canvas")


@story.story("after the server was killed and started anew, the host brings the canvas back")
def killed(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=4), bench.guest("bob")
    # What the host was sent of a source or of something with a picture it can't tell rightly.
    bob.add(component("bob's"))
    before = bench.all_equal()
    epoch = ada.log[0]["epoch"]
    bench.server.kill()
    for editor in (ada, bob):
        until(lambda: editor.closed, f"{editor.user} to notice that the server is gone")
    bench.server = stage.own(Server(port=bench.server.port))
    bench.back(ada)
    bench.back(bob)
    story.expect(ada.log[0]["epoch"] != epoch, "a session that starts anew has another epoch")
    after = bench.all_equal()
    story.expect(alike(after, before), lambda: f"the document is what the host's canvas was: {after} {before}")


if __name__ == "__main__":
    story.main()
