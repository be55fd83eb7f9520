"""Bytes of a tar archive -> its entries. Pure: nothing is made, nothing is looked up.

Where readers of tar disagree (how long an entry is, which of two names counts), the archive is refused: an archive that
another tool shows as something else hides something.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pyjail._images.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyjail._images.bounds import Bounds

BLOCK = 512
ZEROS = bytes(BLOCK)
PIECE = 1 << 20  # of data that is skipped
LATEST = (1 << 33) * 10**9 - 1  # ns; what every file system here can keep
KINDS = {
    b"0": "file", b"\0": "file", b"7": "file", b"1": "hardlink", b"2": "symlink", b"3": "device", b"4": "device",
    b"5": "dir", b"6": "fifo",
}  # fmt: skip
REFUSED = {
    b"S": "a sparse file (GNU)",
    b"M": "the rest of a file of another volume",
    b"D": "a directory with a list of its files (GNU, incremental)",
    b"V": "a volume's label",
    b"N": "a long name of the oldest GNU kind",
    b"X": "an extension header of Solaris",
}
FLOAT = re.compile(rb"-?[0-9]{1,20}(\.[0-9]{1,20})?e[-+]?[0-9]{1,3}")
GLOBAL = {b"comment", b"charset"}


class Entry(NamedTuple):
    """One entry. ``data(n)`` is up to n bytes of a file's content, b"" at its end, until the next entry is asked for.

    ``kind`` is file, dir, symlink, hardlink, device, fifo or socket; ``mtime_ns`` lies in [0, 2**33) seconds.
    """

    name: bytes
    kind: str
    mode: int
    mtime_ns: int
    size: int
    target: bytes
    data: Callable[[int], bytes]


def shown(name: bytes) -> str:
    """``name`` for an error: printable, at most 100 characters."""
    text = ascii(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 100 else text[:60] + "..." + text[-36:]


class Data:
    """What is left of one entry's content, and the rest of its last block."""

    def __init__(self, read: Callable[[int], bytes], size: int, what: str) -> None:
        self.read = read
        self.left = size
        self.padding = -size % BLOCK
        self.what = what

    def __call__(self, n: int) -> bytes:
        if not self.left or n <= 0:
            return b""
        piece = self.read(min(n, self.left))
        if not piece:
            raise ImageError(self.what, f"the archive ends {self.left:,} bytes before the end of its content")
        self.left -= len(piece)
        return piece

    def skip(self) -> None:
        """Read what nobody asked for."""
        while self.left:
            self(PIECE)
        self.left, self.padding = self.padding, 0
        while self.left:
            self(BLOCK)


class Pending:
    """What extension headers said about the entry that comes next."""

    def __init__(self) -> None:
        self.pax: dict[bytes, bytes] | None = None
        self.name: bytes | None = None
        self.target: bytes | None = None

    def __bool__(self) -> bool:
        return not (self.pax is None and self.name is None and self.target is None)


def entries(read: Callable[[int], bytes], bounds: Bounds) -> Iterator[Entry]:
    """The entries of the archive that ``read(n)`` gives (up to n bytes, b"" at its end), in their order.

    What follows the end of the archive is not read. Errors: ImageError, also in the middle.
    """
    pending = Pending()
    count = 0
    while (header := _exactly(read, BLOCK, count)) and header != ZEROS:
        count += 1
        what = f"entry {count}"
        if count > 2 * bounds.entries:  # with their extension headers
            raise bounds.exceeded("entries", "headers")
        _check(header, what)
        kind = header[156:157]
        if kind in b"xgLK":
            _extension(kind, _content(read, header, what, bounds), pending, what)
            continue
        entry, data = _entry(read, header, pending, what)
        pending = Pending()
        yield entry
        data.skip()
    if pending:
        raise ImageError(f"entry {count}", "an extension header with no entry after it")
    if header and (second := _exactly(read, BLOCK, count)) and second != ZEROS:
        raise ImageError(
            f"after entry {count}", "a block of zeros in the middle: readers disagree whether it ends there"
        )


def _exactly(read: Callable[[int], bytes], n: int, count: int) -> bytes:
    """``n`` bytes, or none at the archive's end."""
    block = read(n)
    while block and len(block) < n:
        more = read(n - len(block))
        if not more:
            raise ImageError(f"after entry {count}", "the archive ends in the middle of a block")
        block += more
    return block


def _check(header: bytes, what: str) -> None:
    expected = _number(header[148:156], "checksum", what)
    unsigned = sum(header) - sum(header[148:156]) + 8 * 32
    if expected == unsigned:
        return
    high = sum(1 for byte in header[:148] + header[156:] if byte > 127)
    if expected != unsigned - 256 * high:  # some old writers add signed bytes
        raise ImageError(what, "its header has a wrong checksum: damaged, or no tar archive")


def _number(field: bytes, name: str, what: str) -> int:
    """A header's number: octal digits, or base 256 when its first bit is set."""
    if field[0] & 0x80:
        if field[0] not in (0x80, 0xFF):
            raise ImageError(what, f"its {name} is out of range")
        value = int.from_bytes(field[1:], "big")
        return value if field[0] == 0x80 else value - (1 << 8 * (len(field) - 1))
    digits = field.split(b"\0", 1)[0].strip(b" ")
    if digits.strip(b"01234567"):
        raise ImageError(what, f"its {name} {shown(digits)} is no octal number")
    return int(digits, 8) if digits else 0


def _size(header: bytes, what: str) -> int:
    size = _number(header[124:136], "size", what)
    if not 0 <= size < 1 << 63:
        raise ImageError(what, f"its size {size} is out of range")
    return size


def _content(read: Callable[[int], bytes], header: bytes, what: str, bounds: Bounds) -> bytes:
    """An extension header's content, whose size is always its own header's."""
    size = _size(header, what)
    if size > bounds.header:
        raise bounds.exceeded("header", f"{what}, an extension header of {size:,} bytes")
    data = Data(read, size + -size % BLOCK, what)
    pieces = []
    while data.left:
        pieces.append(data(PIECE))
    whole = b"".join(pieces)
    content = whole[:size]
    if header[156:157] in b"LK" and b"\0" not in content and whole[size : size + 1] not in (b"", b"\0"):
        raise ImageError(what, "a long name that goes on after its end: readers disagree where that is")
    return content


def _extension(kind: bytes, content: bytes, pending: Pending, what: str) -> None:
    if kind == b"g":
        if pending:
            raise ImageError(what, "a global header between an entry and its own: readers disagree what it ends")
        if others := set(_records(content, what)) - GLOBAL:
            raise ImageError(what, f"a global header that sets {shown(min(others))}: only comments may be global")
        return
    before = {b"x": pending.pax, b"L": pending.name, b"K": pending.target}[kind]
    if before is not None:
        raise ImageError(what, "two extension headers of one kind for one entry: readers disagree which counts")
    if kind == b"x":
        pending.pax = _records(content, what)
    elif kind == b"L":
        pending.name = content.split(b"\0", 1)[0]
    else:
        pending.target = content.split(b"\0", 1)[0]


def _records(content: bytes, what: str) -> dict[bytes, bytes]:
    """The records "LENGTH KEY=VALUE\\n" of a PAX header; of those with one key the last."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + 20)
        digits = content[at:space] if space > at else b""
        length = int(digits) if digits.isdigit() else 0
        record = content[space + 1 : at + length] if length > len(digits) else b""
        key, equals, value = record[:-1].partition(b"=")
        if at + length > len(content) or not equals or not key or record[-1:] != b"\n" or b"\0" in key:
            raise ImageError(what, f"its PAX header has no record at byte {at}")
        if key.startswith((b"GNU.sparse.", b"SCHILY.realsize")):
            raise ImageError(what, f"a sparse file ({shown(key)}): write the layer without (tar without --sparse)")
        if key in (b"path", b"linkpath", b"size") and (b"\0" in value or not value):
            raise ImageError(what, f"its PAX header has no usable {shown(key)}")
        found[key] = value
        at += length
    return found


def _mtime(header: bytes, pax: dict[bytes, bytes], what: str) -> int:
    text = pax.get(b"mtime", b"")
    if not text:
        ns = _number(header[136:148], "mtime", what) * 10**9
    else:
        whole, _, part = text.partition(b".")
        digits = whole[1:] if whole[:1] == b"-" else whole
        if FLOAT.fullmatch(text):  # as Python's tarfile writes what is close to 1970
            ns = int(max(0.0, min(float(text), LATEST / 10**9)) * 10**9)
        elif not digits.isdigit() or len(digits) > 20 or part.strip(b"0123456789"):
            raise ImageError(what, f"its mtime {shown(text)} is no number")
        else:
            ns = int(whole) * 10**9 + int(part[:9].ljust(9, b"0")) * (-1 if whole[:1] == b"-" else 1)
    return max(0, min(ns, LATEST))


def _chosen(own: bytes, gnu: bytes | None, pax: bytes | None, what: str) -> bytes:
    """A name from the header, a GNU extension or a PAX header."""
    if gnu is not None and pax is not None and gnu != pax:
        raise ImageError(what, f"named {shown(gnu)} and {shown(pax)}: readers disagree which counts")
    if pax is not None:
        return pax
    return own if gnu is None else gnu


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _entry(read: Callable[[int], bytes], header: bytes, pending: Pending, what: str) -> tuple[Entry, Data]:
    pax = pending.pax or {}
    name = _chosen(_name(header), pending.name, pax.get(b"path"), what)
    what = f"{what}, {shown(name)}"
    letter = header[156:157]
    kind = KINDS.get(letter)
    if kind is None:
        raise ImageError(what, f"{REFUSED.get(letter, f'an entry of the unknown kind {shown(letter)}')} is not taken")
    size = _size(header, what)
    if b"size" in pax:
        if not pax[b"size"].isdigit() or len(pax[b"size"]) > 18:
            raise ImageError(what, f"its size {shown(pax[b'size'])} is out of range")
        size = int(pax[b"size"])
    if kind == "file" and name.endswith(b"/"):  # as before there was a letter for directories
        kind = "dir"
    if kind != "file" and size:
        raise ImageError(what, f"a {kind} with {size:,} bytes of content: readers disagree where the next entry begins")
    target = b""
    if kind in ("symlink", "hardlink"):
        target = _chosen(header[157:257].split(b"\0", 1)[0], pending.target, pax.get(b"linkpath"), what)
        if not target:
            raise ImageError(what, f"a {kind} to nothing")
    data = Data(read, size, what)
    mode = _number(header[100:108], "mode", what) & 0o7777
    return Entry(name, kind, mode, _mtime(header, pax, what), size, target, data), data
