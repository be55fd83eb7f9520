"""go-judge: commands with files by content or id, and what they leave, by content or id."""

from __future__ import annotations

import glob
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyjail
from pyjail import File, Jail, Limits, Link, Mount, SpecError
from pyjail.serve.face import Answer, Asked, Desk, Endpoint, Hold, Socket
from pyjail.serve.faces import go_judge_pipes
from pyjail.serve.faces.common import bounded, parsed, shown
from pyjail.serve.faces.go_judge_answers import (
    NAME,
    SECOND,
    Collector,
    Refused,
    Stock,
    Wanted,
    attached,
    below,
    named,
    stored,
)
from pyjail.serve.job import Job
from pyjail.serve.problem import Problem

MOST_COMMANDS = 16
COLLECTED = 64 << 20  # of a file that comes back, where copyOutMax says nothing
OWN: Mapping[str, Any] = {"cpu_time": 10, "wall_time": 20, "memory": 256 << 20, "processes": 50}
_LIMITS = {
    "cpuLimit": ("cpu_time", 1 / SECOND), "clockLimit": ("wall_time", 1 / SECOND),
    "realCpuLimit": ("wall_time", 1 / SECOND), "memoryLimit": ("memory", 1), "stackLimit": ("stack", 1),
    "procLimit": ("processes", 1), "cpuRateLimit": ("cpus", 0.001),
}  # fmt: skip
_STREAMS = ("stdin", "stdout", "stderr")
_PLATFORM = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_TERMINAL = (24, 80)  # rows and columns, until a client of /stream says others
_MOST_CPUS = 4096  # that a list of them may name


class GoJudge:
    """Its interface."""

    name = NAME

    def __init__(self, sockets: Sequence[Socket] = ()) -> None:
        self._sockets = sockets

    def sockets(self) -> Sequence[Socket]:
        return self._sockets

    def endpoints(self) -> Sequence[Endpoint]:
        return (
            Endpoint("POST", "/run", run, runs=True), Endpoint("GET", "/file", listed),
            Endpoint("POST", "/file", upload, forms=True), Endpoint("GET", "/file/{id}", download),
            Endpoint("DELETE", "/file/{id}", delete),
            Endpoint("GET", "/version", version), Endpoint("GET", "/config", config),
        )  # fmt: skip

    def problem(self, problem: Problem) -> Answer:
        if problem.status in (401, 404):
            return Answer(body=b"", status=problem.status, type="text/plain", headers=problem.headers)
        field = f"{problem.field}: " if problem.kind == "field" and problem.field else ""
        detail = {"queue-full": "worker queue is full"}.get(problem.kind, field + problem.detail)
        return Answer(detail, problem.status, headers=problem.headers)


_OFFERED = {
    "copyOutOptional": True, "pipeProxy": True, "symlink": True, "addressSpaceLimit": True, "stream": True,
    "procPeak": True, "copyOutTruncate": True, "pipeProxyZeroCopy": False, "fixSymlinkEscape": True,
}  # fmt: skip


async def version(asked: Asked, desk: Desk) -> Answer:
    own = {"buildVersion": f"pyjail {pyjail.__version__}", "goVersion": "", "platform": _PLATFORM, "os": "linux"}
    return Answer(own | _OFFERED)


async def config(asked: Asked, desk: Desk) -> Answer:
    """Without what it says there of the machine: it needs no token."""
    return Answer({**_OFFERED, "fileStorePath": "", "runnerConfig": {}})


async def listed(asked: Asked, desk: Desk) -> Answer:
    return Answer(dict(name.split("/", 1) for name in await desk.names() if "/" in name))


async def upload(asked: Asked, desk: Desk) -> Answer:
    if asked.form is None or "file" not in asked.form:
        raise Refused("http: no such file")
    return Answer(await stored(asked.filenames.get("file", "file"), asked.form["file"], desk))


async def download(asked: Asked, desk: Desk) -> Answer:
    name = await named(asked.params["id"], desk)
    data = await desk.get(name) if name else None
    if name is None or data is None:
        raise Problem(404, "file", "no such file")
    return Answer(body=data, type="application/octet-stream", headers=attached(name.partition("/")[2]))


async def delete(asked: Asked, desk: Desk) -> Answer:
    name = await named(asked.params["id"], desk)
    if not name or not await desk.drop(name):
        raise Problem(404, "file", "no such file")
    return Answer(body=b"", type="text/plain")


async def run(asked: Asked, desk: Desk) -> Answer:
    with desk.holding() as hold:
        return Answer(await go_judge_pipes.results(await asked_for(asked, desk, hold), desk))


async def asked_for(asked: Asked, desk: Desk, hold: Hold) -> go_judge_pipes.Request:
    """What a request asks for. Raises `Refused`."""
    try:
        body = parsed(asked)
    except ValueError as e:
        raise Refused(str(e)) from None
    commands = body.get("cmd") if isinstance(body, dict) else None
    if not commands or not isinstance(commands, list):
        raise Refused("no cmd provided")
    if len(commands) > MOST_COMMANDS:
        raise Refused(f"at most {MOST_COMMANDS} cmd are run at once")
    stock = Stock(desk, hold)
    made = [await _job(command, i, desk, stock) for i, command in enumerate(commands)]
    most = desk.config.maxima.output or COLLECTED
    return go_judge_pipes.joined(body.get("pipeMapping") or [], commands, made, most)


async def _job(command: Any, at: int, desk: Desk, stock: Stock) -> tuple[Job, Wanted]:
    if not isinstance(command, dict):
        raise Refused(f"cmd[{at}] is to be an object")
    given = {key: value for key, value in command.items() if value is not None}
    args, env = _strings(given, "args", at), _strings(given, "env", at)
    if not args:
        raise Refused(f"cmd[{at}].args: at least one is needed")
    stdin, collectors = await _streams(given.get("files", []), at, stock)
    tty = bool(given.get("tty"))
    first, second = collectors
    same = first is not None and second is not None and first.name == second.name
    if tty or same:  # one stream, whose name is the first that there is
        collectors = (first or second, None)
    unsaid = second.name if second is not None and second not in collectors and not same else None
    out, cached = (
        tuple(name for name in _strings(given, field, at) if name.removesuffix("?") != unsaid)
        for field in ("copyOut", "copyOutCached")
    )
    most, truncate = _number(given, "copyOutMax", at) or COLLECTED, bool(given.get("copyOutTruncate"))
    wanted = Wanted(collectors, out, cached, most, truncate)
    limits = _limits(given, wanted, at, desk)
    jail = replace(desk.config.jail, mounts=(*desk.config.jail.mounts, Mount.link("/w", "/box")))
    files = await _copied_in(given.get("copyIn", {}), at, stock)
    if args[0] in files:
        args = (f"./{args[0]}", *args[1:])  # as there, where a name without "/" is one in the working directory
    job = Job(
        args, stdin=stdin, files=files, env=_environment(env, jail),
        cwd="/w", limits=limits, jail=jail, collect=tuple(_collected(wanted)), merged=same and not tty,
        terminal=_TERMINAL if tty else None, label=NAME,
    )  # fmt: skip
    return job, wanted


def _environment(pairs: Sequence[str], jail: Jail) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair) or {"PATH": jail.env.get("PATH", "/usr/bin:/bin")}


def _limits(given: Mapping[str, Any], wanted: Wanted, at: int, desk: Desk) -> Limits:
    asked: dict[str, Any] = {}
    for name, (ours, factor) in _LIMITS.items():
        if value := _number(given, name, at):
            asked[ours] = value * factor
    if "cpu_time" in asked and "wall_time" not in asked:
        most = desk.config.maxima.wall_time
        asked["wall_time"] = min(2 * asked["cpu_time"], most or 2 * asked["cpu_time"])
    most = max((c.most for c in wanted.collectors if c is not None), default=0)
    limits = bounded(desk.config, desk.settings, {**OWN, **({"output": most} if most else {})}, asked)
    if given.get("addressSpaceLimit"):
        limits = replace(limits, address_space=limits.memory)
    return _pinned(limits, given, at, desk) if given.get("cpuSetLimit") else limits


def _pinned(limits: Limits, given: Mapping[str, Any], at: int, desk: Desk) -> Limits:
    """On the CPUs of its ``cpuSetLimit``; whether this machine has them shows when it is run."""
    where = f"cmd[{at}].cpuSetLimit"
    if given.get("cpuRateLimit"):
        raise Refused(f"{where}: either this or cpuRateLimit is given here")
    cpus, bound = _cpus(given["cpuSetLimit"], where), desk.config.maxima.cpus
    if isinstance(bound, float) and len(cpus) > bound:
        raise Refused(f"{where}: at most {bound:g} CPUs are given here, not {len(cpus)}")
    if isinstance(bound, frozenset) and not cpus <= bound:
        raise Refused(f"{where}: of CPUs {sorted(bound)} alone")
    return replace(limits, cpus=cpus)


def _cpus(text: Any, where: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(",") if isinstance(text, str) and len(text) < _MOST_CPUS else [""]:
        low, dash, high = (one.strip() for one in part.partition("-"))
        ends = [low, high] if dash else [low, low]
        if not all(end.isascii() and end.isdigit() and int(end) < _MOST_CPUS for end in ends):
            raise Refused(f'{where}: a list of CPUs is needed, such as "0" or "0-1,3"')
        found |= set(range(int(ends[0]), int(ends[1]) + 1))
    if not found:
        raise Refused(f'{where}: a list of CPUs is needed, such as "0" or "0-1,3"')
    return frozenset(found)


def _number(given: Mapping[str, Any], name: str, at: int) -> int:
    value = given.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise Refused(f"cmd[{at}].{name} is to be a whole number")
    return value


def _strings(given: Mapping[str, Any], name: str, at: int) -> tuple[str, ...]:
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Refused(f"cmd[{at}].{name} is to be a list of strings")
    return tuple(value)


async def _streams(given: Any, at: int, stock: Stock) -> tuple[bytes, tuple[Collector | None, Collector | None]]:
    if not isinstance(given, list) or len(given) > len(_STREAMS):
        raise Refused(f"cmd[{at}].files: three at most, stdin, stdout and stderr")
    stdin, found = b"", dict[int, Collector]()
    for i, one in enumerate(given):
        if one is None:
            continue
        if not isinstance(one, dict):
            raise Refused(f"cmd[{at}].files[{i}] is to be an object or null")
        if i == 0:
            stdin = await _content(one, f"cmd[{at}].files[0]", stock)
        elif isinstance(one.get("name"), str) and isinstance(one.get("max"), int) and one["max"] >= 0:
            found[i] = Collector(one["name"], one["max"])
        elif one.get("src") != "/dev/null":
            raise Refused(f"cmd[{at}].files[{i}]: name and max are needed")
    return stdin, (found.get(1), found.get(2))


async def _content(given: Mapping[str, Any], where: str, stock: Stock) -> bytes:
    if isinstance(given.get("content"), str):
        return stock.held(str(given["content"]).encode("utf-8", "replace"))
    if isinstance(given.get("fileId"), str):
        data = await stock.get(given["fileId"])
        if data is None:
            raise Refused(f"{where}: file not exists with id {shown(given['fileId'][:100])}")
        return data
    if given.get("src") == "/dev/null":
        return b""
    if isinstance(given.get("src"), str):
        return await stock.host(given["src"], where)
    raise Refused(f"{where}: content or fileId is needed")


async def _copied_in(given: Any, at: int, stock: Stock) -> dict[str, File | Link]:
    if not isinstance(given, dict):
        raise Refused(f"cmd[{at}].copyIn is to be an object")
    found = dict[str, File | Link]()
    for path, one in given.items():
        try:
            clean = below(path)
        except ValueError as e:
            raise Refused(f"cmd[{at}].copyIn: {e}") from None
        if not isinstance(one, dict):
            raise Refused(f"cmd[{at}].copyIn: an object is needed")
        where = f"cmd[{at}].copyIn"
        if one.get("symlink") is not None:
            found[clean] = _link(one["symlink"], where, stock)
        else:
            found[clean] = File(await _content(one, where, stock), 0o755)
    return found


def _link(target: Any, where: str, stock: Stock) -> Link:
    """Made in the jail, and followed there alone."""
    try:
        made = Link(target if isinstance(target, str) else "")
    except SpecError:
        raise Refused(f"{where}: symlink is to be a path") from None
    stock.held(made.target.encode("utf-8", "replace"))
    return made


def _collected(wanted: Wanted) -> list[str]:
    streams = {c.name for c in wanted.collectors if c is not None}
    names = [name.removesuffix("?") for name in (*wanted.out, *wanted.cached)]
    try:
        return sorted({glob.escape(below(name)) for name in names if name not in streams})
    except ValueError as e:
        raise Refused(f"copyOut: {e}") from None
