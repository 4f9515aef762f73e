"""Pictures of the real editor's canvas. Runs the editor of the checkout $OPTIVERSE with $LAB_PYTHON on a display, opens saved
files in its window, and writes what its canvas shows.

Reads a JSON list of jobs from standard input: {"file": a saved file, "picture": where to write it, "x", "y": the middle in
millimetres, "scale": pixels a millimetre, "width", "height": pixels}. Prints a line for each that is done.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.environ["OPTIVERSE"], "src"))
JOBS = json.load(sys.stdin)
sys.argv = ["optiverse"]

from PyQt6 import QtCore, QtWidgets  # noqa: E402

SETTLE = 700  # milliseconds: the editor traces its rays a moment after a change


def window():
    return next(w for w in QtWidgets.QApplication.topLevelWidgets() if hasattr(w, "file_controller"))


def show(job):
    """Opens a file and moves the view to where the other picture is."""
    main = window()
    main.file_controller.file_manager.open_file(job["file"])
    main.retrace()
    view = main.view
    view.resetTransform()
    view.scale(job["scale"], -job["scale"])
    view.centerOn(job["x"], job["y"])
    view.zoomChanged.emit()


def save(job):
    view = window().view
    port = view.viewport()
    middle = view.mapFromScene(QtCore.QPointF(job["x"], job["y"]))
    corner = port.mapToGlobal(middle) - QtCore.QPoint(job["width"] // 2, job["height"] // 2)
    screen = QtWidgets.QApplication.primaryScreen()
    picture = screen.grabWindow(0, corner.x(), corner.y(), job["width"], job["height"])
    print(json.dumps({"picture": job["picture"], "saved": picture.save(job["picture"])}), flush=True)


def run():
    """In place of the event loop: the jobs one after the other, and then the end."""
    main = window()
    main.move(0, 0)
    main.resize(1500, 950)
    loop = QtCore.QEventLoop()

    def step(left):
        if not left:
            return loop.quit()
        show(left[0])
        QtCore.QTimer.singleShot(SETTLE, lambda: (save(left[0]), step(left[1:])))

    QtCore.QTimer.singleShot(SETTLE, lambda: step(JOBS))
    loop.exec()
    # The window would ask whether to save.
    os._exit(0)


QtWidgets.QApplication.exec = staticmethod(run)

from optiverse.app.main import main  # noqa: E402

sys.exit(main())
