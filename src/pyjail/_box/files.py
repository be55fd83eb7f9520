"""The files of a box from outside. Paths are those of its programs: absolute ones of the jail, others below /box; where
they lead is the kernel's to say, within the jail's root and with the rights of the jail's user."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

from pyjail._core.native import lib

from pyjail._base import units
from pyjail._base.errors import JailError, SetupError, SpecError
from pyjail._base.fds import Fd, memfd
from pyjail._box.keeper import BoxKeeper
from pyjail._box.life import Life
from pyjail._session import box as workspace
from pyjail._session import contents
from pyjail._session.snapshot import Snapshot
from pyjail._spec.inputs import Input
from pyjail._spec.jail import File, text

HOME = "/box"
LONGEST = 4000  # bytes of a path
_READ = os.O_RDONLY | os.O_NONBLOCK
_FOUND = os.O_RDONLY | os.O_DIRECTORY


def place(field: str, path: object) -> str:
    """The absolute path inside that is meant, checked: nothing is looked up."""
    name = text(field, path)
    if not name:
        raise SpecError(field, path, "a path inside is needed: absolute, or below /box")
    if len(os.fsencode(name)) > LONGEST or any(len(os.fsencode(part)) > 255 for part in name.split("/")):
        raise SpecError(field, path, "longer than a path can be")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return "/".join(["" if name.startswith("/") else HOME, *parts]) or "/"


def write(life: Life, path: object, data: Any, mode: int) -> None:
    """See `Box.write`."""
    name = place("path", path)
    given = data if isinstance(data, File) else File(bytes(data) if isinstance(data, _BYTES) else data, mode)
    try:
        content = given.data.encode("utf-8", "surrogateescape") if isinstance(given.data, str) else given.data
    except UnicodeEncodeError as e:
        raise SpecError("data", given.data, f"cannot be written as UTF-8: {e.reason}") from None
    with memfd("pyjail-file", content) as source:
        life.asked(lambda keeper: workspace.put_below(keeper, name, given.mode, source.number))


_BYTES = (bytearray, memoryview)


def write_inputs(life: Life, inputs: Sequence[Input]) -> JailError | None:
    """Write all of ``files=`` below /box; why they are not there."""
    for item in inputs:
        try:
            life.asked(functools.partial(workspace.put, name=place("files", item.path), item=item))
        except OSError as e:
            hint = "raise Box(disk=) or Box(inodes=)" if e.errno == 28 else ""
            if e.errno in (23, 24):
                hint = "this process needs an fd for it: close some, or raise RLIMIT_NOFILE"
            return SetupError("open", None, f"files[{item.path!r}]", e.errno or 0, hint)
    return None


def read(life: Life, path: object, limit: int | str | None) -> bytes:
    """See `Box.read`."""
    name, most = place("path", path), units.size("limit", limit)

    def call(keeper: BoxKeeper) -> bytes:
        with workspace.ask(keeper, lib.OP_OPEN, name, _READ) as fd:
            return workspace.content_of(fd.number, name, most)

    return life.asked(call)


def opened(keeper: BoxKeeper, name: str, whole: int = 0) -> Fd:
    """A directory."""
    return workspace.ask(keeper, lib.OP_OPEN, name, _FOUND, whole)


def names(life: Life, pattern: str, root: object) -> list[str]:
    """See `Box.list`."""
    name = place("root", root)

    def call(keeper: BoxKeeper) -> list[str]:
        with opened(keeper, name) as top:
            return workspace.names(keeper, pattern, top.number)

    return life.asked(call)


def remove(life: Life, path: object, recursive: bool) -> None:
    """See `Box.remove`."""
    name = place("path", path)
    life.asked(lambda keeper: workspace.remove(keeper, name, recursive))


# ---- all of it ----


def places(life: Life) -> list[str]:
    """The directories that a snapshot is of."""
    return [m.dst for m in life.jail.mounts if m.kind in ("box", "part") and m.dst != "/dev/shm"]


def snapshot(life: Life, disk: int | None) -> Snapshot:
    """See `Box.snapshot`."""

    def call(keeper: BoxKeeper) -> Snapshot:
        taken = contents.Taken(disk)
        for path in places(life):
            with opened(keeper, path, lib.PJ_WHOLE) as top:
                taken.add(keeper, top.number, f"{path}/")
        return taken.snapshot()

    return life.asked(call)


def restore(life: Life, snapshot: Snapshot) -> None:
    """See `Box.restore`. Who calls it knows that nothing runs."""
    found = places(life)
    for path in (*snapshot.files, *snapshot.directories, *snapshot.links):
        if not any(path.startswith(f"{root}/") for root in found):
            why = f"{path!r} is in none of {', '.join(found)}: is it of a Session, or of a box with other writable="
            raise SpecError("snapshot", snapshot, why)

    def call(keeper: BoxKeeper) -> None:
        for path in found:
            workspace.empty(keeper, workspace.Level(None, path), lib.PJ_WHOLE)
        contents.fill(keeper, snapshot)

    life.asked(call)
