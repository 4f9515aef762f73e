"""Editors coming and going: who has the canvas, and that nobody's work is lost when somebody joins."""

import story
from bench import Bench
from items import designed
from server import Server
from story import until


@story.story("a host alone keeps its canvas")
def host_alone(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=5)
    before = dict(ada.canvas)
    story.expect_equal(ada.expect("sync:state")["state"], None, "the answer to the host's own sync:request")
    bench.all_equal()
    story.expect_equal(ada.rebuilds, 0, "states that replaced the host's canvas")
    story.expect_equal(ada.all("command"), [], "commands to the host, who already has it all")
    story.expect(ada.canvas == before, "the host's canvas is what it was")


@story.story("a host with an empty canvas keeps it, and what it adds is the document")
def empty_host(stage):
    bench = Bench(stage)
    ada = bench.host("ada")
    ada.add(designed(stage.rng))
    story.expect_equal(len(bench.all_equal()), 1, "items")


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
    story.expect_equal(document[mirror["item_uuid"]], mirror, "the mirror in the document")


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
    ada.edit(list(document)[3], efl_mm=-50)
    story.expect_equal(len(bench.all_equal()), 8, "items after everybody did something")


@story.story("a host who joins a client's session adds its canvas to what is there")
def host_after_client(stage):
    bench = Bench(stage)
    bob = bench.guest("bob")
    for _ in range(2):
        bob.add(designed(stage.rng))
    bob.round_trip()
    ada = bench.host("ada", items=4)
    until(lambda: len(ada.canvas) == 6, lambda: f"six items at the host, it has {len(ada.canvas)}")
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
    cyd = bench.guest("cyd")
    until(lambda: cyd.canvas == before, "the late joiner's canvas to equal what was left")
    bench.back(bob)
    story.expect(bench.all_equal() == before, "the document is what was left")


@story.story("a host who went home and comes back undoes nothing a guest did meanwhile")
def host_returns(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=5), bench.guest("bob")
    dragged, removed, offline, quiet, kept = ada.canvas
    bench.all_equal()
    ada.leave()
    bob.expect("host:changed", user_id="bob")
    bob.place(dragged, 111, 222, 33)
    bob.remove(removed)
    added = bob.add(designed(stage.rng))
    # Without a connection the host goes on working, too.
    ada.edit(offline, name="edited at home")
    ada.paste(pasted := designed(stage.rng))
    del ada.canvas[quiet]
    bob.round_trip()
    bench.back(ada)
    document = bench.all_equal()
    story.expect_equal(document[dragged]["x_mm"], 111, "where the guest left the item")
    story.expect_equal(document[offline]["name"], "edited at home", "what the host changed at home")
    ids = {dragged, offline, kept, added, pasted["item_uuid"]}
    story.expect_equal(set(document), ids, "the items that are left")


@story.story("a host who comes alone to what its guests left gets their changes and keeps its own")
def host_returns_alone(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=4), bench.guest("bob")
    dragged, offline, *_ = ada.canvas
    bench.all_equal()
    ada.leave()
    bob.place(dragged, -5, 6, 7)
    added = bob.add(designed(stage.rng))
    bob.round_trip()
    bob.leave()
    ada.edit(offline, notes="with care")
    bench.back(ada)
    until(lambda: added in ada.canvas, "the guest's item on the host's canvas")
    document = bench.all_equal()
    story.expect_equal(document[dragged]["x_mm"], -5, "where the guest left the item")
    story.expect_equal(document[offline]["notes"], "with care", "what the host changed at home")


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
    again = bench.host("ada", items=list(ada.canvas.values()))
    ada.expect_closed(1008, "replaced by a newer connection")
    story.expect(again.log[0]["is_host"], "the host keeps its role")
    story.expect_equal([u["user_id"] for u in again.log[0]["users"]].count("ada"), 1, "ada among the users")
    first = next(iter(again.canvas))
    again.place(first, 9, 8, 7)
    until(lambda: bob.canvas[first]["x_mm"] == 9, "the guest to see the new connection's drag")
    bob.place(first, 1, 2, 3)
    until(lambda: again.canvas[first]["x_mm"] == 1, "the new connection to see the guest's drag")
    bench.all_equal()
    story.expect_equal(len(bob.all("user:joined", user_id="ada")), joined, "joins of ada that others saw")
    story.expect_equal(len(bob.all("user:left", user_id="ada")), left, "leaves of ada that others saw")
    story.expect(not bob.has("host:changed"), "nobody else became host")


@story.story("when the host goes home the member present longest becomes host")
def succession(stage):
    bench = Bench(stage)
    ada, bob, cyd = bench.host("ada", items=2), bench.guest("bob"), bench.guest("cyd")
    dan = bench.guest("dan")
    ada.leave()
    for editor in (bob, cyd, dan):
        editor.expect("user:left", user_id="ada")
        editor.expect("host:changed", user_id="bob")
    cyd.leave()
    dan.expect("user:left", user_id="cyd")
    bob.leave()
    dan.expect("host:changed", user_id="dan")
    eve = bench.guest("eve")
    hosts = [(u["user_id"], u["is_host"]) for u in eve.log[0]["users"]]
    story.expect_equal(hosts, [("dan", True), ("eve", False)], "the members, in the order they joined")
    bench.all_equal()


@story.story("pasted and undone items surface for all with the next snapshot")
def pasted(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=3), bench.guest("bob")
    bench.all_equal()
    undone = next(iter(ada.canvas))
    states = bob.rebuilds
    ada.paste(*(designed(stage.rng) for _ in range(3)))
    ada.canvas[undone]["name"] = "as it was before"
    cyd = bench.guest("cyd")
    until(lambda: len(bob.canvas) == len(cyd.canvas) == 6, "the pasted items at both guests")
    story.expect_equal(bench.all_equal()[undone]["name"], "as it was before", "the undone name")
    story.expect_equal(bob.rebuilds, states, "states that replaced the canvas of bob, who was there before")


@story.story("what a host removed without telling goes with the next snapshot, unless a guest changed it")
def removed_quietly(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=4), bench.guest("bob")
    bench.all_equal()
    own, guests, *_ = list(ada.canvas)
    bob.edit(guests, name="bob needs this")
    until(lambda: ada.canvas[guests]["name"] == "bob needs this", "the guest's edit at the host")
    del ada.canvas[own], ada.canvas[guests]
    bench.guest("cyd")
    until(lambda: own not in bob.canvas, "the host's item to go at the guest")
    until(lambda: guests in ada.canvas, "the guest's item to come back at the host")
    document = bench.all_equal()
    story.expect(own not in document and guests in document, "the host's is gone, the guest's stays")


@story.story("a state of 2,000 items arrives whole")
def many_items(stage):
    # A canvas this big is 1.7 MB; the default limit is 1 MiB.
    bench = Bench(stage, stage.own(Server("--max-message-bytes", str(8 << 20))))
    ada = bench.host("ada", items=2000)
    bob = bench.guest("bob")
    story.expect_equal(len(bob.canvas), 2000, "items in the first state")
    story.expect_equal(len(bench.all_equal()), 2000, "items")
    story.expect_equal(ada.rebuilds, 0, "states that replaced the host's canvas")


@story.story("two sessions never hear each other")
def isolation(stage):
    server = stage.own(Server())
    one, two = Bench(stage, server, "one"), Bench(stage, server, "two")
    ada, bob = one.host("ada", items=3), one.guest("bob")
    # The same names and the same items, as when a design is opened twice.
    other_ada, other_bob = two.host("ada", items=list(ada.canvas.values())), two.guest("bob")
    first, second, third = ada.canvas
    bob.place(first, 1, 1, 1)
    other_bob.place(first, 2, 2, 2)
    ada.remove(second)
    bob.send({"type": "chat", "text": "one"})
    other_ada.send({"type": "chat", "text": "two"})
    story.expect_equal(ada.expect("chat")["text"], "one", "what session one hears")
    story.expect_equal(other_bob.expect("chat")["text"], "two", "what session two hears")
    document, other = one.all_equal(), two.all_equal()
    story.expect_equal((document[first]["x_mm"], other[first]["x_mm"]), (1, 2), "the item in either session")
    story.expect(second not in document and second in other, "removed in one session only")
    for editor in (ada, bob, other_ada, other_bob):
        story.expect_equal(len(editor.all("chat")), 0 if editor in (bob, other_ada) else 1, f"chats at {editor.user}")


@story.story("after the server was killed and started anew, the host brings the canvas back")
def killed(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=4), bench.guest("bob")
    bob.add(designed(stage.rng))
    before = bench.all_equal()
    epoch = ada.log[0]["epoch"]
    bench.server.kill()
    for editor in (ada, bob):
        until(lambda: editor.closed, f"{editor.user} to notice that the server is gone")
    bench.server = stage.own(Server(port=bench.server.port))
    bench.back(ada)
    bench.back(bob)
    story.expect(ada.log[0]["epoch"] != epoch, "a session that starts anew has another epoch")
    story.expect(bench.all_equal() == before, "the document is what the host's canvas was")


if __name__ == "__main__":
    story.main()
