"""What steps of recipes have made: images that have a key instead of a name, so that the same step is not done again.

Such an image stays as long as one that has a name is built on it: then it costs its directories alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from typing import Any

from pyjail._base.errors import HostError
from pyjail._images.lock import Lock
from pyjail._images.place import Key
from pyjail._images.record import Image
from pyjail._images.shelf import Shelf


@contextlib.contextmanager
def doing(store: Shelf, key: Key, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """For who does the step, or looks at what it made: `forget` leaves that alone meanwhile, and who wants the same
    waits, unless ``how`` has LOCK_NB: then it raises BlockingIOError."""
    part = f"step-{key}"
    store.make()
    with store.lock(part) as lock:
        lock.take(how)
        try:
            yield
        finally:
            store.remove(f"locks/{part}")  # while it is taken: who waits for it sees that, and makes another


def found(store: Shelf, key: Key, lease: Lock) -> Image | None:
    """What the step has made, its tree kept by ``lease``; None: nothing that is there. It is `doing`."""
    said = store.read(f"steps/{key}")
    if said is None:
        return None
    with contextlib.suppress(HostError):  # it was removed by its digest
        image = store.lookup(said["digest"])
        hold(store, image, lease)
        return store.lookup(said["digest"])
    return None


def hold(store: Shelf, image: Image, lease: Lock) -> None:
    """Keep its tree, and what is known of it, for as long as ``lease`` is open. Raises HostError when it is gone."""
    lease.path = store.lock(image.id).path
    with store.working():
        store.lease(image.id, lease)


def digests(store: Shelf) -> set[str]:
    """Of all that steps have made."""
    return {said["digest"] for _, said in _entries(store)}


def forget(store: Shelf, named: Sequence[dict[str, Any]], within: Image | None = None) -> set[str]:
    """Take the keys of those away that none of the ``named`` (what names/ has) is built on; ``within``: of those that
    this one was built on. Their digests."""
    built = [_layers(store, entry["digest"]) for entry in named]
    gone = set()
    for key, said in _entries(store):
        layers = _layers(store, said["digest"])
        if layers is not None:
            if any(it is not None and it[: len(layers)] == layers for it in built):
                continue
            if within is not None and [d["diff_id"] for d in within.layers][: len(layers)] != layers:
                continue
        with contextlib.suppress(BlockingIOError), doing(store, key, fcntl.LOCK_EX | fcntl.LOCK_NB):
            with store.names() as names:
                names.take()
                store.remove(f"steps/{key}")
            gone.add(said["digest"])
    return gone


def _entries(store: Shelf) -> Iterator[tuple[Key, dict[str, Any]]]:
    with contextlib.suppress(FileNotFoundError):  # of a store that was made before there were any
        for file in os.listdir(f"{store.path}/steps"):
            said = None if file.startswith(".") else store.read(f"steps/{file}")
            if said is not None:
                yield Key(file), said


def _layers(store: Shelf, digest: str) -> list[str] | None:
    """Its diff_ids."""
    known = store.read(f"images/{digest.partition(':')[2]}.json")
    return None if known is None else [layer["diff_id"] for layer in known["layers"]]
