"""The Python wheels: the binary goes into the environment's bin."""

import base64
import hashlib
import io
import time
import zipfile

import builds
import licences
import project

# A static binary needs no glibc at all; 2.17 is the oldest that pip has a name for.
LINUX = {machine: f"py3-none-manylinux_2_17_{machine}.manylinux2014_{machine}" for machine in ("x86_64", "aarch64")}
WINDOWS = "py3-none-win_amd64"


def zip_date():
    """The packages' date as zip has it, which begins in 1980."""
    return max(time.gmtime(project.epoch())[:6], (1980, 1, 1, 0, 0, 0))


def add(archive, path, mode, data):
    """Add a file of a mode."""
    entry = zipfile.ZipInfo(path, zip_date())
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = 3
    entry.external_attr = (0o100000 | mode) << 16
    archive.writestr(entry, data, compresslevel=9)


def _metadata():
    return (
        f"Metadata-Version: 2.1\nName: collabd\nVersion: {project.version()}\nSummary: {project.SUMMARY}\n"
        "License: MIT\nClassifier: License :: OSI Approved :: MIT License\n"
        "Classifier: Environment :: No Input/Output (Daemon)\nClassifier: Programming Language :: Rust\n"
        "Requires-Python: >=3.10\nDescription-Content-Type: text/markdown\n\n"
    ).encode() + (project.CONTRIB / "wheel" / "README.md").read_bytes()


def make(program, target, tag):
    """Write the wheel with a program that was built for a target."""
    parts = tag.split("-")
    tags = [f"{parts[0]}-{parts[1]}-{platform}" for platform in parts[2].split(".")]
    information = f"collabd-{project.version()}.dist-info"
    source = project.CONTRIB / "wheel"
    files = {
        "collabd/__init__.py": (source / "__init__.py").read_bytes().replace(b"@VERSION@", project.version().encode()),
        "collabd/__main__.py": (source / "__main__.py").read_bytes(),
        f"collabd-{project.version()}.data/scripts/{program.name}": program.read_bytes(),
        f"{information}/METADATA": _metadata(),
        f"{information}/WHEEL": "".join(
            ["Wheel-Version: 1.0\nGenerator: collabd\nRoot-Is-Purelib: false\n", *(f"Tag: {tag}\n" for tag in tags)]
        ).encode(),
        f"{information}/LICENSE": (project.REPO / "LICENSE").read_bytes(),
        f"{information}/LICENCES.txt": licences.texts(target),
        f"{information}/sboms/collabd.cdx.json": licences.sbom(target),
    }
    record = []
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, data in files.items():
            add(archive, path, 0o755 if "/scripts/" in path else 0o644, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{path},sha256={digest},{len(data)}\n")
        record.append(f"{information}/RECORD,,\n")
        add(archive, f"{information}/RECORD", 0o644, "".join(record).encode())
    project.write(f"collabd-{project.version()}-{tag}.whl", out.getvalue())


def linux(machine):
    make(builds.linux(machine), builds.linux_target(machine), LINUX[machine])


def windows():
    make(builds.windows(), builds.WINDOWS, WINDOWS)
