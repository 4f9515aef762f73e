"""Editors at durable sessions: the server is killed and started anew, and everybody goes on where they were."""

import json
import subprocess

import story
from bench import Bench
from items import designed
from server import BINARY, Server, surroundings
from story import until


def durable_bench(stage):
    bench = Bench(stage, stage.own(Server("--data-dir", stage.folder() / "data")))
    bench.directory = bench.server.options[-1]
    return bench


def killed_and_started_anew(bench):
    """The power goes and comes back; everybody notices, nobody comes back by itself."""
    bench.server.kill()
    for editor in bench.editors:
        if editor.open:
            until(lambda: editor.closed, f"{editor.user} to notice that the server is gone")
    bench.server = bench.stage.own(Server("--data-dir", bench.directory, port=bench.server.port))


def on_disk(bench):
    """Wait until what was done so far would survive: what is said behind it is confirmed only then."""
    for editor in bench.editors:
        if editor.open:
            editor.round_trip()


def exported(bench, *more):
    command = [BINARY, "sessions", "export", bench.session, "--data-dir", bench.directory, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=story.DEADLINE, env=surroundings())
    story.expect_equal((done.returncode, done.stderr), (0, ""), "exporting")
    return {item["uuid"] for item in json.loads(done.stdout)["items"]}


@story.story("after the server was killed a guest alone finds everybody's work")
def guest_alone(stage):
    bench = durable_bench(stage)
    ada, bob = bench.host("ada", items=4), bench.guest("bob")
    added = bob.add(designed(stage.rng))
    bob.place(added, 12, 34, 56)
    first, *_ = ada.ids
    ada.edit(first, serial="aligned")
    before = bench.all_equal()
    epoch, seq = ada.log[0]["epoch"], max(ada.last_seq, bob.last_seq)
    on_disk(bench)
    killed_and_started_anew(bench)
    bench.back(bob)
    ack = bob.log[0]
    story.expect_equal(ack["epoch"], epoch, "the session's epoch after the restart")
    story.expect(ack["seq"] >= seq, lambda: f"the session goes on after {seq}, not after {ack['seq']}")
    story.expect(bench.all_equal() == before, "the guest's canvas is what it was before")


@story.story("a host who comes back after a crash undoes nothing that was done meanwhile")
def host_later(stage):
    bench = durable_bench(stage)
    ada, bob = bench.host("ada", items=5), bench.guest("bob")
    dragged, removed, *_ = ada.ids
    bench.all_equal()
    on_disk(bench)
    killed_and_started_anew(bench)
    bench.back(bob)
    bob.place(dragged, 111, 222, 33)
    bob.remove(removed)
    added = bob.add(designed(stage.rng))
    bob.round_trip()
    bench.back(ada)
    document = bench.all_equal()
    story.expect_equal(document[dragged]["x_mm"], 111, "where the guest left the item")
    story.expect(removed not in document and added in document, "what the guest removed and added")


@story.story("killed again and again while everybody drags, all canvases end equal")
def again_and_again(stage):
    bench = durable_bench(stage)
    ada, bob = bench.host("ada", items=6), bench.guest("bob")
    everybody = [ada, bob, bench.guest("cyd")]
    for _ in range(3):
        bench.all_equal()
        one, two, *_ = ada.ids
        path = [(stage.rng.uniform(-500, 500), n) for n in range(200)]
        ada.drag(one, path)
        bob.drag(two, path)
        everybody[2].drag(one, path)
        until(lambda: any(m.get("seq") for m in bob.all("command")), "a change to be relayed")
        killed_and_started_anew(bench)
        stage.rng.shuffle(everybody)
        for editor in everybody:
            bench.back(editor)
    story.expect_equal(len(bench.all_equal()), 6, "items after three crashes")


@story.story("a new design under an old name leaves the old one as a version")
def new_design(stage):
    bench = durable_bench(stage)
    ada = bench.host("ada", items=3)
    old = set(bench.all_equal())
    on_disk(bench)
    killed_and_started_anew(bench)
    ada.open_file([designed(stage.rng) for _ in range(2)])
    bench.back(ada)
    new = set(bench.all_equal())
    story.expect(len(new) == 2 and not new & old, "the canvas is the new design")
    on_disk(bench)
    story.expect_equal(exported(bench), new, "what is stored now")
    story.expect_equal(exported(bench, "--at", str(len(old))), old, "what is stored as of the old design")


if __name__ == "__main__":
    story.main()
