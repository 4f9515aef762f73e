"""The zip for Windows, as far as wine goes. Wine has no PowerShell and no Task Scheduler: install-service.ps1 isn't run."""

import re
import shutil
import zipfile

import build
import packages
import story
import wine

ARCHIVE = "collabd-{version}-windows-x86_64.zip"
_wine_is_up = False


def unpacked(stage):
    """The directory of the unpacked zip."""
    folder = stage.folder()
    with zipfile.ZipFile(packages.package(ARCHIVE)) as archive:
        archive.extractall(folder)
    (top,) = folder.iterdir()
    return top


def program(stage):
    """The zip's collabd.exe, which wine runs from now on."""
    global _wine_is_up
    if not shutil.which("x86_64-w64-mingw32-gcc") or not shutil.which(wine.WINE):
        raise story.NotRun("there is no wine, or no compiler for what it lacks: bash tests/windows/setup.sh installs them")
    build.EXE = unpacked(stage) / "collabd.exe"
    if not _wine_is_up:
        wine.PREFIX = packages.SCRATCH / "wine"
        wine.ENVIRONMENT["WINEPREFIX"] = str(wine.PREFIX)
        # The zip's program alone says where it stores.
        wine.ENVIRONMENT.pop("COLLABD_IN_MEMORY", None)
        build.tools()
        wine.prepare()
        _wine_is_up = True
    return build.EXE


def end():
    if _wine_is_up:
        wine.end()


@story.story("zip: under wine two share a table, check passes, and the table is there after a kill")
def serves(stage):
    exe = program(stage)
    data = stage.folder() / "data"
    server = stage.own(wine.Server("--data-dir", data))
    packages.share_a_table(stage, server.port)
    packages.page_answers(server.port)
    done = wine.run(exe, "check", f"ws://127.0.0.1:{server.port}", "--seconds", "3")
    story.expect_equal(done.returncode, 0, f"the exit status of check, which said {done.stdout} {done.stderr}")
    server.close()
    server = stage.own(wine.Server("--data-dir", data))
    packages.table_is_there(stage, server.port)
    server.stop()
    story.expect_equal(server.wait(story.DEADLINE), 0, "the exit status")


@story.story("zip: without options tables are kept in LOCALAPPDATA")
def by_default(stage):
    program(stage)
    server = stage.own(wine.Server())
    packages.share_a_table(stage, server.port)
    server.stop()
    story.expect_equal(server.wait(story.DEADLINE), 0, "the exit status")
    found = list(wine.PREFIX.glob("drive_c/users/*/AppData/Local/collabd/collabd.db"))
    story.expect_equal(len(found), 1, f"databases there ({server.said})")
    shutil.rmtree(found[0].parent)


@story.story("zip: texts are Windows' own, and install-service.ps1 uses options that there are")
def texts(stage):
    top = unpacked(stage)
    for name in ("install-service.ps1", "README.txt", "LICENSE.txt"):
        data = (top / name).read_bytes()
        story.expect(data.startswith(b"\xef\xbb\xbf"), f"{name} has no byte order mark")
        story.expect_equal(data.count(b"\n"), data.count(b"\r\n"), f"line ends of {name}")
    script = (top / "install-service.ps1").read_text(encoding="utf-8-sig")
    (line,) = [line for line in script.splitlines() if line.startswith("$arguments =")]
    options = re.findall(r"--[a-z-]+", line)
    story.expect_equal(options, ["--port", "--data-dir", "--log-file"], "the options that it gives")
    exe = program(stage)
    told = wine.run(exe, "serve", "--help").stdout
    for option in options:
        story.expect(f"{option} " in told, f"collabd.exe knows no {option}")
    for opening, closing in ("{}", "()", "[]"):
        # The comment at the top has none.
        story.expect_equal(script.count(opening), script.count(closing), f"{opening} and {closing} in it")
