"""Builds what runs under wine: collabd.exe, its unit tests, and the two small C programs of this folder."""

import json
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
TARGET = "x86_64-pc-windows-gnu"
OUT = REPO / "target" / "windows"
EXE = OUT / TARGET / "ci" / "collabd.exe"
# The C programs; on wine's PATH, so that a program finds the DLL without having it beside it.
TOOLS = OUT / "wine"

CARGO = "/usr/bin/cargo"
ENVIRONMENT = {
    **os.environ,
    # Debian has no std for Windows, so it is compiled along (-Zbuild-std), which a stable compiler has to be told to allow.
    "RUSTC": "/usr/bin/rustc",
    "RUSTC_BOOTSTRAP": "1",
    "CARGO_TARGET_DIR": str(OUT),
    # What is set for the usual toolchain is not for this one.
    "RUSTFLAGS": "",
}
FLAGS = ["--quiet", "--locked", "-Zbuild-std=std,panic_unwind", "--target", TARGET]


class BuildFailed(Exception):
    """A compiler said no; it has told why on standard error."""


def _run(argv, **options):
    result = subprocess.run([str(a) for a in argv], cwd=REPO, **options)
    if result.returncode:
        raise BuildFailed(f"{' '.join(str(a) for a in argv[:2])} failed, status {result.returncode}")
    return result


def server():
    """Build collabd.exe."""
    _run([CARGO, "build", "--profile", "ci", *FLAGS], env=ENVIRONMENT)


def unit_tests():
    """Build the crate's unit tests; returns the programs that run them."""
    argv = [CARGO, "test", "--profile", "ci", "--no-run", "--lib", "--bins", "--message-format=json-render-diagnostics", *FLAGS]
    told = _run(argv, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    return [Path(m["executable"]) for m in messages if m.get("executable") and m["profile"]["test"]]


def tools():
    """Build the DLL that wine lacks and the program that plays the console."""
    TOOLS.mkdir(parents=True, exist_ok=True)
    compiler = ["x86_64-w64-mingw32-gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-std=c11"]
    _run([*compiler, "-shared", "-o", TOOLS / "bcryptprimitives.dll", HERE / "bcryptprimitives.c", "-ladvapi32"])
    _run([*compiler, "-o", TOOLS / "console.exe", HERE / "console.c"])
