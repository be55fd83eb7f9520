"""Images for tests of their use: made of a static busybox, as OCI layouts, and put into a store of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pyjail import images
from tests import images_made as made

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
TOOLS = ("sh", "ls", "cat", "id", "env", "true", "echo", "pwd", "touch", "sleep")


def busybox(*more: bytes) -> bytes:
    """A layer with the tools, and entries of tests/images_made.py."""
    program = Path("/bin/busybox").read_bytes()
    links = [made.link(b"bin/" + tool.encode(), b"busybox") for tool in TOOLS]
    return made.archive(made.folder(b"bin"), made.file(b"bin/busybox", program, mode=0o755), *links, *more)


def layout(where: Path, layers: list[bytes], config: dict[str, Any]) -> str:
    """An OCI layout in the new directory ``where``, with this ``config`` of a container; its specification."""
    blobs = where / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def document(value: dict[str, Any], kind: str) -> dict[str, Any]:
        return blob(json.dumps(value).encode(), f"application/vnd.oci.image.{kind}.v1+json")

    about = {
        "architecture": ARCHITECTURES[os.uname().machine], "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]},
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": document(about, "config"),
        "layers": [blob(layer, "application/vnd.oci.image.layer.v1.tar") for layer in layers],
    }  # fmt: skip
    (where / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [document(manifest, "manifest")]}))
    (where / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return f"oci:{where}"


def load(where: Path, name: str, *more: bytes, layers: tuple[bytes, ...] = (), **config: Any) -> images.Image:
    """An image with the tools in the store: ``more`` entries, and layers on top; ``config`` as Docker spells it."""
    spec = layout(where, [busybox(*more), *layers], {"Env": ["PATH=/bin"], **config})
    return images.load(spec, name)
