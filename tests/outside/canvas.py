"""An editor's canvas: its items as they report themselves and as they are drawn, and what is done to them.

Two things hold items: the scene, which is what the user sees, and the map of ids, by which messages find an item and
from which snapshots are made. They are not always of one mind.
"""

import copy
import math
import re

from items import FIELDS, interface

RED = "#dc143c"
SNAP_MM = 10.0  # at the scale of one pixel to a millimetre


def is_number(value):
    """Whether a Qt setter takes it: an integer that no float can hold raises."""
    try:
        return isinstance(value, float) or isinstance(value, int) and isinstance(float(value), float)
    except OverflowError:
        return False


def color(text):
    """A colour as it is reported: lower case, and red for what is none."""
    return text.lower() if isinstance(text, str) and re.fullmatch("#[0-9A-Fa-f]{6}", text) else RED


def qt_equal(one, other):
    """Qt sees no change in a place that differs by so little."""
    if not one or not other:
        return abs(one - other) <= 1e-12
    return one == other or abs(one - other) * 1e12 <= min(abs(one), abs(other))


class Item:
    """An item built from a dictionary, as File → Open builds one. With `own`, edits of it are sent."""

    def __init__(self, data, kind=None, item_id=None, own=False):
        data = copy.deepcopy(data)
        self.kind = kind or data["_type"]
        self.id = item_id or data["item_uuid"]
        self.own = own
        z, locked = data.pop("z_value", None), data.pop("locked", None)
        for key in ("_type", "item_uuid"):
            data.pop(key, None)
        self.params = copy.deepcopy(FIELDS[self.kind]) | data
        if self.kind == "component":
            self.params["interfaces"] = [interface(i) for i in self.params["interfaces"] or []]
            if str(self.params["image_path"]).startswith("@component/"):
                # No component of this library.
                self.params["image_path"] = None
        self.color = color(self.params.get("color_hex"))
        self.x, self.y = float(self.params["x_mm"]), float(self.params["y_mm"])
        self.rotation = -float(self.params["angle_deg"])
        self.z = 0.0
        self.attach_picture()
        self.z = self.z if z is None else float(z)
        self.locked = bool(locked)
        self.scene = None

    def attach_picture(self):
        """The picture and what goes with it: the item is placed by the middle of its first interface."""
        self.picture = self.kind == "component" and self.params["image_path"] or None
        self.offset = (0.0, 0.0)
        if self.picture and self.params["interfaces"]:
            first = self.params["interfaces"][0]
            self.offset = tuple((first[f"{axis}1_mm"] + first[f"{axis}2_mm"]) / 2 for axis in "xy")
            self.z = 0.0
        elif self.picture:
            self.z = -10.0

    def report(self):
        """Its whole dictionary, as it is sent."""
        angle = -self.rotation % 360
        said = copy.deepcopy(self.params) | {"x_mm": self.x, "y_mm": self.y, "angle_deg": angle}
        said |= {"item_uuid": self.id, "locked": self.locked, "z_value": self.z, "_type": self.kind}
        if self.kind == "source":
            said["color_hex"] = self.color
        return said

    def listed(self):
        """What a snapshot says of it."""
        return self.report() | {"uuid": self.id, "item_type": self.kind}

    def optics(self):
        """What rays meet or how they start: the interfaces where they are on the table, or the source."""
        if self.kind == "source":
            ray = {key: self.params[key] for key in FIELDS["source"]}
            placed = {"x_mm": self.x, "y_mm": self.y, "angle_deg": -self.rotation % 360}
            return [ray | placed | {"color_hex": color(ray["color_hex"])}]
        turn = math.radians(self.rotation)
        met = []
        for each in self.params["interfaces"]:
            placed = dict(each)
            for end in "12":
                x, y = each[f"x{end}_mm"] - self.offset[0], each[f"y{end}_mm"] - self.offset[1]
                placed[f"x{end}_mm"] = self.x + x * math.cos(turn) - y * math.sin(turn)
                placed[f"y{end}_mm"] = self.y + x * math.sin(turn) + y * math.cos(turn)
            met.append(placed)
        return met

    def shown(self):
        """All that a user can see of it or read in its dialog, but for what only a picture of its own shows."""
        said = self.report()
        for key in ("interfaces", "color_hex", "uuid", "item_type"):
            said.pop(key, None)
        return said | {"optics": self.optics()}


class Canvas:
    """The scene, the map, the history, and what the user does. `told` is given what would be sent."""

    def __init__(self, items=()):
        self.scene = []  # what the user sees, the newest last
        self.map = {}  # by which messages find items
        self.annotations = []  # texts, rulers, rectangles
        self.history = []  # what Undo would do
        self.magnetic_snap = False
        self.suppressed = False  # while a message is applied nothing is told
        self.changes = self.drawn = 0  # of what rays meet; how many of them the rays on the screen have seen
        for data in items:
            self._show(Item(data, own=True))
        self.retrace()

    def told(self, action, item):
        """For whoever has a connection."""

    # Seeing.

    @property
    def ids(self):
        return [item.id for item in self.scene]

    @property
    def ghosts(self):
        """Ids that stand twice on the scene."""
        return sorted({i for i in self.ids if self.ids.count(i) > 1}) if len(set(self.ids)) < len(self.scene) else []

    def item(self, item_id):
        return next((item for item in reversed(self.scene) if item.id == item_id), None)

    def __contains__(self, item_id):
        return self.item(item_id) is not None

    def __getitem__(self, item_id):
        """What the item reports."""
        item = self.item(item_id)
        if item is None:
            raise KeyError(item_id)
        return item.report()

    def snapshot(self):
        return [item.listed() for item in self.map.values()]

    # What happens on the scene.

    def _show(self, item):
        self.scene.append(item)
        item.scene = self.scene
        self.changes += 1

    def _hide(self, item):
        if item.scene is self.scene:
            self.scene.remove(item)
            item.scene = None
            self.changes += 1

    def clear(self):
        """Everything goes, and with it what Undo would have been about."""
        for item in self.scene:
            item.scene = None
        self.scene = []
        self.annotations.clear()
        self.map.clear()
        self.changes += 1

    def rebuild_map(self):
        # The topmost first.
        self.map = {item.id: item for item in sorted(reversed(self.scene), key=lambda item: -item.z)}

    def retrace(self):
        self.drawn = self.changes
        self.shows_removed = False

    def _edited(self, item):
        self.retrace()
        if item.own:
            self.told("update_item", item)

    def _has_moved(self, item):
        if item.scene is self.scene:
            self.changes += 1
            self._edited(item)
            self.told("move_item", item)

    def _set_place(self, item, x, y):
        if item.locked or qt_equal(item.x, x) and qt_equal(item.y, y):
            return
        if self.magnetic_snap and item.scene is self.scene:
            others = [other for other in self.scene if other is not item]
            for axis, place in (("x", x), ("y", y)):
                near = min((getattr(o, axis) for o in others), key=lambda at: abs(at - place), default=math.inf)
                if abs(near - place) < SNAP_MM:
                    x, y = (near, y) if axis == "x" else (x, near)
            if qt_equal(item.x, x) and qt_equal(item.y, y):
                return
        item.x, item.y = float(x), float(y)
        self._has_moved(item)

    def _set_rotation(self, item, rotation):
        if not item.locked and item.rotation != rotation:
            item.rotation = float(rotation)
            self._has_moved(item)

    # What the user does.

    def add(self, data):
        """From the menu or the library."""
        item = Item(data, own=True)
        self._show(item)
        self.history.append(lambda: self._hide(item))
        self.told("add_item", item)
        self.retrace()
        return item.id

    def move(self, item_id, x, y):
        """One position of a drag. A locked item can't be taken hold of."""
        self._set_place(self.item(item_id), x, y)

    def turn(self, item_id, angle):
        """By Ctrl+drag: the item says itself once more that it was edited."""
        item = self.item(item_id)
        if not item.locked:
            self._set_rotation(item, -angle)
            self._edited(item)

    def place(self, item_id, x, y, angle=None):
        """A drag of one position, with an entry in the history, and a turn."""
        item = self.item(item_id)
        was = item.x, item.y, item.rotation
        self.move(item_id, x, y)
        if angle is not None:
            self.turn(item_id, angle)

        def back():
            self._set_place(item, *was[:2])
            self._set_rotation(item, was[2])

        self.history.append(back)

    def edit(self, item_id, **fields):
        """The property dialog, and OK. Fields of an interface are those of the first."""
        item = self.item(item_id)
        was = copy.deepcopy(item.params), item.x, item.y, item.rotation, item.locked, item.z
        if "color_hex" in fields:
            item.color = color(fields["color_hex"])
        if item.kind == "source":
            # The mode "Custom Color": whatever the item reports is written into its rays.
            fields["color_hex"] = item.color
        for key, value in fields.items():
            if key in item.params:
                item.params[key] = value
            else:
                item.params["interfaces"][0][key] = value
        if "object_height_mm" in fields:
            item.attach_picture()
        self.changes += 1
        self._edited(item)

        def back():
            params, x, y, rotation, locked, z = was
            self._set_place(item, x, y)
            self._set_rotation(item, rotation)
            item.params, item.locked, item.z = params, locked, z
            self.changes += 1
            self._edited(item)

        self.history.append(back)

    def remove(self, item_id):
        """The Delete key."""
        item = self.item(item_id)
        if item.locked:
            return
        self.told("remove_item", item)
        self._hide(item)
        self.history.append(lambda: self._show(item))
        self.retrace()

    def undo(self):
        self.history.pop()()
        self.retrace()

    def paste(self, item_id, new_id):
        """A copy, 20 mm further on: nobody is told, and no message finds it."""
        item = self.item(item_id)
        pasted = Item(item.report() | {"item_uuid": new_id, "locked": False}, own=True)
        pasted.x, pasted.y, pasted.locked = item.x + 20, item.y + 20, item.locked
        if item.kind == "source":
            # From what its rays have, not from what it reports.
            pasted.params["color_hex"] = item.params["color_hex"]
            pasted.color = color(item.params["color_hex"])
        self._show(pasted)
        self.history.append(lambda: self._hide(pasted))
        self.retrace()
        return new_id

    def context_delete(self, item_id):
        self._hide(self.item(item_id))

    def context_lock(self, item_id, locked=True):
        self.item(item_id).locked = locked

    def annotate(self, *things):
        """Texts, rulers, rectangles: nobody is ever told."""
        self.annotations.extend(things)

    def open_file(self, items, annotations=()):
        """File → Open: the scene is another one, the map still the old one."""
        for item in list(self.scene):
            self._hide(item)
        self.annotations = list(annotations)
        for data in items:
            self._show(Item(data))
        self.history.clear()
        self.retrace()

    def hover(self, data, path):
        """A placement tool over the canvas: something that is not there yet follows the mouse."""
        ghost = Item(data)
        self._show(ghost)
        for x, y in path:
            self._set_place(ghost, x, y)
        self._hide(ghost)
        self.retrace()

    # What messages do.

    def apply_state(self, state):
        if not state:
            return False
        self.clear()
        for data in state.get("items", []):
            if data.get("item_type"):
                self._build(data["item_type"], data)
        self.retrace()
        return True

    def _build(self, item_type, data):
        """A new item from remote data, of which only the id and the type count."""
        item_id = data.get("uuid") or data.get("item_uuid")
        kind = data.get("_type")
        if kind not in FIELDS or item_type not in FIELDS or kind != item_type:
            return
        item = Item({}, kind, item_id)
        self._show(item)
        self.map[item.id] = item
        self.retrace()

    def apply_command(self, action, item_type, item_id, data):
        self.suppressed = True
        item = self.map.get(item_id)
        if action == "add_item":
            self._build(item_type, data)
        elif item is None:
            pass
        elif action == "move_item":
            if "x_mm" in data and "y_mm" in data:
                self._set_place(item, data["x_mm"], data["y_mm"])
            if "angle_deg" in data:
                # The sign is the real editor's mistake; only an update_item puts it right.
                self._set_rotation(item, data["angle_deg"])
        elif action == "update_item":
            self._update(item, data)
        elif action == "remove_item":
            was_drawn = self.drawn == self.changes
            self._hide(item)
            del self.map[item_id]
            if was_drawn:
                # Nothing is drawn anew, which has a story of its own.
                self.retrace()
                # What does nothing to light leaves no rays behind.
                self.shows_removed = item.kind == "source" or bool(item.params.get("interfaces"))
        self.suppressed = False

    def _update(self, item, data):
        kind = data.get("_type") or item.kind
        if kind not in FIELDS:
            return
        sent = Item(data, kind, item.id)
        before = item.optics()
        item.params = sent.params
        self.changes += item.scene is self.scene and item.optics() != before
        self._set_place(item, sent.x, sent.y)
        self._set_rotation(item, sent.rotation)
        item.z, item.locked = sent.z, sent.locked
