"""Editors at work while somebody brings an earlier canvas back, or another one in."""

import json
import threading

import story
from bench import Bench, as_document, differing
from items import designed
from plain import plain
from server import Server
from story import until


def stored_bench(stage):
    folder = stage.folder()
    return Bench(stage, stage.own(Server("--data-dir", folder))), folder


def api(server, method, path, body=None):
    """Ask while the editors go on, and give what is answered."""
    answers = []

    def ask():
        shows_canvas = method == "GET" and path.endswith("/state")
        answers.append(plain(server, method, path, body=body, shows_canvas=shows_canvas))
        story.news.set()

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: answers or not thread.is_alive(), f"an answer to {method} {path}")
    thread.join()
    story.expect(answers, f"an answer to {method} {path}")
    story.expect_equal(answers[0].status, 200, f"{method} {path}: {answers[0].body!r}")
    return json.loads(answers[0].body)


def versions(server):
    return api(server, "GET", "/api/sessions/bench/versions")


@story.story("an earlier canvas is brought back while editors have it open, and they go on with it")
def restored(stage):
    bench, folder = stored_bench(stage)
    ada = bench.host("ada", items=5)
    bob = bench.guest("bob")
    bob.add(designed(stage.rng))
    before = bench.all_equal()
    seq = api(bench.server, "GET", "/api/sessions/bench/state")["seq"]

    for item in list(before)[:3]:
        ada.place(item, 1.5, -2.25, 30)
    bob.remove(list(before)[4])
    bob.add(designed(stage.rng))
    after = bench.all_equal()
    story.expect(after != before, "they have done something")

    latest = api(bench.server, "GET", "/api/sessions/bench/state")["seq"]
    told = api(bench.server, "POST", f"/api/sessions/bench/restore?to={seq}")
    story.expect_equal((told["restored_to"], told["items"]), (seq, len(before)), "what was restored")
    story.expect_equal(differing(bench.all_equal(), before), {}, "everybody's canvas")
    whys = [version["why"] for version in versions(bench.server)["versions"]]
    story.expect("restored" in whys, f"the versions are {whys}")

    new = designed(stage.rng)
    bob.add(new)
    ada.edit(list(before)[0], serial="moved to the back")
    story.expect_equal(len(bench.all_equal()), len(before) + 1, "items after they went on")

    # And what was there before it can be brought back, too.
    api(bench.server, "POST", f"/api/sessions/bench/restore?to={latest}")
    story.expect_equal(differing(bench.all_equal(), after), {}, "everybody's canvas")

    # What was answered is on disk.
    bench.server.kill()
    late = Bench(stage, stage.own(Server("--data-dir", folder)))
    late.guest("cyd")
    story.expect_equal(differing(late.all_equal(), after), {}, "the canvas after the server was killed")


@story.story("a canvas is brought back under everybody's hands")
def under_their_hands(stage):
    bench, _ = stored_bench(stage)
    ada = bench.host("ada", items=6)
    bob, cyd = bench.guest("bob"), bench.guest("cyd")
    document = bench.all_equal()
    seq = api(bench.server, "GET", "/api/sessions/bench/state")["seq"]
    items = list(document)
    cyd.remove(items[5])
    for editor, item in ((ada, items[0]), (bob, items[1]), (cyd, items[2])):
        editor.drag(item, [(step / 4, -step) for step in range(150)])
    until(lambda: len(bob.all("command")) > 20, "the others to drag")
    for _ in range(3):
        told = api(bench.server, "POST", f"/api/sessions/bench/restore?to={seq}")
        story.expect_equal(told["items"], 6, "items that were restored")
    until(lambda: not any(editor.dragging for editor in (ada, bob, cyd)), "the drags to end")
    story.expect_equal(set(bench.all_equal()), set(items), "items, the removed one among them")
    story.expect_equal([ada.rebuilds, bob.rebuilds, cyd.rebuilds], [0, 1, 1], "canvases that were built anew")


@story.story("a canvas that an editor saved takes the place of what editors have open")
def imported(stage):
    bench, _ = stored_bench(stage)
    ada = bench.host("ada", items=4)
    bench.guest("bob")
    file = {"version": "2.0", "items": [ada[item] for item in ada.ids], "rulers": [], "texts": [], "zoom": 1.5}
    saved = json.dumps(file, indent=2).encode()
    before = bench.all_equal()
    for item in list(before):
        ada.remove(item)
    ada.add(designed(stage.rng))
    bench.all_equal()

    refused = plain(bench.server, "PUT", "/api/sessions/bench/state", body=saved)
    story.expect_equal((refused.status, refused.is_one_line), (409, True), "without replace=1")
    told = api(bench.server, "PUT", "/api/sessions/bench/state?replace=1", saved)
    story.expect_equal(told["items"], 4, "items that came in")
    story.expect_equal(differing(bench.all_equal(), before), {}, "everybody's canvas")
    state = api(bench.server, "GET", "/api/sessions/bench/state")
    story.expect_equal((as_document(state), state["zoom"]), (before, 1.5), "what the API shows")

    in_use = plain(bench.server, "DELETE", "/api/sessions/bench")
    story.expect_equal((in_use.status, in_use.is_one_line), (409, True), "while somebody is in it")
    for editor in bench.editors:
        editor.leave()
    # They may not have left yet for the server.
    until(lambda: plain(bench.server, "DELETE", "/api/sessions/bench").status == 200, "it to be deleted", every=0.05)
    gone = plain(bench.server, "GET", "/api/sessions/bench/versions")
    story.expect_equal(gone.status, 404, "afterwards")


if __name__ == "__main__":
    story.main()
