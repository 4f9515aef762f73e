"""The zip for Windows."""

import io
import zipfile

import builds
import licences
import project
import wheel


def _crlf(path):
    """A text as Notepad and PowerShell 5 read it: with a byte order mark and CRLF."""
    return b"\xef\xbb\xbf" + path.read_text(encoding="utf-8").replace("\n", "\r\n").encode()


def make():
    program = builds.windows()
    source = project.CONTRIB / "windows"
    top = f"collabd-{project.version()}-windows-x86_64"
    files = {
        "collabd.exe": program.read_bytes(),
        # The same on every system: this one runs it.
        "completions.ps1": project.run([builds.linux("x86_64"), "completions", "powershell"]).encode(),
        "install-service.ps1": _crlf(source / "install-service.ps1"),
        "README.txt": _crlf(source / "README.txt"),
        "LICENSE.txt": _crlf(project.REPO / "LICENSE"),
        "LICENCES.txt": licences.texts(builds.WINDOWS),
        "CHANGELOG.md": (project.REPO / "CHANGELOG.md").read_bytes(),
        "collabd.cdx.json": licences.sbom(builds.WINDOWS),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, data in files.items():
            wheel.add(archive, f"{top}/{path}", 0o755 if path.endswith(".exe") else 0o644, data)
    project.write(f"{top}.zip", out.getvalue())
