"""Files into and out of a workspace, through fds that the keeper opens inside it: never by a path of the host.

Whatever a program leaves there (symlinks, FIFOs, sockets, deep trees, a million names, sparse terabytes) costs at
most what the caps below say.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Sequence

from pyjail._core.native import lib

from pyjail._base import lazy
from pyjail._base.errors import SetupError
from pyjail._base.fds import Fd, memfd
from pyjail._base.glob import At, Glob
from pyjail._keeper.keeper import Keeper
from pyjail._plan.wire import parse_reply
from pyjail._spec.inputs import Input
from pyjail._spec.jail import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_SKIPPED = 1000  # told of by one run
MOST_ENTRIES = 100_000  # looked at
MOST_DEPTH = 64  # directories open at once
MOST_SECONDS = 10.0
CHUNK = 1 << 20


def ask(keeper: Keeper, op: int, path: bytes, flags: int = 0, mode: int = 0, fd: int = -1) -> Fd:
    """OP_OPEN, OP_MKDIR, OP_PUT, OP_REMOVE, OP_PIPE in the workspace: the fd, if any. OSError as from open(2), `Gone`.

    ``fd``: the directory to start from (OP_OPEN, OP_REMOVE), the content (OP_PUT).
    """
    data = path + b"\0"
    raw, opened = keeper.ask(op, flags=flags, mode=mode, length=len(data), data=data, fds=() if fd < 0 else (fd,))
    _, failure = parse_reply(raw)
    if failure is not None:
        raise OSError(failure.errno, os.strerror(failure.errno), os.fsdecode(path))
    return opened


def write_inputs(keeper: Keeper, inputs: Sequence[Input]) -> None:
    """Write all of ``files=`` into the armed workspace, as the jail's user."""
    made: set[str] = set()
    for item in inputs:
        parts = item.path.split("/")
        try:
            for depth in range(1, len(parts) + (item.kind == "directory")):
                directory = "/".join(parts[:depth])
                if directory not in made:
                    made.add(directory)
                    ask(keeper, lib.OP_MKDIR, os.fsencode(directory), mode=0o755)
            if item.kind != "directory":
                with open_source(item) as source:
                    link = int(item.kind == "link")
                    ask(keeper, lib.OP_PUT, os.fsencode(item.path), link, item.mode, source.number)
        except OSError as e:
            hint = "raise Limits(disk=) or Limits(inodes=)" if e.errno == 28 else ""
            if e.errno in (17, 18):
                hint = "a mount of this jail is there: its files come from its own source"
            if e.errno in (23, 24):
                hint = "this process needs an fd for it: close some, or raise RLIMIT_NOFILE"
            raise SetupError("open", None, f"files[{item.path!r}]", e.errno or 0, hint) from e


def open_source(item: Input) -> Fd:
    """The content; the keeper copies from its start."""
    if item.source is None:
        return memfd("pyjail-file", item.data or b"")
    if item.tree is not None:
        with lazy.lock:
            from pyjail._spec import trees

        return trees.opened(item.tree, item.source)
    return Fd(os.open, item.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


# ---- collecting ----


class Collector:
    """One walk through the workspace of a finished run."""

    def __init__(self, keeper: Keeper, patterns: Sequence[Glob], limits: Limits) -> None:
        self.keeper = keeper
        self.patterns = patterns
        self.left: Any = limits.collect
        self.most = limits.collect_files
        self.entries = 0
        self.end = time.monotonic() + MOST_SECONDS
        self.files: dict[str, bytes] = {}
        self.uncollected: dict[str, str] = {}
        self.matched: set[str] = set()

    def run(self) -> tuple[dict[str, bytes], dict[str, str]]:
        """({path: content}, {path or pattern: why not})."""
        stopped = None
        if self.patterns:
            try:
                with ask(self.keeper, lib.OP_OPEN, b".", os.O_RDONLY | os.O_DIRECTORY) as root:
                    self._walk(root.number, "", 0, [(p, p.start) for p in self.patterns])
            except _EnoughError as e:
                stopped = str(e)
            except OSError as e:
                stopped = f"/box cannot be read: {e.strerror}"
        for pattern in self.patterns:
            if stopped is not None or pattern.text not in self.matched:
                self.uncollected.setdefault(pattern.text, stopped or "not found")
        return self.files, self.uncollected

    def _names(self, fd: int) -> Iterator[os.DirEntry[str]]:
        with os.scandir(fd) as found:
            for entry in found:
                self.entries += 1
                if self.entries > MOST_ENTRIES:
                    raise _EnoughError(f"stopped: more than {MOST_ENTRIES} entries")
                self._check_time()
                yield entry

    def _check_time(self) -> None:
        if time.monotonic() > self.end:
            raise _EnoughError(f"stopped after {MOST_SECONDS:g} s")

    def _walk(self, fd: int, prefix: str, depth: int, patterns: Sequence[tuple[Glob, At]]) -> None:
        below = []
        for entry in self._names(fd):
            path = prefix + entry.name
            directory = entry.is_dir(follow_symlinks=False)
            if directory:
                below.append(entry.name)
            hits = [p for p, at in patterns if p.hit(at, entry.name)]
            if hits and not (directory and any(p.recursive for p in hits)):
                self.matched.update(p.text for p in hits)
                self._take(fd, entry, path)
        for name in sorted(below):
            self._check_time()
            deeper = [(p, found) for p, at in patterns if (found := p.below(at, name))]
            if deeper:
                self._descend(fd, name, prefix + name, depth, deeper)

    def _descend(self, fd: int, name: str, path: str, depth: int, patterns: Sequence[tuple[Glob, At]]) -> None:
        if depth >= MOST_DEPTH:
            self._skip(path, f"deeper than {MOST_DEPTH} directories")
            return
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
        try:
            child = ask(self.keeper, lib.OP_OPEN, os.fsencode(name), flags, fd=fd)
        except OSError as e:
            self._skip(path, f"cannot be opened: {e.strerror}")
            return
        with child:
            self._walk(child.number, path + "/", depth + 1, patterns)

    def _skip(self, path: str, why: str) -> None:
        if len(self.uncollected) >= MOST_SKIPPED:
            raise _EnoughError(f"stopped: more than {MOST_SKIPPED} could not be collected")
        self.uncollected[path if len(path) <= 512 else path[:512] + "..."] = why

    def _take(self, fd: int, entry: os.DirEntry[str], path: str) -> None:
        if self.most is not None and len(self.files) >= self.most:
            raise _EnoughError(f"stopped: more than {self.most} files, Limits.collect_files")
        if not entry.is_file(follow_symlinks=False):
            self._skip(path, "not a regular file")
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            file = ask(self.keeper, lib.OP_OPEN, os.fsencode(entry.name), flags, fd=fd)
        except OSError as e:
            self._skip(path, f"cannot be opened: {e.strerror}")
            return
        with file:
            st = os.fstat(file.number)
            if not stat.S_ISREG(st.st_mode):
                self._skip(path, "not a regular file")
            elif self.left is not None and st.st_size + len(path) > self.left:  # names take memory, too
                self._skip(path, f"too big: {st.st_size} bytes, {self.left} left of Limits.collect")
            else:
                parts = []
                while chunk := os.read(file.number, CHUNK):
                    parts.append(chunk)
                self.files[path] = b"".join(parts)
                if self.left is not None:
                    self.left -= st.st_size + len(path)


class _EnoughError(Exception):
    """A cap of the walk was reached."""
