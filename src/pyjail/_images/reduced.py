"""The tar of a system that was just installed -> one layer of what programs need of it, the same whenever and by
whomever it was installed. Pure.

What apt, dpkg and their logs, caches and sources say is left out: who, when and from where it was installed, and what
is secret in that. Owners are left out, too, since the store keeps none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pyjail._images import pack
from pyjail._images.bounds import Bounds
from pyjail._images.tar import Entry, entries

Read = Callable[[int], bytes]
_PIECE = 1 << 20
# Directories stay, as programs look for some of them; what is below goes.
_EMPTIED = re.compile(
    rb"(?:dev|proc|sys|run|tmp|mnt|media|boot|home|root|var/(?:tmp|log|cache|backups|lib/(?:apt|systemd|ucf))|etc/apt|"
    rb"usr/share/(?:man|info|lintian|linda|groff|bug|help|gtk-doc|doc-base|locale))/.+",
    re.DOTALL,
)
_GONE = re.compile(
    rb"usr/share/doc/(?:.*/)?(?!copyright$)[^/]+|"  # licences stay: who passes an image on needs them
    rb"etc/(?:hostname|resolv\.conf|machine-id|mtab|fstab|\.pwd\.lock|g?shadow-?|passwd-|group-|subuid-?|subgid-?|"
    rb"ssl/private(?:/.+)?|dpkg/dpkg\.cfg\.d/99mmdebstrap)|"
    rb"var/lib/dpkg/(?:.+-old|lock.*|triggers/Lock|available|updates/.+)|"
    rb"\.dockerenv",
    re.DOTALL,
)


def dropped(name: bytes) -> bool:
    """Whether what has this name (without leading "./" and trailing "/") is left out.

    >>> dropped(b"usr/share/doc/gcc/NEWS"), dropped(b"usr/share/doc/gcc/copyright"), dropped(b"etc/apt/auth.conf")
    (True, False, True)
    """
    return bool(_EMPTIED.fullmatch(name)) or bool(_GONE.fullmatch(name))


def layer(reader: Callable[[], Read], write: Callable[[bytes], None], began_ns: int, bounds: Bounds) -> None:
    """What stays of the archive goes to ``write``, as one layer.

    Args:
        reader: gives the archive from its start; called twice.
        began_ns: when its making began. What was changed since is as old as the newest file that is older: that one is
            of a package, and so are its times.

    Raises `ImageError` for an archive that is damaged.
    """
    newest, needed = 0, set()
    for entry, name in _named(reader(), bounds):
        if dropped(name):
            continue
        if entry.kind == "file" and entry.mtime_ns < began_ns:
            newest = max(newest, entry.mtime_ns)
        elif entry.kind == "hardlink":
            needed.add(_plain(entry.target))
    for entry, name in _named(reader(), bounds):
        if name not in needed and dropped(name):
            continue
        mtime = min(entry.mtime_ns, newest)
        if entry.kind == "dir":
            write(pack.header(name + b"/" if name else b"./", b"5", entry.mode, mtime))
        elif entry.kind == "symlink":
            write(pack.header(name, b"2", 0o777, mtime, 0, entry.target))
        elif entry.kind == "hardlink":
            write(pack.header(name, b"1", entry.mode, mtime, 0, _plain(entry.target)))
        elif entry.kind == "file":
            write(pack.header(name, b"0", entry.mode, mtime, entry.size))
            while piece := entry.data(_PIECE):
                write(piece)
            write(bytes(-entry.size % pack.BLOCK))
    write(bytes(2 * pack.BLOCK))


def _named(read: Read, bounds: Bounds) -> Iterator[tuple[Entry, bytes]]:
    for entry in entries(read, bounds):
        yield entry, _plain(entry.name)


def _plain(name: bytes) -> bytes:
    """Without what leads to the root and ends a directory."""
    while name.startswith((b"./", b"/")):
        name = name[2:] if name.startswith(b"./") else name[1:]
    return b"" if name == b"." else name.rstrip(b"/")
