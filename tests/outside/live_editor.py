"""An editor for stories that are told elsewhere: one command a line on stdin, each answered with a line when it is done.

Arguments: the port, the session, the user, `host` or `client`, and with how many components a host begins. The first
line it prints is its canvas.
"""

import json
import queue
import random
import sys
import threading
from types import SimpleNamespace

import story
from editor import Editor
from items import designed


def answer(what=None):
    print(json.dumps(what), flush=True)


def main(port, session, user, role, count="0"):
    rng = random.Random(f"{story.SEED}/{user}")
    canvas = [designed(rng, "lens") for _ in range(int(count))]
    editor = Editor(user, role, canvas).connect(SimpleNamespace(url=f"ws://127.0.0.1:{port}"), session)
    editor.arrived()
    answer([editor[item] for item in editor.ids])

    def drag(item_id, path):
        editor.drag(item_id, path)
        story.until(lambda: not editor.dragging, "the drag to end", seconds=60)

    commands = {
        "add": lambda item: editor.add(designed(rng, "lens", **item)),
        "place": editor.place,
        "drag": drag,
        "edit": lambda item_id, fields: editor.edit(item_id, **fields),
        "remove": editor.remove,
        "leave": editor.leave,
    }
    lines = queue.SimpleQueue()

    def read():
        for line in sys.stdin:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get_nowait()
        except queue.Empty:
            # Between two commands it reads what it is told, as an editor does.
            story.turn()
            continue
        if line is None:
            break
        what, *arguments = json.loads(line)
        done = commands[what](*arguments)
        if editor.open:
            editor.round_trip()
        answer(done)
    editor.inspect()
    editor.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
