import os
import subprocess
import sys

from collabd import binary

argv = [str(binary()), *sys.argv[1:]]
if os.name == "nt":
    # Windows has no exec: Ctrl+C reaches the server itself, too, and this program waits for its end.
    with subprocess.Popen(argv) as process:
        while True:
            try:
                sys.exit(process.wait())
            except KeyboardInterrupt:
                continue
os.execv(argv[0], argv)
