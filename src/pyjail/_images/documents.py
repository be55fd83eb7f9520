"""Manifests, indexes and configurations: bytes that others wrote become checked records. Pure.

Sizes are compared first, then digests; only then is anything parsed.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import BinaryIO, NamedTuple, Protocol

from pyjail._images import values
from pyjail._images.bounds import Bounds, allowed
from pyjail._images.digests import Digest, digest, of, shown
from pyjail._images.errors import ImageError
from pyjail._images.platforms import Platform

__all__ = [
    "ACCEPT", "CONFIGS", "DOCKER_ARCHIVE_LAYER", "INDEXES", "LAYERS", "MANIFESTS", "OCI_CONFIG", "OCI_INDEX",
    "OCI_LAYER", "OCI_MANIFEST", "Config", "Descriptor", "Digest", "Entry", "History", "Index", "Manifest", "Source",
    "choose", "config", "digest", "fits", "manifest", "paired", "read", "resolve",
]  # fmt: skip

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_ARCHIVE_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_DOCKER = "application/vnd.docker.distribution.manifest."
INDEXES = frozenset({OCI_INDEX, f"{_DOCKER}list.v2+json"})
MANIFESTS = frozenset({OCI_MANIFEST, f"{_DOCKER}v2+json"})
CONFIGS = frozenset({OCI_CONFIG, "application/vnd.docker.container.image.v1+json"})
_FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_APART = "application/vnd.oci.image.layer.nondistributable.v1.tar"
LAYERS = frozenset(
    {DOCKER_ARCHIVE_LAYER, f"{DOCKER_ARCHIVE_LAYER}.gzip", f"{DOCKER_ARCHIVE_LAYER}.zstd", _FOREIGN, f"{_FOREIGN}.gzip"}
    | {kind + how for kind in (OCI_LAYER, _APART) for how in ("", "+gzip", "+zstd")}
)
ACCEPT = (OCI_INDEX, f"{_DOCKER}list.v2+json", OCI_MANIFEST, f"{_DOCKER}v2+json")
_OLD = frozenset({f"{_DOCKER}v1+json", f"{_DOCKER}v1+prettyjws"})
_ANY = frozenset({"application/json", "application/octet-stream", "text/plain"})  # say nothing; mediaType has to
_ATTESTATION = ("unknown", "unknown")
_MEDIA = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}", re.ASCII)
ENV = 1000
WORDS = 10_000  # of an entrypoint or a command; the kernel's own bound is by bytes


class Descriptor(NamedTuple):
    """What a document says of a blob: ``size`` in bytes; ``data`` is the blob itself where that came with it."""

    media_type: str
    digest: Digest
    size: int
    annotations: dict[str, str]
    data: bytes | None = None


class Entry(NamedTuple):
    """One of an index: ``platform`` is (os, architecture, variant), None where it says nothing of it."""

    descriptor: Descriptor
    platform: tuple[str, str, str] | None


class Index(NamedTuple):
    """A document that lists manifests, or further indexes."""

    entries: tuple[Entry, ...]
    raw: bytes
    digest: Digest


class Manifest(NamedTuple):
    """A document of one image: its configuration and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    raw: bytes
    digest: Digest


class History(NamedTuple):
    """What made a layer, or, with ``empty_layer``, changed the configuration alone."""

    created_by: str
    comment: str
    empty_layer: bool


class Config(NamedTuple):
    """What an image says of how it is to be run; ``env`` has "NAME=value", each name once."""

    architecture: str
    os: str
    variant: str
    env: tuple[str, ...]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    working_dir: str
    user: str
    labels: dict[str, str]
    diff_ids: tuple[Digest, ...]
    history: tuple[History, ...]

    def to_dict(self) -> dict[str, object]:
        """The same in types that `json.dumps` takes."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in self._asdict().items()}
        return found | {"diff_ids": [*map(str, self.diff_ids)], "history": [row._asdict() for row in self.history]}


class Source(Protocol):
    """Where an image comes from: an archive, a layout, a registry."""

    media_type: str | None  # of what manifest() gives; None: it has to say it itself

    def manifest(self) -> bytes:
        """The document that the name means: an index or a manifest."""

    def blob(self, descriptor: Descriptor) -> BinaryIO:
        """A file to be read and closed by the caller, who compares size and digest."""

    def names(self) -> list[str]:
        """What there is to choose from."""

    def close(self) -> None:
        """Gives back what it holds; blobs that are open stay so."""


def _descriptor(row: object, what: str) -> Descriptor:
    if not isinstance(row, dict):
        raise ImageError(what, "a descriptor has to be an object")
    media = values.text(row.get("mediaType"), what, "mediaType")
    if not _MEDIA.fullmatch(media):
        raise ImageError(what, f"{shown(media)} is no media type")
    name, size = digest(row.get("digest"), what), values.count(row, "size", what)
    inline = values.text(row.get("data"), what, "data")
    data = None
    if inline:
        try:
            data = base64.b64decode(inline, validate=True)
        except (binascii.Error, ValueError):
            raise ImageError(what, "'data' is no base64") from None
        hasher = name.hasher()
        hasher.update(data)
        if (len(data), hasher.hexdigest()) != (size, name.hex):
            data = None  # it is read from where the others are
    return Descriptor(media, name, size, values.table(row, "annotations", what), data)


def _kind(document: dict[str, object], content_type: str | None, what: str) -> bool:
    """Whether it is an index; raises when it could be taken for something else."""
    keys = {key.lower() for key in document}  # readers in Go take "Manifests", too
    lists, single = "manifests" in keys, bool(keys & {"layers", "config"})
    said = values.text(document.get("mediaType"), what, "mediaType")
    told = (content_type or "").partition(";")[0].strip().lower()
    if {said, told} & _OLD or "fslayers" in keys or str(document.get("schemaVersion")) == "1":
        raise ImageError(what, "Docker's schema 1 is not supported: push or save the image again with a tool of today")
    if isinstance(document.get("schemaVersion"), bool) or document.get("schemaVersion") != 2:
        raise ImageError(what, "'schemaVersion' has to be 2")
    if lists and single:
        raise ImageError(
            what, "it has 'manifests' and 'layers' or 'config': readers differ in what it is (CVE-2021-41190)"
        )
    if told in _ANY and said:
        told = said
    for media in filter(None, (said, told)):
        if media not in INDEXES | MANIFESTS:
            raise ImageError(what, f"{shown(media)} is no manifest or index of an image")
        if media in INDEXES and single:
            raise ImageError(what, f"{shown(media)} with 'layers' or 'config': they contradict each other")
        if media in MANIFESTS and lists:
            raise ImageError(what, f"{shown(media)} with 'manifests': they contradict each other")
    if said and told and said != told:
        raise ImageError(what, f"it says {shown(said)}, what named it says {shown(told)}: they contradict each other")
    if not lists and not single:
        raise ImageError(what, "neither 'manifests' nor 'layers' and 'config' are there: it is no image")
    return lists


def manifest(raw: bytes, content_type: str | None, bounds: Bounds) -> Index | Manifest:
    """The index or the manifest that ``raw`` is; ``content_type`` is what a registry or a descriptor called it.

    Raises `ImageError`: no JSON, too big, of a schema that is not supported, or to be taken for both kinds.
    """
    what = "manifest"
    document = values.document(raw, what, bounds.manifest, "manifest")
    if _kind(document, content_type, what):
        rows = values.rows(document, "manifests", "index", bounds.index_entries, "index_entries")
        return Index(tuple(_entry(row, f"index, entry {n}") for n, row in enumerate(rows, 1)), raw, of(raw))
    rows = values.rows(document, "layers", what, bounds.layers, "layers")
    layers = tuple(_descriptor(row, f"manifest, layer {n}") for n, row in enumerate(rows, 1))
    for n, layer in enumerate(layers, 1):
        if layer.media_type not in LAYERS:
            raise ImageError(
                f"manifest, layer {n}", f"{shown(layer.media_type)} is no layer: needed is a tar, plain, gzip or zstd"
            )
    found = _descriptor(document.get("config"), "manifest, config")
    if found.media_type not in CONFIGS:
        raise ImageError("manifest, config", f"{shown(found.media_type)}: an artifact of another kind, no image")
    if found.size > bounds.config:
        raise bounds.exceeded("config", "manifest, config")
    if sum(layer.size for layer in layers) > bounds.compressed:
        raise bounds.exceeded("compressed", "manifest, all layers together")
    return Manifest(found, layers, raw, of(raw))


def _entry(row: object, what: str) -> Entry:
    descriptor = _descriptor(row, what)
    place = values.member(row, "platform", what) if isinstance(row, dict) else {}
    if not place:
        return Entry(descriptor, None)
    os, architecture, variant = (values.text(place.get(k), what, k) for k in ("os", "architecture", "variant"))
    return Entry(descriptor, (os, architecture, variant))


def choose(index: Index, platform: Platform) -> Descriptor:
    """The first manifest, or index, in ``index`` that is for ``platform``; the only one, if it does not say for what.

    Attestations and other artifacts are passed over. Raises `ImageError`, which lists what there is.
    """
    entries = [e for e in index.entries if e.descriptor.media_type in INDEXES | MANIFESTS and not _attests(e)]
    for entry in entries:
        if entry.platform is not None and platform.takes(*entry.platform):
            return entry.descriptor
    if len(entries) == 1 and entries[0].platform is None:
        return entries[0].descriptor
    there = sorted({"/".join(filter(None, e.platform)) if e.platform else "no platform" for e in entries})
    listed = ", ".join(shown(name, 40) for name in there[:20]) + (", ..." if len(there) > 20 else "")
    raise ImageError("index", f"it has no image for {platform}; there is {listed or 'none at all'}")


def _attests(entry: Entry) -> bool:
    said = entry.descriptor.annotations.get("vnd.docker.reference.type")
    return said == "attestation-manifest" or (entry.platform is not None and entry.platform[:2] == _ATTESTATION)


def read(source: Source, descriptor: Descriptor, most: int, what: str) -> bytes:
    """All bytes of a small blob, a document: at most ``most``, of the size and then of the digest that were said."""
    if descriptor.size > most:
        raise ImageError(what, f"{descriptor.size:,} bytes are more than {allowed(what, most)}")
    found = descriptor.data
    if found is None:
        pieces, left = [], descriptor.size + 1
        with source.blob(descriptor) as file:
            while left and (piece := file.read(left)):
                pieces.append(piece)
                left -= len(piece)
        found = b"".join(pieces)
    if len(found) != descriptor.size:
        more = "more" if len(found) > descriptor.size else f"{len(found):,}"
        raise ImageError(what, f"{descriptor.digest} should have {descriptor.size:,} bytes and has {more}")
    hasher = descriptor.digest.hasher()
    hasher.update(found)
    if hasher.hexdigest() != descriptor.digest.hex:
        raise ImageError(what, f"its bytes are not those of {descriptor.digest}: it was changed or damaged")
    return found


def resolve(source: Source, platform: Platform, bounds: Bounds) -> Manifest:
    """The manifest of ``source`` for ``platform``, verified, through at most ``bounds.index_depth`` indexes."""
    raw, media = source.manifest(), source.media_type
    for _ in range(bounds.index_depth + 1):
        found = manifest(raw, media, bounds)
        if isinstance(found, Manifest):
            return found
        chosen = choose(found, platform)
        raw, media = read(source, chosen, bounds.manifest, "manifest"), chosen.media_type
    raise bounds.exceeded("index_depth", "indexes in one another")


def config(raw: bytes, bounds: Bounds) -> Config:
    """The configuration that ``raw`` is. Raises `ImageError` of what is not as the specification says."""
    what = "config"
    document = values.document(raw, what, bounds.config, "config")
    inner = values.member(document, "config", what)
    root = values.member(document, "rootfs", what)
    if root.get("type", "layers") != "layers":
        raise ImageError(what, f"a root of type {shown(root.get('type'))}: 'layers' alone is known")
    ids = values.rows(root, "diff_ids", what, bounds.layers, "layers")
    working = values.text(inner.get("WorkingDir"), what, "WorkingDir")
    return Config(
        architecture=values.text(document.get("architecture"), what, "architecture"),
        os=values.text(document.get("os"), what, "os"),
        variant=values.text(document.get("variant"), what, "variant"),
        env=_env(inner, what),
        entrypoint=values.texts(inner, "Entrypoint", what, WORDS, "words"),
        cmd=values.texts(inner, "Cmd", what, WORDS, "words"),
        working_dir=working and "/" + working.lstrip("/"),
        user=values.text(inner.get("User"), what, "User"),
        labels=values.table(inner, "Labels", what),
        diff_ids=tuple(digest(row, f"config, diff_id {n}") for n, row in enumerate(ids, 1)),
        history=tuple(_history(row, what) for row in values.rows(document, "history", what, WORDS, "history")),
    )


def _env(inner: dict[str, object], what: str) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for row in values.texts(inner, "Env", what, ENV, "env"):
        name, equals, _ = row.partition("=")
        if not name or not equals:
            raise ImageError(what, f"{shown(row)} in 'Env' is not NAME=value")
        found[name] = row
    return tuple(found.values())


def _history(row: object, what: str) -> History:
    if not isinstance(row, dict):
        raise ImageError(what, "'history' has to be a list of objects")
    by, comment = (values.text(row.get(key), what, key) for key in ("created_by", "comment"))
    return History(by, comment, row.get("empty_layer") is True)


def paired(found: Manifest, its: Config) -> tuple[tuple[Descriptor, Digest], ...]:
    """Each layer with the digest of its uncompressed bytes. Raises `ImageError` when their numbers differ."""
    if len(found.layers) != len(its.diff_ids):
        raise ImageError("config", f"it has {len(its.diff_ids):,} diff_ids for {len(found.layers):,} layers")
    return tuple(zip(found.layers, its.diff_ids, strict=True))


def fits(its: Config, platform: Platform) -> None:
    """Raises `ImageError` when the image is for another machine than ``platform``."""
    if not platform.takes(its.os, its.architecture, its.variant):
        named = "/".join(filter(None, (its.os, its.architecture, its.variant)))
        raise ImageError("config", f"the image is for {shown(named)}, not for {platform}: get the one for {platform}")
