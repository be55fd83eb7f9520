"""Files of an archive or of a directory, by name, each read where it lies: none is ever made under its own name.

A member's name is the key of a dict, or is walked component by component without following a link.
"""

from __future__ import annotations

import io
import os
import posixpath
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, BinaryIO

from pyjail._base.errors import HostError, SpecError
from pyjail._base.fds import Fd
from pyjail._images import stream, tar
from pyjail._images.bounds import Bounds
from pyjail._images.digests import shown
from pyjail._images.errors import ImageError
from pyjail._images.spill import Spill

MOST = 20_000  # members of an archive that are kept in mind
NAMES = 8 << 20  # bytes of their names together; one may have as many as an extension header
DOCUMENTS = ("oci-layout", "index.json", "manifest.json")  # what makes an archive one of images
_PLAIN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_ROOTS = frozenset(b"bin boot dev etc home lib lib64 media mnt opt proc root run sbin srv sys tmp usr var".split())


class Window(io.RawIOBase):
    """A part of a file, with a position of its own; ``fd`` is copied."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd = Fd(os.dup, fd)
        self._at, self._end = offset, offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = os.preadv(self._fd.number, [view[: self._end - self._at]], self._at)
        self._at += done
        return done

    def close(self) -> None:
        self._fd.close()
        super().close()


def window(fd: int, offset: int, size: int) -> BinaryIO:
    """That part of the file ``fd``, to be read and closed."""
    return io.BufferedReader(Window(fd, offset, size))


class Members(ABC):
    """Files by name."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO | None:
        """The file of that name, to be closed; None: there is none."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Its bytes."""

    @abstractmethod
    def close(self) -> None:
        """Gives back what is open."""

    def read(self, name: str, bounds: Bounds) -> bytes | None:
        """All bytes of a document, at most those of a manifest."""
        file = self.open(name)
        if file is None:
            return None
        with file:
            found = file.read(bounds.manifest + 1)
        if len(found) > bounds.manifest:
            raise bounds.exceeded("manifest", shown(name))
        return found


class Directory(Members):
    """Those below a directory; no link is followed on the way."""

    def __init__(self, path: str) -> None:
        self.fd = opened(path, os.O_DIRECTORY)

    def _fd(self, name: str) -> int | None:
        fd = os.dup(self.fd)
        for part, last in [*((part, False) for part in name.split("/")[:-1]), (name.rpartition("/")[2], True)]:
            try:
                inner = os.open(part, _PLAIN if last else _PLAIN | os.O_DIRECTORY, dir_fd=fd)
            except (FileNotFoundError, NotADirectoryError) as e:
                if isinstance(e, NotADirectoryError) and _is_link(part, fd):
                    raise _linked(name) from None
                return None
            except OSError as e:
                if _is_link(part, fd):
                    raise _linked(name) from None
                raise HostError("image", f"{shown(name)} cannot be opened: {e.strerror}", "make it readable") from None
            finally:
                os.close(fd)
            fd = inner
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ImageError(shown(name), "it is no regular file")
        return fd

    def open(self, name: str) -> BinaryIO | None:
        fd = self._fd(name)
        return None if fd is None else os.fdopen(fd, "rb")

    def size(self, name: str) -> int | None:
        fd = self._fd(name)
        if fd is None:
            return None
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def _is_link(name: str, fd: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _linked(name: str) -> ImageError:
    return ImageError(shown(name), "it is, or lies behind, a symbolic link: copy the layout with 'cp -rL' first")


class Archive(Members):
    """Those of the tar archive in ``fd``, a regular file that is taken over; its headers are read once.

    What it is compressed from is kept in the directory ``staging``; what follows its end is not looked at. With
    ``guess`` reading ends, and `is_root` becomes true, where it turns out to be a system's root.
    """

    def __init__(self, fd: int, staging: str | int, bounds: Bounds, guess: bool = False) -> None:
        self.fd = self._file = fd
        self.is_root = False
        self._places: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        try:
            if form(fd) == "tar":
                self._scan(lambda n, at: os.pread(fd, n, at), bounds, guess)
            else:
                self._decompress(staging, bounds, guess)
        except BaseException:
            self.close()
            raise

    def _decompress(self, staging: str | int, bounds: Bounds, guess: bool) -> None:
        kept = Spill(staging, bounds, "unpacked", "archive")
        try:
            self._decompressed(kept, bounds, guess)
            self.fd = kept.handed_over()
        finally:
            kept.close()

    def _decompressed(self, kept: Spill, bounds: Bounds, guess: bool) -> None:
        with window(self._file, 0, os.fstat(self._file).st_size) as file:
            content = stream.opened(file, "", bounds)

            def read(n: int, _: int) -> bytes:
                piece = content(n)
                kept.write(piece)
                return piece

            self._scan(read, bounds, guess)

    def _scan(self, more: Callable[[int, int], bytes], bounds: Bounds, guess: bool) -> None:
        at = 0

        def read(n: int) -> bytes:
            nonlocal at
            piece = more(n, at)
            at += len(piece)
            return piece

        names = 0
        for entry in tar.entries(read, bounds):
            names += len(entry.name) + len(entry.target)
            if len(entry.name) > bounds.path:
                raise bounds.exceeded("path", f"archive, {shown(entry.name)}")
            if names > NAMES:
                raise ImageError(
                    "archive", f"its names have more than {NAMES:,} bytes: a root? Then name it as tar:FILE"
                )
            name = _key(entry.name)
            if guess and not any(map(self.has, DOCUMENTS)) and entry.name.lstrip(b"./").split(b"/")[0] in _ROOTS:
                self.is_root = True
                return
            if entry.kind == "file":
                self._add(name, (at, entry.size), None)
            elif entry.kind == "hardlink":
                self._add(name, None, _key(entry.target))
            elif entry.kind == "symlink":
                self._add(name, None, _key(posixpath.join(posixpath.dirname(entry.name), entry.target)))

    def _add(self, name: str, place: tuple[int, int] | None, target: str | None) -> None:
        if name in DOCUMENTS and self.has(name):
            raise ImageError(shown(name), "it is in the archive twice, and readers differ in which one they take")
        self._places.pop(name, None)
        self._links.pop(name, None)
        if len(self._places) + len(self._links) >= MOST:
            raise ImageError("archive", f"it has more than {MOST:,} members: a root? Then name it as tar:FILE")
        if place is not None:
            self._places[name] = place
        elif target is not None:
            self._links[name] = target

    def _place(self, name: str) -> tuple[int, int] | None:
        """Where it is; a link is followed one step, in this table."""
        return self._places.get(name) or self._places.get(self._links.get(name, ""))

    def has(self, name: str) -> bool:
        return name in self._places or name in self._links

    def open(self, name: str) -> BinaryIO | None:
        place = self._place(name)
        return None if place is None else window(self.fd, *place)

    def size(self, name: str) -> int | None:
        place = self._place(name)
        return None if place is None else place[1]

    def file(self) -> int:
        """The file that it was made of, as it is, for the caller; nothing else of this is of use then."""
        found, self._file = self._file, -1
        if self.fd == found:
            self.fd = -1
        self.close()
        return found

    def close(self) -> None:
        for fd in {self.fd, self._file} - {-1}:
            os.close(fd)
        self.fd = self._file = -1


def _key(name: bytes) -> str:
    """A member's name as it is looked up; one that leads out of the archive stays so, and is what nobody asks for."""
    return posixpath.normpath(os.fsdecode(name)).lstrip("/")


def opened(path: str, flags: int = 0) -> int:
    """``path`` open to be read; HostError says what is in the way."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    except FileNotFoundError:
        fix = "name a file or directory that is there; an image of a registry comes by: pyjail image pull HOST/NAME:TAG"
        raise HostError("image", f"there is no {shown(path)}", fix) from None
    except NotADirectoryError:
        raise HostError("image", f"{shown(path)} is no directory", "name a directory, or use tar:FILE") from None
    except ValueError:
        raise SpecError("image", path, "a path without NUL is needed") from None
    except OSError as e:
        raise HostError("image", f"{shown(path)} cannot be opened: {e.strerror}", "make it readable for you") from None


def form(fd: int) -> str:
    """ "tar", "gzip" or "zstd", by the first bytes; ImageError names other compressions."""
    start = os.pread(fd, 8, 0)
    for magic, name in stream.OTHERS.items():
        if start.startswith(magic):
            raise ImageError("archive", f"compressed by {name}, which is not taken: write it again with gzip or zstd")
    return "gzip" if start.startswith(stream.GZIP) else "zstd" if start.startswith(stream.ZSTD) else "tar"
