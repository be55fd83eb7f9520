"""What is at a path of a jail, by its plan.

Paths are followed in the plan's own rows, and from there on the host, where only readlink(2) is used: nothing of the
jail is ever opened.
"""

from __future__ import annotations

import os
import posixpath
from typing import NamedTuple

from pyjail._plan.compile import Template
from pyjail._policy.mounts import run_tmpfs

MOST_LINKS = 40  # on one way, as the kernel has it


class Place(NamedTuple):
    """What is at a path inside. ``kind``: "host" (``source``), "file" (``data``), "link" (``data``), "dir", "own"."""

    kind: str
    source: str = ""
    data: bytes = b""
    mount: str = ""  # the target of the row that it comes from


class View:
    """The files of a jail, by its plan."""

    def __init__(self, template: Template) -> None:
        jail = template.jail
        self.places: dict[str, Place] = {"/": Place("dir")}
        self.hidden: list[str] = []  # inside of what is bound
        for row in template.mounts:
            target = f"/{row.target}"
            if row.kind == "bind":
                self.places[target] = Place("host", row.source, mount=target)
            elif row.kind in ("file", "link"):
                self.places[target] = Place(row.kind, data=row.data)
            elif row.kind == "dir":
                self.places[target] = Place("dir")
            elif target in template.seen.hidden:  # something empty lies over it
                self.places[target] = Place("dir")
                self.hidden.append(target)
        tmpfs = [*run_tmpfs(jail), *(m.dst for m in jail.mounts if m.kind in ("tmpfs", "box", "part"))]
        self.places |= {path: Place("own") for path in ("/proc", "/dev", *tmpfs)}

    def at(self, path: str) -> Place:
        """What the nearest row above says of ``path``."""
        above = path
        while above not in self.places:
            above = posixpath.dirname(above)
        place = self.places[above]
        if place.kind == "host" and above != path:
            return place._replace(source=place.source + path[len(above.rstrip("/")) :])
        if place.kind == "own" and any(p.startswith(path + "/") for p in self.places if self.places[p].kind == "host"):
            return Place("dir")  # on the way to a bind below a tmpfs
        return place if above == path or place.kind == "own" else Place("none")

    def walk(self, path: str, follow: bool = True) -> tuple[str, Place, dict[str, str]]:
        """(the real path, what is there, the symlinks on the way)."""
        links: dict[str, str] = {}
        todo, real = [p for p in reversed(path.split("/")) if p not in ("", ".")], ""
        count = 0
        while todo:
            part = todo.pop()
            if part == "..":
                real = posixpath.dirname(real).rstrip("/")
                continue
            at = f"{real}/{part}"
            target = self._link(at) if todo or follow else None
            if target is None:
                real = at
                continue
            count += 1
            if count > MOST_LINKS:
                return at, Place("none"), links
            links[at] = target
            if target.startswith("/"):
                real = ""
            todo += [p for p in reversed(target.split("/")) if p not in ("", ".")]
        real = real or "/"
        return real, self.at(real), links

    def _link(self, path: str) -> str | None:
        place = self.at(path)
        if place.kind == "link":
            return os.fsdecode(place.data)
        if place.kind == "host":
            try:
                return os.readlink(place.source)
            except OSError:
                return None
        return None
