"""Which collabd the tests run: the one named in COLLABD_BIN, or what `make test-binary` builds."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or REPO / "target")
BINARY = Path(os.environ.get("COLLABD_BIN") or TARGET / "ci" / ("collabd.exe" if os.name == "nt" else "collabd")).resolve()
