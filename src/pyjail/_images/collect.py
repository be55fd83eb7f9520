"""What goes out of the store: `remove`, `gc`; and `verify`, whether what is in it is what was put there.

A tree goes only under its exclusive lock, which nobody can have while a process uses it, and by a rename: nobody ever
sees half of one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from typing import Any

from pyjail._base.fds import Fd
from pyjail._images import known, listing, place, room, steps
from pyjail._images.lock import Lock
from pyjail._images.record import Image
from pyjail._images.shelf import Shelf


def remove(store: Shelf, name: str) -> None:
    """Take the name away, and the image where that was its last one. What a process uses stays until `gc` finds it
    unused.

    Raises HostError where there is no such image.
    """
    image = store.lookup(name)
    with store.working():
        with store.names() as names:
            names.take()
            for entry in _entries(store):
                if name in (entry["name"], entry["digest"]):
                    store.remove(f"names/{place.file_name(entry['name'])}")
        _collect(store, {image.digest, *steps.forget(store, _entries(store), image)})


def gc(store: Shelf, max_size: int | None = None, older: float | None = None) -> list[str]:
    """Remove what no name leads to and nobody uses, and what killed processes left; with ``older`` (seconds) images
    that were not used for so long, with ``max_size`` (bytes on disk) those used longest ago, until the rest fits.

    The names, digests and trees that are gone. An image that a process uses stays.
    """
    if not store.there():
        return []
    gone: list[str] = []
    with store.working():
        store.make()
        with store.names() as names:
            names.take()
            store.sweep()
        if older is not None:
            gone += _unname(store, [e for e in _by_use(store) if _used(store, e) < time.time() - older])
        steps.forget(store, _entries(store))
        gone += _collect(store, None)
        if max_size is not None:
            todo = _by_use(store)
            while todo and room.size(store) > max_size:
                gone += _unname(store, [todo.pop(0)])
                steps.forget(store, _entries(store))
                gone += _collect(store, None)
    return gone


def _entries(store: Shelf) -> list[dict[str, Any]]:
    """What names/ says: each name, its digest, and where it came from."""
    files = [file for file in os.listdir(f"{store.path}/names") if not file.startswith(".")]
    return [said for file in files if (said := store.read(f"names/{file}"))]


def _id_of(store: Shelf, digest: str) -> str | None:
    found = store.read(f"images/{digest.partition(':')[2]}.json")
    return found["id"] if found else None


def _used(store: Shelf, entry: dict[str, Any]) -> float:
    """When the image was last used, or made."""
    try:
        return os.stat(f"{store.path}/locks/{_id_of(store, entry['digest'])}").st_mtime
    except FileNotFoundError:
        return 0.0


def _by_use(store: Shelf) -> list[dict[str, Any]]:
    return sorted(_entries(store), key=lambda entry: _used(store, entry))


def _unname(store: Shelf, entries: list[dict[str, Any]]) -> list[str]:
    """Take these names away, but those of images that are used now."""
    gone = []
    for entry in entries:
        id = _id_of(store, entry["digest"])
        with contextlib.suppress(BlockingIOError), store.lock(id or "") as lock, store.names() as names:
            if id:
                lock.take(fcntl.LOCK_EX | fcntl.LOCK_NB)
            names.take()
            store.remove(f"names/{place.file_name(entry['name'])}")
            gone.append(entry["name"])
    return gone


def _collect(store: Shelf, digests: set[str] | None) -> list[str]:
    """Remove images (of ``digests``; None: any) that have no name, then trees that have no image."""
    gone = []
    ids = room.ids(store) | set(os.listdir(f"{store.path}/locks")) - {".names"}
    if digests is not None:
        ids = {id for digest in digests if (id := _id_of(store, digest))}
    for id in sorted(ids):
        with contextlib.suppress(BlockingIOError), store.lock(id) as lock:
            lock.take(fcntl.LOCK_EX | fcntl.LOCK_NB)
            with store.names() as names:
                names.take()
                named = {entry["digest"] for entry in _entries(store)} | steps.digests(store)
                images = {digest for digest, its in _images(store) if its == id}
                unnamed = {d for d in images - named if digests is None or d in digests}
                gone += sorted(unnamed)
                for digest in unnamed:
                    store.remove(f"images/{digest.partition(':')[2]}.json")
                if images - unnamed:
                    continue
            if _remove_tree(store, id):
                gone.append(id)
            store.remove(f"locks/{id}")
    with store.names() as names:
        names.take()
        kept = {blob.partition(":")[2] for _, record in known.records(store) for blob in record["blobs"]}
        for name in os.listdir(f"{store.path}/blobs/sha256"):
            if name not in kept:
                store.remove(f"blobs/sha256/{name}")
    return gone


def _images(store: Shelf) -> Iterator[tuple[str, str]]:
    """(digest, id of its tree) of all."""
    for digest, record in known.records(store):
        yield digest, record["id"]


def _remove_tree(store: Shelf, id: str) -> bool:
    with Lock() as lock, store.staging(lock) as path:
        try:
            os.rename(store.tree(id), f"{path}/tree")
        except FileNotFoundError:
            return False
        finally:
            for kind in ("json", "sums"):
                store.remove(f"roots/{id}.{kind}")
        return True


def verify(store: Shelf, name: str) -> list[str]:
    """What differs from what was put into the store: [] when the image is whole. Reads every file of it.

    Raises HostError where there is no such image.
    """
    image = store.lookup(name)
    with store.working():
        with store.lock(image.id) as lock:
            store.lease(image.id, lock)
            return [*_documents(store, image), *_tree(store, image)]


def _documents(store: Shelf, image: Image) -> Iterator[str]:
    record = store.read(f"images/{image.digest.partition(':')[2]}.json")
    for what, blob in zip(("manifest", "config"), record["blobs"], strict=True):
        try:
            with open(f"{store.path}/blobs/sha256/{blob.partition(':')[2]}", "rb") as f:
                same = hashlib.sha256(f.read()).hexdigest() == blob.partition(":")[2]
        except FileNotFoundError:
            yield f"{what}: it is missing"
            continue
        if not same:
            yield f"{what}: another content"


def _tree(store: Shelf, image: Image) -> Iterator[str]:
    about = store.read(f"roots/{image.id}.json")
    try:
        with open(f"{store.path}/roots/{image.id}.sums", "rb") as f:
            sums = f.read()
    except FileNotFoundError:
        sums = b""
    if about is None or hashlib.sha256(sums).hexdigest() != about["sums"]:
        yield "list of files: another content, so nothing can be said about them"
        return
    with Fd(os.open, image.root, listing.DIRECTORY) as root:
        yield from listing.differences(root.number, sums)
