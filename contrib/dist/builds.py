"""Builds the binaries that the packages contain: static ones for Linux, and collabd.exe."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import project

MUSL = {"x86_64": "x86_64-unknown-linux-musl", "aarch64": "aarch64-unknown-linux-musl"}
GLIBC = "x86_64-unknown-linux-gnu"
WINDOWS = "x86_64-pc-windows-gnu"


@functools.cache
def has_std(target):
    """Whether the toolchain has Rust's standard library for this target."""
    try:
        directory = project.run(["rustc", "--print", "target-libdir", "--target", target], stderr=subprocess.DEVNULL)
    except project.Failed:
        return False
    return any(Path(directory.strip()).glob("libstd-*.rlib"))


def linux_target(machine):
    """What a static binary for a machine is built for; None where it can't be built here.

    With musl where Rust has it. On x86-64 glibc, statically linked, does the same.
    """
    if has_std(MUSL[machine]):
        return MUSL[machine]
    return GLIBC if machine == "x86_64" and has_std(GLIBC) else None


def _directory(variable, otherwise):
    return os.environ.get(variable) or str(Path.home() / otherwise)


def _remapped():
    """The directories of this machine that must not stand in a binary, and what stands there in their place."""
    return {str(project.REPO): "/collabd", _directory("CARGO_HOME", ".cargo"): "/cargo"}


def _environment(flags):
    places = _remapped().items()
    return {
        **os.environ,
        "CARGO_TARGET_DIR": str(project.BUILD),
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join([*flags, *(f"--remap-path-prefix={a}={b}" for a, b in places)]),
        "CFLAGS": " ".join(f"-ffile-prefix-map={a}={b}" for a, b in reversed(places)),
    }


def _without_paths(binary):
    """Refuse a binary that names a directory of this machine."""
    data = binary.read_bytes()
    for place in (*_remapped(), _directory("RUSTUP_HOME", ".rustup")):
        found = re.search(re.escape(place.encode()) + rb"[ -~]{0,80}", data)
        if found:
            raise project.Failed(f"{binary} names {found[0].decode()}, a path of this machine")
    return binary


@functools.cache
def linux(machine):
    """Build the static binary for a machine, with all link-time optimisation."""
    target = linux_target(machine)
    if target is None:
        raise project.Failed(f"no Rust standard library for {MUSL[machine]}: rustup target add {MUSL[machine]}")
    print(f"building for {target}, static" + (", with glibc" if target == GLIBC else ""), flush=True)
    # A static program can't ask its C library for the call of randomness, and would want /dev/urandom: ask the kernel.
    environment = _environment(["-Ctarget-feature=+crt-static", '--cfg=getrandom_backend="linux_raw"'])
    project.run(["cargo", "build", "--release", "--locked", "--target", target], env=environment)
    binary = project.BUILD / target / "release" / "collabd"
    if interpreter(binary.read_bytes()):
        raise project.Failed(f"{binary} is not static")
    return _without_paths(binary)


def interpreter(elf):
    """Whether a 64-bit ELF file has a program interpreter: a static one has none."""
    start, size, count = (int.from_bytes(elf[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    return any(int.from_bytes(elf[start + i * size :][:4], "little") == 3 for i in range(count))


@functools.cache
def windows():
    """Build collabd.exe, with all link-time optimisation: with rustup's standard library, or as `make windows` does."""
    argv, flags = ["build", "--release", "--locked", "--target", WINDOWS], []
    if has_std(WINDOWS):
        cargo, environment = "cargo", _environment(flags)
    else:
        sys.path.insert(0, str(project.REPO / "tests" / "windows"))
        import build

        if not Path(build.CARGO).exists():
            raise project.Failed(f"no Rust standard library for {WINDOWS}: rustup target add {WINDOWS}")
        cargo, argv = build.CARGO, [*argv, "-Zbuild-std=std,panic_unwind"]
        environment = {**_environment(flags), "RUSTC": build.ENVIRONMENT["RUSTC"], "RUSTC_BOOTSTRAP": "1"}
    print(f"building for {WINDOWS} with {cargo}", flush=True)
    project.run([cargo, *argv], env=environment)
    return _without_paths(project.BUILD / WINDOWS / "release" / "collabd.exe")
