"""Paths that a program met in a jail -> the binds and the small root directory that hold just these.

Paths are followed in the plan's own rows, and from there on the host, where only lstat(2) and readlink(2) are used:
nothing of the jail is ever opened.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from collections.abc import Iterable, Mapping

from pyjail._base.errors import SpecError
from pyjail._learn.observe import Executed, Observer
from pyjail._plan.places import Place, View
from pyjail._policy.mounts import OWN
from pyjail._spec.jail import Mount

Skeleton = Mapping[str, str | bytes | None]  # path -> symlink's target, file's content, None: an empty directory


class Needs:
    """Collects what a program met; then `mounts` and `skeleton`."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.binds: dict[str, Place] = {}  # of files, and of directories that were listed
        self.entries: dict[str, str | bytes | None] = {}

    def use(self, path: str, follow: bool = True, listed: bool = False) -> str:
        """The program met this path; its real one."""
        real, place, links = self.view.walk(path, follow)
        for link, target in links.items():
            self._link(link, target)
        if place.kind in ("link", "host") and (last := self.view._link(real)) is not None:
            self._link(real, last)  # met, but not followed
        elif place.kind == "file":
            self.entries[real] = place.data
        elif place.kind == "host":
            try:
                is_dir = stat.S_ISDIR(os.lstat(place.source).st_mode)
            except OSError:
                return real
            if is_dir and not listed:
                self.entries.setdefault(real, None)
            else:
                self.binds[real] = place
        elif place.kind == "dir" and real != "/":
            self.entries.setdefault(real, None)
        return real

    def _link(self, path: str, target: str) -> None:
        if self.view.at(path).kind == "own":
            return
        if path.split("/")[1] in OWN:  # no rootfs has a say there: what it points to, in its place
            real, place, _ = self.view.walk(path)
            if place.kind == "host" and real != path:
                self.binds[path] = place
            return
        self.entries[path] = target

    def executed(self, one: Executed) -> None:
        """A program, its dynamic loader, and the interpreter that the ``#!`` line of a script names."""
        real = self.use(one.asked) if one.asked else ""
        if one.exe:
            self.use(one.exe)
        if one.exe != real and one.argv0.startswith("/"):
            self.use(one.argv0)
        if one.loader:
            self.use(one.loader)

    def _covered(self, path: str) -> bool:
        """It comes with a directory that is bound as a whole, out of the same mount."""
        above, mount = posixpath.dirname(path), self.view.at(path).mount
        while above != "/":
            if above in self.binds and mount == self.binds[above].mount:
                return True
            above = posixpath.dirname(above)
        return False

    def mounts(self, asked: Iterable[Mount]) -> tuple[Mount, ...]:
        """Read-only binds of what was met, something empty over what was hidden in them, and, of those asked for, the
        writable ones and the links as they were."""
        kept = [m for m in asked if not m.ro or m.kind == "tmpfs"]
        own = tuple(m.dst for m in kept)
        binds = [
            Mount.bind(place.source, path)
            for path, place in sorted(self.binds.items())
            if not self._covered(path) and not any(path == dst or path.startswith(dst + "/") for dst in own)
        ]
        # A directory that was listed is bound whole: what its jail hid in it stays hidden.
        hidden = [Mount.tmpfs(h, 4096) for h in self.view.hidden if any(h.startswith(m.dst + "/") for m in binds)]
        return (*binds, *hidden, *kept, *(m for m in asked if m.kind == "link"))

    def skeleton(self, asked: Iterable[Mount]) -> dict[str, str | bytes | None]:
        """What the root directory itself must hold; directories only where nothing else makes them.

        Nothing of a writable mount: what is there changes while it is looked at, by whoever may write.
        """
        own = [m.dst for m in asked if not m.ro]
        rest = {
            p: e
            for p, e in self.entries.items()
            if p not in self.binds and not self._covered(p) and not any(p.startswith(dst + "/") for dst in own)
        }
        made = [*self.binds, *rest]
        return {
            path: entry
            for path, entry in sorted(rest.items())
            if path.split("/")[1] not in OWN
            and not (entry is None and any(other.startswith(path + "/") for other in made))
        }


def needs(view: View, seen: Observer) -> Needs:
    """What a program met."""
    found = Needs(view)
    for one in sorted(seen.execs):
        found.executed(one)
    for path, follow in sorted(seen.used):
        found.use(path, follow)
    for path in sorted(seen.listed):
        found.use(path, listed=True)
    return found


def make(root: str, skeleton: Skeleton) -> None:
    """Write a skeleton into ``root``, an empty directory, which is made when it is missing. OSError when that fails."""
    os.makedirs(root, exist_ok=True)
    if os.listdir(root):
        raise SpecError("root", root, "an empty directory is needed")
    os.chmod(root, 0o755)  # noqa: S103  whatever the umask: the program is another user
    for path, entry in skeleton.items():
        parts = path.split("/")[1:]
        name = None if entry is None else parts.pop()
        directory = os.open(root, _DIRECTORY)
        try:
            for part in parts:
                below = _enter(directory, part)
                os.close(directory)
                directory = below
            if isinstance(entry, str):
                os.symlink(entry, name or "", dir_fd=directory)
            elif entry is not None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                with open(os.open(name or "", flags, 0o644, dir_fd=directory), "wb") as f:
                    f.write(entry)
                    os.fchmod(f.fileno(), 0o644)
        finally:
            os.close(directory)


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _enter(directory: int, name: str) -> int:
    """The directory ``name`` below, made when it is missing; never through a symlink."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=directory)
    below = os.open(name, _DIRECTORY, dir_fd=directory)
    os.fchmod(below, 0o755)
    return below
