"""Images as layouts and archives, made of members that a test can replace by what no tool writes."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

from pyjail._images import documents, platforms, sources
from pyjail._images.bounds import Bounds
from tests.images_made import END, file, folder

ARCHITECTURE = platforms.own().architecture
PLATFORM = {"os": "linux", "architecture": ARCHITECTURE}


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def described(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def layer(*parts: bytes) -> bytes:
    """A tar of what `images_made` makes."""
    return b"".join(parts) + END


HELLO = layer(folder(b"etc"), file(b"etc/hello", b"hello"))
SECOND = layer(file(b"etc/second", b"2"))


def config(*layers: bytes, **more: Any) -> bytes:
    root = {"type": "layers", "diff_ids": [digest(data) for data in layers]}
    return encoded({**PLATFORM, "config": {"Env": ["A=1"]}, "rootfs": root, **more})


def zstd() -> Any:
    """The module of Python, or the extra's; both have the same interface."""
    try:
        return importlib.import_module("compression.zstd")
    except ImportError:
        return importlib.import_module("backports.zstd")


def stored_as(form: str, data: bytes) -> bytes:
    """Compressed by "gzip" or "zstd", or as it is."""
    return gzip.compress(data, mtime=0) if form == "gzip" else zstd().compress(data) if form == "zstd" else data


def oci(
    *layers: bytes, name: str | None = "app", compress: bool | str = False, stored: tuple[bytes, ...] = (), **more: Any
) -> dict[str, bytes]:
    """Members of a layout with one image; ``compress``: "zstd", or gzip; ``stored``: how they are, in that form."""
    form = compress if isinstance(compress, str) else "gzip" if compress else ""
    stored = stored or tuple(stored_as(form, data) for data in layers)
    own = config(*layers, **more)
    manifest = encoded(
        {
            "schemaVersion": 2,
            "mediaType": documents.OCI_MANIFEST,
            "config": described(own, documents.OCI_CONFIG),
            "layers": [described(data, documents.OCI_LAYER + (f"+{form}" if form else "")) for data in stored],
        }
    )
    marked = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
    return {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": encoded(
            {"schemaVersion": 2, "manifests": [described(manifest, documents.OCI_MANIFEST, **marked)]}
        ),
        **{f"blobs/sha256/{digest(data)[7:]}": data for data in (manifest, own, *stored)},
    }


def both(*images: dict[str, bytes]) -> dict[str, bytes]:
    """Layouts as one, their indexes joined."""
    found: dict[str, bytes] = {}
    for image in images:
        found |= image
    rows = [row for image in images for row in json.loads(image["index.json"])["manifests"]]
    return found | {"index.json": encoded({"schemaVersion": 2, "manifests": rows})}


def docker(*layers: bytes, tags: tuple[str, ...] = ("team/app:1",), **more: Any) -> dict[str, bytes]:
    """Members of a docker-archive with one image, as skopeo writes it."""
    own = config(*layers, **more)
    names = [f"{digest(data)[7:]}.tar" for data in layers]
    row = {"Config": f"{digest(own)[7:]}.json", "RepoTags": [*tags], "Layers": names}
    return {**dict(zip(names, layers, strict=True)), f"{digest(own)[7:]}.json": own, "manifest.json": encoded([row])}


def archive(members: dict[str, bytes], *more: bytes) -> bytes:
    """A tar of them, and of further entries."""
    return layer(*(file(name.encode(), data) for name, data in members.items()), *more)


def directory(path: Path, members: dict[str, bytes]) -> Path:
    """They, as files."""
    for name, data in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def contents(spec: str, staging: str | int, bounds: Bounds | None = None) -> list[bytes]:
    """The layers of what ``spec`` means, all verified: size, digest, diff_id."""
    bounds = bounds or Bounds()
    with sources.opened(spec, staging, bounds) as source:
        manifest = documents.resolve(source, platforms.own(), bounds)
        its = documents.config(documents.read(source, manifest.config, bounds.config, "config"), bounds)
        documents.fits(its, platforms.own())
        layers = []
        for descriptor, diff_id in documents.paired(manifest, its):
            data = documents.read(source, descriptor, bounds.compressed, "compressed")
            plain = gzip.decompress(data) if descriptor.media_type.endswith("gzip") else data
            assert digest(plain) == str(diff_id)
            layers.append(plain)
        return layers


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
