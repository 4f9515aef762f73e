"""The Debian package: installed, upgraded and purged in a root directory made from Debian's packages."""

import os
import shutil
import subprocess
import time

import packages
import project
import story

# The oldest Debian that it is for.
RELEASE = "bookworm"
PACKAGE = "collabd_{version}-1_amd64.deb"
TABLES = "var/lib/collabd/collabd.db"
CONFIGURATION = "etc/collabd/collabd.toml"


class Debian:
    """A root directory with Debian's packages in it, a fresh one for each story."""

    def __init__(self):
        packages.needs_root("a root directory of Debian's")
        packages.needs("debootstrap", "dpkg-deb")
        original = packages.SCRATCH / RELEASE
        if not original.exists():
            new = original.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            new.parent.mkdir(parents=True, exist_ok=True)
            include = "--include=systemd-sysv"
            packages.well(["debootstrap", "--variant=minbase", include, RELEASE, new], seconds=1200, env=None)
            # Where it is there, nothing is started in that root.
            (new / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
            new.rename(original)
        self.root = packages.SCRATCH / "root-deb"
        self.close()
        packages.well(["cp", "--archive", "--reflink=auto", original, self.root], seconds=300)
        packages.well(["mount", "-t", "proc", "proc", self.root / "proc"])

    def close(self):
        subprocess.run(["umount", "--lazy", self.root / "proc"], capture_output=True)
        if self.root.exists():
            packages.well(["rm", "--recursive", "--force", "--one-file-system", self.root], seconds=300)

    def path(self, name):
        return self.root / name

    def run(self, *argv):
        return packages.run(["chroot", self.root, *argv], seconds=300, env={**packages.BARE, "DEBIAN_FRONTEND": "noninteractive"})

    def well(self, *argv):
        status, said = self.run(*argv)
        story.expect(status == 0, lambda: f"{' '.join(map(str, argv))} ended with status {status}: {said[-3000:]}")
        return said

    def install(self, package):
        """Install a package as an operator does who has downloaded it, and who answers dpkg's questions with Return."""
        shutil.copy(package, self.path("tmp"))
        return self.well("apt-get", "install", "--yes", "--quiet", "-oDpkg::Options::=--force-confold", f"/tmp/{package.name}")

    def server(self):
        """The server as the unit starts it, without systemd."""
        unit = self.path("usr/lib/systemd/system/collabd.service").read_text()
        (start,) = [line.removeprefix("ExecStart=") for line in unit.splitlines() if line.startswith("ExecStart=")]
        (data,) = [line.removeprefix("Environment=") for line in unit.splitlines() if line.startswith("Environment=")]
        name, value = data.replace("%S", "/var/lib").split("=")
        environment = {**packages.BARE, name: value}
        return packages.Server(["chroot", "--userspec=collabd:collabd", self.root, *start.split()], env=environment)


def newer(stage, package):
    """The same package with a higher version, and a line more in its configuration."""
    folder = stage.folder() / "collabd"
    packages.well(["dpkg-deb", "--raw-extract", package, folder])
    control = folder / "DEBIAN" / "control"
    control.write_text(control.read_text().replace(f"Version: {project.version()}-1", f"Version: {project.version()}-2"))
    configuration = folder / CONFIGURATION
    configuration.write_text(configuration.read_text() + "# A line that the new version brings.\n")
    out = folder.parent / f"collabd_{project.version()}-2_amd64.deb"
    packages.well(["dpkg-deb", "--root-owner-group", "-Znone", "--build", folder, out])
    return out


@story.story("deb: installed, used, upgraded, removed and purged: an upgrade keeps tables and configuration, a purge nothing")
def life(stage):
    debian = stage.own(Debian())
    package = packages.package(PACKAGE)
    begun = time.monotonic()
    debian.install(package)
    server = stage.own(debian.server())
    packages.share_a_table(stage, server.port)
    packages.page_answers(server.port)
    packages.report_start("apt install", begun)
    packages.check_passes(["chroot", debian.root, "collabd"], server.port)
    server.stop()

    story.expect("collabd" in debian.well("getent", "passwd", "collabd"), "there is no user")
    state = debian.path("var/lib/collabd").stat()
    story.expect_equal(oct(state.st_mode & 0o7777), "0o700", "the mode of the data directory")
    enabled = debian.path("etc/systemd/system/multi-user.target.wants/collabd.service")
    story.expect(enabled.is_symlink(), "it isn't enabled")

    # Each line that is a comment is an option as it can be set.
    configuration = debian.path(CONFIGURATION)
    options = [line[1:] for line in configuration.read_text().splitlines() if line.startswith("#") and not line.startswith("# ")]
    story.expect(len(options) > 5, lambda: f"only {options} in {CONFIGURATION}")
    kept = configuration.read_text() + "".join(f"{line}\n" for line in options if not line.startswith(("keys", "require-key")))
    configuration.write_text(kept)
    said = debian.well("collabd", "config", "check", "--config", "/" + CONFIGURATION)
    story.expect("keep-days" in said and "collabd.toml" in said, lambda: f"config check said {said}")
    # An operator who has disabled it finds it disabled after an upgrade.
    debian.well("systemctl", "disable", "collabd.service")
    debian.install(newer(stage, package))
    story.expect(f"{project.version()}-2" in debian.well("dpkg-query", "--show", "collabd"), "it isn't upgraded")
    story.expect(not enabled.is_symlink(), "an upgrade enables what was disabled")
    story.expect_equal(configuration.read_text(), kept, "the configuration after the upgrade")
    server = stage.own(debian.server())
    packages.table_is_there(stage, server.port)
    server.stop()

    debian.well("apt-get", "remove", "--yes", "--quiet", "collabd")
    story.expect(debian.path(TABLES).exists(), "removing took the tables")
    story.expect(not debian.path("usr/bin/collabd").exists(), "removing left the program")
    debian.install(package)
    server = stage.own(debian.server())
    packages.table_is_there(stage, server.port)
    server.stop()

    debian.well("apt-get", "purge", "--yes", "--quiet", "collabd")
    left = debian.well("find", "/etc", "/usr", "/var/lib", "/lib", "-xdev", "-path", "*collabd*", "-not", "-path", "/var/lib/dpkg/*")
    story.expect_equal(left, "", "what a purge left")


BOOTED = """#!/bin/sh
exec >/told 2>&1
set -x
apt-get install --yes --quiet {first}
systemctl is-active collabd.service
collabd check ws://127.0.0.1:8765 --seconds 1
systemctl show --property=User,StatusText,NRestarts,MainPID collabd.service
systemctl reload collabd.service && collabd check ws://127.0.0.1:8765 --seconds 1
apt-get install --yes --quiet {second}
systemctl is-active collabd.service
systemctl show --property=MainPID collabd.service
journalctl --no-pager --output=cat --unit=collabd.service
systemctl stop collabd.service
systemctl show --property=Result,ExecMainStatus collabd.service
systemctl start collabd.service
apt-get purge --yes --quiet collabd
systemctl is-active collabd.service
echo the end
"""
TRY = """[Service]
Type=oneshot
ExecStart=/try
ExecStopPost=systemctl poweroff --no-block
[Install]
WantedBy=multi-user.target
"""


@story.story("deb: where systemd runs it is started, in its confinement; an upgrade restarts it, a purge ends it")
def booted(stage):
    packages.needs("systemd-nspawn")
    debian = stage.own(Debian())
    subprocess.run(["umount", debian.root / "proc"], check=True)
    first = packages.package(PACKAGE)
    second = newer(stage, first)
    for package in (first, second):
        shutil.copy(package, debian.path("root"))
    debian.path("try").write_text(BOOTED.format(first=f"/root/{first.name}", second=f"/root/{second.name}"))
    debian.path("try").chmod(0o755)
    debian.path("etc/systemd/system/try.service").write_text(TRY)
    debian.well("systemctl", "enable", "try.service")
    begun = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot"]
    status, console = packages.run([*begun, "--directory", debian.root], seconds=240)
    file = debian.path("told")
    if not file.exists():
        raise story.NotRun(f"systemd doesn't start in a container here: {console[-500:]}")
    told = file.read_text()
    story.expect("the end" in told, lambda: f"it was not told to the end: {told[-3000:]}")
    (before, between, after) = told.split("+ apt-get ")[1:]
    for part, running in ((before, "active"), (between, "active"), (after, "inactive")):
        story.expect(f"is-active collabd.service\n{running}\n" in part, lambda: f"it isn't {running}: {part}")
    story.expect_equal(before.count("steps passed"), 2, f"the checks that passed ({before})")
    story.expect("✗" not in before and "User=collabd" in before and "NRestarts=0" in before, lambda: f"it said {before}")
    pids = [line for line in told.splitlines() if line.startswith("MainPID=")]
    story.expect(len(set(pids)) == 2, lambda: f"an upgrade didn't restart it: {pids}")
    story.expect("Result=success" in between and "ExecMainStatus=0" in between, lambda: f"the stop: {between}")
    story.expect("memory" not in between.split("journalctl", 1)[1], lambda: f"its log: {between}")


@story.story("deb: lintian finds no errors")
def lintian(stage):
    packages.needs("lintian")
    argv = ["lintian", "--allow-root", "--fail-on", "error", "--suppress-tags", "bad-distribution-in-changes-file"]
    status, said = packages.run([*argv, packages.package(PACKAGE)], seconds=120, env={**os.environ, "LANG": "C.UTF-8"})
    for line in said.splitlines():
        print(f"    lintian: {line}", flush=True)
    story.expect_equal(status, 0, f"what lintian ends with; it said {said}")
