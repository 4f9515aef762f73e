"""The Linux tarball: the binary, and what a service on a machine without a package needs."""

import builds
import licences
import project


def make(machine):
    """Write the tarball for a machine, and the list of its parts beside it."""
    program = builds.linux(machine)
    target = builds.linux_target(machine)
    top = f"collabd-{project.version()}-linux-{machine}"
    # Whoever builds for another machine runs the completions of this one: they are the same.
    here = builds.linux("x86_64")
    bom = licences.sbom(target)
    files = {
        "bin/collabd": (0o755, program.read_bytes()),
        "README.md": (0o644, (project.REPO / "README.md").read_bytes()),
        "CHANGELOG.md": (0o644, (project.REPO / "CHANGELOG.md").read_bytes()),
        "LICENSE": (0o644, (project.REPO / "LICENSE").read_bytes()),
        "LICENCES.txt": (0o644, licences.texts(target)),
        "collabd.cdx.json": (0o644, bom),
        "etc/collabd/collabd.toml": (0o644, project.configuration()),
        "lib/systemd/system/collabd.service": (0o644, project.unit("/usr/local/bin/collabd")),
        # Below /usr/local zsh has another place for them than below /usr.
        **{
            f"share/{path.replace('vendor-completions', 'site-functions')}": (0o644, data)
            for path, data in project.generated(here).items()
        },
        **{f"docs/{path.name}": (0o644, path.read_bytes()) for path in sorted((project.REPO / "docs").glob("*.md"))},
    }
    folders = {top}
    for path in files:
        parts = path.split("/")[:-1]
        folders |= {"/".join([top, *parts[: i + 1]]) for i in range(len(parts))}
    entries = [(folder, 0o755, None) for folder in folders]
    entries += [(f"{top}/{path}", mode, data) for path, (mode, data) in files.items()]
    project.write(f"{top}.tar.gz", project.zipped(project.tar(sorted(entries))))
    project.write(f"{top}.cdx.json", bom)
