"""The container image, from scratch: an OCI layout in a tar, which podman, docker and skopeo read."""

import json
import time

import builds
import licences
import project

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
# Nobody's number on a usual machine.
USER = 65532


def _descriptor(kind, data, **more):
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{project.sha256(data)}", "size": len(data), **more}


def root(machine):
    """The image's files, as entries of a tar."""
    program = builds.linux(machine)
    passwd = f"root:x:0:0:root:/:/sbin/nologin\ncollabd:x:{USER}:{USER}:collabd:/data:/sbin/nologin\n".encode()
    group = f"root:x:0:\ncollabd:x:{USER}:\n".encode()
    doc = "usr/share/doc/collabd"
    return [
        ("data", 0o700, None, (USER, USER)),
        *((path, 0o755, None) for path in ("etc", "usr", "usr/bin", "usr/share", "usr/share/doc", doc)),
        ("etc/group", 0o644, group),
        ("etc/passwd", 0o644, passwd),
        ("usr/bin/collabd", 0o755, program.read_bytes()),
        (f"{doc}/LICENCES.txt", 0o644, licences.texts(builds.linux_target(machine))),
        (f"{doc}/collabd.cdx.json", 0o644, licences.sbom(builds.linux_target(machine))),
    ]


def make(machine):
    """Write the image for a machine."""
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(project.epoch()))
    plain = project.tar(root(machine))
    layer = project.zipped(plain)
    annotations = {
        "org.opencontainers.image.title": project.NAME,
        "org.opencontainers.image.description": project.SUMMARY,
        "org.opencontainers.image.version": project.version(),
        "org.opencontainers.image.licenses": "MIT",
        "org.opencontainers.image.created": created,
    }
    config = json.dumps(
        {
            "created": created,
            "architecture": MACHINES[machine],
            "os": "linux",
            "config": {
                "User": f"{USER}:{USER}",
                "ExposedPorts": {"8765/tcp": {}},
                # In the environment, so that it holds whatever options and commands are given.
                "Env": ["PATH=/usr/bin", "COLLABD_DATA_DIR=/data"],
                "Entrypoint": ["/usr/bin/collabd"],
                "Volumes": {"/data": {}},
                "WorkingDir": "/data",
                "StopSignal": "SIGTERM",
                "Labels": annotations,
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{project.sha256(plain)}"]},
            "history": [{"created": created, "created_by": "make dist"}],
        }
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("config.v1+json", config),
            "layers": [_descriptor("layer.v1.tar+gzip", layer)],
            "annotations": annotations,
        }
    ).encode()
    # The second is the name that `podman load` and `docker load` give it.
    named = {
        "org.opencontainers.image.ref.name": project.version(),
        "io.containerd.image.name": f"localhost/{project.NAME}:{project.version()}",
    }
    platform = {"architecture": MACHINES[machine], "os": "linux"}
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [_descriptor("manifest.v1+json", manifest, platform=platform, annotations=named)],
        }
    ).encode()
    entries = [
        ("oci-layout", 0o644, b'{"imageLayoutVersion": "1.0.0"}'),
        ("index.json", 0o644, index),
        ("blobs", 0o755, None),
        ("blobs/sha256", 0o755, None),
        *((f"blobs/sha256/{project.sha256(blob)}", 0o644, blob) for blob in (config, manifest, layer)),
    ]
    project.write(f"collabd-{project.version()}-oci-{machine}.tar", project.tar(entries))
