"""The tarball: in an empty root directory."""

import json
import re
import subprocess
import tarfile
import time

import packages
import project
import story



def unpacked(stage):
    """The tarball in a root directory that has nothing else; returns the directory and the command for the binary."""
    root = stage.folder()
    with tarfile.open(packages.package("collabd-{version}-linux-x86_64.tar.gz")) as archive:
        top = archive.getnames()[0]
        archive.extractall(root, filter="fully_trusted")
    return root, [*packages.into_root(root), f"/{top}/bin/collabd"]


@story.story("SHA256SUMS is right, and names every package")
def checksums(stage):
    packages.well(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=packages.DIST)
    named = {line.split()[1] for line in (packages.DIST / "SHA256SUMS").read_text().splitlines()}
    there = {path.name for path in packages.DIST.iterdir()} - {"SHA256SUMS"}
    story.expect_equal(named, there, "the names in SHA256SUMS")


@story.story("tarball: an empty root: two share a table, the page answers, check passes, and it ends in order")
def empty_root(stage):
    begun = time.monotonic()
    root, collabd = unpacked(stage)
    server = stage.own(packages.Server(collabd, "--data-dir", "/data"))
    packages.share_a_table(stage, server.port)
    packages.page_answers(server.port)
    packages.report_start("unpacking", begun)
    packages.check_passes(collabd, server.port)
    server.stop()


@story.story("tarball: an empty root: a table is there after a kill")
def durable(stage):
    root, collabd = unpacked(stage)
    server = stage.own(packages.Server(collabd, "--data-dir", "/data"))
    packages.share_a_table(stage, server.port)
    server.close()
    server = stage.own(packages.Server(collabd, "--data-dir", "/data"))
    packages.table_is_there(stage, server.port)
    server.stop()
    story.expect("table" in packages.well([*collabd, "sessions", "list", "--data-dir", "/data"]), "it isn't listed")


@story.story("tarball: an empty root: without a home it serves, and says that nothing is stored")
def homeless(stage):
    root, collabd = unpacked(stage)
    server = stage.own(packages.Server(collabd))
    story.until(lambda: any("memory" in line for line in server.lines), lambda: f"a word of it in {server.lines}")
    server.stop()


@story.story("tarball: an empty root: keys are made, asked for and taken")
def keys(stage):
    root, collabd = unpacked(stage)
    said = packages.well([*collabd, "key", "new", "--name", "alice", "--level", "admin", "--file", "/keys.json"])
    key = re.search(r"ck_\w+", said)[0]
    server = stage.own(packages.Server(collabd, "--in-memory", "--keys", "/keys.json", "--require-key"))
    status, said = packages.run([*collabd, "check", f"ws://127.0.0.1:{server.port}", "--seconds", "3"])
    story.expect(status != 0, lambda: f"check passed without a key: {said}")
    packages.well([*collabd, "check", f"ws://127.0.0.1:{server.port}/key/{key}", "--seconds", "3"])
    server.stop()


@story.story("tarball: an empty root: names are looked up in /etc/hosts, and what nsswitch.conf names may be missing")
def names(stage):
    root, collabd = unpacked(stage)
    server = stage.own(packages.Server(collabd, "--in-memory"))
    url = f"ws://lab-pc:{server.port}"
    status, said = packages.run([*collabd, "check", url, "--seconds", "1"])
    story.expect(status == 1 and "could not be looked up" in said, lambda: f"without /etc/hosts check said {said}")
    (root / "etc").mkdir()
    (root / "etc" / "hosts").write_text("127.0.0.1 lab-pc\n")
    (root / "etc" / "nsswitch.conf").write_text("hosts: mymachines files resolve mdns4_minimal dns\n")
    packages.well([*collabd, "check", url, "--seconds", "1"])
    server.stop()


@story.story("tarball: licences and parts list agree, and name all that is inside")
def parts(stage):
    root, _ = unpacked(stage)
    (top,) = root.iterdir()
    bom = json.loads((top / "collabd.cdx.json").read_text())
    story.expect_equal((bom["bomFormat"], bom["specVersion"]), ("CycloneDX", "1.5"), "the format")
    named = {(part["name"], part["version"]) for part in bom["components"]}
    # What cargo itself says is in the binary; a macro (proc-macro) only runs while it is built.
    tree = ["cargo", "tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--target", "x86_64-unknown-linux-gnu"]
    told = subprocess.run(tree, cwd=project.REPO, capture_output=True, text=True, check=True).stdout
    crates = {tuple(line.split()[:2]) for line in told.splitlines() if line.strip() and not line.startswith("collabd ")}
    crates = {(name, version.removeprefix("v")) for name, version in crates}
    story.expect_equal(crates - named, set(), "crates that the list lacks")
    story.expect_equal({name for name, _ in named - crates} - {"sqlite", "rust-std", "glibc", "musl"}, set(), "parts that aren't inside")
    text = (top / "LICENCES.txt").read_text()
    lacking = [name for name, version in named if f"\n{name} {version}: " not in text]
    story.expect_equal(lacking, [], "parts without a licence")
    references = {part["bom-ref"] for part in (bom["metadata"]["component"], *bom["components"])}
    story.expect(all(e["ref"] in references and set(e["dependsOn"]) <= references for e in bom["dependencies"]), "a loose end")


@story.story("tarball: the unit is understood by systemd, and exposes little")
def unit(stage):
    packages.needs("systemd-analyze")
    root, _ = unpacked(stage)
    (file,) = root.rglob("collabd.service")
    said = packages.well(["systemd-analyze", "security", "--offline=true", "--no-pager", file])
    figure = float(re.search(r"exposure level for \S+: ([\d.]+)", said)[1])
    print(f"    systemd-analyze security: {figure}", flush=True)
    story.expect(figure <= 2.5, f"the exposure level is {figure}")
