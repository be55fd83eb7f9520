"""Images in an OCI layout and in what `docker save` writes, in a directory or an archive: sources as documents says."""

from __future__ import annotations

import io
import json
import os
import re
from types import TracebackType
from typing import Any, BinaryIO

from pyjail._base.errors import SpecError
from pyjail._images import documents, values
from pyjail._images.bounds import Bounds
from pyjail._images.digests import Digest, of, shown
from pyjail._images.documents import Descriptor, Index
from pyjail._images.errors import ImageError
from pyjail._images.members import Members
from pyjail._images.stream import GZIP, OTHERS, ZSTD

REF = "org.opencontainers.image.ref.name"
FULL = "io.containerd.image.name"  # Docker's own, since Engine 25: REF is the tag alone there
_CONFIG = re.compile(r"(?:.*/)?(?:sha256:)?([0-9a-f]{64})(?:\.json)?", re.DOTALL)


class Closing:
    """A source as a context manager."""

    def close(self) -> None:
        """Gives back what is open."""

    def __enter__(self) -> Closing:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Layout(Closing):
    """An OCI layout; ``name`` is what index.json calls the image, None: there is one alone; ``spec`` is for errors."""

    def __init__(self, members: Members, name: str | None, bounds: Bounds, spec: str = "") -> None:
        self._members, self._bounds, self._spec = members, bounds, spec
        said = members.read("oci-layout", bounds)
        if said is None:
            raise ImageError("layout", "it has no file oci-layout: it is no OCI layout")
        version = values.document(said, "oci-layout", bounds.manifest, "manifest").get("imageLayoutVersion")
        if version != "1.0.0":
            raise ImageError("oci-layout", f"version {shown(version)} is not known: 1.0.0 is")
        raw = members.read("index.json", bounds)
        if raw is None:
            raise ImageError("layout", "it has no index.json")
        found = documents.manifest(raw, None, bounds)
        if not isinstance(found, Index):
            raise ImageError("index.json", "it is a manifest, and an index is needed")
        self._index = found
        self._chosen = self._choose(name)
        self.media_type: str | None = self._chosen.media_type if self._chosen else documents.OCI_INDEX

    def _choose(self, name: str | None) -> Descriptor | None:
        """What ``name`` means; None: index.json itself, whose entries are one image for several platforms."""
        entries = self._index.entries
        if name is None:
            same = {str(entry.descriptor.digest): entry.descriptor for entry in entries}
            if len(same) == 1:
                return next(iter(same.values()))
            if same and not self.names() and all(entry.platform for entry in entries):
                return None
        else:
            said = [(e.descriptor, {e.descriptor.annotations.get(key, "") for key in (REF, FULL)}) for e in entries]
            for meant in _meant(name):
                if same := {str(descriptor.digest): descriptor for descriptor, names in said if names & meant}:
                    break
            if len(same) == 1:
                return next(iter(same.values()))
        raise _unclear(self._spec, name, self.names(), len(same))

    def names(self) -> list[str]:
        """What index.json calls its images, each once; by the whole name, where Docker wrote it."""
        all_said = [entry.descriptor.annotations for entry in self._index.entries]
        said = [annotations.get(FULL) or annotations.get(REF) for annotations in all_said]
        return [*dict.fromkeys(name for name in said if name)]

    def manifest(self) -> bytes:
        """The index or manifest that was chosen, verified."""
        if self._chosen is None:
            return self._index.raw
        return documents.read(self, self._chosen, self._bounds.manifest, "manifest")

    def blob(self, descriptor: Descriptor) -> BinaryIO:
        """Its bytes as they are there: who reads them compares size and digest. Never fetched from elsewhere."""
        file = self._members.open(f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.hex}")
        if file is None:
            raise ImageError(
                f"blob {descriptor.digest}", "it is missing: write the image again, with all that it needs"
            )
        return file

    def close(self) -> None:
        self._members.close()


def _meant(name: str) -> list[set[str]]:
    """What ``name`` may be called in full: itself, then as Docker writes short names out."""
    full = {name, f"docker.io/{name}", f"docker.io/library/{name}"}
    return [{name}, full | {f"{each}:latest" for each in full}]


def _unclear(spec: str, name: str | None, names: list[str], count: int) -> SpecError:
    listed = ", ".join(shown(each, 60) for each in names[:20]) + (", ..." if len(names) > 20 else "")
    there = f"there is {listed}" if names else "no image in it has a name"
    if name is None and not count:
        return SpecError("image", spec, "there is no image in it")
    if name is None:
        return SpecError("image", spec, f"there are {count:,} images: say which as KIND:PATH:NAME; {there}")
    why = f"{count:,} different images are named {shown(name)}" if count else f"no image is named {shown(name)}"
    return SpecError("image", spec, f"{why}; {there}")


class DockerArchive(Closing):
    """What `docker save` wrote before Engine 25, and others do: manifest.json names a configuration and layers.

    Its manifest is made here: a layer without compression has its diff_id for a digest, which the reader compares.
    """

    media_type: str | None = documents.OCI_MANIFEST

    def __init__(self, members: Members, name: str | None, bounds: Bounds, spec: str = "") -> None:
        self._members, self._bounds, self._spec = members, bounds, spec
        raw = members.read("manifest.json", bounds)
        if raw is None:
            raise ImageError("archive", "it has neither oci-layout nor manifest.json: a root's archive is tar:FILE")
        rows = values.array(raw, "manifest.json", bounds.manifest, "manifest")
        if len(rows) > bounds.index_entries:
            raise bounds.exceeded("index_entries", "manifest.json")
        self._rows = [_row(row, bounds) for row in rows]
        self._config, self._layers = self._choose(name)
        self._files: dict[Digest, str] = {}
        self._made: bytes | None = None

    def _choose(self, name: str | None) -> tuple[str, tuple[str, ...]]:
        found: set[tuple[str, tuple[str, ...]]] = set()
        for meant in _meant(name) if name is not None else [set(self.names())]:
            if found := {(config, layers) for config, tags, layers in self._rows if name is None or meant & {*tags}}:
                break
        if len(found) != 1:
            raise _unclear(self._spec, name, self.names(), len(found))
        return found.pop()

    def names(self) -> list[str]:
        """All tags of all images in it, each once."""
        return [*dict.fromkeys(tag for _, tags, _ in self._rows for tag in tags)]

    def manifest(self) -> bytes:
        """A manifest of the configuration and the layers as they are there."""
        if self._made is None:
            raw = self._configuration()
            its = documents.config(raw, self._bounds)
            if len(its.diff_ids) != len(self._layers):
                raise ImageError("config", f"it has {len(its.diff_ids):,} diff_ids for {len(self._layers):,} layers")
            layers = [self._layer(n, *pair) for n, pair in enumerate(zip(self._layers, its.diff_ids, strict=True), 1)]
            self._files[of(raw)] = self._config
            self._made = written(of(raw), len(raw), layers)
        return self._made

    def _configuration(self) -> bytes:
        if (size := self._members.size(self._config)) is not None and size > self._bounds.config:
            raise self._bounds.exceeded("config", shown(self._config))
        file = self._members.open(self._config)
        if file is None:
            raise ImageError("manifest.json", f"its config {shown(self._config)} is not in the archive")
        with file:
            raw = file.read(self._bounds.config + 1)
        named = _CONFIG.fullmatch(self._config)
        if named and of(raw).hex != named[1]:
            raise ImageError(f"config {shown(self._config)}", "its bytes have another digest than its name says")
        return raw

    def _layer(self, n: int, name: str, diff_id: Digest) -> dict[str, object]:
        what = f"layer {n}, {shown(name)}"
        file, size = self._members.open(name), self._members.size(name)
        if file is None or size is None:
            raise ImageError(what, "it is not in the archive, or a link to a link")
        with file:
            start = file.read(8)
            for magic, other in OTHERS.items():
                if start.startswith(magic):
                    raise ImageError(what, f"compressed by {other}, which is not taken: only gzip and zstd are")
            how = "+gzip" if start.startswith(GZIP) else "+zstd" if start.startswith(ZSTD) else ""
            named = diff_id if not how else hashed(file, start)
        self._files[named] = name
        return layer(documents.OCI_LAYER + how, named, size)

    def blob(self, descriptor: Descriptor) -> BinaryIO:
        """Its bytes as they are in the archive: who reads them compares size and digest."""
        if self._made is None:
            self.manifest()
        file = self._members.open(self._files.get(descriptor.digest, ""))
        if file is None:
            raise ImageError(f"blob {descriptor.digest}", "it is not in the archive")
        return file

    def close(self) -> None:
        self._members.close()


def _row(row: object, bounds: Bounds) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(config, tags, layers) of an entry of manifest.json; its names are keys of a dict and nothing else."""
    what = "manifest.json"
    if not isinstance(row, dict):
        raise ImageError(what, "a list of objects is needed")
    layers = values.texts(row, "Layers", what, bounds.layers, "layers")
    tags = values.texts(row, "RepoTags", what, bounds.index_entries, "index_entries")
    return os.path.normpath(values.text(row.get("Config"), what, "Config")), tags, tuple(map(os.path.normpath, layers))


def hashed(file: BinaryIO, start: bytes = b"") -> Digest:
    """The sha256 of ``start`` and of all that is left of ``file``."""
    hasher = Digest("sha256", "").hasher()
    piece = start
    while piece:
        hasher.update(piece)
        piece = file.read(1 << 20)
    return Digest("sha256", hasher.hexdigest())


def layer(media_type: str, named: Digest, size: int) -> dict[str, object]:
    """A descriptor, as a manifest has it."""
    return {"mediaType": media_type, "digest": str(named), "size": size}


def written(config: Digest, size: int, layers: list[dict[str, object]]) -> bytes:
    """A manifest; the same for the same image."""
    document = {
        "schemaVersion": 2,
        "mediaType": documents.OCI_MANIFEST,
        "config": layer(documents.OCI_CONFIG, config, size),
        "layers": layers,
    }
    return json.dumps(document, separators=(",", ":")).encode()


class Single(Closing):
    """An image of one layer, ``fd`` from its start, and of a configuration that says nothing but ``config``, in the
    words of the specification; ``fd`` is taken over."""

    media_type: str | None = documents.OCI_MANIFEST

    def __init__(
        self,
        fd: int,
        media_type: str,
        named: Digest,
        diff_id: Digest,
        platform: tuple[str, str],
        config: dict[str, Any] | None = None,
    ) -> None:
        self._fd, self._layer = fd, named
        root = {"type": "layers", "diff_ids": [str(diff_id)]}
        said = {"architecture": platform[1], "os": platform[0], "config": config or {}, "rootfs": root}
        self._config = json.dumps(said, separators=(",", ":")).encode()
        self._made = written(of(self._config), len(self._config), [layer(media_type, named, os.fstat(fd).st_size)])

    def names(self) -> list[str]:
        """None: a root has no name of its own."""
        return []

    def manifest(self) -> bytes:
        """A manifest of that layer."""
        return self._made

    def blob(self, descriptor: Descriptor) -> BinaryIO:
        """The layer, or the configuration."""
        if descriptor.digest == of(self._config):
            return io.BytesIO(self._config)
        if descriptor.digest != self._layer:
            raise ImageError(f"blob {descriptor.digest}", "it is not of this image")
        return open(f"/proc/self/fd/{self._fd}", "rb")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
