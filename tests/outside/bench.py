"""Several editors at one session, and whether all they show is what the server has."""

import time

import script
import story
from editor import Editor
from items import designed
from server import Server


def as_canvas(state):
    """A state's items in the form of a canvas, to be compared with one."""
    canvas = {}
    for item in (state or {}).get("items", []):
        story.expect("uuid" in item and item.get("item_type"), f"a stored item without uuid or item_type: {item}")
        story.expect(item["uuid"] not in canvas, f"{item['uuid']} stands twice in the document")
        canvas[item["uuid"]] = {k: v for k, v in item.items() if k != "uuid"}
    return canvas


def differences(canvas, document):
    """The first few fields in which a canvas and the document differ, in words."""
    found = []
    for item_id in [*document, *(i for i in canvas if i not in document)]:
        mine, theirs = canvas.get(item_id), document.get(item_id)
        if mine is None or theirs is None:
            found.append(f"{item_id} is {'missing on the canvas' if mine is None else 'not in the document'}")
        elif mine != theirs:
            fields = [k for k in mine | theirs if mine.get(k, "none") != theirs.get(k, "none")]
            found.append(f"{item_id}: " + ", ".join(
                f"{k} is {mine.get(k, 'none')!r:.80}, document {theirs.get(k, 'none')!r:.80}" for k in fields[:3]))
    return found[:4]


class Bench:
    """An optical bench several people work at: one session on one server, and the editors that are at it."""

    def __init__(self, stage, server=None, session="bench"):
        self.stage = stage
        self.server = server or stage.own(Server())
        self.session = session
        self.editors = []

    def _open(self, user, role, canvas, **options):
        editor = self.stage.own(Editor(user, role, canvas, **options))
        self.editors.append(editor)
        return editor.connect(self.server, self.session)

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

    def back(self, editor):
        """An editor that had left comes in again."""
        return self._seated(editor.connect(self.server, self.session))

    def script(self, user, **options):
        return self.stage.own(script.Script(self.server, self.session, user, **options))

    def document(self):
        return as_canvas(script.fetch_state(self.server, self.session))

    def all_equal(self):
        """Wait until every canvas equals the server's document, and then see that it stays so."""
        here = [e for e in self.editors if e.open]
        for editor in here:
            editor.round_trip()
        deadline = time.monotonic() + story.DEADLINE
        while True:
            document = self.document()
            try:
                story.until(lambda: all(e.canvas == document for e in here), "equal canvases", 3)
                break
            except story.Failed:
                # The document may have gone on since it was fetched, by a settling or a host's snapshot.
                if time.monotonic() > deadline:
                    different = {e.user: differences(e.canvas, document) for e in here if e.canvas != document}
                    raise story.Failed(f"canvases differ from the document: {different}") from None
        for editor in here:
            editor.round_trip()
        later = self.document()
        story.expect(later == document, lambda: f"the document went on: {differences(document, later)}")
        for editor in here:
            story.expect(editor.canvas == document, lambda: f"{editor.user}: {differences(editor.canvas, document)}")
        return document
