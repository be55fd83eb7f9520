"""What was changed of an image becomes a layer on top of it, and both an image of another name: `commit`.

The layer is an archive like any other's: it is read, checked and unpacked by the process that does it for all of them.
It is the same for the same changes, and so are digest and id: no time of now is in it, and no id of a machine.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypedDict

from pyjail._base import units
from pyjail._base.errors import HostError, SpecError
from pyjail._images import documents, layouts, members, pack, platforms, reference
from pyjail._images.bounds import Bounds
from pyjail._images.digests import Digest, digest, of, shown
from pyjail._images.errors import ImageError
from pyjail._images.lock import Lock
from pyjail._images.place import Key
from pyjail._images.record import Image
from pyjail._images.spill import Spill
from pyjail._images.store import Store

WHITEOUT, OPAQUE = b".wh.", b".wh..wh..opq"
CREATED_BY = "pyjail image commit"
_UNFIT = re.compile("[\0\ud800-\udfff]")


class How(TypedDict, total=False):
    """Keywords of `commit`. Of the configuration: what is None stays as the image has it, ``env`` is added to that."""

    env: Mapping[str, str] | None
    cmd: Sequence[str] | None
    entrypoint: Sequence[str] | None
    working_dir: str | None
    user: str | None
    bounds: Bounds | None
    max_size: int | str | None


class Layer:
    """An archive of changes, below the directory ``staging``: entries in the order in which they are told, a directory
    before what is in it. Raises ImageError for what exceeds ``bounds`` or cannot be in a layer.

    ``time``: of all entries, in ns. None: each has its own.
    """

    def __init__(self, staging: str, bounds: Bounds, time: int | None = None) -> None:
        self.entries = 0
        self._time = time
        self._bounds, self._bytes = bounds, 0
        self._hasher = Digest("sha256", "").hasher()
        self._file = Spill(staging, bounds, "compressed", "the layer of what was changed")
        self._names: dict[tuple[int, int], bytes] = {}  # of files that have several, by device and inode

    def removed(self, path: bytes) -> None:
        """The image's file or directory of this path is gone."""
        above, slash, name = path.rpartition(b"/")
        self._entry(above + slash + WHITEOUT + self._checked(path, name), b"0", 0o600, 0)

    def hides(self, path: bytes) -> None:
        """Nothing of the image's directory of this path is left but what is told here."""
        self._entry(path + b"/" + OPAQUE, b"0", 0o600, 0)

    def directory(self, path: bytes, status: os.stat_result) -> None:
        """A directory is there."""
        self._checked(path, path.rpartition(b"/")[2])
        self._entry(path + b"/", b"5", status.st_mode & 0o7777, status.st_mtime_ns)

    def symlink(self, path: bytes, status: os.stat_result, target: bytes) -> None:
        """A symlink is there."""
        self._checked(path, path.rpartition(b"/")[2])
        self._entry(path, b"2", 0o777, status.st_mtime_ns, 0, target)

    def fifo(self, path: bytes, status: os.stat_result) -> None:
        """A FIFO is there, which no image has: what unpacks it counts it."""
        self._checked(path, path.rpartition(b"/")[2])
        self._entry(path, b"6", status.st_mode & 0o7777, status.st_mtime_ns)

    def file(self, path: bytes, fd: int) -> None:
        """A regular file is there, open for reading."""
        self._checked(path, path.rpartition(b"/")[2])
        status = os.fstat(fd)
        mode = status.st_mode & 0o7777
        if status.st_nlink > 1:
            first = self._names.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                self._entry(path, b"1", mode, status.st_mtime_ns, 0, first)
                return
        self._bytes += status.st_size
        if self._bytes > self._bounds.unpacked:
            raise self._bounds.exceeded("unpacked", shown(path))
        self._entry(path, b"0", mode, status.st_mtime_ns, status.st_size)
        left = status.st_size
        while left:
            piece = os.read(fd, min(left, pack.PIECE))
            if not piece:
                raise ImageError(shown(path), "it changed while it was read")
            self._write(piece)
            left -= len(piece)
        self._write(bytes(-status.st_size % pack.BLOCK))

    def _checked(self, path: bytes, name: bytes) -> bytes:
        if name.startswith(WHITEOUT):
            raise ImageError(shown(path), "names with .wh. mean removals in a layer: rename it")
        if len(path) > self._bounds.path:
            raise self._bounds.exceeded("path", shown(path[:200]))
        return name

    def _entry(self, path: bytes, letter: bytes, mode: int, mtime_ns: int, size: int = 0, target: bytes = b"") -> None:
        self.entries += 1
        if self.entries > self._bounds.entries:
            raise self._bounds.exceeded("entries", shown(path))
        time = mtime_ns if self._time is None else self._time
        self._write(pack.header(path, letter, mode, time, size, target))

    def _write(self, data: bytes) -> None:
        self._hasher.update(data)
        self._file.write(data)

    def done(self) -> tuple[Digest, int]:
        """(its digest, its fd, which stays this object's); once, when all has been told."""
        self._write(bytes(2 * pack.BLOCK))
        return Digest("sha256", self._hasher.hexdigest()), self._file.done()

    def close(self) -> None:
        """Give its file back."""
        self._file.close()


class _Source(layouts.Closing):
    """The image ``base`` with a layer more, if there is one, and another configuration."""

    media_type: str | None = documents.OCI_MANIFEST

    def __init__(self, base: Image, how: How, named: Digest | None, fd: int, by: str) -> None:
        self._base, self._fd, self._layer = base, fd, named
        self._config = _config(base, how, named, by)
        layers = [layouts.layer(d["media_type"], digest(d["digest"], "layer"), d["size"]) for d in base.layers]
        if named is not None:
            layers.append(layouts.layer(documents.OCI_LAYER, named, os.fstat(fd).st_size))
        self._made = layouts.written(of(self._config), len(self._config), layers)

    def names(self) -> list[str]:
        return []

    def manifest(self) -> bytes:
        return self._made

    def blob(self, descriptor: documents.Descriptor) -> BinaryIO:
        if descriptor.digest == of(self._config):
            return io.BytesIO(self._config)
        if descriptor.digest != self._layer:
            cause = f"the tree of {self._base.name} is no base for others here, and its layers are not kept"
            raise HostError("image", cause, "load or pull it again, under the PYJAIL_STORE_ID of now")
        return members.window(self._fd, 0, descriptor.size)


def commit(
    store: Store,
    base: str,
    name: str,
    fill: Callable[[Layer], None],
    how: How,
) -> Image:
    """The image ``base`` (a name, a digest or NAME@DIGEST), with what ``fill`` tells of and these changes, as ``name``.

    What nothing was changed of shares the tree of ``base``. Raises SpecError, ImageError, HostError as `Store.add`.
    """
    if not isinstance(name, Key):
        reference.local_name(name)
    _check(how)
    image = store.lookup(base)
    with layer(store, how.get("bounds") or Bounds()) as changes:
        fill(changes)
        return put(store, image, name, changes, how, {"commit": base})


@contextlib.contextmanager
def layer(store: Store, bounds: Bounds, time: int | None = None) -> Iterator[Layer]:
    """An empty one, which goes at the end, beside what the store has."""
    store.make()
    with store.working(), store.names() as names:
        names.take()
        store.sweep()
    with Lock() as lock, store.staging(lock) as staging:
        changes = Layer(staging, bounds, time)
        try:
            yield changes
        finally:
            changes.close()


def put(
    store: Store,
    image: Image,
    name: str,
    changes: Layer,
    how: How,
    origin: dict[str, Any],
    done: tuple[Digest, int] | None = None,
    by: str = CREATED_BY,
) -> Image:
    """``image`` with ``changes``, as ``name``; ``done``: what their end was, where that has been; ``by``: whose
    work the history says it is, unless the key says it.
    """
    named, fd = (done or changes.done()) if changes.entries else (None, -1)
    its = (image.config["os"], image.config["architecture"], image.config["variant"])
    by = name.by if isinstance(name, Key) else by
    return store.add(
        _Source(image, how, named, fd, by), name, how.get("bounds") or Bounds(),
        max_size=units.size("max_size", how.get("max_size")), platform=platforms.parse("/".join(filter(None, its))),
        origin=origin, had=len(image.layers),
    )  # fmt: skip


def _config(base: Image, how: How, named: Digest | None, by: str) -> bytes:
    was = base.config
    env = dict(row.partition("=")[::2] for row in was["env"])
    env.update(how.get("env") or {})
    given: dict[str, Any] = {key: value for key, value in how.items() if value is not None}
    said = {**was, **given}
    config = {
        "Env": [f"{key}={value}" for key, value in env.items()], "Entrypoint": [*said["entrypoint"]],
        "Cmd": [*said["cmd"]], "WorkingDir": said["working_dir"], "User": said["user"], "Labels": was["labels"],
    }  # fmt: skip
    row = {"created_by": by} if named is not None else {"created_by": by, "empty_layer": True}
    document = {
        "architecture": was["architecture"], "os": was["os"],
        "config": {key: value for key, value in config.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [*was["diff_ids"], *([str(named)] if named else [])]},
        "history": [*was["history"], row],
    }  # fmt: skip
    if was["variant"]:
        document["variant"] = was["variant"]
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _check(how: How) -> None:
    unknown = sorted(set(how) - set(How.__annotations__))
    if unknown:
        raise TypeError(f"commit() got an unexpected keyword argument {unknown[0]!r}")
    bounds, env, working = how.get("bounds"), how.get("env"), how.get("working_dir")
    if bounds is not None and not isinstance(bounds, Bounds):
        raise SpecError("bounds", bounds, "images.Bounds(...) is needed")
    if env is not None and not isinstance(env, Mapping):
        raise SpecError("env", env, "a mapping of names to values is needed")
    units.size("max_size", how.get("max_size"))
    for field, words in (("cmd", how.get("cmd")), ("entrypoint", how.get("entrypoint"))):
        if words is not None and (isinstance(words, (str, bytes)) or not isinstance(words, Sequence)):
            raise SpecError(field, words, "a list of words is needed, such as ['python3', '-i']")
        _are_texts(field, words or ())
    for key, value in (env or {}).items():
        _are_texts("env", (key, value))
        if not key or "=" in key:
            raise SpecError("env", key, "the name of a variable is needed, without '='")
    for field, text in (("working_dir", working), ("user", how.get("user"))):
        _are_texts(field, () if text is None else (text,))
    if working and not working.startswith("/"):
        raise SpecError("working_dir", working, "an absolute path inside is needed")


def _are_texts(field: str, found: Sequence[object]) -> None:
    for text in found:
        if not isinstance(text, str) or _UNFIT.search(text):
            raise SpecError(field, text, "text is needed, as UTF-8 has it and without NUL")
