"""The Debian package. Debian's dpkg-deb writes it; debhelper isn't needed."""

import hashlib
import os
import tempfile
from email.utils import formatdate
from pathlib import Path

import builds
import licences
import project

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
# Who answers for the package: whoever publishes it says so, as Debian's tools are told.
MAINTAINER = "{} <{}>".format(
    os.environ.get("DEBFULLNAME", "the collabd authors"), os.environ.get("DEBEMAIL", "nobody@noreply.github.com")
)


def files(machine):
    """What is in the package, by path: `(mode, data)`."""
    program = builds.linux(machine)
    target = builds.linux_target(machine)
    here = builds.linux("x86_64")
    debian = project.CONTRIB / "deb"
    changelog = (
        f"{project.NAME} ({project.version()}-1) stable; urgency=medium\n\n"
        f"  * What is new stands in changelog.gz.\n\n -- {MAINTAINER}  {formatdate(project.epoch())}\n"
    )
    doc = "usr/share/doc/collabd"
    found = {
        "etc/collabd/collabd.toml": (0o644, project.configuration()),
        "usr/bin/collabd": (0o755, program.read_bytes()),
        "usr/lib/systemd/system/collabd.service": (0o644, project.unit("/usr/bin/collabd")),
        f"{doc}/copyright": (0o644, _copyright(target)),
        f"{doc}/changelog.Debian.gz": (0o644, project.zipped(changelog.encode())),
        f"{doc}/changelog.gz": (0o644, project.zipped((project.REPO / "CHANGELOG.md").read_bytes())),
        f"{doc}/LICENCES.txt.gz": (0o644, project.zipped(licences.texts(target))),
        f"{doc}/collabd.cdx.json": (0o644, licences.sbom(target)),
        f"{doc}/README.md": (0o644, (project.REPO / "README.md").read_bytes()),
        "usr/share/lintian/overrides/collabd": (0o644, (debian / "lintian-overrides").read_bytes()),
    }
    for path in sorted((project.REPO / "docs").glob("*.md")):
        found[f"{doc}/docs/{path.name}"] = (0o644, path.read_bytes())
    for path, data in project.generated(here).items():
        if path.startswith("man/"):
            path, data = path + ".gz", project.zipped(data)
        found[f"usr/share/{path}"] = (0o644, data)
    return found


def _copyright(target):
    """Debian's own format: collabd's licence, and where those of its parts stand."""
    text = (project.REPO / "LICENSE").read_text().splitlines()
    holder = next(line for line in text if line.startswith("Copyright")).removeprefix("Copyright (c) ")
    body = "\n".join(f" {line}" if line else " ." for line in text[text.index(f"Copyright (c) {holder}") + 2 :])
    note = licences.GLIBC_NOTE if target.endswith("-gnu") else "A C library is linked statically."
    note = "\n".join(f" {line}" for line in note.splitlines())
    return (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: collabd\n"
        "Comment:\n The licences of what is compiled in stand in LICENCES.txt.gz beside this file.\n"
        f"{note}\n /usr/share/common-licenses/LGPL-2.1 has the text of that licence.\n\n"
        f"Files: *\nCopyright: {holder}\nLicense: Expat\n{body}\n"
    ).encode()


def control(machine, found):
    size = sum(len(data) for _, data in found.values()) // 1024
    return (
        f"Package: collabd\nVersion: {project.version()}-1\nArchitecture: {MACHINES[machine]}\nMaintainer: {MAINTAINER}\n"
        f"Installed-Size: {size}\nDepends: adduser\nSection: net\nPriority: optional\n"
        "Description: server for optical tables that people edit together\n"
        " People in an optics lab edit one optical table together, each in the editor\n"
        " Optiverse on a machine of their own. collabd is the server between them: it\n"
        " passes changes on at once, keeps every table on disk, and shows them in a\n"
        " browser.\n"
    )


def make(machine):
    """Write the package for a machine."""
    found = files(machine)
    debian = project.CONTRIB / "deb"
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "root"
        for path, (mode, data) in found.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
            (root / path).chmod(mode)
        information = root / "DEBIAN"
        information.mkdir()
        (information / "control").write_text(control(machine, found))
        (information / "conffiles").write_text("".join(f"/{path}\n" for path in found if path.startswith("etc/")))
        sums = {path: hashlib.md5(data).hexdigest() for path, (_, data) in found.items() if not path.startswith("etc/")}
        (information / "md5sums").write_text("".join(f"{sums[path]}  {path}\n" for path in sorted(sums)))
        for script in ("postinst", "prerm", "postrm"):
            (information / script).write_bytes((debian / script).read_bytes())
            (information / script).chmod(0o755)
        for directory in (root, *(p for p in root.rglob("*") if p.is_dir())):
            directory.chmod(0o755)
        name = f"collabd_{project.version()}-1_{MACHINES[machine]}.deb"
        out = Path(temporary) / name
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SOURCE_DATE_EPOCH": str(project.epoch())}
        # xz, which every Debian and Ubuntu reads.
        project.run(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, out], env=environment)
        project.write(name, out.read_bytes())
