"""collabd, the server: `collabd` is in the environment's bin, and `python -m collabd` is the same."""

import os
import sys
import sysconfig
from pathlib import Path

__version__ = "@VERSION@"


def binary():
    """The path of the program that came with this package."""
    name = "collabd.exe" if os.name == "nt" else "collabd"
    places = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))]
    # `pip install --target DIR` puts it beside the package.
    places.append(Path(__file__).resolve().parents[1] / "bin")
    for place in places:
        path = Path(place) / name
        if path.is_file():
            return path
    sys.exit(f"collabd: {name} is in none of {', '.join(map(str, places))}: install the package anew")
