"""What was in a workspace: `Snapshot`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from pyjail._base.shown import Document


@dataclass(frozen=True)
class Content:
    """A file's bytes, without its holes: a sparse file takes no more memory here than it takes on its disk.

    Attributes:
        size: bytes of the file. pieces: (offset, bytes) of all that is no hole, in order.
    """

    size: int
    pieces: tuple[tuple[int, bytes], ...]

    @classmethod
    def of(cls, data: bytes) -> Content:
        """That of a file without holes."""
        return cls(len(data), ((0, data),) if data else ())

    @classmethod
    def read(cls, size: int, pieces: list[tuple[int, bytes]]) -> Content:
        """That of a document; ValueError when the pieces are not in order, or not within the file."""
        end = 0
        for at, data in pieces:
            if at < end or not isinstance(data, bytes):
                raise ValueError("the pieces of a file are bytes, one after the other")
            end = at + len(data)
        if end > size:
            raise ValueError("a file has more in it than its size")
        return cls(size, tuple(pieces))

    @property
    def stored(self) -> int:
        """Bytes that are held."""
        return sum(len(data) for _, data in self.pieces)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of size, pieces and where they are."""
        h = hashlib.sha256(b"%d\n" % self.size)
        for at, data in self.pieces:
            h.update(b"%d %d\n" % (at, len(data)) + data)
        return h.digest()

    def __bytes__(self) -> bytes:
        if len(self.pieces) == 1 and len(self.pieces[0][1]) == self.size:
            return self.pieces[0][1]
        whole = bytearray(self.size)
        for at, data in self.pieces:
            whole[at : at + len(data)] = data
        return bytes(whole)


class Files(Mapping[str, tuple[int, bytes]]):
    """path -> (mode, content); a content's holes are filled when it is asked for. ``stored`` has it as it is kept."""

    def __init__(self, files: Mapping[str, tuple[int, bytes | Content]]) -> None:
        self.stored: dict[str, tuple[int, Content]] = {
            path: (mode, data if isinstance(data, Content) else Content.of(data))
            for path, (mode, data) in files.items()
        }

    def __getitem__(self, path: str) -> tuple[int, bytes]:
        mode, content = self.stored[path]
        return mode, bytes(content)

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def __contains__(self, path: object) -> bool:
        return path in self.stored

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Files):
            return self.stored == other.stored
        if not isinstance(other, Mapping) or self.stored.keys() != other.keys():
            return False
        kept = ((other[path], of) for path, of in self.stored.items())
        return all(mode == m and len(data) == of.size and data == bytes(of) for (mode, data), (m, of) in kept)

    def __hash__(self) -> int:
        return hash(frozenset(self.stored.items()))

    def __repr__(self) -> str:
        return f"<{len(self)} files>"


@dataclass(frozen=True, repr=False)
class Snapshot(Document):
    """The content of a session's /box: regular files, directories and symlinks, with their modes. Picklable;
    `to_dict` and `from_dict` are inverse and JSON-able.

    It holds at most what `Session(disk=)` allows: holes of sparse files are kept as such, and a file with several names
    is held once (and becomes several files when it is restored).

    Attributes:
        files: path -> (mode, content). directories: path -> mode. links: path -> target.
        skipped: path -> why it could not be taken: FIFOs, sockets, directories deeper than a path can be long, and
            where we are not root symlinks in a directory that the program has closed.
    """

    files: Mapping[str, tuple[int, bytes]]
    directories: Mapping[str, int]
    links: Mapping[str, str]
    skipped: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", self.files if isinstance(self.files, Files) else Files(self.files))
        for name in ("directories", "links", "skipped"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[object, ...]:
        return Snapshot, (self._stored, *(dict(getattr(self, n)) for n in ("directories", "links", "skipped")))

    @property
    def _stored(self) -> dict[str, tuple[int, Content]]:
        assert isinstance(self.files, Files)
        return self.files.stored

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def size(self) -> int:
        """Bytes of its files that it holds: holes are none, and a file of several names counts once."""
        return sum({id(content): content.stored for _, content in self._stored.values()}.values())

    def _words(self) -> Iterator[str]:
        yield f"{len(self.files)} files of {sum(content.size for _, content in self._stored.values())} bytes"
        yield f"{len(self.directories)} directories, {len(self.links)} links, {len(self.skipped)} skipped"

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes, holes left out: a "snapshot" of docs/data.md."""
        from pyjail._base.plain import (
            head,
            name_of,
            pack,
            plain,
        )

        files = {
            name_of(path): {"mode": mode, "size": of.size, "pieces": [[at, pack(data)] for at, data in of.pieces]}
            for path, (mode, of) in self._stored.items()
        }
        others = {name: plain(getattr(self, name)) for name in ("directories", "links", "skipped")}
        return {**head("snapshot"), "files": files, **others, "digest": self.digest}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Snapshot:
        """The inverse of `to_dict`. Raises SpecError for what is no such document."""
        from pyjail._base.documents import (
            check,
            name_from,
            reading,
            unpack,
        )

        d = check(d, "snapshot")
        with reading("snapshot"):
            files = {
                name_from(path): (
                    of["mode"],
                    Content.read(of["size"], [(at, unpack(data)) for at, data in of["pieces"]]),
                )
                for path, of in d["files"].items()
            }
            others = (
                {name_from(path): unpack(value) for path, value in d[name].items()}
                for name in ("directories", "links", "skipped")
            )
            return cls(Files(files), *others)

    @property
    def digest(self) -> str:
        """SHA-256 of all of it: equal for equal content."""
        h = hashlib.sha256()
        files = ((path, (mode, content.digest)) for path, (mode, content) in self._stored.items())
        kinds: tuple[tuple[bytes, Iterable[tuple[str, Any]]], ...] = (
            (b"f", files), (b"d", self.directories.items()), (b"l", self.links.items())
        )  # fmt: skip
        for kind, entries in kinds:
            for path, value in sorted(entries):
                mode, raw = value if isinstance(value, tuple) else (0, str(value).encode("utf-8", "surrogateescape"))
                name = path.encode("utf-8", "surrogateescape")
                h.update(b"%s %d %o %d\n" % (kind, len(name), mode, len(raw)) + name + raw)
        return h.hexdigest()
