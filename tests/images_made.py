"""Archives made byte by byte, so that they can be such as no writer makes."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pyjail._images.apply import Summary, Tree
from pyjail._images.bounds import Bounds

BLOCK = 512
END = bytes(2 * BLOCK)
MTIME = 1_600_000_000


def padded(data: bytes) -> bytes:
    """``data`` up to a whole block."""
    return data + bytes(-len(data) % BLOCK)


def octal(value: int, width: int) -> bytes:
    """A header's number; base 256 when it is too large, or negative."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (0x80 if value >= 0 else 0xFF).to_bytes(1, "big") + (value & (1 << 8 * (width - 1)) - 1).to_bytes(
        width - 1, "big"
    )


def header(
    name: bytes,
    kind: bytes = b"0",
    *,
    size: int = 0,
    target: bytes = b"",
    mode: int = 0o644,
    mtime: int = MTIME,
    uid: int = 0,
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    raw: dict[int, bytes] | None = None,
    checksum: int | None = None,
) -> bytes:
    """One block; ``raw`` puts bytes at offsets before the checksum is taken (or ``checksum`` instead of it)."""
    block = bytearray(
        struct.pack(
            "100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x",
            name, octal(mode, 8), octal(uid, 8), octal(uid, 8), octal(size, 12), octal(mtime, 12), b" " * 8, kind,
            target, magic, b"root", b"root", octal(0, 8), octal(0, 8), prefix,
        )
    )  # fmt: skip
    for at, value in (raw or {}).items():
        block[at : at + len(value)] = value
    block[148:156] = b"%06o\0 " % (sum(block) if checksum is None else checksum)
    return bytes(block)


def file(name: bytes, data: bytes = b"", **more: Any) -> bytes:
    """A file and its content."""
    return header(name, size=len(data), **more) + padded(data)


def folder(name: bytes, **more: Any) -> bytes:
    """A directory."""
    return header(name, b"5", **{"mode": 0o755, **more})


def link(name: bytes, target: bytes, **more: Any) -> bytes:
    """A symlink."""
    return header(name, b"2", target=target, **{"mode": 0o777, **more})


def hard(name: bytes, target: bytes, **more: Any) -> bytes:
    """A hard link."""
    return header(name, b"1", target=target, **more)


def records(*pairs: tuple[bytes, bytes]) -> bytes:
    """The content of a PAX header."""
    found = b""
    for key, value in pairs:
        rest = len(key) + len(value) + 3
        length = rest + len(str(rest))
        length = rest + len(str(length))
        found += b"%d %s=%s\n" % (length, key, value)
    return found


def pax(*pairs: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A PAX header for what comes next."""
    data = records(*pairs)
    return header(b"././@PaxHeader", kind, size=len(data)) + padded(data)


def long(name: bytes, kind: bytes = b"L") -> bytes:
    """GNU's long name (or, K, long target) for what comes next."""
    data = name + b"\0"
    return header(b"././@LongLink", kind, size=len(data), magic=b"ustar  \0") + padded(data)


def archive(*parts: bytes) -> bytes:
    """All of them and the archive's end."""
    return b"".join(parts) + END


def reader(data: bytes, most: int = 1 << 30) -> Callable[[int], bytes]:
    """As a layer is read; at most ``most`` bytes at once."""
    file = io.BytesIO(data)
    return lambda n: file.read(min(n, most))


def applied(root: Path, *layers: bytes, bounds: Bounds | None = None) -> Summary:
    """What `Tree` makes of these layers below ``root``, which is made, too."""
    root.mkdir(parents=True, exist_ok=True)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        tree = Tree(fd, bounds or Bounds())
        for layer in layers:
            tree.layer(reader(layer))
        return tree.finish()
    finally:
        os.close(fd)


def bomb(size: int, piece: bytes = bytes(1 << 20), before: bytes = b"") -> bytes:
    """A gzip stream of ``before`` and ``size`` bytes of zeros, made in little memory."""
    packer = zlib.compressobj(9, wbits=31)
    found = packer.compress(before)
    for _ in range(size // len(piece)):
        found += packer.compress(piece)
    return found + packer.compress(END) + packer.flush()


def members(*parts: bytes) -> bytes:
    """A gzip stream of one member for each part."""
    return b"".join(gzip.compress(part, mtime=0) for part in parts)


def listed(root: Path) -> dict[str, tuple[Any, ...]]:
    """The tree below ``root``: kind and permission bits, mtime, content or target, by path; and who shares an inode."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in walked(root):
        seen = path.lstat()
        name = str(path.relative_to(root))
        if stat.S_ISLNK(seen.st_mode):
            found[name] = ("link", os.readlink(path), seen.st_mtime_ns)
        elif stat.S_ISDIR(seen.st_mode):
            found[name] = ("dir", oct(seen.st_mode & 0o7777), seen.st_mtime_ns)
        elif stat.S_ISREG(seen.st_mode):
            content = path.read_bytes() if os.access(path, os.R_OK) else None
            found[name] = ("file", oct(seen.st_mode & 0o7777), seen.st_mtime_ns, content, seen.st_nlink)
        else:
            found[name] = ("special", seen.st_mode)
    return found


def walked(root: Path, but: Path | None = None) -> Iterator[Path]:
    """``root`` and all below it but ``but``, by itself: no symlink is followed."""
    todo = [root]
    while todo:
        path = todo.pop()
        if path == but:
            continue
        yield path
        if path.is_dir() and not path.is_symlink():
            todo += path.iterdir()
