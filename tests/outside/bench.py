"""Several editors at one session, and whether all they show is what the server has."""

import json
import math
import time
from urllib.parse import quote

import script
import story
from canvas import Item
from editor import Editor
from items import FIELDS, designed
from plain import plain
from server import Server


def as_document(state):
    """A state's items by their ids."""
    items = {}
    for item in (state or {}).get("items", []):
        story.expect("uuid" in item and item.get("item_type"), f"a stored item without uuid or item_type: {item}")
        story.expect(item["uuid"] not in items, f"{item['uuid']} stands twice in the document")
        items[item["uuid"]] = item
    return items


def alike(one, other):
    """Whether a canvas's value is that of the document, but for what moving an interface there and back leaves of a
    number. What is no number can't be told to others, and an integer that no float can hold is told as infinite."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    if one != one or isinstance(one, int) and abs(one) > 1e308 and other in (one, math.inf, -math.inf):
        return True
    if isinstance(one, float) and isinstance(other, (int, float)) and not isinstance(other, bool):
        return one == other or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)
    return one == other


def differences(editor, document):
    """In words, where what an editor shows is not what somebody would see who opened the document as a file."""
    known = {item_id: item for item_id, item in document.items() if item["item_type"] in FIELDS}
    here = set(editor.ids)
    found = [f"{item_id} is missing on the canvas" for item_id in known if item_id not in here]
    found += [f"{item_id} is not in the document" for item_id in here if item_id not in known]
    for item in editor.scene:
        if item.id not in known:
            continue
        shown, true = item.shown(), Item(known[item.id], item_id=item.id).shown()
        for key in shown | true:
            mine, theirs = shown.get(key, "none"), true.get(key, "none")
            if not alike(mine, theirs):
                found.append(f"{item.id}: {key} is {mine!r:.300}, document {theirs!r:.300}")
    if not found and editor.drawn != editor.changes:
        found.append("the rays on the screen are those of before")
    return found[:4]


def equal(one, other):
    """Whether two editors show the same."""
    if sorted(one.ids) != sorted(other.ids):
        return False
    return all(alike(one.item(item_id).shown(), other.item(item_id).shown()) for item_id in one.ids)


class Bench:
    """An optical bench several people work at: one session on one server, and the editors that are at it."""

    def __init__(self, stage, server=None, session="bench"):
        self.stage = stage
        self.server = server or stage.own(Server())
        self.session = session
        self.editors = []

    def _open(self, user, role, canvas, **options):
        return self.sits_down(user, role, canvas, **options).connect(self.server, self.session)

    def _seated(self, editor):
        """Wait until every state of the joining has come: the answers to it and to the hosts' snapshots.

        A state wipes the canvas and what was done on it a moment ago; most people are slower than that.
        """
        editor.arrived()
        for host in self.editors:
            if host.open and host.role == "host" and host is not editor:
                host.expect("user:joined", user_id=editor.known_as)
                host.round_trip()
        editor.round_trip()
        return editor

    def host(self, user, items=0, **options):
        """Somebody who shares a canvas that already has so many items (or just these)."""
        canvas = [designed(self.stage.rng) for _ in range(items)] if isinstance(items, int) else items
        return self._seated(self._open(user, "host", canvas, **options))

    def guest(self, user, **options):
        return self._seated(self._open(user, "client", (), **options))

    def impatient_guest(self, user, **options):
        """Somebody who works from the first state on, while others are still on their way to wipe the canvas."""
        guest = self._open(user, "client", (), **options)
        story.until(lambda: guest.may_add, f"{user}'s first state")
        return guest

    def sits_down(self, user, role, canvas=(), **options):
        """Somebody who works alone, until `back`."""
        editor = self.stage.own(Editor(user, role, canvas, **options))
        self.editors.append(editor)
        return editor

    def back(self, editor):
        """An editor comes in, or comes in again."""
        return self._seated(editor.connect(editor.way or self.server, self.session))

    def script(self, user, **options):
        return self.stage.own(script.Script(self.server, self.session, user, **options))

    def document(self):
        """The document's items, asked for by somebody who isn't in the session."""
        answer = plain(self.server, "GET", f"/api/sessions/{quote(self.session, safe='')}/state", shows_canvas=True)
        story.expect_equal(answer.status, 200, f"asking for the state: {answer.body}")
        return as_document(json.loads(answer.body))

    def _all_here(self):
        here = [e for e in self.editors if e.open]
        for editor in here:
            editor.round_trip()
        return here

    def _differences(self):
        document = self.document()
        return document, {e.user: found for e in self.editors if e.open and (found := differences(e, document))}

    def all_equal(self):
        """Wait until every canvas shows the server's document, and then see that it stays so."""
        deadline = time.monotonic() + 5
        self._all_here()
        while True:
            document, found = self._differences()
            if not found:
                self._all_here()
                later, found = self._differences()
                if not found and later == document:
                    return document
            if time.monotonic() > deadline:
                raise story.Failed(f"canvases differ from the document: {found or differing(document, later)}")
            pause(0.05)


def differing(one, other):
    """In which fields of which items two documents differ."""
    fields = {(i, key) for i in one | other for key in one.get(i, {}) | other.get(i, {})}
    values = {(i, key): [items.get(i, {}).get(key) for items in (one, other)] for i, key in sorted(fields)}
    return {place: both for place, both in values.items() if both[0] != both[1]}


def pause(seconds):
    """Let everybody go on for so long."""
    end = time.monotonic() + seconds
    story.until(lambda: time.monotonic() > end, "time to pass", seconds + 5)
