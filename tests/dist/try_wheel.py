"""The wheels: installed into fresh environments."""

import base64
import csv
import hashlib
import os
import subprocess
import sys
import time
import zipfile

import packages
import project
import story

LINUX = "collabd-{version}-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
WINDOWS = "collabd-{version}-py3-none-win_amd64.whl"


def installed(stage):
    """A fresh environment with the wheel in it; returns its `bin`."""
    environment = stage.folder() / "environment"
    status, said = packages.run([sys.executable, "-m", "venv", environment], seconds=120)
    if status:
        raise story.NotRun(f"python3 -m venv doesn't work here: {said[-300:]}")
    begun = time.monotonic()
    packages.well(
        [environment / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", packages.package(LINUX)],
        seconds=120,
    )
    return environment / "bin", begun


@story.story("wheel: pip installs it, two share a table, check passes; pip uninstall leaves nothing")
def pip(stage):
    bin, begun = installed(stage)
    server = stage.own(packages.Server([bin / "collabd"], "--in-memory"))
    packages.share_a_table(stage, server.port)
    packages.page_answers(server.port)
    packages.report_start("pip install", begun)
    packages.check_passes([bin / "collabd"], server.port)
    server.stop()
    packages.well([bin / "pip", "check", "--disable-pip-version-check"])
    packages.well([bin / "pip", "uninstall", "--quiet", "--yes", "--disable-pip-version-check", "collabd"])
    left = [path for path in bin.parent.rglob("*collabd*")]
    story.expect_equal(left, [], "what is left")


@story.story("wheel: python -m collabd is the same program, and its exit status its own")
def module(stage):
    bin, _ = installed(stage)
    said = packages.well([bin / "python", "-m", "collabd", "--version"])
    story.expect_equal(said, packages.well([bin / "collabd", "--version"]), "what --version says")
    story.expect(project.version() in said, lambda: f"it said {said}")
    status, _ = packages.run([bin / "python", "-m", "collabd", "--no-such-option"])
    story.expect_equal(status, 2, "the status")
    server = stage.own(packages.Server([bin / "python", "-m", "collabd"], "--in-memory"))
    server.stop()


@story.story("wheel: the editor's stand-in hosts with it")
def hosts(stage):
    python = packages.REPO / ".deps" / "venv" / "bin" / "python"
    if not python.exists():
        raise story.NotRun("there is no .deps/venv: bash tests/outside/setup.sh makes it")
    bin, _ = installed(stage)
    program = packages.REPO / "tests" / "outside" / "test_editors_canvas.py"
    done = subprocess.run(
        [python, program, "a host alone", "who joins a host gets"], capture_output=True, text=True, timeout=120,
        env={**os.environ, "COLLABD_BIN": str(bin / "collabd"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    good = done.returncode == 0 and done.stdout.count("✓ a ") == 2 and " 0 failed" in done.stdout
    story.expect(good, lambda: f"it said {done.stdout} {done.stderr}")


@story.story("wheels: RECORD names every file with its hash and size, and the platform is in their tags")
def records(stage):
    for pattern, program in ((LINUX, "collabd"), (WINDOWS, "collabd.exe")):
        with zipfile.ZipFile(packages.package(pattern)) as archive:
            names = archive.namelist()
            (record,) = [name for name in names if name.endswith("/RECORD")]
            rows = {row[0]: row[1:] for row in csv.reader(archive.read(record).decode().splitlines())}
            story.expect_equal(set(rows), set(names), f"what RECORD of {pattern} names")
            for name in set(names) - {record}:
                data = archive.read(name)
                digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
                story.expect_equal(rows[name], [f"sha256={digest}", str(len(data))], name)
            (binary,) = [name for name in names if name.endswith(f".data/scripts/{program}")]
            story.expect_equal(archive.getinfo(binary).external_attr >> 16 & 0o777, 0o755, "the program's mode")


@story.story("wheels: pip chooses the one for its system")
def chooses(stage):
    for platform, pattern in (("win_amd64", WINDOWS), ("manylinux_2_17_x86_64", LINUX)):
        into = stage.folder()
        packages.well(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps",
             "--only-binary=:all:", "--platform", platform, "--find-links", packages.DIST, "--dest", into, "collabd"],
        )
        story.expect_equal([p.name for p in into.iterdir()], [pattern.format(version=project.version())], f"for {platform}")
