"""What a jail sees of this host besides its system directories, and what it does not see of all that. Pure."""

from __future__ import annotations

from pyjail._base.records import NamedTuple
from pyjail._host.interpreter import (
    DISTRIBUTION,
    Part,
    Python,
    system,
)
from pyjail._host.machine import Host
from pyjail._spec.jail import Jail


class Seen(NamedTuple):
    """``parts`` of interpreters; ``hidden`` directories, empty inside; ``packages`` that were asked for; ``roots`` of
    environments and installations."""

    parts: tuple[Part, ...] = ()
    hidden: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()

    @property
    def sources(self) -> list[str]:
        """What is bound."""
        return [p.path for p in self.parts if p.kind in ("dir", "file")]


def seen(jail: Jail, host: Host, asked: Python | None) -> Seen:
    """``asked``: the interpreter of ``jail.python``."""
    if jail.rootfs is not None:
        return Seen()
    pythons = [p for p in (host.python, asked) if p is not None]
    parts = {part.path: part for python in pythons for part in python.parts}
    packages = asked.packages if asked is not None else ()
    beside = [p for p in asked.beside if not p.startswith(DISTRIBUTION)] if asked is not None else []
    hidden = [path for path in dict.fromkeys((*host.hidden, *beside)) if path not in packages]
    directories = [part.path for part in parts.values() if part.kind == "dir"]
    hidden = [path for path in hidden if system(path) or _below(path, directories)]
    own = [m.dst for m in jail.mounts]
    return Seen(
        parts=tuple(
            part
            for part in sorted(parts.values(), key=lambda p: (p.path.count("/"), p.path))
            if _missing(part.path, directories, hidden)
            and not (part.kind == "link" and any(dst.startswith(part.path + "/") for dst in own))
        ),
        hidden=tuple(sorted(hidden, key=lambda path: (path.count("/"), path))),
        packages=packages,
        roots=tuple(dict.fromkeys(root for python in pythons for root in python.roots)),
    )


def _missing(path: str, directories: list[str], hidden: list[str]) -> bool:
    """Nothing else shows it."""
    if path.startswith(("/proc/", "/dev/")) and not path.startswith("/dev/shm/"):
        return False  # the jail's own
    covered = max((h for h in hidden if _below(path, [h])), key=len, default="")
    shown = max((d for d in directories if _below(path, [d])), key=len, default="")
    return len(covered) > len(shown) if shown or system(path) else True


def _below(path: str, directories: list[str]) -> bool:
    return any(path.startswith(directory + "/") for directory in directories)
