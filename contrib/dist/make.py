#!/usr/bin/env python3
"""`make dist`: builds what is published into target/dist. `make.py deb wheel` makes these alone."""

import sys

import builds
import deb
import oci
import project
import tarball
import wheel
import windows

KINDS = ("tarball", "deb", "wheel", "oci", "windows")


def make(kind, machine):
    if kind == "tarball":
        tarball.make(machine)
    elif kind == "deb":
        deb.make(machine)
    elif kind == "wheel":
        wheel.linux(machine)
    else:
        oci.make(machine)


def main():
    wanted = sys.argv[1:] or KINDS
    unknown = [kind for kind in wanted if kind not in KINDS]
    if unknown:
        print(f"no package {', '.join(unknown)}; there are {', '.join(KINDS)}")
        return 2
    built, missing = [], []
    try:
        for machine in builds.MUSL:
            if machine != "x86_64" and builds.linux_target(machine) is None:
                missing.append(f"Linux {machine}: needs `rustup target add {builds.MUSL[machine]}`")
                continue
            for kind in wanted:
                if kind != "windows":
                    make(kind, machine)
            built.append(f"Linux {machine}: {builds.linux_target(machine)}, static")
        if "windows" in wanted or "wheel" in wanted:
            if "windows" in wanted:
                windows.make()
            if "wheel" in wanted:
                wheel.windows()
            built.append(f"Windows x86_64: {builds.WINDOWS}")
        project.checksums()
    except project.Failed as failure:
        print(f"✗ {failure}", file=sys.stderr)
        return 1
    print(*(f"built: {line}" for line in built), *(f"NOT built: {line}" for line in missing), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
