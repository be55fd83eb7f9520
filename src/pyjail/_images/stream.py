"""A layer as it is stored -> the bytes of its archive, with both digests on the way: `opened`."""

from __future__ import annotations

import hashlib
import importlib
import zlib

from pyjail._base.errors import HostError
from pyjail._images.bounds import allowed
from pyjail._images.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO

    from pyjail._images.bounds import Bounds


GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
SKIPPED = bytes(range(0x50, 0x60))  # first bytes of a zstd frame that has no content, before b"\x2a\x4d\x18"
OTHERS = {b"\xfd7zXZ": "xz", b"BZh": "bzip2", b"\x04\x22\x4d\x18": "lz4", b"\x5d\x00\x00": "lzma"}
INPUT = 64 << 10  # of compressed bytes at once
OUTPUT = 256 << 10  # of a member's bytes at once, however well it compresses
FIRST = 512  # of a member's compressed bytes, then twice as many: a member's leftover is copied, members may be tiny
FORMS = {
    "application/vnd.oci.image.layer.v1.tar": "tar",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}


def opened(
    file: BinaryIO,
    media_type: str,
    bounds: Bounds,
    *,
    algorithm: str = "sha256",
    diff_algorithm: str = "sha256",
    before: tuple[int, int] = (0, 0),
) -> Stream:
    """The content of the layer in ``file``; ``media_type`` "" means: by its first bytes (a tar, gzip or zstd).

    ``algorithm`` and ``diff_algorithm`` ("sha256" or "sha512") are those of `Stream.digest` and `Stream.diff_id`;
    ``before`` is what the image's layers below it took of the bounds: `Stream.so_far` of the last one.
    Errors: ImageError for an unknown media type or compression; HostError where zstd is needed and not installed.
    """
    start = _exactly(file, 8)
    form = FORMS.get(media_type, "") if media_type else _form(start)
    if not form:
        raise ImageError("a layer", f"media type {media_type!a} is not taken: only tar, gzip and zstd are")
    return Stream(file, start, form, bounds, algorithm, diff_algorithm, before)


class Stream:
    """``stream(n)`` is the next bytes of the archive: at least one and at most ``n``, b"" at the end.

    Attributes: ``size`` and ``unpacked`` (int) count bytes before and after decompression.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: bytes,
        form: str,
        bounds: Bounds,
        algorithm: str,
        diff: str,
        before: tuple[int, int],
    ) -> None:
        self.size = self.unpacked = 0
        self._before = before
        self._file, self._start = file, start
        self._bounds = bounds
        self._raw = hashlib.new(algorithm)
        self._plain = form == "tar" and algorithm == diff
        self._content = self._raw if self._plain else hashlib.new(diff)
        self._pieces = iter(self._input, b"") if form == "tar" else _members(self._input, form, bounds)
        self._piece = b""
        self._at = 0

    def __call__(self, n: int) -> bytes:
        if self._at >= len(self._piece) and not self._next():
            return b""
        found = self._piece[self._at : self._at + n]
        self._at += len(found)
        return found

    @property
    def digest(self) -> str:
        """Digest of the bytes as they were stored, once all were read (`drain`)."""
        return f"{self._raw.name}:{self._raw.hexdigest()}"

    @property
    def diff_id(self) -> str:
        """Digest of the archive itself, once all of it was read."""
        return f"{self._content.name}:{self._content.hexdigest()}"

    def drain(self) -> None:
        """Read and hash what is left, such as blocks after the end of the archive."""
        while self._next():
            pass
        while self._input():
            pass

    @property
    def so_far(self) -> tuple[int, int]:
        """Bytes of this layer and of those below it, before and after decompression."""
        return self._before[0] + self.size, self._before[1] + self.unpacked

    def _next(self) -> bool:
        self._piece, self._at = next(self._pieces, b""), 0
        self.unpacked += len(self._piece)
        if self._before[1] + self.unpacked > self._bounds.unpacked:
            raise self._bounds.exceeded("unpacked", "a layer")
        if not self._plain:
            self._content.update(self._piece)
        return bool(self._piece)

    def _input(self) -> bytes:
        piece, self._start = self._start or self._file.read(INPUT), b""
        self.size += len(piece)
        if self._before[0] + self.size > self._bounds.compressed:
            raise self._bounds.exceeded("compressed", "a layer")
        self._raw.update(piece)
        return piece


def _exactly(file: BinaryIO, n: int) -> bytes:
    found = b""
    while len(found) < n and (more := file.read(n - len(found))):
        found += more
    return found


def _form(start: bytes) -> str:
    if start.startswith(GZIP):
        return "gzip"
    if start.startswith(ZSTD) or _skipped(start):
        return "zstd"
    for magic, name in OTHERS.items():
        if start.startswith(magic):
            raise ImageError("a layer", f"compressed by {name}, which is not taken: write it again with gzip or zstd")
    return "tar"


def _skipped(start: bytes) -> bool:
    return start[1:4] == b"\x2a\x4d\x18" and start[0] in SKIPPED


def _gzip() -> Any:
    return zlib.decompressobj(wbits=31)


def _zstd(bounds: Bounds) -> Callable[[], Any]:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            zstd: Any = importlib.import_module(name)
            break
        except ImportError:
            continue
    else:
        fix = "pip install 'pyjail-linux[zstd]', or push the image with gzip layers"
        raise HostError("image", "a layer is compressed with zstd, which Python has only since 3.14", fix)
    options = {zstd.DecompressionParameter.window_log_max: bounds.zstd_window.bit_length() - 1}
    return lambda: zstd.ZstdDecompressor(options=options)


def _members(read: Callable[[], bytes], form: str, bounds: Bounds) -> Any:
    """What the members of a gzip or zstd stream hold, in pieces."""
    new = _gzip if form == "gzip" else _zstd(bounds)
    rest = memoryview(b"")
    count = 0
    while True:
        if len(rest) < 4:
            rest = _more(rest, read)
        if not rest or (form == "gzip" and count and not rest[0] and _zeros(rest, read)):
            if not count:
                raise ImageError("a layer", f"it is empty, and no {form} stream")
            return
        begins = rest[:2] == GZIP if form == "gzip" else rest[:4] == ZSTD or _skipped(bytes(rest[:4]))
        if not begins:
            raise ImageError("a layer", f"it is no {form} stream" + (" after its first member" if count else ""))
        count += 1
        rest = yield from _member(new(), rest, read, form, bounds)


def _more(rest: memoryview, read: Callable[[], bytes]) -> memoryview:
    while len(rest) < 4 and (piece := read()):
        rest = memoryview(bytes(rest) + piece)
    return rest


def _zeros(rest: memoryview, read: Callable[[], bytes]) -> bool:
    """Whether nothing but padding is left, as gzip ignores it."""
    piece = bytes(rest)
    while piece:
        if piece.strip(b"\0"):
            raise ImageError("a layer", "something after its gzip stream and zeros")
        piece = read()
    return True


def _member(decoder: Any, rest: memoryview, read: Callable[[], bytes], form: str, bounds: Bounds) -> Any:
    """One member's content in pieces; returns what follows it in the input."""
    size = FIRST
    at = 0
    try:
        while not decoder.eof:
            if at == len(rest):
                rest, at = memoryview(read()), 0
                if not rest:
                    raise ImageError("a layer", f"its {form} stream ends in the middle")
            taken = rest[at : at + size]
            at += len(taken)
            size = min(2 * size, INPUT)
            at -= yield from _decoded(decoder, taken)
    except zlib.error as e:
        raise _refused(e, form, bounds) from None
    except Exception as e:
        if type(e).__name__ != "ZstdError":
            raise
        raise _refused(e, form, bounds) from None
    return rest[at:]


def _decoded(decoder: Any, taken: memoryview) -> Any:
    """The content of ``taken``, OUTPUT bytes at a time; returns how many bytes of it are after the member's end."""
    data: Any = taken
    while True:
        if piece := decoder.decompress(data, OUTPUT):
            yield piece
        if decoder.eof:
            return len(decoder.unused_data)
        if hasattr(decoder, "unconsumed_tail"):  # zlib gives back what it did not read, zstd keeps it
            data = decoder.unconsumed_tail
            if not data and len(piece) < OUTPUT:
                return 0
        else:
            data = b""
            if decoder.needs_input:
                return 0


def _refused(e: Exception, form: str, bounds: Bounds) -> ImageError:
    hint = (
        f", or its window is larger than {allowed('zstd_window', bounds.zstd_window)}"
        if "window" in str(e).lower() or "memory" in str(e)
        else ""
    )
    return ImageError("a layer", f"its {form} stream is damaged ({e}){hint}")
