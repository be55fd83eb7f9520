"""Layers -> one tree, below one directory fd and nowhere else: `Tree`. docs/images.md, "What an entry becomes".

Layers are written by strangers, and maybe to get out. So no name is ever given to the kernel but a single component,
with the fd of the directory that it is in; a directory is opened with O_NOFOLLOW, a file is made with O_EXCL.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from typing import NamedTuple

from pyjail._base.errors import HostError
from pyjail._images import accounts, tar
from pyjail._images.dirs import Dir, Dirs
from pyjail._images.errors import ImageError
from pyjail._images.links import Later, resolved
from pyjail._images.paths import Paths, joined, parts
from pyjail._images.sums import Sums
from pyjail._images.tar import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyjail._images.bounds import Bounds
    from pyjail._images.tar import Entry

PIECE = 1 << 20
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
FREE = 0.05  # of the disk stays free, but no more than
SPARE = 8 << 30
LOOK = 64 << 20  # bytes, or
OFTEN = 4096  # entries between two looks at the disk
THEIRS = {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ELOOP, errno.EMLINK, errno.EFBIG}  # the image's fault


class Summary(NamedTuple):
    """What became of the layers: ``entries`` made, by kind those ``skipped``, ``bytes`` of content written.

    ``sums`` has the digests of the files that were written.
    """

    entries: int
    skipped: dict[str, int]
    bytes: int
    sums: Sums


class Tree:
    """The tree below ``root_fd``: `layer` for each layer, from the lowest on, then `finish`. At most 1,000 fds.

    ``entries`` and ``size``: how many were made, and how many bytes, of what is there already.

    After an error it is closed, and the tree is of no use. Errors: ImageError; HostError for the disk and the like.
    """

    def __init__(self, root_fd: int, bounds: Bounds, entries: int = 0, size: int = 0) -> None:
        with os.scandir(root_fd) as found:
            self._alone = next(found, None) is None  # nothing is of a lower layer
        self._bounds = bounds
        self._root_fd = root_fd
        self._dirs = Dirs(root_fd)
        self._number = -1
        self._made, self._bytes, self._looked = entries, size, 0
        self._skipped: dict[str, int] = {}
        self._sums = Sums()
        self._start()

    def _start(self) -> None:
        self._number += 1
        self._seen = Paths()  # of this layer, with all that is above
        self._cleared = Paths()  # directories in which nothing of a lower layer is left
        self._later = Later()

    def layer(self, read: Callable[[int], bytes]) -> None:
        """Apply the archive that ``read`` gives, and read it to its end."""
        what = f"layer {self._number + 1}"
        try:
            self._look()
            for entry in tar.entries(read, self._bounds):
                what = f"layer {self._number + 1}, entry {shown(entry.name)}"
                self._entry(entry)
            what = f"layer {self._number + 1}"
            self._later.settle(self._link_later)
            while read(PIECE):  # what is after the archive's end belongs to the digest
                pass
        except ImageError as e:
            self.close()
            raise ImageError(f"layer {self._number + 1}, {e.what}", e.why) from None
        except OSError as e:
            self.close()
            raise _refused(e, what) from None
        except BaseException:
            self.close()
            raise
        self._alone = False
        self._start()

    def finish(self) -> Summary:
        """Give each directory its mtime, and uid 1000 a name where the image has none for it."""
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for fd, content in accounts.named(self._dirs.child(self._dirs.root, b"etc").fd):
                    self._sums.note(os.fstat(fd).st_ino, hashlib.sha256(content).digest())
        except OSError as e:
            raise _refused(e, "etc/passwd") from None
        finally:
            self.close()
        return Summary(self._made, self._skipped, self._bytes, self._sums)

    def close(self) -> None:
        """Close what is open but the root's fd."""
        self._dirs.close()

    # -- one entry

    def _entry(self, entry: Entry) -> None:
        names = parts(entry.name, self._bounds)
        if any(name.startswith(WHITEOUT) for name in names):
            self._whiteout(names, entry)
            return
        if not names:
            if entry.kind != "dir":
                raise ImageError(f"entry {shown(entry.name)}", f"the root would be a {entry.kind}")
            self._attributes(self._dirs.root, entry)
            return
        self._count()
        above = self._directory(names[:-1])
        base = names[-1]
        path = joined(above.path, base)
        if entry.kind == "dir":
            self._attributes(self._child(above, base), entry)
        elif entry.kind == "file":
            self._file(above, base, entry)
        elif entry.kind == "symlink":
            self._symlink(above, base, entry)
        elif entry.kind == "hardlink":
            if not self._hardlink(above, base, entry.target):
                return
        else:
            self._dirs.remove(above, base)
            self._skipped[entry.kind] = self._skipped.get(entry.kind, 0) + 1
        self._note(path)

    def _count(self) -> None:
        self._made += 1
        if self._made > self._bounds.entries:
            raise self._bounds.exceeded("entries", "an entry")
        if not self._made % OFTEN:
            self._look()

    def _attributes(self, place: Dir, entry: Entry) -> None:
        os.fchmod(place.fd, _mode(entry.mode | 0o700))
        place.mtime = entry.mtime_ns

    def _child(self, above: Dir, base: bytes) -> Dir:
        """The directory ``base``, made where there is none."""
        try:
            return self._dirs.child(above, base)
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            self._dirs.remove(above, base)
        return self._dirs.made(above, base, 0o755, 0)

    def _file(self, above: Dir, base: bytes, entry: Entry) -> None:
        self._bytes += entry.size
        if self._bytes > self._bounds.unpacked:
            raise self._bounds.exceeded("unpacked", f"entry {shown(entry.name)}")
        try:
            fd = os.open(base, NEW, 0o600, dir_fd=above.fd)
        except FileExistsError:
            self._dirs.remove(above, base)
            fd = os.open(base, NEW, 0o600, dir_fd=above.fd)
        try:
            sha256 = hashlib.sha256()
            while piece := _piece(entry):
                sha256.update(piece)
                _write(fd, piece)
                self._looked += len(piece)
                if self._looked > LOOK:
                    self._look()
            os.fchmod(fd, _mode(entry.mode | 0o400))  # also one of 0000: `verify` reads it, and so may everybody then
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
            self._sums.note(os.fstat(fd).st_ino, sha256.digest())
        finally:
            os.close(fd)

    def _symlink(self, above: Dir, base: bytes, entry: Entry) -> None:
        if len(entry.target) > self._bounds.path:
            raise self._bounds.exceeded("path", f"entry {shown(entry.name)}, its target")
        if b"\0" in entry.target:
            raise ImageError(f"entry {shown(entry.name)}", "a target with a zero byte")
        try:
            os.symlink(entry.target, base, dir_fd=above.fd)
        except FileExistsError:
            self._dirs.remove(above, base)
            os.symlink(entry.target, base, dir_fd=above.fd)
        os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=above.fd, follow_symlinks=False)

    def _hardlink(self, above: Dir, base: bytes, target: bytes) -> bool:
        """Whether it was made; else it waits for its target."""
        to = b"/".join(parts(target, self._bounds))
        path = joined(above.path, base)
        if to == path:
            return True
        if (self._alone or to in self._seen) and self._link(above.path, base, to):
            return True
        self._dirs.remove(above, base)
        self._later.add(path, to)
        return False

    def _link_later(self, path: bytes, target: bytes) -> bool:
        above, _, base = path.rpartition(b"/")
        place = self._directory(above.split(b"/") if above else [])
        try:
            os.stat(base, dir_fd=place.fd, follow_symlinks=False)
        except FileNotFoundError:
            if not self._link(above, base, target):
                return False
        self._note(path)
        return True

    def _link(self, above: bytes, base: bytes, target: bytes) -> bool:
        """Make ``base`` in ``above`` another name of ``target``; False: that is not there."""
        names = target.split(b"/")
        what = f"entry {shown(joined(above, base))}, a hard link to {shown(target)}"
        source = resolved(self._dirs, names[:-1], self._bounds, self._mine)
        if source is None:
            return False
        fd = os.dup(source.fd)
        try:
            found = os.stat(names[-1], dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                raise ImageError(what, "only a file may have several names")
            place = self._directory(above.split(b"/") if above else [])
            try:
                os.link(names[-1], base, src_dir_fd=fd, dst_dir_fd=place.fd, follow_symlinks=False)
            except FileExistsError:
                there = os.stat(base, dir_fd=place.fd, follow_symlinks=False)
                if (there.st_dev, there.st_ino) != (found.st_dev, found.st_ino):
                    self._dirs.remove(place, base)
                    os.link(names[-1], base, src_dir_fd=fd, dst_dir_fd=place.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        finally:
            os.close(fd)
        return True

    # -- where it lies

    def _mine(self, path: bytes) -> bool:
        """Whether this layer has made ``path``, or something below it."""
        return self._alone or path in self._seen

    def _note(self, path: bytes) -> None:
        while path and not self._alone and path not in self._seen:
            self._seen.add(path)
            path = path.rpartition(b"/")[0]

    def _directory(self, names: list[bytes]) -> Dir:
        """The directory of these components, made where there is none, and noted as one of this layer."""
        found = self._dirs.get(b"/".join(names))
        if found is None:
            found = resolved(self._dirs, names, self._bounds, self._mine, self._replaced)
            assert found is not None
        if found.layer != self._number:
            self._note(found.path)
            found.layer = self._number
        return found

    def _replaced(self, above: Dir, base: bytes) -> Dir:
        """A new directory in place of nothing, or of what a lower layer has there."""
        self._count()
        return self._child(above, base)

    # -- what goes

    def _whiteout(self, names: list[bytes], entry: Entry) -> None:
        what = f"entry {shown(entry.name)}"
        for name in names:
            if name.startswith(b".wh..wh.") and name != OPAQUE:
                return  # aufs kept its own things there
        base = names[-1]
        if any(name.startswith(WHITEOUT) for name in names[:-1]):
            raise ImageError(what, "a whiteout is no directory")
        gone = base[len(WHITEOUT) :]
        if gone in (b"", b".", b".."):
            raise ImageError(what, "a whiteout of nothing, or of a directory that it is in")
        self._count()
        above = self._directory(names[:-1])
        if self._alone:
            return
        if base == OPAQUE:
            self._clear(above)
        elif joined(above.path, gone) not in self._seen:
            self._dirs.remove(above, gone)
        else:
            try:
                self._clear(self._dirs.child(above, gone))
            except (FileNotFoundError, NotADirectoryError):
                return  # this layer's own, which stays

    def _clear(self, place: Dir) -> None:
        """Remove what lower layers have below ``place``; each directory is gone through once."""
        path = place.path
        while len(self._cleared):
            if path in self._cleared:
                return
            if not path:
                break
            path = path.rpartition(b"/")[0]
        self._dirs.clear(place, self._seen.__contains__, self._cleared.__contains__)
        self._cleared.add(place.path)

    # -- the disk

    def _look(self) -> None:
        """Refuse to go on when the disk is nearly full."""
        self._looked = 0
        disk = os.fstatvfs(self._root_fd)
        free = disk.f_bavail * disk.f_frsize
        least = min(FREE * disk.f_blocks * disk.f_frsize, SPARE)
        if free < least or disk.f_favail < FREE * disk.f_files:  # some file systems count no inodes: 0 of 0
            cause = (
                f"{free >> 20:,} MiB and {disk.f_favail:,} inodes are free of the store's disk, less than {FREE:.0%}"
            )
            raise HostError("image", cause, "pyjail image gc, or another place: PYJAIL_HOME")


def _piece(entry: Entry) -> bytes:
    """The next `PIECE` of its content, less at its end only. What is written at once is kept in large folios, where the
    file system has them (ext4 since Linux 6.16): who maps the file has fewer to map."""
    found = [entry.data(PIECE)]
    left = PIECE - len(found[0])
    while left and (piece := entry.data(left)):
        found.append(piece)
        left -= len(piece)
    return found[0] if len(found) == 1 else b"".join(found)


def _mode(mode: int) -> int:
    """What its owner may read or execute everybody may; no setuid, setgid or sticky bit."""
    owner = mode >> 6 & 0o5
    return mode & 0o777 | owner << 3 | owner


def _write(fd: int, piece: bytes) -> None:
    written = os.write(fd, piece)
    while written < len(piece):
        written += os.write(fd, memoryview(piece)[written:])


def _refused(e: OSError, what: str) -> Exception:
    text = os.strerror(e.errno or 0)
    if e.errno in THEIRS:
        return ImageError(what, f"it cannot be made here: {text}")
    fix = "pyjail image gc, or another place: PYJAIL_HOME"
    if e.errno not in (errno.ENOSPC, errno.EDQUOT):
        fix = "look at the disk and the permissions of the store, and that nothing else writes to it"
    return HostError("image", f"{what}: {text}", fix)
