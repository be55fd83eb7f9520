"""The process that unpacks: `unpack` starts it, one for an image, as a Python with nothing but `_base` and `_images`.

Its standard input has frames, a length of four bytes and as many bytes: first what to do, as JSON; then each layer, in
pieces, an empty one at its end. Its standard output has one line of JSON: what came of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import json
import os
import re
import struct
import sys

from pyjail._base.errors import HostError
from pyjail._images import base, confine, listing, stream
from pyjail._images.ahead import Ahead
from pyjail._images.apply import Summary, Tree
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, NoReturn

_MOST_SPECIFICATION = 1 << 20
_LINES = 1 << 16  # of the list of files, written at once


class Frames:
    """A layer as a file: what comes, until an empty frame; ``done`` counts its bytes."""

    def __init__(self, source: BinaryIO) -> None:
        self.left = self.done = 0
        self.ended = False
        self._source = source

    def read(self, n: int = -1) -> bytes:
        """At most ``n`` bytes, b"" at the end."""
        if not self.left and not self.ended:
            (self.left,) = struct.unpack("=I", self._exactly(4))
            self.ended = not self.left
        if self.ended:
            return b""
        piece = self._source.read(self.left if n < 0 else min(n, self.left))
        if not piece:
            raise EOFError("the layer is not whole: who sent it has ended")
        self.left -= len(piece)
        self.done += len(piece)
        return piece

    def _exactly(self, n: int) -> bytes:
        found = self._source.read(n)
        if len(found) != n:
            raise EOFError("the layer is not whole: who sent it has ended")
        return found


def main() -> NoReturn:
    """Unpack what standard input says; the process ends, with 0 when the last line says what came of it."""
    source: BinaryIO = sys.stdin.buffer
    wanted = json.loads(b"".join(iter(Frames(source).read, b""))[:_MOST_SPECIFICATION])
    os.umask(0o022)
    try:
        said = _unpacked(wanted, source)
    except ImageError as e:
        said = {"image": [e.what, e.why]}
    except HostError as e:
        said = {"host": [e.control, e.cause, e.hint]}
    except MemoryError:
        said = {"image": ["the image", f"unpacking it takes more than {wanted['memory']:,} bytes of memory"]}
    except OSError as e:
        said = {"full": True} if confine.is_full(e) else {"system": f"{type(e).__name__}: {e}"}
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the other thread may be reading standard input, which Python would wait for


def _unpacked(wanted: dict[str, Any], source: BinaryIO) -> dict[str, Any]:
    root, old, sums = wanted["root"], wanted["base"], wanted["sums"]
    for name in ("compression.zstd", "backports.zstd"):  # there is no import once we are confined
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for algorithm in ("sha256", "sha512"):
        hashlib.new(algorithm, b"")
    bounds = Bounds(**wanted["bounds"])
    rights = {name: wanted[name] for name in ("memory", "cpu", "size")}
    if wanted["identity"] is not None:
        os.setegid(wanted["identity"])
        os.seteuid(wanted["identity"])  # what is linked and made here must be its own; all else follows below
    known = _based(old, root, wanted["base_sums"]) if old >= 0 else {}
    if wanted["identity"] is not None:
        os.seteuid(0)
        os.setegid(0)
    _no_more_imports()  # from here on the tree is our root, and what is found by a path is the image's
    confine.confine(root, wanted["identity"], wanted["parent"], **rights)
    ahead = Ahead()
    confine.alone()
    entries, size = wanted["before"]
    tree, before, checked = Tree(root, bounds, entries, size), (0, 0 if wanted["checked"] else size), wanted["checked"]
    for number, (media_type, digest, size, diff_id) in enumerate(wanted["layers"], 1):
        with _of_layer(wanted["first"] + number):
            made = tree if number > checked else None
            before = _layer(made, ahead, source, bounds, before, media_type, digest, size, diff_id)
    return _written(tree.finish(), root, sums, known)


def _no_more_imports() -> None:
    """What is not loaded is not there."""
    with contextlib.suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1")  # glibc loads it by itself when a thread is ended
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path.clear()
    sys.path_importer_cache.clear()


def _based(old: int, root: int, lines: int) -> dict[tuple[int, int], str]:
    """The tree of the first layers, linked: the sums of the files that both have."""
    shared = base.clone(old, root)
    with open(lines, "rb", closefd=False) as f:
        sums = {found.path: found.sum for found in listing.read(f.read()) if found.kind == "f"}
    known = {}
    for found in listing.walk(old):
        key = found.status.st_dev, found.status.st_ino
        if key in shared and found.path in sums:
            known[key] = sums[found.path]
    return known


@contextlib.contextmanager
def _of_layer(number: int) -> Any:
    """Errors name it by its number in the image."""
    try:
        yield
    except ImageError as e:
        rest = re.sub(r"\A(a layer|layer \d+)(, )?", "", e.what)
        raise ImageError(f"layer {number}{', ' if rest else ''}{rest}", e.why) from None


def _layer(
    tree: Tree | None,
    ahead: Ahead,
    source: BinaryIO,
    bounds: Bounds,
    before: tuple[int, int],
    media_type: str,
    digest: str,
    size: int,
    diff_id: str,
) -> tuple[int, int]:
    frames = Frames(source)
    file: Any = frames
    content = stream.opened(
        file, media_type, bounds, before=before,
        algorithm=digest.partition(":")[0], diff_algorithm=diff_id.partition(":")[0],
    )  # fmt: skip
    if tree is not None:
        tree.layer(ahead.of(content))
    content.drain()
    if frames.done != size:
        raise ImageError("", f"it has {frames.done:,} bytes, its descriptor says {size:,}")
    for what, is_, wanted in (("digest", content.digest, digest), ("diff_id", content.diff_id, diff_id)):
        if is_ != wanted:
            raise ImageError("", f"its {what} is {is_}, not {wanted}: it was altered on the way, or written wrongly")
    return content.so_far


def _written(summary: Summary, root: int, sums: int, known: dict[tuple[int, int], str]) -> dict[str, Any]:
    """What came of it; the list of the tree's files is written to the fd ``sums``."""

    def sum_of(status: os.stat_result) -> str | None:
        return known.get((status.st_dev, status.st_ino)) or summary.sums.kept(status.st_ino)

    with open(sums, "wb", buffering=_LINES) as f:
        digest = listing.write(root, f, sum_of)
    return {"summary": [summary.entries, summary.skipped, summary.bytes], "sums": digest}


if __name__ == "__main__":
    main()
