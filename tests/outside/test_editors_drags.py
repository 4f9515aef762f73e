"""Editors at work at the same time: whatever they do to whichever item, all canvases end equal."""

import story
from bench import Bench
from items import designed
from story import until


def path(rng, steps, corner):
    """A mouse's way from a corner to somewhere."""
    x, y = corner
    dx, dy = rng.uniform(-9, 9), rng.randint(-9, 9)
    return [(x + i * dx, y + i * dy) for i in range(1, steps + 1)]


def drags_done(*editors):
    until(lambda: not any(e.dragging for e in editors), "the drags to end")


@story.story("a guest's drag arrives turned the right way, properties and all")
def one_drag(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=2), bench.guest("bob")
    item = ada.ids[0]
    before = bench.all_equal()[item]
    bob.drag(item, [(i, -i) for i in range(1, 31)])
    drags_done(bob)
    bob.turn(item, 90)
    bob.round_trip()
    after = bench.all_equal()[item]
    story.expect_equal(after, before | {"x_mm": 30.0, "y_mm": -30.0, "angle_deg": 90.0}, "the item")


@story.story("two editors drag one item at once")
def one_item(stage):
    bench = Bench(stage)
    ada, bob, cyd = bench.host("ada", items=3), bench.guest("bob"), bench.guest("cyd")
    item = ada.ids[0]
    bench.all_equal()
    ada.drag(item, path(stage.rng, 40, (0, 0)))
    bob.drag(item, path(stage.rng, 40, (500, 500)))
    drags_done(ada, bob)
    document = bench.all_equal()
    story.expect_equal(cyd[item]["x_mm"], document[item]["x_mm"], "where the onlooker sees it")


@story.story("a client who joins in the middle of a drag ends with the same canvas")
def join_while_dragging(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=5), bench.guest("bob")
    one, two, *_ = ada.ids
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
        one, two, *_ = bob.ids
        bob.place(one, number, 2, 3)
        bob.edit(two, serial=f"edited by {bob.user}")
        bob.place(two, 5, number)
        bob.drag(added, path(stage.rng, 5, (0, 0)))
        ada.place(one, -number, -2, -3)
        drags_done(bob)
        document = bench.all_equal()
        story.expect(added in document, "the added item in the document")
        story.expect_equal(document[two]["serial"], f"edited by {bob.user}", "the edited item in the document")


@story.story("one removes what another is dragging")
def remove_while_dragging(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=3), bench.guest("bob")
    cyd = bench.guest("cyd")
    item = ada.ids[0]
    bench.all_equal()
    bob.drag(item, path(stage.rng, 40, (0, 0)))
    until(lambda: len(ada.all("command")) > 10, "the drag to be under way")
    ada.remove(item)
    drags_done(bob)
    document = bench.all_equal()
    story.expect(item not in document and item not in cyd, "a removed item stays removed")


@story.story("an item added twice leaves no ghost")
def added_twice(stage):
    bench = Bench(stage)
    ada, bob = bench.host("ada", items=1), bench.guest("bob")
    lens = designed(stage.rng, "lens")
    bob.add(lens)
    until(lambda: lens["item_uuid"] in ada, "the lens at the host")
    # The user has undone it in between, which nobody is told.
    bob.undo()
    bob.add(lens | {"x_mm": 77.0})
    until(lambda: ada[lens["item_uuid"]]["x_mm"] == 77, "the second add to arrive as an update")
    story.expect_equal(bench.all_equal()[lens["item_uuid"]]["x_mm"], 77, "x in the document")


@story.story("three editors do this and that at random")
def at_random(stage):
    rng = stage.rng
    bench = Bench(stage)
    bench.host("ada", items=12)
    bench.guest("bob")
    bench.guest("cyd")

    def one_thing(editor):
        items = editor.ids
        what = rng.choices(["add", "drag", "dart", "edit", "remove"], [3, 4, 6, 5, 2])[0]
        if what == "add" or len(items) < 4:
            editor.add(designed(rng))
            return
        # Often the same few items, so that people get in each other's way.
        item = rng.choice(items[:3] if rng.random() < 0.5 else items)
        if what == "drag":
            editor.drag(item, path(rng, rng.randint(2, 25), (rng.uniform(-99, 99), 0)))
        elif what == "dart":
            editor.place(item, rng.randint(-99, 99), rng.uniform(-99, 99), rng.uniform(-180, 180))
        elif what == "edit":
            # In somebody else's item it is told with the next drag alone.
            editor.edit(item, serial=rng.getrandbits(16))
            editor.place(item, rng.randint(-99, 99), rng.uniform(-99, 99))
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
            item = rng.choice(editor.ids)
            rng.choice([
                lambda: editor.add(designed(rng)),
                lambda: editor.place(item, rng.randint(-99, 99), 1, 45),
                lambda: [editor.edit(item, serial=rng.getrandbits(9)), editor.place(item, 2, rng.randint(-99, 99))],
                lambda: editor.drag(item, path(rng, 8, (0, 0))),
            ])()
            story.turn()
        bench.back(comer)
        drags_done(*bench.editors)
        bench.all_equal()


if __name__ == "__main__":
    story.main()
