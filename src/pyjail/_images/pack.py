"""A directory -> the bytes of one layer: a tar archive, the same for the same tree. No link is followed on the way."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pyjail._base.errors import HostError
from pyjail._images.bounds import Bounds
from pyjail._images.digests import shown
from pyjail._images.errors import ImageError

BLOCK = 512
_LARGEST = 0o77777777777  # that a header's field of 11 octal digits holds
PIECE = 1 << 20
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_LETTERS = {stat.S_IFDIR: b"5", stat.S_IFLNK: b"2", stat.S_IFIFO: b"6", stat.S_IFCHR: b"3", stat.S_IFBLK: b"4"}


def header(name: bytes, letter: bytes, mode: int, mtime_ns: int, size: int = 0, target: bytes = b"") -> bytes:
    """The blocks before an entry's content; what the old form has no room for stands in a PAX header. Pure."""
    mtime_ns = max(mtime_ns, 0)
    records = b""
    if len(name) > 100:
        records += _record(b"path", name)
    if len(target) > 100:
        records += _record(b"linkpath", target)
    if mtime_ns % 10**9 or mtime_ns // 10**9 > _LARGEST:
        records += _record(b"mtime", b"%d.%09d" % divmod(mtime_ns, 10**9))
    if size > _LARGEST:
        records += _record(b"size", b"%d" % size)
    own = _block(name, letter, mode, mtime_ns // 10**9, size if size <= _LARGEST else 0, target)
    if not records:
        return own
    return _block(b"PaxHeader", b"x", 0o644, 0, len(records), b"") + records + bytes(-len(records) % BLOCK) + own


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" %b=%b\n" % (key, value)
    length = len(rest)
    while len(b"%d" % length) + len(rest) != length:  # its own digits count
        length = len(b"%d" % length) + len(rest)
    return b"%d%b" % (length, rest)


def _block(name: bytes, letter: bytes, mode: int, mtime: int, size: int, target: bytes) -> bytes:
    parts = (
        name[:100].ljust(100, b"\0"), b"%07o\0" % mode, b"0000000\0" * 2, b"%011o\0" % size,
        b"%011o\0" % min(mtime, _LARGEST), b" " * 8, letter, target[:100].ljust(100, b"\0"), b"ustar\00000",
    )  # fmt: skip
    block = b"".join(parts).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def layer(root_fd: int, write: Callable[[bytes], None], bounds: Bounds) -> None:
    """The tree below the directory ``root_fd`` goes to ``write``, as one layer, names sorted.

    What is mounted in it is an empty directory there, sockets are left out. Raises `ImageError`: a bound is exceeded,
    a name that means a removal in a layer, something that changes meanwhile; HostError: what may not be read.
    """
    _Packer(os.fstat(root_fd).st_dev, write, bounds).below(root_fd, b"", 1)
    write(bytes(2 * BLOCK))


class _Packer:
    def __init__(self, device: int, write: Callable[[bytes], None], bounds: Bounds) -> None:
        self.device, self.write, self.bounds = device, write, bounds
        self.entries = self.bytes = 0
        self.names: dict[int, bytes] = {}  # of files that have several, by inode

    def below(self, fd: int, above: bytes, depth: int) -> None:
        if depth > self.bounds.depth:
            raise self.bounds.exceeded("depth", shown(above))
        for name in self._names(fd, above):
            path = above + name
            if len(path) > self.bounds.path:
                raise self.bounds.exceeded("path", shown(path))
            if name.startswith(b".wh."):
                raise ImageError(shown(path), "names with .wh. mean removals in a layer: rename it")
            self.entries += 1
            if self.entries > self.bounds.entries:
                raise self.bounds.exceeded("entries", shown(path))
            try:
                self._entry(fd, name, path, depth)
            except OSError as e:
                if isinstance(e, PermissionError):
                    raise HostError("image", f"{shown(path)} may not be read", "make it readable for you") from None
                raise ImageError(shown(path), f"it changed while it was read ({e.strerror})") from None

    def _names(self, fd: int, above: bytes) -> Iterator[bytes]:
        with os.scandir(fd) as entries:
            found = []
            for entry in entries:
                found.append(os.fsencode(entry.name))
                if len(found) + self.entries > self.bounds.entries:
                    raise self.bounds.exceeded("entries", shown(above))
        yield from sorted(found)

    def _entry(self, fd: int, name: bytes, path: bytes, depth: int) -> None:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        kind, mode = stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode)
        if kind == stat.S_IFREG:
            self._file(fd, name, path, status)
        elif kind == stat.S_IFLNK:
            target = os.readlink(name, dir_fd=fd)
            self.write(header(path, b"2", 0o777, status.st_mtime_ns, 0, target))
        elif kind in _LETTERS:
            slash = b"/" if kind == stat.S_IFDIR else b""
            self.write(header(path + slash, _LETTERS[kind], mode, status.st_mtime_ns))
            if slash and status.st_dev == self.device:
                inner = self._same(fd, name, status, os.O_DIRECTORY)
                try:
                    self.below(inner, path + slash, depth + 1)
                finally:
                    os.close(inner)

    def _same(self, fd: int, name: bytes, status: os.stat_result, flags: int = 0) -> int:
        """``name`` open, if it is still what ``status`` is of."""
        inner = os.open(name, _OPEN | flags, dir_fd=fd)
        if not os.path.samestat(os.fstat(inner), status):
            os.close(inner)
            raise ImageError(shown(name), "it changed while it was read")
        return inner

    def _file(self, fd: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        mode = stat.S_IMODE(status.st_mode)
        if status.st_nlink > 1 and status.st_dev == self.device:
            first = self.names.setdefault(status.st_ino, path)
            if first != path:
                self.write(header(path, b"1", mode, status.st_mtime_ns, 0, first))
                return
        inner = self._same(fd, name, status)
        try:
            left = os.fstat(inner).st_size
            self.bytes += left
            if self.bytes > self.bounds.unpacked:
                raise self.bounds.exceeded("unpacked", shown(path))
            self.write(header(path, b"0", mode, status.st_mtime_ns, left))
            padding = -left % BLOCK
            while left:
                piece = os.read(inner, min(left, PIECE))
                if not piece:
                    raise ImageError(shown(path), "it changed while it was read")
                self.write(piece)
                left -= len(piece)
            self.write(bytes(padding))
        finally:
            os.close(inner)


def chosen(files: Mapping[str, Path | str | bytes | None], write: Callable[[bytes], None]) -> None:
    """These go to ``write``, as one layer: copies of files of this host (Path), symlinks (str), contents (bytes) and
    directories (None), by their paths. Raises OSError for a file that cannot be read."""
    for path, what in sorted(files.items()):
        name = os.fsencode(path).strip(b"/")
        if what is None:
            write(header(name + b"/", b"5", 0o755, 0))
        elif isinstance(what, str):
            write(header(name, b"2", 0o777, 0, 0, os.fsencode(what)))
        elif isinstance(what, bytes):
            write(header(name, b"0", 0o644, 0, len(what)) + what + bytes(-len(what) % BLOCK))
        else:
            _copied(what, name, write)
    write(bytes(2 * BLOCK))


def _copied(path: Path, name: bytes, write: Callable[[bytes], None]) -> None:
    with open(os.open(path, _OPEN), "rb") as file:
        status = os.fstat(file.fileno())
        write(header(name, b"0", stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_size))
        left = status.st_size
        while left and (piece := file.read(min(left, PIECE))):
            write(piece)
            left -= len(piece)
        if left:
            raise ImageError(shown(name), "it changed while it was read")
        write(bytes(-status.st_size % BLOCK))
