"""What is inside a binary, for people and for programs: the licences, and the list of parts as CycloneDX."""

import json
import re
import uuid
from pathlib import Path

import project

# Where a crate's text has no copy of a licence, its authors and the licence's name have to do.
TEXTS = ("licen", "copying", "notice", "unlicense", "copyright")

GLIBC_NOTE = """The GNU C library is linked statically, under the GNU Lesser General Public License 2.1. To link collabd with another
version of it, build collabd from its sources, which are free: `make dist`."""


def _rust_version():
    return re.search(r"^release: (\S+)", project.run(["rustc", "-vV"]), re.M)[1]


def _glibc_version():
    return project.run(["getconf", "GNU_LIBC_VERSION"]).split()[-1]


def _other_parts(target):
    """What is inside and no crate: `(name, version, licence, note)`."""
    parts = [
        ("sqlite", project.sqlite_version(), "blessing", "SQLite, in the public domain: https://sqlite.org/copyright.html"),
        ("rust-std", _rust_version(), "MIT OR Apache-2.0", "The Rust standard library: https://github.com/rust-lang/rust"),
    ]
    if target.endswith("-linux-gnu"):
        parts.append(("glibc", _glibc_version(), "LGPL-2.1-or-later", GLIBC_NOTE))
    elif target.endswith("-musl"):
        parts.append(("musl", "unknown", "MIT", "musl, a C library: https://musl.libc.org"))
    else:
        note = "The start-up code of mingw-w64, in the public domain or under the Zope Public License 2.1"
        parts.append(("mingw-w64", "unknown", "ZPL-2.1", note))
    return parts


def _spdx(licence):
    """Cargo's older way of writing `MIT OR Apache-2.0` is `MIT/Apache-2.0`."""
    return (licence or "").replace("/", " OR ")


def texts(target):
    """The licences of everything inside, as one text. Identical texts stand once, with all whom they belong to."""
    shared, lines = {}, []
    for package in project.inside(target):
        lines.append(f"{package['name']} {package['version']}: {_spdx(package['license'])}")
        directory = Path(package["manifest_path"]).parent
        for file in sorted(p for p in directory.iterdir() if p.is_file() and p.name.lower().startswith(TEXTS)):
            text = file.read_text(errors="replace").strip()
            # Typography aside; the lines that say whose copyright it is stay.
            key = re.sub(r"\s+", " ", text)
            shared.setdefault(key, (text, []))[1].append(package["name"])
    lines += [f"{name} {version}: {licence}" for name, version, licence, _ in _other_parts(target)]
    notes = [note for _, _, _, note in _other_parts(target)]
    parts = ["What is inside collabd, and under which licences:", "\n".join(lines), *notes]
    for text, names in shared.values():
        parts += ["-" * 80 + "\n" + ", ".join(dict.fromkeys(names)) + ":", text]
    return ("\n\n".join(parts) + "\n").encode()


def sbom(target):
    """The parts as a CycloneDX 1.5 document. The same binary has the same document, serial number included."""
    packages = project.inside(target)
    references = {p["id"]: f"pkg:cargo/{p['name']}@{p['version']}" for p in packages}

    def component(package):
        entry = {
            "type": "application" if package["name"] == project.NAME else "library",
            "bom-ref": references[package["id"]],
            "name": package["name"],
            "version": package["version"],
            "licenses": [{"expression": _spdx(package["license"])}],
            "purl": references[package["id"]],
        }
        if package["description"]:
            entry["description"] = " ".join(package["description"].split())
        return entry

    components = [component(p) for p in packages[1:]]
    others = _other_parts(target)
    components += [
        {"type": "library", "bom-ref": f"{name}@{version}", "name": name, "version": version, "licenses": [{"expression": licence}]}
        for name, version, licence, _ in others
    ]
    uses = project.depends_on(target)
    dependencies = [
        {"ref": references[p["id"]], "dependsOn": sorted(references[d] for d in uses[p["id"]] if d in references)}
        for p in packages
    ]
    dependencies[0]["dependsOn"] += [f"{name}@{version}" for name, version, _, _ in others]
    for entry in dependencies:
        if entry["ref"].startswith("pkg:cargo/libsqlite3-sys@"):
            entry["dependsOn"].append(f"sqlite@{project.sqlite_version()}")
    dependencies += [{"ref": f"{name}@{version}", "dependsOn": []} for name, version, _, _ in others]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(packages[0]), "properties": [{"name": "target", "value": target}]},
        "components": components,
        "dependencies": dependencies,
    }
    text = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    return (json.dumps(document, indent=1) + "\n").encode()
