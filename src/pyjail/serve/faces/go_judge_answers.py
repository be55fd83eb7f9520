"""go-judge's answers: what became of a command, and the files that it left."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pyjail import Verdict
from pyjail.serve.face import Desk, Hold
from pyjail.serve.faces.common import relative, shown, text
from pyjail.serve.faces.verdicts import told
from pyjail.serve.job import Outcome
from pyjail.serve.problem import Problem

NAME = "go-judge"
MOST_FILES, MOST_BYTES = 1000, 256 << 20
OVER = "Output Limit Exceeded"
SECOND = 1_000_000_000  # its times are nanoseconds


@dataclass(frozen=True)
class Collector:
    """A stream that comes back as a file of this name; of ``most`` bytes."""

    name: str
    most: int


@dataclass(frozen=True)
class Wanted:
    """What one command asks for besides its job: collectors of stdout and of stderr, files by content or id."""

    collectors: tuple[Collector | None, Collector | None]
    out: tuple[str, ...]
    cached: tuple[str, ...]
    most: int
    truncate: bool


class Refused(Problem):
    """A 400."""

    def __init__(self, detail: str) -> None:
        super().__init__(400, "field", detail)


def below(path: str) -> str:
    """A path below /w, which may begin with that. Raises ValueError for one that leads elsewhere."""
    return relative(path.removeprefix("/w/"))


def attached(name: str) -> dict[str, str]:
    """Headers of a file that has this name."""
    said = f"filename*=UTF-8''{quote(name, safe='')}" if '"' in name or not name.isascii() else f'filename="{name}"'
    return {"Content-Disposition": f"attachment; {said}"}


async def stored(name: str, data: bytes, desk: Desk) -> str:
    identity = secrets.token_hex(16)
    plain = shown(name.rpartition("/")[2])[:100] or "file"
    await desk.put(f"{identity}/{'file' if plain in ('.', '..') else plain}", data)
    return identity


async def named(identity: str, desk: Desk) -> str | None:
    return next((name for name in await desk.names() if name.partition("/")[0] == identity), None)


class Stock:
    """What one request takes of the files that are kept: no more of them, and no more bytes, than it may hold while its
    programs wait for their turn."""

    def __init__(self, desk: Desk, hold: Hold) -> None:
        self._hold = hold
        self._desk, self._room, self._files = desk, desk.config.maxima.disk or MOST_BYTES, MOST_FILES
        self._names: dict[str, str] | None = None

    async def get(self, identity: str) -> bytes | None:
        """None: there is none."""
        if self._names is None:
            self._names = {name.partition("/")[0]: name for name in await self._desk.names()}
        name = self._names.get(identity)
        data = await self._desk.get(name) if name else None
        return None if data is None else self.held(data)

    async def host(self, path: str, where: str) -> bytes:
        """Of a file of this machine. Raises `Refused` unless ``src_prefix`` of the face's settings offers it."""
        offered = self._desk.settings.get("src_prefix", ())
        if not offered:
            raise Refused(f"{where}: content or fileId is needed; files of the host are not offered by this server")
        try:
            return self.held(await self._desk.host(path, offered, max(0, self._room)))
        except Refused:
            raise
        except Problem as e:
            raise Refused(f"{where}.src: {e.detail}") if e.status == 400 else e from None

    def held(self, data: bytes) -> bytes:
        """The same. Raises `Refused` where it is too much."""
        self._files, self._room = self._files - 1, self._room - len(data)
        if self._files < 0:
            raise Refused(f"at most {MOST_FILES} files are given to the cmd of one request")
        if self._room < 0:
            raise Refused("the files of one request are too large together")
        self._hold(len(data))
        return data


async def told_of(outcome: Outcome, wanted: Wanted, desk: Desk, kept: Mapping[str, bytes]) -> dict[str, Any]:
    """As it is answered. ``kept``: of its pipes, by the names that they come back as."""
    result = outcome.result
    if result is None:
        return _failed("Nonzero Exit Status" if outcome.fault else "Internal Error", outcome, wanted)
    if result.verdict is Verdict.JAIL_ERROR:
        return _failed("Internal Error", outcome, wanted)
    cell, code = told(NAME, result)
    usage = result.usage
    said: dict[str, Any] = {
        "status": cell.word, "exitStatus": code, "time": round((usage.cpu_time or 0) * SECOND),
        "memory": usage.memory_peak or 0, "runTime": round((usage.wall_time or 0) * SECOND),
    }  # fmt: skip
    if usage.processes_peak is not None:
        said["procPeak"] = usage.processes_peak
    return said | await _copied_out(outcome, wanted, said, desk, kept)


def _failed(status: str, outcome: Outcome, wanted: Wanted) -> dict[str, Any]:
    why = outcome.fault or "the jail failed, not the program"
    said = {
        "status": status,
        "exitStatus": 127 if outcome.fault else 0,
        "error": why,
        "time": 0,
        "memory": 0,
        "runTime": 0,
    }
    files = {collector.name: "" for collector in wanted.collectors if collector is not None}
    return {**said, "files": files} if files else said


async def _copied_out(
    outcome: Outcome, wanted: Wanted, said: dict[str, Any], desk: Desk, kept: Mapping[str, bytes]
) -> dict[str, Any]:
    result = outcome.result
    assert result is not None
    streams, errors = dict(kept), list[dict[str, str]]()
    written = (result.stdout, result.stdout_bytes), (result.stderr, result.stderr_bytes)
    for collector, (data, count) in zip(wanted.collectors, written, strict=True):
        if collector is not None:
            streams[collector.name] = (data or b"")[: collector.most]
            if max(len(data or b""), count or 0) > collector.most:
                errors.append(_error(collector.name, "CollectSizeExceeded", OVER))
                said["status"] = OVER if said["status"] == "Accepted" else said["status"]
    there = dict(streams)
    cached = {name.removesuffix("?") for name in wanted.cached}
    for given in (*wanted.out, *wanted.cached):
        name = given.removesuffix("?")
        if name in streams:
            continue
        data = result.files.get(below(name))
        if data is None:
            if not given.endswith("?"):
                errors.append(_missing(name, result.uncollected.get(below(name), "not found")))
            continue
        if over := len(data) > wanted.most:
            errors.append(_error(name, "CopyOutSizeExceeded", f"{name!r} size ({len(data)}) exceeds {wanted.most}"))
        if not over or wanted.truncate:
            there[name] = data[: wanted.most]
    files = {name: text(data) for name, data in there.items() if name not in cached}
    identities = {name: await stored(name, there[name], desk) for name in there if name in cached}
    said = {"status": said["status"], **({"error": OVER} if said["status"] == OVER else {})}
    if errors and said["status"] == "Accepted":
        said = {"status": "File Error", "error": errors[0]["message"]}
    more = {"files": files, "fileIds": identities, "fileError": errors}
    return {name: value for name, value in more.items() if value} | said


def _missing(name: str, why: str) -> dict[str, str]:
    special = "regular" in why
    return _error(name, "CopyOutNotRegularFile" if special else "CopyOutOpen", f"{name!r}: {why}")


def _error(name: str, kind: str, message: str) -> dict[str, str]:
    return {"name": name, "type": kind, "message": message}
