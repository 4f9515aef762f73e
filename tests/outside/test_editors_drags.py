"""Editors at work at the same time: whatever they do to whichever item, all canvases end equal."""

import story
from bench import Bench
from items import TYPES, designed
from story import until


def path(rng, steps, corner):
    """A mouse's way from a corner to somewhere, turning the item on the way."""
    x, y = corner
    dx, dy, turn = rng.uniform(-9, 9), rng.randint(-9, 9), rng.choice([0, 0.5, -3])
    return [(x + i * dx, y + i * dy, 10 + i * turn) for i in range(1, steps + 1)]


def drags_done(*editors):
    until(lambda: not any(e.dragging for e in editors), "the drags to end")


@story.story("a guest's drag arrives turned the right way, properties and all")
def one_drag(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=2), bench.guest("bob")
    item = next(iter(ada.canvas))
    properties = {k: v for k, v in ada.canvas[item].items() if k not in ("x_mm", "y_mm", "angle_deg")}
    bench.all_equal()
    bob.drag(item, [(i, -i, 3 * i) for i in range(1, 31)])
    drags_done(bob)
    document = bench.all_equal()
    story.expect_equal([document[item][k] for k in ("x_mm", "y_mm", "angle_deg")], [30, -30, 90], "the last position")
    story.expect({k: document[item][k] for k in properties} == properties, "the drag changed no property")


@story.story("two editors drag one item at once")
def one_item(stage):
    bench = Bench(stage)
    ada, bob, cyd = bench.host("ada", items=3), bench.guest("bob"), bench.guest("cyd")
    item = next(iter(ada.canvas))
    bench.all_equal()
    ada.drag(item, path(stage.rng, 40, (0, 0)))
    bob.drag(item, path(stage.rng, 40, (500, 500)))
    drags_done(ada, bob)
    document = bench.all_equal()
    story.expect_equal(cyd.canvas[item]["x_mm"], document[item]["x_mm"], "where the onlooker sees it")


@story.story("two editors drag different items at once")
def different_items(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=4), bench.guest("bob")
    one, two, *_ = ada.canvas
    bench.all_equal()
    ways = path(stage.rng, 40, (0, 0)), path(stage.rng, 40, (300, -300))
    ada.drag(one, ways[0])
    bob.drag(two, ways[1])
    drags_done(ada, bob)
    document = bench.all_equal()
    for item, way in zip((one, two), ways):
        story.expect_equal((document[item]["x_mm"], document[item]["y_mm"]), way[-1][:2], "where the drag ended")


@story.story("a client who joins in the middle of a drag ends with the same canvas")
def join_while_dragging(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=5), bench.guest("bob")
    one, two, *_ = ada.canvas
    ada.drag(one, path(stage.rng, 60, (0, 0)))
    bob.drag(two, path(stage.rng, 60, (9, 9)))
    until(lambda: len(bob.all("command")) > 10, "the drag to be under way")
    bench.guest("cyd")
    drags_done(ada, bob)
    bench.all_equal()


@story.story("a guest who works from its first moment on loses nothing by the states still on their way")
def impatient(stage):
    bench = Bench(stage)
    ada = bench.host("ada", items=5)
    for number in range(6):
        bob = bench.impatient_guest(f"bob {number}")
        added = bob.add(designed(stage.rng))
        one, two, *_ = bob.canvas
        bob.place(one, number, 2, 3)
        bob.edit(two, name=f"edited by {bob.user}")
        bob.drag(added, path(stage.rng, 5, (0, 0)))
        ada.place(one, -number, -2, -3)
        drags_done(bob)
        document = bench.all_equal()
        story.expect(added in document, "the added item in the document")
        story.expect_equal(document[two]["name"], f"edited by {bob.user}", "the edited item in the document")


@story.story("one removes what another is dragging")
def remove_while_dragging(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=3), bench.guest("bob")
    cyd = bench.guest("cyd")
    item = next(iter(ada.canvas))
    bench.all_equal()
    bob.drag(item, path(stage.rng, 40, (0, 0)))
    until(lambda: len(ada.all("command")) > 10, "the drag to be under way")
    ada.remove(item)
    drags_done(bob)
    document = bench.all_equal()
    story.expect(item not in document and item not in cyd.canvas, "a removed item stays removed")


@story.story("what a guest adds stands properly on every canvas")
def guests_item(stage):
    bench = Bench(stage)
    ada, bob, cyd = bench.host("ada"), bench.guest("bob"), bench.guest("cyd")
    lens = designed(stage.rng, "lens")
    bob.add(lens)
    for editor in (ada, cyd):
        until(
            lambda: editor.canvas.get(lens["item_uuid"]) == lens,
            lambda: f"the lens as bob made it at {editor.user}, who has {editor.canvas}",
        )
    # The host's next snapshot has the item, too; that must not change whose it is or how it looks.
    bench.guest("dan")
    story.expect_equal(bench.all_equal()[lens["item_uuid"]], lens, "the lens in the document")


@story.story("an item added twice leaves no ghost")
def added_twice(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=1), bench.guest("bob")
    lens = designed(stage.rng, "lens")
    bob.add(lens)
    until(lambda: lens["item_uuid"] in ada.canvas, "the lens at the host")
    bob.add(lens | {"x_mm": 77})
    until(lambda: ada.canvas[lens["item_uuid"]]["x_mm"] == 77, "the second add to arrive as an update")
    story.expect_equal(bench.all_equal()[lens["item_uuid"]]["x_mm"], 77, "x in the document")


@story.story("a script's add_item with an id in the command alone reaches the canvases")
def bare_add(stage):
    bench = Bench(stage)
    bench.host("ada", items=1)
    bench.guest("bob")
    with_settling = bench.script("script")
    with_settling.joined()
    with_settling.command("add_item", "bare", {"x_mm": 4, "name": "from a script"}, item_type="mirror")
    with_settling.round_trip()
    story.expect_equal(with_settling.closed, None, "the script's connection")
    document = bench.document()
    story.expect_equal(document["bare"]["item_type"], "mirror", "the type in the document")
    for editor in bench.editors:
        until(lambda: "bare" in editor.canvas, f"the script's item at {editor.user}")
        until(lambda: editor.canvas["bare"]["x_mm"] == 4, f"its place at {editor.user}")
        story.expect_equal(editor.canvas["bare"]["item_type"], "mirror", f"its type at {editor.user}")


@story.story("three editors do this and that at random")
def at_random(stage):
    rng = stage.rng
    bench = Bench(stage)
    bench.host("ada", items=12)
    bench.guest("bob")
    bench.guest("cyd")

    def one_thing(editor):
        items = list(editor.canvas)
        what = rng.choices(["add", "drag", "dart", "edit", "remove"], [3, 4, 6, 5, 2])[0]
        if what == "add" or len(items) < 4:
            editor.add(designed(rng, rng.choice(TYPES)))
            return
        # Often the same few items, so that people get in each other's way.
        item = rng.choice(items[:3] if rng.random() < 0.5 else items)
        if what == "drag":
            editor.drag(item, path(rng, rng.randint(2, 25), (rng.uniform(-99, 99), 0)))
        elif what == "dart":
            editor.place(item, rng.randint(-99, 99), rng.uniform(-99, 99), rng.uniform(-180, 180))
        elif what == "edit":
            editor.edit(item, name=f"renamed {rng.getrandbits(16)}", efl_mm=rng.uniform(-99, 99))
        else:
            editor.remove(item)

    for _ in range(3):
        for _ in range(50):
            one_thing(rng.choice(bench.editors))
            for _ in range(rng.randint(0, 3)):
                story.turn()
        drags_done(*bench.editors)
        bench.all_equal()


@story.story("three editors do this and that while one of them keeps leaving and coming back")
def at_random_with_returns(stage):
    rng = stage.rng
    bench = Bench(stage)
    ada, bob, cyd = bench.host("ada", items=8), bench.guest("bob"), bench.guest("cyd")
    for comer in (cyd, ada, bob, ada):
        comer.leave()
        for _ in range(15):
            editor = rng.choice([e for e in bench.editors if e is not comer])
            item = rng.choice(list(editor.canvas))
            rng.choice([
                lambda: editor.add(designed(rng)),
                lambda: editor.place(item, rng.randint(-99, 99), 1, 45),
                lambda: editor.edit(item, notes=f"{rng.getrandbits(9)}"),
                lambda: editor.drag(item, path(rng, 8, (0, 0))),
            ])()
            story.turn()
        bench.back(comer)
        drags_done(*bench.editors)
        bench.all_equal()


if __name__ == "__main__":
    story.main()
