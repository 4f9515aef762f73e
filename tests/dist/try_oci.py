"""The container image: its layout, and its root directory run as a container runs it."""

import gzip
import hashlib
import json
import os
import subprocess
import tarfile

import packages
import story

IMAGE = "collabd-{version}-oci-x86_64.tar"


def layout(stage):
    """The unpacked layout; returns its directory, the manifest and the configuration."""
    directory = stage.folder()
    with tarfile.open(packages.package(IMAGE)) as archive:
        archive.extractall(directory, filter="data")

    def blob(descriptor):
        algorithm, digest = descriptor["digest"].split(":")
        data = (directory / "blobs" / algorithm / digest).read_bytes()
        story.expect_equal(len(data), descriptor["size"], "a blob's size")
        story.expect_equal(hashlib.sha256(data).hexdigest(), digest, "a blob's digest")
        return data

    index = json.loads((directory / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]))
    config = json.loads(blob(manifest["config"]))
    layers = [blob(layer) for layer in manifest["layers"]]
    return directory, config, layers


def root(stage):
    """The image's root directory, and its configuration."""
    packages.needs_root("a container's root directory")
    directory, config, layers = layout(stage)
    folder = stage.folder()
    for number, layer in enumerate(layers):
        file = directory / f"layer{number}"
        file.write_bytes(layer)
        with tarfile.open(file) as archive:
            archive.extractall(folder, numeric_owner=True, filter="fully_trusted")
    # mkdtemp's own mode is for its maker alone.
    folder.chmod(0o755)
    return folder, config["config"]


@story.story("image: digests and sizes are right, and it says how it is run")
def right(stage):
    _, config, layers = layout(stage)
    digests = [f"sha256:{hashlib.sha256(gzip.decompress(layer)).hexdigest()}" for layer in layers]
    story.expect_equal(config["rootfs"]["diff_ids"], digests, "the layers' digests, unpacked")
    story.expect(len(layers) <= 2, f"{len(layers)} layers")
    run = config["config"]
    story.expect_equal(run["StopSignal"], "SIGTERM", "the stop signal")
    story.expect_equal(list(run["Volumes"]), ["/data"], "the volumes")
    story.expect(int(run["User"].split(":")[0]) > 0, "it runs as root")


@story.story("image: skopeo and umoci read it")
def others(stage):
    packages.needs("skopeo", "umoci")
    file = packages.package(IMAGE)
    told = json.loads(packages.well(["skopeo", "inspect", f"oci-archive:{file}"]))
    story.expect_equal((told["Os"], told["Architecture"]), ("linux", "amd64"), "what it is for")
    directory, _, _ = layout(stage)
    bundle = stage.folder() / "bundle"
    (name,) = [m["annotations"]["org.opencontainers.image.ref.name"] for m in json.loads((directory / "index.json").read_text())["manifests"]]
    rootless = ["--rootless"] if os.geteuid() else []
    packages.well(["umoci", "unpack", *rootless, "--image", f"{directory}:{name}", bundle])
    settings = json.loads((bundle / "config.json").read_text())
    story.expect_equal(settings["process"]["args"], ["/usr/bin/collabd"], "what is run")
    story.expect(settings["process"]["user"]["uid"] > 0, "it runs as root")


@story.story("image: as process 1, not as root, it serves, keeps its table, and SIGTERM ends it in order")
def process_one(stage):
    packages.needs("unshare", "pgrep")
    folder, run = root(stage)
    # A child in a name space of processes of its own, in the image's root, as the image's user.
    inside = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", *packages.into_root(folder, as_user=run["User"])]
    environment = dict(entry.split("=", 1) for entry in run["Env"])
    # chroot and unshare themselves are looked for in the PATH of this machine.
    environment["PATH"] = packages.BARE["PATH"]
    for start in (1, 2):
        server = stage.own(packages.Server([*inside, *run["Entrypoint"]], env=environment))
        if start == 1:
            packages.share_a_table(stage, server.port)
            packages.page_answers(server.port)
        else:
            packages.table_is_there(stage, server.port)
        (child,) = subprocess.run(
            ["pgrep", "--parent", str(server.process.pid)], capture_output=True, text=True, check=True
        ).stdout.split()
        with open(f"/proc/{child}/status") as file:
            status = dict(line.rstrip().split(":\t", 1) for line in file)
        story.expect_equal(status["NSpid"].split()[-1], "1", "its number in its own name space")
        story.expect(status["Uid"].split()[0] != "0", "it runs as root")
        os.kill(int(child), 15)
        server.expect_end()
    owner = (folder / "data" / "collabd.db").stat()
    story.expect_equal(owner.st_uid, int(run["User"].split(":")[0]), "whose the file is")


@story.story("compose: Caddy takes its configuration")
def caddy(stage):
    packages.needs("caddy")
    file = packages.REPO / "contrib" / "Caddyfile"
    environment = {**packages.BARE, "DOMAIN": "lab.example", "HOME": str(stage.folder())}
    said = packages.well(["caddy", "validate", "--adapter", "caddyfile", "--config", file], env=environment)
    story.expect("Valid configuration" in said, lambda: f"caddy said {said}")
