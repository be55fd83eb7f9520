"""Copies between the host and a box: where they land is as `docker cp` and BoxLite have it."""

from __future__ import annotations

import asyncio
import os
import posixpath
import shutil
import tempfile
from typing import Any

from pyjail import SpecError
from pyjail.boxlite._errors import AlreadyExistsError, InvalidArgumentError, NotFoundError, UnsupportedError
from pyjail.boxlite._options import CopyOptions


async def kind(box: Any, path: str) -> str:
    """What is there in a box: "directory", "file" (or anything else), or "" for nothing."""
    try:
        await box.read(path, limit=1)
    except IsADirectoryError:
        return "directory"
    except FileNotFoundError:
        return ""
    except (SpecError, PermissionError):  # longer than that; not to be read
        return "file"
    return "file"


async def copy_in(box: Any, source: str, target: str, options: CopyOptions) -> None:
    """Copy a file or directory of the host into the box.

    Raises: NotFoundError: no such source. AlreadyExistsError: ``overwrite=False``, and it would. OSError.
    """
    contents = source.endswith("/.")
    place = os.path.abspath(source)
    if not os.path.lexists(place):
        raise NotFoundError(f"{source!r} is not on this host")
    tree = os.path.isdir(place) and (options.follow_symlinks or contents or not os.path.islink(place))
    if tree and not options.recursive:
        raise InvalidArgumentError(f"{source!r} is a directory: recursive=True copies it")
    there = await kind(box, target)
    to = target
    if (there == "directory" and not contents) or (target.endswith("/") and not tree):
        to = posixpath.join(target, os.path.basename(place))
        there = await kind(box, to)
    if not options.overwrite:
        await _refuse(box, place, to, there, tree)
    if not options.follow_symlinks:
        await box.copy_in(place, to)
        return
    with tempfile.TemporaryDirectory(prefix="pyjail-boxlite-copy-") as scratch:
        followed = f"{scratch}/copy"
        copy = shutil.copytree if tree else shutil.copy
        await asyncio.to_thread(copy, place, followed)
        await box.copy_in(followed, to)


async def _refuse(box: Any, place: str, to: str, there: str, tree: bool) -> None:
    """AlreadyExistsError for what a copy would replace."""
    taken = [to] if there and not (tree and there == "directory") else []
    if tree and there == "directory":
        inside = {path.rstrip("/") for path in await box.list(root=to)}
        for directory, _, names in os.walk(place):
            below = os.path.relpath(directory, place)
            taken += [n for name in names if (n := os.path.normpath(os.path.join(below, name))) in inside]
    if taken:
        raise AlreadyExistsError(f"{taken[0]!r} is in the box already: overwrite=True replaces it")


async def copy_out(box: Any, source: str, target: str, options: CopyOptions) -> dict[str, str]:
    """Copy a file or directory of the box to the host; {path: why} of what was not copied.

    Raises: NotFoundError: no such source. AlreadyExistsError: ``overwrite=False``, and it would. OSError.
    """
    contents = source.endswith("/.")
    place = posixpath.normpath(posixpath.join("/box", source))
    what = await kind(box, place)
    if not what:
        raise NotFoundError(f"{source!r} is not in the box")
    if what == "directory" and not options.recursive:
        raise InvalidArgumentError(f"{source!r} is a directory: recursive=True copies it")
    if what == "directory" and options.follow_symlinks:
        raise UnsupportedError(
            "follow_symlinks=True: links in a directory of the box stay links; copy what they lead to"
        )
    to = os.path.abspath(target)
    if (os.path.isdir(to) and not contents) or (target.endswith("/") and what == "file"):
        to = os.path.join(to, posixpath.basename(place))
    if not options.overwrite and os.path.lexists(to):
        if what == "file" or not os.path.isdir(to):
            raise AlreadyExistsError(f"{to!r} is there already: overwrite=True replaces it")
        for path in await box.list(root=place):
            if not os.path.isdir(os.path.join(to, path)) and os.path.lexists(os.path.join(to, path)):
                raise AlreadyExistsError(f"{os.path.join(to, path)!r} is there already: overwrite=True replaces it")
    os.makedirs(os.path.dirname(to), exist_ok=True)
    skipped: dict[str, str] = await box.copy_out(place, to)
    return skipped
