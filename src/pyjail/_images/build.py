"""Packages of this host's Debian -> an image of the store: `debian`; files -> an image of the store: `files`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from pyjail._images import debian as installing
from pyjail._images import documents, platforms, reduced, reference, unpack
from pyjail._images.bounds import Bounds
from pyjail._images.digests import Digest
from pyjail._images.layouts import Single
from pyjail._images.lock import Lock
from pyjail._images.record import Image
from pyjail._images.spill import Spill, nameless
from pyjail._images.store import Store
from pyjail._images.where import Where

ENV = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]


def debian(there: Where, name: str, packages: Sequence[str], origin: dict[str, Any]) -> Image:
    """An image with the essential packages, these, and what they depend on; its name is ``name``.

    Raises SpecError (the name), HostError (this machine cannot, or apt could not); then the store is what it was.
    """
    reference.local_name(name)
    host = installing.Host()
    began = int(time.time()) * 10**9  # archives may have whole seconds
    store = there.store
    store.make()
    unpack.leave_room(store.path)
    _sweep(store, host)
    with Lock() as lock, store.staging(lock) as staging:
        with nameless(staging) as raw:
            try:
                installing.install(host, packages, staging, raw.number, there.tell)
            finally:
                installing.removed(host, f"{staging}/build")
            there.tell("leaving out what programs do not need")
            with _Layer(staging, there.bounds) as layer:
                reduced.layer(lambda: _reader(raw.number), layer.write, began, there.bounds)
                raw.close()
                return layer.added(there, name, {"Env": ENV, "Cmd": ["bash"]}, origin)


def files(
    there: Where,
    name: str,
    written: Callable[[Callable[[bytes], None]], None],
    config: dict[str, Any],
    origin: dict[str, Any],
) -> Image:
    """An image of one layer, which ``written`` writes by the function that it gets."""
    reference.local_name(name)
    there.store.make()
    with Lock() as lock, there.store.staging(lock) as staging, _Layer(staging, there.bounds) as layer:
        written(layer.write)
        return layer.added(there, name, config, origin)


def _reader(fd: int) -> Callable[[int], bytes]:
    """What reads the file from its start."""
    at = 0

    def read(n: int) -> bytes:
        nonlocal at
        data = os.pread(fd, n, at)
        at += len(data)
        return data

    return read


def _sweep(store: Store, host: installing.Host) -> None:
    """Remove what a killed process left unfinished, also what belongs to a user's subordinate ids."""
    with store.working(), store.names() as names:
        names.take()
        store.sweep()
        for name in os.listdir(f"{store.path}/staging"):
            if not os.path.lexists(f"{store.path}/staging/{name}/lock"):
                installing.removed(host, f"{store.path}/staging/{name}")


class _Layer:
    """A layer that is being written."""

    def __init__(self, staging: str, bounds: Bounds) -> None:
        self._file, self._hasher = Spill(staging, bounds, "compressed", "layer"), Digest("sha256", "").hasher()
        self._source: Single | None = None

    def __enter__(self) -> _Layer:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        if self._source is not None:
            self._source.close()

    def write(self, data: bytes) -> None:
        self._hasher.update(data)
        self._file.write(data)

    def added(self, there: Where, name: str, config: dict[str, Any], origin: dict[str, Any]) -> Image:
        """It is the one layer of an image in the store."""
        platform, digest = platforms.own(), Digest("sha256", self._hasher.hexdigest())
        self._source = Single(
            self._file.handed_over(), documents.OCI_LAYER, digest, digest, (platform.os, platform.architecture), config
        )
        return there.store.add(
            self._source, name, there.bounds, max_size=there.max_size, platform=platform, origin=origin,
            progress=there.progress,
        )  # fmt: skip
