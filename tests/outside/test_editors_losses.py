"""The ways in which people lost work with the real editor, each told once."""

import json
import math

import story
from bench import Bench, differences, equal, pause
from items import INTERFACES, PICTURE, component, designed, source
from plain import plain
from server import Server
from story import expect, expect_equal, until
from valve import Valve

GREEN, BLUE = "#00ff00", "#0000ff"


def efl(editor, item_id):
    return editor[item_id]["interfaces"][0]["efl_mm"]


def colors(editor, *item_ids):
    """What the rays have, which is not what is reported."""
    return [editor.item(item_id).params["color_hex"].lower() for item_id in item_ids]


def rubbish(items):
    """What a file may hold that Python's JSON writes and others' doesn't read."""
    return [
        component("high", z_value=math.inf),
        component("tall", object_height_mm=math.nan),
        component("coarse", mm_per_pixel=10**410),
        component("noted", notes=-math.inf),
        component("flat", efl_mm=math.inf),
        source("long", ray_length_mm=math.inf),
        source("dark", wavelength_nm=math.nan),
        component("bent", "refractive_interface", radius_of_curvature_mm=math.inf),
        *items,
    ]


@story.story("a host's file with infinities, NaN and an integer of 411 digits is shared whole, alone or among others")
def odd_numbers(stage):
    for others in (False, True):
        bench = Bench(stage, session=f"others: {others}")
        if others:
            bench.guest("bob").add(component("theirs", efl_mm=33.0))
        ada = bench.sits_down("ada", "host")
        ada.open_file(rubbish([component("plain", efl_mm=42.0)]), ["a text"])
        wanted = set(ada.ids)
        bench.back(ada)
        bench.guest("cyd")
        expect_equal(set(bench.all_equal()), wanted | ({"theirs"} if others else set()), "the document's items")
        expect_equal((ada.rebuilds, ada.annotations), (0, ["a text"]), "rebuilds and texts of the host")
        for editor in bench.editors[1:]:
            expect_equal(
                (editor["high"]["z_value"], efl(editor, "flat"), efl(editor, "plain")), (math.inf, math.inf, 42.0),
                f"numbers at {editor.user}",
            )
        bench.editors[-1].add(component("late", object_height_mm=math.inf, z_value=-math.inf))
        until(lambda: "late" in ada and ada["late"]["object_height_mm"] == math.inf, "an add_item with Infinity")
        bench.all_equal()


@story.story("an item that can't be taken stays away alone, and its editor is told which one")
def left_out(stage):
    bench = Bench(stage)
    ada = bench.sits_down("ada", "host")
    ada.tolerates = ("error:",)
    ada.open_file([component("nowhere", y=math.inf), component("here")])
    bench.back(ada)
    bob = bench.guest("bob")
    expect_equal((bob.ids, ada.ids, ada.rebuilds), (["here"], ["nowhere", "here"], 0), "the canvases")
    error = ada.expect("error", item_id="nowhere")
    expect("nowhere" in error["message"] or "y_mm" in error["message"], f"why: {error}")


@story.story("an empty canvas that is hosted on a full table takes nothing off it")
def empty_canvas(stage):
    bench = Bench(stage)
    bob = bench.guest("bob")
    for _ in range(5):
        bob.add(designed(stage.rng))
    bench.all_equal()
    bob.leave()
    bench.host("ada")
    expect_equal(len(bench.all_equal()), 5, "items")


@story.story("a host that comes back without a guest's item is given it, and removes it from nobody")
def guests_item_stays(stage):
    bench = Bench(stage)
    ada = bench.sits_down("ada", "host")
    file = [source("s"), component("own", efl_mm=75.0)]
    ada.open_file(file)
    bench.back(ada)
    bob = bench.guest("bob")
    bob.add(component("lens", x=50, y=100, efl_mm=64.0))
    bench.all_equal()
    ada.place("lens", 80, 80)
    bench.all_equal()
    ada.leave()
    ada.open_file(file)
    bench.back(ada)
    document = bench.all_equal()
    expect_equal(set(document), {"s", "own", "lens"}, "items")
    expect_equal((document["lens"]["x_mm"], efl(ada, "lens"), efl(bob, "lens")), (80, 64, 64), "the guest's lens")


@story.story("a source keeps its colour through drags, dialogs and snapshots of editors that report it red")
def source_colors(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=[source("blue", y=60)])
    ada.edit("blue", color_hex=BLUE)
    bob = bench.guest("bob")
    bob.add(source("green", y=-60, color_hex=GREEN))

    def look(when):
        document = bench.all_equal()
        for who in (ada, bob):
            expect_equal(colors(who, "blue", "green"), [BLUE, GREEN], f"the rays of {who.user}, {when}")
        expect_equal([document[i]["color_hex"] for i in ("blue", "green")], [BLUE, GREEN], f"the document, {when}")

    look("at first")
    ada.place("green", -380, -50)
    bob.place("blue", -370, 40)
    look("after a drag each")
    expect_equal(ada["green"]["color_hex"], "#dc143c", "what the host reports of the guest's source")
    for comer in (ada, bob, ada):
        comer.leave()
        bench.back(comer)
        look(f"when {comer.user} was away")
        comer.place("green", comer.item("green").x + 5, 0)
        comer.place("blue", comer.item("blue").x + 5, 10)
        look(f"when {comer.user} was away and dragged both")
    bench.guest("cyd")
    look("after a snapshot for somebody else")
    # OK in the dialog writes what is reported into the editor's own rays.
    bob.edit("blue", n_rays=3)
    bob.place("blue", 0, 0)
    until(lambda: ada["blue"]["n_rays"] == 3, "the other field of the dialog")
    look("after a dialog about something else")
    bob.edit("blue", color_hex=GREEN)
    bob.place("blue", 1, 1)
    until(lambda: colors(ada, "blue") == [GREEN], "a colour that was chosen in a copy")
    bench.all_equal()


@story.story("what a dialog changed in an item from a file or from somebody else counts from the next drag on")
def dialog_then_drag(stage):
    bench = Bench(stage)
    ada = bench.sits_down("ada", "host")
    ada.open_file([component("opened")])
    ada.add(component("placed", y=80))
    bench.back(ada)
    bob = bench.guest("bob")
    bench.all_equal()

    def by(editor, item_id, value):
        editor.edit(item_id, efl_mm=value)
        editor.place(item_id, editor.item(item_id).x + 9, 12)

    def everywhere(item_id, value, when):
        document = bench.all_equal()
        found = document[item_id]["interfaces"][0]["efl_mm"], efl(ada, item_id), efl(bob, item_id)
        expect_equal(found, (value,) * 3, f"the focal length {when}")

    by(ada, "opened", 33)
    everywhere("opened", 33, "of the host's dialog")
    bob.place("opened", 1, 2)
    everywhere("opened", 33, "after the guest's drag")
    by(bob, "placed", 44)
    everywhere("placed", 44, "of the guest's dialog")
    ada.place("placed", 3, 4)
    everywhere("placed", 44, "after the host's drag")
    ada.edit("placed", efl_mm=55)
    everywhere("placed", 55, "of a dialog on an own item")
    bob.leave()
    bench.back(bob)
    by(bob, "opened", 66)
    everywhere("opened", 66, "of a dialog after coming again")


@story.story("a value that two people set in turn, at first too fast, counts again when each has seen the other's")
def in_turn(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=[component("a")]), bench.guest("bob")
    bob.add(component("b"))
    bench.all_equal()
    for wait, counts in ((0, False), (1, True)):
        for editor, value in ((ada, 33), (bob, 66), (ada, 33)):
            editor.edit("b", efl_mm=value)
            editor.place("b", editor.item("b").x + 9, 12)
            document = bench.all_equal()
            pause(wait)
            found = document["b"]["interfaces"][0]["efl_mm"]
            expect(not counts or found == value, f"{editor.user} set {value} with {wait} s after it, it is {found}")


@story.story("a paste and an undone delete arrive with their first drag, and hear of what others do to them")
def told_to_nobody(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=[component("a"), component("a's", y=90, picture=PICTURE)])
    ada.annotate("a text")
    bob = bench.guest("bob")
    bob.add(component("b", x=200))
    bob.add(component("b's", x=200, y=90))
    bench.all_equal()
    for me, other, mine in ((ada, bob, "a"), (bob, ada, "b")):
        pasted = me.paste(mine, f"{mine} pasted")
        me.remove(f"{mine}'s")
        until(lambda: f"{mine}'s" not in other, f"the removal at {other.user}")
        me.undo()
        both = [*enumerate((pasted, f"{mine}'s"))]
        for number, item_id in both:
            me.place(item_id, 30 * number, -60)
            until(lambda: item_id in other, f"{item_id} at {other.user}")
        bench.all_equal()
        for number, item_id in both:
            other.place(item_id, -30 * number, 44, 15)
            until(lambda: me[item_id]["y_mm"] == 44, f"the other's drag of {item_id} at {me.user}")
            bench.all_equal()
        other.remove(pasted)
        until(lambda: pasted not in me, f"the other's removal at {me.user}")
    bench.all_equal()
    expect_equal((ada.rebuilds, ada.annotations, bob.rebuilds), (0, ["a text"], 1), "what it cost")
    expect(ada.item("a's").picture, "the picture of what was removed and is back")


@story.story("a reconnection and a restore spare texts, rulers, pictures and what Undo can undo")
def spared(stage):
    bench = Bench(stage, stage.own(Server("--data-dir", stage.folder())))
    ada = bench.host("ada", items=[component("lens"), component("a's", "mirror", 150, 120, picture=PICTURE)])
    bob = bench.guest("bob")
    bob.add(component("b's", "mirror", 150, -120, picture=PICTURE))
    for editor in (ada, bob):
        editor.annotate("a text", "a ruler", "a rectangle")
    rebuilds = bob.rebuilds
    bench.all_equal()
    seq = json.loads(plain(bench.server, "GET", "/api/sessions/bench/state", shows_canvas=True).body)["seq"]
    before = bench.document()

    def look(when):
        bench.all_equal()
        for editor, mirror in ((ada, "a's"), (bob, "b's")):
            expect_equal(len(editor.annotations), 3, f"{editor.user}'s annotations {when}")
            expect(editor.item(mirror).picture and editor.item(mirror).own, f"{editor.user}'s picture {when}")
        expect_equal((ada.rebuilds, bob.rebuilds), (0, rebuilds), f"canvases that were built anew {when}")

    bob.place("lens", 60, 30)
    ada.place("b's", 30, 30)
    bench.all_equal()
    ada.leave()
    bench.back(ada)
    look("after the host's reconnection")
    ada.undo()
    until(lambda: bob["b's"]["x_mm"] == 150, "what the host undid")
    told = plain(bench.server, "POST", f"/api/sessions/bench/restore?to={seq}")
    expect_equal(told.status, 200, told.body)
    look("after a restore")
    expect_equal(bench.document(), before, "the document")
    until(bob.history.pop, "something to undo at the guest")
    ada.add(component("new"))
    until(lambda: "new" in bob, "what is placed afterwards")


@story.story("locks: set by a menu, stored, moved by others, moved and opened by a script")
def locks(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=[component("a"), component("b", y=60)])
    bob, script = bench.guest("bob"), bench.script("script")
    script.joined()
    for locking, moving, item_id in ((ada, bob, "a"), (bob, ada, "b")):
        locking.context_lock(item_id)
        moving.place(item_id, 40, 30)
        until(lambda: locking[item_id]["x_mm"] == 40, f"the drag at {locking.user}, who had locked it")
        bench.all_equal()
    ada.context_lock("a")
    script.command("update_item", "a", {"x_mm": 120.0, "y_mm": -90.0})
    until(lambda: ada["a"]["x_mm"] == 120, "a script's move of what is locked")
    bench.all_equal()
    script.command("add_item", "stored", component("stored", x=210, locked=True, angle_deg=30.0), "component")
    bench.all_equal()
    bob.leave()
    bench.back(bob)
    bench.all_equal()
    script.command("update_item", "stored", {"x_mm": 150.0, "angle_deg": 60.0})
    until(lambda: bob["stored"]["x_mm"] == 150 and bob.item("stored").locked, "a locked item in its new place")
    bench.all_equal()
    script.command("update_item", "stored", {"locked": False})
    until(lambda: not bob.item("stored").locked, "an opened lock")
    bench.all_equal()


@story.story("hovering with a tool reaches nobody")
def hovering(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=2), bench.guest("bob")
    bench.all_equal()
    heard = len(bob.all("command"))
    ada.hover(component("held"), [(8 * n, -100) for n in range(12)])
    ada.round_trip()
    bob.round_trip()
    expect_equal(bob.all("command")[heard:], [], "commands at the other")
    expect_equal(len(bench.all_equal()), 2, "items")


@story.story("a copy without its picture has its interfaces where the picture's owner has them")
def optics(stage):
    bench = Bench(stage)
    kinds = enumerate(INTERFACES)
    ada = bench.host("ada", items=[component(kind, kind, y=80.0 * n, picture=PICTURE) for n, kind in kinds])
    bob, cyd = bench.guest("bob"), bench.guest("cyd")

    def look(when):
        document = bench.all_equal()
        expect(equal(ada, bob) and equal(bob, cyd), f"{when}: {differences(bob, document)}")
        for kind in INTERFACES:
            expect_equal(document[kind]["interfaces"], before[kind]["interfaces"], f"interfaces of the {kind}, {when}")

    before = bench.document()
    look("at first")
    for number, kind in enumerate(INTERFACES):
        (bob if number % 2 else cyd).place(kind, 9, 80 * number + 5, 20 * number)
    look("when guests dragged and turned them")
    ada.place("mirror", -14, 77, 16)
    look("when the host dragged one")
    bob.add(component("own", "mirror", 120, -300, PICTURE))
    before["own"] = component("own", "mirror", 120, -300, PICTURE)
    bench.all_equal()
    ada.place("own", 130, -290, 33)
    look("when the host dragged a guest's")
    for comer in (ada, bob):
        comer.leave()
        bench.back(comer)
        look(f"when {comer.user} was away")
        comer.place("own", 131, -291)
        look(f"when {comer.user} was away and dragged one")
    # As a host it lists copies that it was sent, as such.
    bob.leave()
    bob.role = "host"
    bench.back(bob)
    look("when a guest shares what it was sent")
    bob.place("mirror", 7, 7, 7)
    look("and drags one")


@story.story("somebody who worked as a guest and then hosts a file of one item removes nothing")
def guest_hosts(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=[component("a", efl_mm=88.0)]), bench.guest("bob")
    bob.add(component("b"))
    bob.add(component("c", "mirror"))
    bob.edit("b", efl_mm=61.0)
    bob.place("a", 12, 12)
    bench.all_equal()
    bob.leave()
    bob.open_file([component("one", efl_mm=27.0)], ["a text"])
    bob.role = "host"
    bench.back(bob)
    document = bench.all_equal()
    expect_equal(set(document), {"a", "b", "c", "one"}, "items")
    expect_equal((efl(ada, "b"), efl(bob, "b"), bob.annotations), (61, 61, ["a text"]), "the guest's own")


@story.story("a script's partial update leaves an item whole on every canvas, and is drawn there")
def partial(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=[component("a", picture=PICTURE)]), bench.guest("bob")
    script = bench.script("script")
    script.joined()
    before = bench.all_equal()["a"]
    script.command("update_item", "a", {"x_mm": -150.0, "y_mm": 40.0})
    script.round_trip()
    expect_equal(bench.all_equal()["a"], before | {"x_mm": -150.0, "y_mm": 40.0}, "the document")
    script.command("move_item", "a", {"angle_deg": 25.0})
    script.command("update_item", "a", {"interfaces": [before["interfaces"][0] | {"efl_mm": 19.0}]})
    until(lambda: (efl(ada, "a"), efl(bob, "a")) == (19, 19), "the focal length at both")
    bench.all_equal()
    # With fields that no editor knows: what a copy can't report stays.
    odd = {"element_type": "lens", "x1_mm": 0.0, "y1_mm": 9.0, "x2_mm": 0.0, "y2_mm": -9.0, "coating": "AR"}
    script.command("add_item", "sparse", {"_type": "component", "x_mm": 1, "interfaces": [odd], "foo": [1]}, "component")
    script.command("add_item", "neither", {"_type": "lens", "x_mm": 4}, "lens")
    script.round_trip()
    before = bench.all_equal()["sparse"]
    bob.place("sparse", 70, 80)
    bob.round_trip()
    after = bench.all_equal()["sparse"]
    expect_equal(after | {"x_mm": 0, "y_mm": 0}, before | {"x_mm": 0, "y_mm": 0}, "what the drag left alone")
    expect_equal((after["x_mm"], after["y_mm"]), (70, 80), "what it moved")
    expect("neither" in bench.document() and "neither" not in bob, "an item of a type that editors don't know")


@story.story("the rays on everybody's screen are those of what others changed")
def drawn(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=[component("a"), source("s")])
    bench.guest("bob")
    ada.edit("a", efl_mm=40.0)
    bench.all_equal()
    ada.edit("s", n_rays=5)
    bench.all_equal()


@story.story("no rays go on through what somebody else removed, be it that all else was just worked on or is gone")
def removal_drawn(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=[component("a"), component("b"), source("s")]), bench.guest("bob")
    bench.all_equal()
    for number, removed in enumerate(("a", "b", "s")):
        if number == 1:
            ada.edit("s", n_rays=5)
            bench.all_equal()
        bob.remove(removed)
        until(lambda: removed not in ada and not ada.shows_removed, f"the removal of {removed} to be drawn", 3)


@story.story("an item that a script placed nowhere is drawn, where editors place it")
def nowhere(stage):
    bench = Bench(stage)
    bench.host("ada", items=[source("s")])
    script = bench.script("s")
    script.joined()
    line = component("nowhere")["interfaces"]
    script.command("add_item", "nowhere", {"_type": "component", "interfaces": line}, "component")
    script.round_trip()
    bench.all_equal()


@story.story("a picture that is nobody else's business is told to nobody, and stays its owner's")
def private_picture(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=[component("a", "mirror", picture="/home/ada/mirror.png")])
    bob = bench.guest("bob")
    until(lambda: equal_optics(ada, bob, "a"), "the mirror at the guest")
    bob.place("a", 20, 30, 40)
    until(lambda: ada["a"]["x_mm"] == 20 and equal_optics(ada, bob, "a"), "the guest's drag at the host")
    pause(1)
    expect(equal_optics(ada, bob, "a"), "the mirror is where it is at both")
    expect_equal((ada["a"]["image_path"], bob["a"]["image_path"]), ("/home/ada/mirror.png", None), "the picture")
    expect("ada/mirror" not in json.dumps(bob.log), "the path was told to nobody")


def equal_optics(one, other, item_id):
    item, copy = one.item(item_id), other.item(item_id)
    return bool(copy) and all(
        math.isclose(p[k], q[k], abs_tol=1e-6) for p, q in zip(item.optics(), copy.optics(), strict=True)
        for k in ("x1_mm", "y1_mm", "x2_mm", "y2_mm")
    )


@story.story("a drag of an old copy takes nothing back of what somebody else changed meanwhile")
def stale(stage):
    bench = Bench(stage)
    valve = stage.own(Valve(bench.server))
    ada = bench.sits_down("ada", "host", [component("a")])
    ada.way = valve
    bench.back(ada)
    bob = bench.guest("bob")
    bob.add(component("b", y=80))
    bench.all_equal()

    def crossing(item_id, field, value, *more):
        """Bob edits while ada hears nothing of it and drags."""
        valve.hold("down")
        bob.edit(item_id, **{field: value})
        bob.place(item_id, bob.item(item_id).x, 33)
        bob.round_trip()
        for one in more:
            one()
        ada.drag(item_id, [(3 * n, 2 * n) for n in range(10)])
        pause(1)
        valve.release()
        document = bench.all_equal()
        expect_equal((efl(ada, item_id), efl(bob, item_id)), (value, value), f"the focal length of {item_id}")
        return document[item_id]

    crossing("b", "efl_mm", 60.0)
    crossing("a", "efl_mm", 70.0)
    both = crossing("b", "efl_mm", 80.0, lambda: ada.edit("b", object_height_mm=44.0))
    expect_equal(both["object_height_mm"], 44.0, "what was changed in the old copy itself")


@story.story("magnetic snap pulls what others move to what is near, and no message avoids it: joining, turn it off")
def snap(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=[component("a"), component("b", x=300, y=200)]), bench.guest("bob")
    for on, shown in ((False, (4, 90)), (True, (0, 90))):
        bob.magnetic_snap = on
        ada.place("b", 300, 200)
        until(lambda: bob["b"]["x_mm"] == 300, "where it was")
        ada.place("b", 4, 90)
        pause(0.6)
        expect_equal((bob["b"]["x_mm"], bob["b"]["y_mm"]), shown, f"where the guest sees it, snap on: {on}")
    bob.magnetic_snap = False
    ada.place("b", 5, 90)
    bench.all_equal()


@story.story("a host that was stopped at its handshake is not wiped, whenever its canvas comes")
def late(stage):
    tables = []
    for seconds in (5, 11):
        bench = Bench(stage)
        bench.guest("bob").add(component("theirs", x=200, efl_mm=31.0))
        valve = stage.own(Valve(bench.server))
        valve.holds_at_handshake = "up", "down"
        canvas = [component("a", efl_mm=66.0), component("m", "mirror", y=-120, picture=PICTURE)]
        ada = bench.sits_down("ada", "host", canvas)
        ada.annotate("a text")
        ada.connect(valve, bench.session)
        tables.append((seconds, bench, valve, ada))
    passed = 0
    for seconds, bench, valve, ada in tables:
        pause(seconds - passed)
        passed = seconds
        valve.release()
        ada.arrived()
        until(lambda: "theirs" in ada, "the other's lens")
        document = bench.all_equal()
        expect_equal(set(document), {"a", "m", "theirs"}, f"items, {seconds} s late")
        expect_equal((ada.rebuilds, ada.annotations), (0, ["a text"]), f"rebuilds and texts, {seconds} s late")
        expect(ada.item("m").picture and ada.item("m").own, "the mirror's picture")
        ada.place("a", 10, 10)
        bench.all_equal()


if __name__ == "__main__":
    story.main()
