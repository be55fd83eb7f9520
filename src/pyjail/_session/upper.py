"""What has been written of a root, entry by entry, beside what the image has at the same path.

It is a program's to fill, so nothing in it is followed: the keeper opens each path below the upper directory, through
no symlink and no mount. What tells that something is gone the overlay alone can make there: character devices 0/0, and
an attribute of directories (one of this name that a program sets is kept under another).
"""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Iterator

from pyjail._core.native import lib

from pyjail._base.errors import SpecError
from pyjail._base.fds import Fd
from pyjail._base.records import NamedTuple
from pyjail._keeper.shared import SharedKeeper as Keeper
from pyjail._policy import writable
from pyjail._policy.mounts import OWN
from pyjail._session.box import DIRECTORY, LONGEST, ask

MOST = 1_000_000  # entries
WRITTEN = lib.PJ_UPPER | lib.PJ_WHOLE
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # a running program has removed it, or made something else of it
_LOOK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Found(NamedTuple):
    """A path below the root: what is there ``now`` (None: it was removed) and what ``was`` there (None: nothing).

    ``hides``: a directory in which nothing of the image's is seen any more; ``hidden``: it is in one.
    """

    path: str
    now: os.stat_result | None
    was: os.stat_result | None
    hides: bool = False
    hidden: bool = False


def walk(keeper: Keeper) -> Iterator[Found]:
    """All that has been written of the keeper's root; a directory comes before what is in it. What was made to mount
    something there, and the jail's own places, are left out.

    Raises SpecError for a jail without such a root, OSError for more than a million entries and for paths that are
    longer than a call takes.
    """
    jail = keeper.template.jail
    if jail.writable_root is None:
        raise SpecError("writable_root", None, 'the root of this jail is read-only: Jail(writable_root="512M")')
    made = writable.made_for_mounts(keeper.template.mounts)
    with image_of(keeper) as lower:
        left = MOST
        todo = [("", False)]
        while todo:
            prefix, hidden = todo.pop()
            if len(os.fsencode(prefix)) > LONGEST:
                raise OSError(errno.ENAMETOOLONG, "a directory is deeper than a path can be long", f"/{prefix[:200]}")
            try:
                directory = opened(keeper, prefix.rstrip("/") or ".", DIRECTORY)
            except OSError as e:
                if e.errno not in GONE:
                    raise
                continue
            with directory, _below(lower.number, prefix) as old:
                names, gone = _names(directory.number, left), []
                if hidden and old.number >= 0:
                    with at(old.number, ".", DIRECTORY) as listed:
                        gone = sorted({*_names(listed.number, left)} - {*names})
                left -= len(names) + len(gone)
                for name in gone:
                    if prefix or name not in OWN:
                        yield Found(prefix + name, None, _stat(name, old.number), hidden=True)
                for name in names:
                    if not prefix and name in OWN:
                        continue
                    found = _found(keeper, directory.number, prefix + name, old.number, hidden)
                    if found is None:
                        continue
                    if found.path not in made:
                        yield found
                    if found.now is not None and stat.S_ISDIR(found.now.st_mode):
                        todo.append((f"{found.path}/", hidden or found.hides))


def image_of(keeper: Keeper) -> Fd:
    """The directory that such a root began as."""
    return Fd(os.open, writable.below(keeper.template.mounts), _LOOK)


def opened(keeper: Keeper, path: str, flags: int) -> Fd:
    """What has been written at this path, whatever its modes say."""
    return ask(keeper, lib.OP_OPEN, path, flags, WRITTEN)


def target(keeper: Keeper, path: str) -> str:
    """Where a symlink there leads to."""
    with opened(keeper, path, os.O_PATH | os.O_NOFOLLOW) as fd:
        return os.readlink("", dir_fd=fd.number)


def below(root: int, path: str) -> Fd:
    """The image's directory that this path is in; closed: there is none."""
    return _below(root, path.rpartition("/")[0])


def at(directory: int, name: str, flags: int) -> Fd:
    """A name in an open directory of the image's, open."""
    return Fd(functools.partial(os.open, dir_fd=directory), name, flags | os.O_CLOEXEC)


def _names(directory: int, left: int) -> list[str]:
    with os.scandir(directory) as found:
        names = []
        for entry in found:
            names.append(entry.name)
            if len(names) > left:
                raise OSError(errno.EFBIG, f"more than {MOST:,} entries of the root have changed")
    return sorted(names)


def _below(root: int, prefix: str) -> Fd:
    found = Fd(os.dup, root)
    for name in prefix.split("/"):
        if name:
            with found:
                try:
                    found = at(found.number, name, _LOOK)
                except OSError as e:
                    if e.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                        raise
                    return Fd()
    return found


def _stat(name: str, directory: int) -> os.stat_result | None:
    if directory < 0:
        return None
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise
        return None


def _found(keeper: Keeper, directory: int, path: str, old: int, hidden: bool) -> Found | None:
    """None: nothing is to be told of it."""
    name = path.rpartition("/")[2]
    try:
        now = _stat(name, directory)
    except PermissionError:  # we own it, in a directory that is closed to us: the keeper may look
        try:
            with opened(keeper, path, os.O_PATH | os.O_NOFOLLOW) as fd:
                now = os.fstat(fd.number)
        except OSError as e:
            if e.errno not in GONE:
                raise
            now = None
    was = _stat(name, old)
    if now is None:
        return None
    if stat.S_ISCHR(now.st_mode):
        return None if was is None else Found(path, None, was, hidden=hidden)
    both = was is not None and stat.S_ISDIR(now.st_mode) and stat.S_ISDIR(was.st_mode)
    return Found(path, now, was, both and not hidden and _hides(keeper, path), hidden)


def _hides(keeper: Keeper, path: str) -> bool:
    try:
        with opened(keeper, path, DIRECTORY | os.O_EXCL):
            return True
    except OSError as e:
        if e.errno != errno.ENODATA and e.errno not in GONE:
            raise
        return False
