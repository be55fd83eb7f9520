"""`Session.build`: a command whose outputs come from a cache when nothing that it was made of has changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyjail._base import records
from pyjail._base.errors import SpecError
from pyjail._base.fds import not_ours
from pyjail._base.shown import Document
from pyjail._plan import image, requests
from pyjail._result.result import Result
from pyjail._session import box as session_box
from pyjail._session.artefacts import ArtefactCache, Entry
from pyjail._session.snapshot import Snapshot
from pyjail._spec import commands, inputs
from pyjail._spec.jail import Jail, Limits

if TYPE_CHECKING:
    from pyjail._session.workspace import Put, Workspace

MOST_LINKS = 40  # as the kernel's own path lookup


@dataclass(frozen=True, repr=False)
class Build(Document):
    """What `Session.build` did. Frozen, picklable, hashable; `to_dict` and `from_dict` are inverse and JSON-able.

    Attributes:
        result: of the run; when ``cached``, of the run that made the outputs.
        cached: nothing was run, the outputs came from the cache.
        key: SHA-256, hexadecimal, of all that the outputs were made of.
    """

    result: Result
    cached: bool
    key: str

    def _words(self) -> Iterator[str]:
        yield "cached" if self.cached else "run"
        yield f"key={self.key[:12]}"
        yield f"result={self.result!r}"

    def to_dict(self) -> dict[str, Any]:
        """Everything, in types that `json.dumps` takes: a "build" of docs/data.md."""
        from pyjail._base.plain import head

        return {**head("build"), **super().to_dict()}

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Build:
        """The inverse of `to_dict`. Raises SpecError for what is no such document."""
        from pyjail._base.documents import check

        d = check(d, "build")
        return cls(Result.from_dict(d["result"]), d["cached"], d["key"])


def build(
    session: Workspace,
    put: Put,
    room: int | None,
    args: Sequence[str | bytes | os.PathLike[str]],
    outputs: Sequence[str],
    cache: ArtefactCache | None,
    limits: Limits | None,
    env: Mapping[str, str] | None,
    cwd: Any,
    tools: Sequence[str],
    timeout: float | str | None,
) -> Build:
    """See `Session.build`. ``room``: bytes of its /box."""
    if cache is not None and not isinstance(cache, ArtefactCache):
        raise SpecError("cache", cache, "a pyjail.ArtefactCache is needed")
    if isinstance(outputs, (str, bytes)):
        raise SpecError("outputs", outputs, "a sequence of paths or patterns is needed")
    patterns = inputs.check_patterns(tuple(outputs))
    command = commands.make(args, limits or session.limits, session.jail, env=env, cwd=cwd, timeout=timeout)
    box = session.snapshot()
    key = key_of(command, box, tuple(outputs), tools)
    if any(why.startswith(session_box.UNREADABLE) for why in box.skipped.values()):
        cache = None  # it is not in the key
    if cache is not None and session.jail.writable_root is not None and session.root_changes():
        cache = None  # nor is what was written of the root
    entry = None if cache is None else cache.get(key)
    known = None
    if entry is not None:
        with contextlib.suppress(SpecError):  # written by another version: made again
            known = Result.from_dict(entry.result)
    if entry is not None and known is not None:
        for path, (mode, content) in entry.outputs.items():
            put(path, mode, content)
        return Build(known, True, key)
    result = session.run(args, limits, env=env, cwd=cwd, timeout=timeout)
    if cache is not None and result.ok:
        made = session.snapshot()._stored
        found = {path: made[path] for path in sorted(made) if any(glob.fits(path) for glob in patterns)}
        complete = all(any(map(glob.fits, found)) for glob in patterns)
        # Links to one file come back as files.
        if complete and (room is None or sum(content.stored for _, content in found.values()) <= room):
            cache.put(key, Entry(found, result.to_dict()))
    return Build(result, False, key)


def key_of(command: commands.Command, box: Snapshot, outputs: tuple[str, ...], tools: Sequence[str]) -> str:
    """SHA-256 of what is in /box, what is run there and how, and of the programs that do it."""
    command = image.in_place(command)
    jail = command.jail  # of an image by its digest, and where its tree is
    programs = [command.argv[0], *(os.fsencode(t) for t in tools)]
    parts: list[Any] = [
        "pyjail-build-3",
        os.uname().machine,
        box.digest,
        sorted(box.skipped),
        command.argv,
        sorted(command.env.packed),
        command.cwd,
        outputs,
        [(name, getattr(jail, name)) for name in records.names(jail)],
        [identity(jail, p, command.env, command.cwd) for p in programs],
    ]
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()


def identity(jail: Jail, program: bytes, env: Mapping[str, str], cwd: str = "/box") -> tuple[Any, ...]:
    """What tells this program, as the jail's PATH finds it, from another one: (real path, size, mtime in ns). One below
    /box is told by /box itself."""
    for candidate in requests.search(program, env):
        inside = posixpath.normpath(posixpath.join(cwd, os.fsdecode(candidate)))
        if inside.startswith("/box/"):
            if b"/" in program:
                return ("box", inside)
            continue
        found = _on_the_host(jail, inside)
        if found is None:
            continue
        try:
            st = os.stat(found)
        except OSError as e:
            not_ours(e)
            continue
        if st.st_mode & 0o111:
            return (found, st.st_size, st.st_mtime_ns)
    return ("none", os.fsdecode(program))


def _on_the_host(jail: Jail, path: str) -> str | None:
    """Where a path of the jail is outside, its symlinks followed as they are inside; None when there is nothing."""
    done, todo, links = "/", [p for p in path.split("/") if p], 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            done = posixpath.dirname(done)
            continue
        here = posixpath.join(done, part)
        outside = _outside(jail, here)
        try:
            target = os.readlink(outside)
        except FileNotFoundError:
            return None
        except OSError as e:  # no link
            not_ours(e)
            done = here
            continue
        links += 1
        if links > MOST_LINKS:
            return None
        done = "/" if target.startswith("/") else done
        todo = [p for p in target.split("/") if p not in ("", ".")] + todo
    return _outside(jail, done)


def _outside(jail: Jail, path: str) -> str:
    """The deepest bind that covers it; else the rootfs, or this host."""
    for dst, src in sorted(_binds(jail), key=lambda pair: -len(pair[0])):
        if path == dst or path.startswith(dst.rstrip("/") + "/"):
            return src + path[len(dst) :]
    return path if jail.rootfs is None else str(jail.rootfs) + path


def _binds(jail: Jail) -> Iterator[tuple[str, str]]:
    for mount in jail.mounts:
        if mount.kind == "bind" and mount.src is not None:
            yield mount.dst, mount.src
