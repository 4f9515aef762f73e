"""What all packages have in common: the version, the time they are dated, what is inside the binary, and its licences."""

import functools
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CONTRIB = REPO / "contrib"
DIST = REPO / "target" / "dist"
# Apart from target/release: other flags.
BUILD = REPO / "target" / "dist-build"

NAME = "collabd"
SUMMARY = "Real-time collaboration server: people edit one optical table together"


class Failed(Exception):
    """A step of the build failed; the message says what to do."""


def run(argv, **options):
    """Run a program to its end; its standard output is returned."""
    argv = [str(word) for word in argv]
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, **{"cwd": REPO, **options})
    except FileNotFoundError as error:
        raise Failed(f"{argv[0]} is missing") from error
    if done.returncode:
        raise Failed(f"{' '.join(argv[:3])} ended with status {done.returncode}")
    return done.stdout


@functools.cache
def metadata():
    """All packages that Cargo.lock names, as cargo knows them."""
    return json.loads(run(["cargo", "metadata", "--locked", "--format-version", "1"]))


@functools.cache
def version():
    return next(p["version"] for p in metadata()["packages"] if p["name"] == NAME)


@functools.cache
def epoch():
    """The time that everything inside a package bears, in seconds: SOURCE_DATE_EPOCH, or that of the last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    try:
        return int(run(["git", "log", "-1", "--format=%ct"], stderr=subprocess.DEVNULL))
    except (Failed, ValueError):
        # Sources without their history.
        return int((REPO / "CHANGELOG.md").stat().st_mtime)


@functools.cache
def _graph(target):
    """Of the binary for a target: all packages and all uses of one by another, by id, and the id of collabd itself."""
    argv = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    graph = json.loads(run(argv))
    uses = {
        node["id"]: [d["pkg"] for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
        for node in graph["resolve"]["nodes"]
    }
    return {p["id"]: p for p in graph["packages"]}, uses, graph["resolve"]["root"]


def inside(target):
    """The packages that are compiled into the binary for a target, collabd first, the others by name.

    What only runs while it is built (build scripts, macros) is not inside.
    """
    packages, uses, root = _graph(target)
    found, ahead = set(), [root]
    while ahead:
        name = ahead.pop()
        if name not in found and not any("proc-macro" in t["kind"] for t in packages[name]["targets"]):
            found.add(name)
            ahead += uses[name]
    others = sorted((packages[name] for name in found - {root}), key=lambda p: (p["name"], p["version"]))
    return [packages[root], *others]


def depends_on(target):
    """For each package, by id: the ids of those that it uses."""
    return _graph(target)[1]


def sqlite_version():
    """The version of the SQLite that is compiled in."""
    package = next(p for p in metadata()["packages"] if p["name"] == "libsqlite3-sys")
    header = Path(package["manifest_path"]).parent / "sqlite3" / "sqlite3.h"
    found = re.search(r'^#define SQLITE_VERSION\s+"([\d.]+)"', header.read_text(), re.M)
    if not found:
        raise Failed(f"{header} doesn't say its version")
    return found[1]


def generated(binary):
    """What the binary prints for a package, by its path below usr/share: completions and the man page."""
    files = {
        path: run([binary, "completions", shell]).encode()
        for shell, path in (
            ("bash", "bash-completion/completions/collabd"),
            ("zsh", "zsh/vendor-completions/_collabd"),
            ("fish", "fish/vendor_completions.d/collabd.fish"),
        )
    }
    return {**files, "man/man1/collabd.1": run([binary, "man"]).encode()}


def unit(program):
    """The systemd unit, for a program of this path."""
    return (CONTRIB / "systemd" / "collabd.service").read_text().replace("/usr/bin/collabd", program).encode()


def configuration():
    """The configuration file of a service: comments."""
    return (CONTRIB / "systemd" / "collabd.toml").read_bytes()


def zipped(data):
    """As gzip, the same bytes each time."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=epoch(), filename="") as file:
        file.write(data)
    return out.getvalue()


def tar(entries, owner=(0, 0)):
    """An uncompressed tar of `(path, mode, data)`; without data it is a directory. A fourth field is the owner's ids."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path, mode, data, *ids in entries:
            member = tarfile.TarInfo(path)
            member.mode, member.mtime = mode, epoch()
            member.uid, member.gid = ids[0] if ids else owner
            if data is None:
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            else:
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def write(name, data):
    """Write a package, whole or not at all, and say so."""
    DIST.mkdir(parents=True, exist_ok=True)
    path = DIST / name
    new = path.with_name(name + ".new")
    new.write_bytes(data)
    new.replace(path)
    print(f"target/dist/{name}: {len(data) / 1e6:.2f} MB", flush=True)
    return path


def checksums():
    """SHA256SUMS of everything that lies in target/dist."""
    files = sorted(p for p in DIST.iterdir() if p.is_file() and p.name != "SHA256SUMS" and not p.name.endswith(".new"))
    (DIST / "SHA256SUMS").write_text("".join(f"{sha256(p.read_bytes())}  {p.name}\n" for p in files))
