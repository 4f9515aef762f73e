#!/usr/bin/env python3
"""Whether `rust-version` in Cargo.toml can be true: no dependency needs a newer Rust.

Clippy (`incompatible_msrv`, in `make lint`) holds what the code uses of the standard library against it. Where that
version is installed (`rustup toolchain install VERSION`), `msrv.py --compile` compiles everything with it.
"""

import json
import subprocess
import sys


def numbers(version):
    return tuple(int(part) for part in (version + ".0.0").split(".")[:3])


def main():
    argv = ["cargo", "metadata", "--locked", "--format-version", "1"]
    packages = json.loads(subprocess.run(argv, check=True, stdout=subprocess.PIPE).stdout)["packages"]
    stated = next(p["rust_version"] for p in packages if p["name"] == "collabd")
    newer = [p for p in packages if numbers(p["rust_version"] or "1.0") > numbers(stated)]
    for package in newer:
        print(f"✗ {package['name']} {package['version']} needs Rust {package['rust_version']}, Cargo.toml says {stated}")
    if newer:
        return 1
    if "--compile" in sys.argv:
        toolchain = stated if stated.count(".") == 2 else f"{stated}.0"
        done = subprocess.run(["rustup", "run", toolchain, "cargo", "check", "--locked", "--all-targets", "--target-dir", "target/msrv"])
        return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
