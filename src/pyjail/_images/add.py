"""An image becomes part of the store: `add`. Whatever ends it, the store holds the whole image or nothing of it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, BinaryIO, NamedTuple

from pyjail._base.errors import HostError
from pyjail._base.fds import Fd
from pyjail._images import confine, documents, known, place, platforms, reference, unpack
from pyjail._images.bounds import Bounds
from pyjail._images.documents import Config, Descriptor, Digest, Manifest
from pyjail._images.lock import Lock
from pyjail._images.record import Image
from pyjail._images.room import Room
from pyjail._images.shelf import Shelf

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FORMAT = "pyjail-image-2"  # of trees: what makes one differently needs another

Pairs = Sequence[tuple[Descriptor, Digest]]


class _Given(NamedTuple):
    """An image that is to be added."""

    source: documents.Source
    pairs: Pairs
    origin: known.Origin
    bounds: Bounds
    progress: unpack.Progress | None
    had: int


class _Once:
    """A source whose first document was read already."""

    def __init__(self, source: documents.Source, raw: bytes) -> None:
        self.media_type, self.blob, self.names, self.close = (
            source.media_type,
            source.blob,
            source.names,
            source.close,
        )
        self._raw = raw

    def manifest(self) -> bytes:
        return self._raw


def _id(pairs: Pairs) -> str:
    return tree_id([str(diff_id) for _, diff_id in pairs])


def tree_id(diff_ids: Sequence[str]) -> str:
    """The name of the tree that these layers make."""
    return hashlib.sha256("\n".join((FORMAT, *diff_ids)).encode()).hexdigest()


def add(
    store: Shelf,
    source: documents.Source,
    name: str,
    bounds: Bounds | None = None,
    *,
    progress: unpack.Progress | None = None,
    platform: platforms.Platform | None = None,
    origin: dict[str, Any] | None = None,
    max_size: int | None = None,
    had: int = 0,
) -> Image:
    """Read the image of ``source``, verify and unpack it, give it ``name``; the image. The source stays open.

    ``progress(done, total, what)`` is called with bytes of compressed layers; ``origin`` is kept with the name, where
    the source has none of its own; ``max_size`` is what all trees may take on disk then; who gives the image uses the
    tree of its first ``had`` layers already. A tree that is there is used, and the first layers of others. Raises
    ImageError for what is not acceptable, HostError for what this machine lacks; then the store is what it was.
    """
    bounds, platform = bounds or Bounds(), platform or platforms.own()
    if not isinstance(name, place.Key):
        reference.local_name(name)
    store.make()
    with store.working(), store.names() as names:
        names.take()
        store.sweep()
    raw = source.manifest()
    told: dict[str, Any] = {"asked": f"sha256:{hashlib.sha256(raw).hexdigest()}", "platform": str(platform)}
    if (same := _unchanged(store, name, told)) is not None:
        return same
    found = documents.resolve(_Once(source, raw), platform, bounds)
    config_raw = documents.read(source, found.config, bounds.config, "config")
    its = documents.config(config_raw, bounds)
    documents.fits(its, platform)
    pairs = documents.paired(found, its)
    id = _id(pairs)
    given = _Given(source, pairs, getattr(source, "origin", None) or origin or {}, bounds, progress, had)
    with store.working(), store.lock(id) as lock:  # so that nobody removes it meanwhile
        _make_sure(store, lock, id, given, max_size)
        told["origin"] = given.origin
        return _entered(store, id, name, found, its, config_raw, pairs, told)


def _unchanged(store: Shelf, name: str, told: dict[str, Any]) -> Image | None:
    """The image of that name, when it came from the very same document."""
    said = None if isinstance(name, place.Key) else store.read(place.entry(name))
    if said is None or any(said[key] != value for key, value in told.items()):
        return None
    with contextlib.suppress(HostError):
        image = store.lookup(name)
        with store.lock(image.id) as lock:
            store.lease(image.id, lock)
        return image
    return None


def _make_sure(store: Shelf, lock: Lock, id: str, given: _Given, max_size: int | None) -> None:
    """The tree ``id`` is there, its layers are had by who gives it, and its ``lock`` is taken."""
    while True:
        lock.take(fcntl.LOCK_SH)
        if os.path.isdir(store.tree(id)):
            if given.had < len(given.pairs) and not known.free(store, id, given.origin):
                _check(store, given)
            return
        lock.take()  # nobody uses what is not there; who makes the same is waited for
        if not os.path.isdir(store.tree(id)):
            break
    try:
        _make(store, id, given, Room(store, max_size))
    except BaseException:
        if not os.path.isdir(store.tree(id)):
            for part in (f"roots/{id}.json", f"roots/{id}.sums", f"locks/{id}"):
                store.remove(part)
        raise


def _check(store: Shelf, given: _Given) -> None:
    """Verify its layers, and make nothing of them."""
    with Lock() as lock, store.staging(lock) as staging:
        rest = given.pairs[given.had :]
        _unpacked(given, rest, staging, lock, identity=place.identity(), checked=len(rest))


def _unpacked(given: _Given, pairs: Pairs, staging: str, lock: Lock, **more: Any) -> unpack.Unpacked:
    return unpack.unpack(
        [partial(_layer, given.source, descriptor, diff_id) for descriptor, diff_id in pairs],
        staging, bounds=given.bounds, progress=given.progress, keep=(lock.fileno(),),
        expected=[(d.media_type, str(d.digest), d.size, str(diff_id)) for d, diff_id in pairs], **more,
    )  # fmt: skip


def _make(store: Shelf, id: str, given: _Given, room: Room) -> None:
    """Unpack it beside, then put it into its place at once."""
    unpack.leave_room(store.path)
    identity = place.identity()
    with Lock() as lock, Lock() as lease, store.staging(lock) as staging, contextlib.ExitStack() as stack:
        base, was = _base(store, given.pairs, identity, lease, stack)
        there = base.layers if base else 0
        free = base is not None and known.free(store, _id(given.pairs[:there]), given.origin)
        sent = there if free else min(given.had, there)
        done = _unpacked(
            given, given.pairs[sent:], staging, lock, identity=identity, base=base, checked=there - sent
        )  # fmt: skip
        skipped = {
            kind: was["skipped"].get(kind, 0) + done.skipped.get(kind, 0) for kind in was["skipped"] | done.skipped
        }
        about = {
            "format": FORMAT, "entries": done.entries, "bytes": done.bytes, "skipped": skipped, "sums": done.sums,
        }  # fmt: skip
        with open(f"{staging}/about", "w") as f:
            json.dump(about, f)
        for part, kind in (("about", "json"), ("sums", "sums")):
            os.rename(f"{staging}/{part}", f"{store.path}/roots/{id}.{kind}")
        with Fd(os.open, store.path, _DIRECTORY) as fd:
            confine.sync(fd.number)  # once for all of it: after a power cut it is whole, or not there
        with store.names() as names:
            names.take()
            room.check(f"{staging}/tree")
            os.rename(f"{staging}/tree", f"{store.path}/roots/{id}")
    with Fd(os.open, f"{store.path}/roots", _DIRECTORY) as roots:
        os.fsync(roots.number)


def _layer(source: documents.Source, descriptor: Descriptor, diff_id: Digest) -> unpack.Layer:
    file: BinaryIO = io.BytesIO(descriptor.data) if descriptor.data is not None else source.blob(descriptor)
    return unpack.Layer(file, descriptor.media_type, str(descriptor.digest), descriptor.size, str(diff_id))


def _base(
    store: Shelf, pairs: Pairs, identity: int | None, lease: Lock, stack: contextlib.ExitStack
) -> tuple[unpack.Base | None, dict[str, Any]]:
    """(the tree of as many of the first layers as there is one of, what root.json says of it), by ``lease``."""
    for count in range(len(pairs) - 1, 0, -1):
        id = _id(pairs[:count])
        about = store.read(f"roots/{id}.json")
        if about is None:
            continue
        with contextlib.suppress(HostError):
            lease.close()
            lease.path = store.lock(id).path
            store.lease(id, lease)
            tree = stack.enter_context(Fd(os.open, store.tree(id), _DIRECTORY)).number
            if os.fstat(tree).st_uid not in (os.geteuid() if identity is None else identity,):
                continue  # made under another PYJAIL_STORE_ID: not ours to link
            sums = stack.enter_context(Fd(os.open, f"{store.path}/roots/{id}.sums", os.O_RDONLY | os.O_CLOEXEC)).number
            return unpack.Base(count, tree, sums, about["entries"], about["bytes"]), about
    return None, {"skipped": {}}


def _entered(
    store: Shelf,
    id: str,
    name: str,
    found: Manifest,
    its: Config,
    config_raw: bytes,
    pairs: Pairs,
    told: dict[str, Any],
) -> Image:
    """The image, when its documents, its record and at last its name are written."""
    about = store.read(f"roots/{id}.json")
    record = {
        "id": id, "config": its.to_dict(), "size": about["bytes"], "entries": about["entries"],
        "skipped": about["skipped"], "origin": told["origin"],
        "layers": [
            {"digest": str(d.digest), "size": d.size, "media_type": d.media_type, "diff_id": str(diff_id)}
            for d, diff_id in pairs
        ],
        "blobs": [str(found.digest), f"sha256:{hashlib.sha256(config_raw).hexdigest()}"],
    }  # fmt: skip
    with store.names() as names:
        names.take()
        for blob, data in zip(record["blobs"], (found.raw, config_raw), strict=True):
            store.write(f"blobs/sha256/{blob.partition(':')[2]}", data)
        store.write(f"images/{found.digest.hex}.json", json.dumps(record).encode())
        entry = {"name": name, "digest": str(found.digest), **told}
        store.write(place.entry(name), json.dumps(entry).encode())
    shown = entry["digest"] if isinstance(name, place.Key) else name
    return store.image(shown, entry["digest"], json.loads(json.dumps(record)), told["origin"])
