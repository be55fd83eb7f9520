"""Files of a directory of this host -> entries of a layer. No symlink of it is followed, out of it or in it.

Where they go the image's own symlinks are followed, inside of its tree, as `cp` in a jail of it would: /bin/x is
/usr/bin/x where /bin is a symlink, which no entry of a layer may replace.
"""

from __future__ import annotations

import os
import stat

from pyjail._base.errors import HostError, SpecError
from pyjail._images.bounds import Bounds
from pyjail._images.commit import Layer
from pyjail._images.digests import shown
from pyjail._images.errors import ImageError
from pyjail._images.recipe import OWN

TIME = 315_619_200 * 10**9  # ns: 1980-01-02, of all that is copied; the oldest that zip archives can have everywhere
LINKS = 40  # followed for one path, as by the kernel
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def tell(layer: Layer, directory: int, src: str, root: str, dst: str, bounds: Bounds) -> None:
    """``src`` below the open ``directory`` is ``dst`` in the image whose tree is ``root``: a file is that file, what is
    in a directory comes to what is in that directory.

    Raises SpecError (``src`` or ``dst``) for what is not there, leads elsewhere or cannot be, ImageError for what no
    layer can have or ``bounds`` exceeds, HostError for what may not be read.
    """
    fd = _opened(directory, src)
    try:
        folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        path = os.fsencode(_place(root, dst, folder))
        if folder:
            _directory(layer, fd, path, path.count(b"/") + 1, bounds)
        else:
            _file(layer, fd, path)
    finally:
        os.close(fd)


def _opened(directory: int, src: str) -> int:
    """The file or directory, each component by its own."""
    fd = os.open(".", _LOOK | os.O_DIRECTORY, dir_fd=directory)
    for part in src.split("/"):
        above = fd
        try:
            kind = stat.S_IFMT(os.stat(part, dir_fd=above, follow_symlinks=False).st_mode)
            if kind == stat.S_IFLNK:
                target = os.readlink(part, dir_fd=above)
                why = f"{part!r} is a symlink, which is not followed: name what it leads to, {target!r}"
                raise SpecError("src", src, why)
            if kind not in (stat.S_IFDIR, stat.S_IFREG):  # before it is opened: that can do something to a device
                raise SpecError("src", src, f"{part!r} is neither a file nor a directory")
            fd = os.open(part, _LOOK, dir_fd=above)
        except PermissionError:
            raise HostError("image build", f"{src!r} may not be read", "make it readable for you") from None
        except OSError as e:
            raise SpecError("src", src, f"{os.strerror(e.errno or 0)}: {part!r}") from None
        finally:
            os.close(above)
    return fd


def _place(root: str, dst: str, folder: bool) -> str:
    """Where that is in the tree, without a symlink on the way and without the leading slash."""
    done: list[str] = []
    todo, links = dst.split("/"), 0
    kind = stat.S_IFDIR
    while todo:
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done, kind = done[:-1], stat.S_IFDIR
            continue
        path = "/".join((root, *done, part))
        try:
            kind = stat.S_IFMT(os.lstat(path).st_mode)
        except FileNotFoundError:
            kind = 0
        except OSError as e:
            raise SpecError("dst", dst, f"{os.strerror(e.errno or 0)} in the image") from None
        if kind == stat.S_IFLNK:
            links += 1
            if links > LINKS:
                raise SpecError("dst", dst, "too many symlinks on the way to it in the image")
            target = os.readlink(path)
            done, todo = [] if target.startswith("/") else done, [*target.split("/"), *todo]
            continue
        done.append(part)
        if kind == stat.S_IFREG and any(todo):
            raise SpecError("dst", dst, f"/{'/'.join(done)} is a file in the image")
    if any(part.startswith(".wh.") for part in done):
        raise SpecError("dst", dst, "names with .wh. mean removals in a layer: take another one")
    if not done or done[0] in OWN:
        raise SpecError("dst", dst, f"it leads to /{'/'.join(done)} in the image, which is the jail's own")
    if kind == stat.S_IFDIR and not folder:
        raise SpecError("dst", dst, f"is a directory in the image: name the file in it, such as {dst.rstrip('/')}/NAME")
    if kind == stat.S_IFREG and folder:
        raise SpecError("dst", dst, "is a file in the image, and src is a directory")
    return "/".join(done)


def _directory(layer: Layer, fd: int, path: bytes, depth: int, bounds: Bounds) -> None:
    if depth > bounds.depth:
        raise bounds.exceeded("depth", shown(path[:200]))
    layer.directory(path, os.fstat(fd))
    for name in _names(layer, fd, path, bounds):
        below = path + b"/" + name
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                layer.symlink(below, status, os.readlink(name, dir_fd=fd))
                continue
            if not stat.S_ISDIR(status.st_mode) and not stat.S_ISREG(status.st_mode):
                raise _unfit(below)
            inner = os.open(name, _LOOK, dir_fd=fd)
        except PermissionError:
            raise HostError("image build", f"{shown(below)} may not be read", "make it readable for you") from None
        except OSError as e:
            raise ImageError(shown(below), f"it changed while it was read ({e.strerror})") from None
        try:
            if stat.S_ISDIR(os.fstat(inner).st_mode):
                _directory(layer, inner, below, depth + 1, bounds)
            else:
                _file(layer, inner, below)
        finally:
            os.close(inner)


def _names(layer: Layer, fd: int, path: bytes, bounds: Bounds) -> list[bytes]:
    names = []
    with os.scandir(fd) as entries:
        for entry in entries:
            names.append(os.fsencode(entry.name))
            if layer.entries + len(names) > bounds.entries:
                raise bounds.exceeded("entries", shown(path))
    return sorted(names)


def _file(layer: Layer, fd: int, path: bytes) -> None:
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise _unfit(path)
    layer.file(path, fd)


def _unfit(path: bytes) -> ImageError:
    return ImageError(shown(path), "it is neither a file, a directory nor a symlink, which is all that can be copied")
