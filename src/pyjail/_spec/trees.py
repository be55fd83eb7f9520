"""Directories of the host to be copied into a workspace: what is in them, and no link followed on the way."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial

from pyjail._base.errors import SpecError
from pyjail._base.fds import Fd

MOST_ENTRIES = 100_000
MOST_DEPTH = 64
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


def entries(root: str, anywhere: bool = False) -> Iterator[tuple[str, os.stat_result, str | None]]:
    """(path below the root, what it is, where it leads if it is a link) of all in a directory, in order of names.

    Raises:
        SpecError: one is neither a file, a directory nor a link, there are too many, or, unless ``anywhere``, a link
        leads out.
    """
    left = [MOST_ENTRIES]
    with Fd(os.open, root, _DIRECTORY) as top:
        yield from _below(top.number, root, "", left, anywhere)


def _below(
    fd: int, root: str, prefix: str, left: list[int], anywhere: bool
) -> Iterator[tuple[str, os.stat_result, str | None]]:
    if prefix.count("/") > MOST_DEPTH:
        raise SpecError("files", root, f"is deeper than {MOST_DEPTH} directories")
    with os.scandir(fd) as found:
        names = []
        for entry in found:
            left[0] -= 1
            if left[0] < 0:
                raise SpecError("files", root, f"has more than {MOST_ENTRIES} entries")
            names.append(entry.name)
    for name in sorted(names):
        path = prefix + name
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(st.st_mode):
            yield path, st, None
            with Fd(partial(os.open, dir_fd=fd), name, _DIRECTORY | os.O_NOFOLLOW) as child:
                yield from _below(child.number, root, path + "/", left, anywhere)
        elif stat.S_ISLNK(st.st_mode):
            target = os.readlink(name, dir_fd=fd)
            yield path, st, target if anywhere else _inner(root, path, target)
        elif stat.S_ISREG(st.st_mode):
            yield path, st, None
        else:
            raise SpecError("files", f"{root}/{path}", "is neither a file, a directory nor a link")


def _inner(root: str, path: str, target: str) -> str:
    """The target of a link that stays below the root, by its text alone."""
    depth = path.count("/")
    for part in target.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            break
    if target.startswith("/") or depth < 0:
        raise SpecError("files", f"{root}/{path}", f"is a link that leads out of the directory, to {target!r}: copy it")
    return target


def opened(root: str, path: str) -> Fd:
    """A file of a tree, opened without following a link below its root: what it was may have been replaced."""
    *above, name = path.split("/")
    at = Fd(os.open, root, _DIRECTORY)
    for part in above:
        with at as parent:
            at = Fd(partial(os.open, dir_fd=parent.number), part, _DIRECTORY | os.O_NOFOLLOW)
    with at as parent:
        return Fd(partial(os.open, dir_fd=parent.number), name, _FILE | os.O_NOFOLLOW)
