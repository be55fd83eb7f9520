"""Layers -> a tree, by a process that has no rights to anything but that tree: `unpack`."""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from typing import Any, BinaryIO, NamedTuple

from pyjail._base.errors import HostError
from pyjail._base.fds import Fd
from pyjail._images.bounds import Bounds
from pyjail._images.errors import ImageError

MEMORY = 512 << 20  # address space: a zstd window of 128 MiB, and a table of a million names
DEADLINE_S = 3600.0
_COPIES = 4  # of an extension header, while it is taken apart
_OF_AN_ENTRY = 256  # bytes, in the tables of a layer's names
RESERVE = 1 << 30  # of a file system nothing above 95 % is taken, nor its last GiB, whichever is less
_PIECE = 256 << 10
_PIPE = 1 << 20
_LOOK_EVERY_S = 0.2
_MOST_SAID = 1 << 20
_F_SETPIPE_SZ = 1031
# What a package's __init__.py would load, with its dependencies, is not needed there: the rooms are found without it.
_BOOT = """
import sys, types
package = types.ModuleType("pyjail")
package.__path__, package.__distribution__ = [sys.argv[1]], "pyjail-linux"
sys.modules["pyjail"] = package
sys.path += sys.argv[2:]
from pyjail._images import unpacker
unpacker.main()
"""

Progress = Callable[[int, int, str], None]


class Layer(NamedTuple):
    """One layer as it is stored: ``file`` gives its bytes, in order."""

    file: BinaryIO
    media_type: str
    digest: str
    size: int
    diff_id: str


class Unpacked(NamedTuple):
    """What came of it, with what there was. ``sums`` is the SHA-256 of the list of the tree's files."""

    entries: int
    skipped: dict[str, int]
    bytes: int
    sums: str


class Base(NamedTuple):
    """The tree of the first ``layers`` layers that is there already, and the list of its files: two fds; what it
    takes of the bounds."""

    layers: int
    tree: int
    sums: int
    entries: int
    bytes: int


def unpack(
    layers: Sequence[Callable[[], Layer]],
    staging: str,
    *,
    identity: int | None = None,
    base: Base | None = None,
    bounds: Bounds | None = None,
    progress: Progress | None = None,
    deadline: float = DEADLINE_S,
    expected: Sequence[tuple[str, str, int, str]] = (),
    checked: int = 0,
    keep: Sequence[int] = (),
) -> Unpacked:
    """Unpack ``layers`` into the new directory ``staging``/tree, and write ``staging``/sums; digests are verified.

    Args:
        layers: each is called when its turn comes, and closed after it.
        identity: the id that the tree is to belong to; None: ours.
        expected: (media type, digest, size, diff_id) of each layer.
        checked: so many of the first layers are verified alone, and nothing is made of them: those of ``base``.
        deadline: seconds that it may take, beside those in which a layer is waited for, before it is ended.
        keep: fds that the process keeps open, such as a lock's.

    Raises ImageError for what is not acceptable, HostError for what this machine lacks. The caller removes ``staging``
    in either case: nothing else was touched.
    """
    bounds = bounds or Bounds()
    tree = f"{staging}/tree"
    os.mkdir(tree, 0o755)
    with ExitStack() as stack:
        root = _opened(stack, tree, os.O_RDONLY | os.O_DIRECTORY)
        if identity is not None:
            os.fchown(root, identity, identity)
        os.fchmod(root, 0o755)
        sums = _opened(stack, f"{staging}/sums", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        wanted = {
            "root": root, "sums": sums, "identity": identity, "parent": os.getpid(), "bounds": bounds.to_dict(),
            "base": base.tree if base else -1, "base_sums": base.sums if base else -1,
            "first": base.layers if base and not checked else 0, "checked": checked,
            "before": [base.entries, base.bytes] if base else [0, 0],
            "layers": expected, "memory": MEMORY + _more(bounds), "cpu": int(deadline) + 1,
            "size": bounds.unpacked + (1 << 30),
        }  # fmt: skip
        fds = [root, sums, *keep, *((base.tree, base.sums) if base else ())]
        child = _Child(stack, fds, staging, deadline)
        child.send(json.dumps(wanted).encode())
        child.send(b"")
        total = sum(size for _, _, size, _ in expected)
        done = 0
        for number, made in enumerate(layers):
            layer = made()
            with layer.file:
                if not child.send_all(layer, bounds, _told(progress, done, total, number + 1, len(layers))):
                    break
            done += layer.size
        return child.answer()


def _more(bounds: Bounds) -> int:
    """Memory that bounds beyond the usual ones take."""
    usual = Bounds()
    window = max(0, bounds.zstd_window - usual.zstd_window)
    header = max(0, bounds.header - usual.header)
    return window + _COPIES * header + _OF_AN_ENTRY * max(0, bounds.entries - usual.entries)


def _opened(stack: ExitStack, path: str, flags: int) -> int:
    return stack.enter_context(Fd(os.open, path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)).number


def _told(progress: Progress | None, done: int, total: int, number: int, count: int) -> Callable[[int], None]:
    return lambda more: progress(done + more, total, f"layer {number} of {count}") if progress is not None else None


def _zstd() -> list[str]:
    """Where a zstd of site-packages is: there is no site there."""
    with suppress(ImportError, ValueError):
        if sys.version_info < (3, 14) and (found := find_spec("backports.zstd")) and found.origin:
            return [os.path.dirname(os.path.dirname(os.path.dirname(found.origin)))]
    return []


class _Child:
    """The process; it is gone when the stack is left."""

    def __init__(self, stack: ExitStack, fds: Sequence[int], staging: str, deadline: float) -> None:
        if not sys.executable:
            raise HostError("unpacker", "this process does not know its Python", "set sys.executable")
        here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _BOOT, here, *_zstd()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            pass_fds=tuple(fds), env={"LC_ALL": "C.UTF-8"}, start_new_session=True, cwd="/",
        )  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None
        stack.enter_context(self.process.stdin)  # its end ends the process, too, should `_end` be interrupted
        stack.callback(self._end)
        self._in, self._out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        with suppress(OSError):
            import fcntl

            fcntl.fcntl(self._in, _F_SETPIPE_SZ, _PIPE)
        self._staging, self._deadline, self._waited = staging, deadline, 0.0
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._said, self._looked = b"", 0.0
        self._ended = False

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def send_all(self, layer: Layer, bounds: Bounds, tell: Callable[[int], None]) -> bool:
        """Send what ``layer`` has; whether the process still listens."""
        sent = 0
        while piece := layer.file.read(_PIECE):
            sent += len(piece)
            if sent > bounds.compressed:
                raise bounds.exceeded("compressed", layer.digest)
            if not self.send(piece):
                return False
            tell(sent)
        return self.send(b"")

    def send(self, piece: bytes) -> bool:
        """One frame, and an empty one when ``piece`` is; whether the process still listens."""
        rest = memoryview(struct.pack("=I", len(piece)) + piece)
        self._poll.register(self._in, select.POLLOUT)
        try:
            while rest:
                if self._ended:
                    return False
                self._turn()
                try:
                    rest = rest[os.write(self._in, rest) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    return False
        finally:
            self._poll.unregister(self._in)
        return True

    def _turn(self) -> None:
        """Wait until something can be done; hear what is said, look at the clock and at the room that is left.

        The clock is of the waiting here, for the process: what a layer's own file takes to be read, as from a slow
        registry, is not its time."""
        begun = time.monotonic()
        for fd, _ in self._poll.poll(1000 * _LOOK_EVERY_S):
            if fd == self._out:
                self._hear()
        now = time.monotonic()
        self._waited += now - begun
        if self._waited > self._deadline:
            raise ImageError(
                "the image", f"it was not unpacked after {self._deadline:g} s: more than the deadline allows"
            )
        if now - self._looked >= _LOOK_EVERY_S:
            self._looked = now
            leave_room(self._staging)

    def _hear(self) -> None:
        piece = os.read(self._out, _PIPE)
        self._ended = not piece
        self._said += piece
        if len(self._said) > _MOST_SAID:
            raise HostError("unpacker", "it says more than it should", "report it")

    def answer(self) -> Unpacked:
        """What came of it, when it has ended."""
        while not self._ended:
            self._turn()
        code = self.process.wait()
        if code or not self._said:
            raise HostError("unpacker", *_why(code))
        said: dict[str, Any] = json.loads(self._said)
        if "image" in said:
            raise ImageError(*said["image"])
        if "host" in said:
            raise HostError(*said["host"])
        if "full" in said:
            raise full(self._staging)
        if "system" in said:
            raise HostError("unpacker", said["system"], "look at the file system of the store: pyjail doctor")
        entries, skipped, size = said["summary"]
        return Unpacked(entries, skipped, size, said["sums"])


def _why(code: int) -> tuple[str, str]:
    if code == -signal.SIGXCPU:
        return "it needed more CPU time than the deadline allows", "load a smaller image"
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}", "look at the memory that this machine has left"
    return f"it ended with {code}", f"try {sys.executable} -I -S -c pass"


def leave_room(path: str) -> None:
    """Raises HostError when the file system of ``path`` is so full that nothing more is to be put there."""
    found = os.statvfs(path)
    reserve = min(found.f_blocks * found.f_frsize // 20, RESERVE)
    if found.f_bavail * found.f_frsize < reserve or (found.f_files and not found.f_favail):
        raise full(path)


def full(path: str) -> HostError:
    """The error that there is no room for the store."""
    store = path.partition("/staging/")[0]
    return HostError("image store", f"there is no room left for it in {store}", "pyjail image gc, or set PYJAIL_HOME")
