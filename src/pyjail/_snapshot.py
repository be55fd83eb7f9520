"""What was in a workspace: `Snapshot`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pyjail import _frozen
from pyjail._shown import Shown


@dataclass(frozen=True, repr=False)
class Snapshot(Shown):
    """The content of a session's /box: regular files, directories and symlinks, with their modes. Picklable.

    Attributes:
        files: path -> (mode, content). directories: path -> mode. links: path -> target.
        skipped: path -> why it could not be taken (FIFOs, sockets, what is too big).
    """

    files: Mapping[str, tuple[int, bytes]]
    directories: Mapping[str, int]
    links: Mapping[str, str]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("files", "directories", "links", "skipped"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[object, ...]:
        return Snapshot, tuple(dict(getattr(self, n)) for n in ("files", "directories", "links", "skipped"))

    __hash__ = _frozen.hash_of

    def _words(self) -> Iterator[str]:
        yield f"{len(self.files)} files of {sum(len(data) for _, data in self.files.values())} bytes"
        yield f"{len(self.directories)} directories, {len(self.links)} links, {len(self.skipped)} skipped"

    @property
    def digest(self) -> str:
        """SHA-256 of all of it: equal for equal content."""
        h = hashlib.sha256()
        for kind, entries in (("f", self.files), ("d", self.directories), ("l", self.links)):
            for path, value in sorted(entries.items()):
                raw = value if isinstance(value, tuple) else (0, str(value).encode("utf-8", "surrogateescape"))
                name = path.encode("utf-8", "surrogateescape")
                h.update(b"%s %d %o %d\n" % (kind.encode(), len(name), raw[0], len(raw[1])) + name + raw[1])
        return h.hexdigest()
